/* json.h - writes JSON text straight into a buffer.
 *
 * Answers are written once, front to back, on a path that is walked tens of thousands of times a
 * second: no tree is built, nothing is copied twice. Commas come by themselves; that opens and
 * closes match is the caller's care. Input is read by body.h.
 *
 * Thread    the loop's only.
 * Ownership the buffer starts in the caller's storage and moves to the heap when that is too small;
 *           json_fini frees the heap's.
 * Borrows   the storage until json_fini.
 */
#ifndef QUORATE_EDGE_JSON_H
#define QUORATE_EDGE_JSON_H

#include "base/span.h"

#include <stdint.h>

struct json {
    char *at;
    size_t used;
    size_t room;
    bool on_heap;
    bool comma; /* the next value or key needs one before it */
};

void json_init(struct json *json, void *storage, size_t bytes);
void json_fini(struct json *json);

/* Forgets what was written and keeps the buffer. */
void json_clear(struct json *json);

void json_open_object(struct json *json);
void json_close_object(struct json *json);
void json_open_array(struct json *json);
void json_close_array(struct json *json);

/* `key` is written as it is: a literal without anything to escape. */
void json_key(struct json *json, struct span key);
#define JSON_KEY(json, literal) json_key((json), (struct span){literal, sizeof(literal) - 1})

/* Escapes what JSON demands; bytes that are no UTF-8 become U+FFFD. */
void json_put_text(struct json *json, struct span text);
void json_put_integer(struct json *json, int64_t number);
void json_put_unsigned_text(struct json *json, uint64_t number); /* as a string: "42" */
void json_put_boolean(struct json *json, bool truth);
void json_put_null(struct json *json);

/* "2026-01-02T03:04:05.678901Z" */
void json_put_time(struct json *json, int64_t us_since_1970);

/* Bytes as they are, outside of the rules above. */
void json_put_raw(struct json *json, struct span bytes);

static inline struct span json_span(const struct json *json)
{
    return (struct span){json->at, json->used};
}

#endif
