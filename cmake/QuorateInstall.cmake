# Where a packager expects things: daemons in libexec, units beside systemd's, libraries with headers and a .pc file.

# quorate_install_service(NAME SUMMARY text [LINES line...]): the program and its systemd unit, with further lines for
# the unit's [Service] section.
function(quorate_install_service name)
    cmake_parse_arguments(PARSE_ARGV 1 UNIT "" "SUMMARY" "LINES")
    install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/quorate)
    set(UNIT_NAME ${name})
    list(JOIN UNIT_LINES "\n" UNIT_LINES)
    configure_file(${CMAKE_SOURCE_DIR}/cmake/quorate.service.in quorate-${name}.service @ONLY)
    install(FILES ${CMAKE_CURRENT_BINARY_DIR}/quorate-${name}.service DESTINATION lib/systemd/system)
endfunction()

# quorate_install_library(TARGET FOLDER header...): headers are included as FOLDER/header.h, as in this tree.
function(quorate_install_library target folder)
    install(TARGETS ${target} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(FILES ${ARGN} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/quorate/${folder})
endfunction()

# Found from where the file itself lies, so that `cmake --install --prefix` moves it too.
file(RELATIVE_PATH UP_TO_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(${CMAKE_SOURCE_DIR}/cmake/quorate.pc.in quorate.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/quorate.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
