# IN (a text file, behind the text of FRONT if that is set) as a C string constant NAME in the header OUT. A line of text
# is a line of the string.
file(READ ${IN} text)
if(FRONT)
    file(READ ${FRONT} front)
    string(PREPEND text "${front}")
endif()
string(REPLACE "\\" "\\\\" text "${text}")
string(REPLACE "\"" "\\\"" text "${text}")
string(REPLACE "\n" "\\n\"\n    \"" text "${text}")
file(WRITE ${OUT} "static const char ${NAME}[] =\n    \"${text}\";\n")
