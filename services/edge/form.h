/* form.h - reads application/x-www-form-urlencoded: the login's body, and the query of a URL.
 *
 * Pure. Of a field that is there several times the last one counts, as in FastAPI.
 */
#ifndef QUORATE_EDGE_FORM_H
#define QUORATE_EDGE_FORM_H

#include "base/span.h"

#include <stdint.h>

enum form_outcome {
    FORM_FOUND,
    FORM_ABSENT,
    FORM_MALFORMED, /* a broken %xx, or no UTF-8, or a NUL */
    FORM_TOO_LONG,  /* more than the room */
};

struct form_room {
    char *into;
    size_t bytes;
};

/* Decodes the field's value into the room; *value is the part of it that is used. */
enum form_outcome form_text(struct span form, const char *name, struct form_room room,
                            struct span *value);

/* A whole number; FORM_MALFORMED also when it is none or not within int64. */
enum form_outcome form_integer(struct span form, const char *name, int64_t *value);

#endif
