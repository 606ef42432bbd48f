# IN (a text file) as a C string constant NAME in the header OUT. A line of text is a line of the string.
file(READ ${IN} text)
string(REPLACE "\\" "\\\\" text "${text}")
string(REPLACE "\"" "\\\"" text "${text}")
string(REPLACE "\n" "\\n\"\n    \"" text "${text}")
file(WRITE ${OUT} "static const char ${NAME}[] =\n    \"${text}\";\n")
