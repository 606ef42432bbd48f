/* utf8.h - is this text that Postgres takes?
 *
 * RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. Checked before a text enters
 * a batch, where it would fail everybody's purchase.
 */
#ifndef QUORATE_INVENTORY_UTF8_H
#define QUORATE_INVENTORY_UTF8_H

#include "base/span.h"

/* How many characters; SIZE_MAX if it is not UTF-8, or holds a NUL. */
size_t utf8_characters(struct span text);

#endif
