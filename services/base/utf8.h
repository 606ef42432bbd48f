/* utf8.h - what is UTF-8, and how many characters it holds.
 *
 * Strict: no overlong forms, no surrogates, nothing above U+10FFFF.
 */
#ifndef QUORATE_BASE_UTF8_H
#define QUORATE_BASE_UTF8_H

#include "base/span.h"

/* Bytes of the character at `at` (1-4); 0 if it is none, or is cut off. */
size_t utf8_character(const char *at, size_t bytes);

/* Characters, or -1 if the text is no UTF-8. */
long utf8_length(struct span text);

#endif
