/* span.h - borrowed bytes: never owned, never NUL-terminated, valid as long as the call they are
 * passed to. */
#ifndef QUORATE_BASE_SPAN_H
#define QUORATE_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct span {
    const char *at;
    size_t bytes;
};

/* For printf: LOG_INFO("x", "name=%.*s", SPAN_ARGS(name)). */
#define SPAN_ARGS(span) (int)(span).bytes, (span).at

static inline struct span span_of(const char *text)
{
    return (struct span){text, text == NULL ? 0 : strlen(text)};
}

static inline bool span_equal(struct span a, struct span b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.at, b.at, a.bytes) == 0);
}

#endif
