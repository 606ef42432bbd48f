# quorate_scripts(TARGET [FRONT common.lua] file.lua...): Lua scripts as C text. Generates, in the build tree only,
# scripts/NAME.lua.h with one string, `script_NAME`, and lets the target include it as "scripts/NAME.lua.h". What FRONT
# names stands in front of each of them.
set(QUORATE_EMBED ${CMAKE_CURRENT_LIST_DIR}/embed.cmake)
function(quorate_scripts target)
    cmake_parse_arguments(PARSE_ARGV 1 SCRIPTS "" "FRONT" "")
    if(SCRIPTS_FRONT)
        set(front ${CMAKE_CURRENT_SOURCE_DIR}/${SCRIPTS_FRONT})
    endif()
    foreach(file ${SCRIPTS_UNPARSED_ARGUMENTS})
        get_filename_component(name ${file} NAME_WE)
        set(out ${CMAKE_CURRENT_BINARY_DIR}/scripts/${name}.lua.h)
        add_custom_command(
            OUTPUT ${out}
            COMMAND ${CMAKE_COMMAND} -DFRONT=${front} -DIN=${CMAKE_CURRENT_SOURCE_DIR}/${file} -DOUT=${out}
                -DNAME=script_${name} -P ${QUORATE_EMBED}
            DEPENDS ${front} ${file} ${QUORATE_EMBED} VERBATIM)
        target_sources(${target} PRIVATE ${out})
    endforeach()
    target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_BINARY_DIR})
endfunction()
