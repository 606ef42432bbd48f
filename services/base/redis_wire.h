/* redis_wire.h - one TCP connection to a Redis server on the loop: commands out, replies in.
 *
 * It frames and carries, nothing else: no deadlines, no redial, no idea which reply belongs to
 * which command (they come in order). What is appended during a turn of the loop leaves in one
 * write at its end, without waiting for a writable event.
 *
 * hiredis is used by its plain context in non-blocking mode, for formatting and parsing only. Its
 * asynchronous half frees itself from inside callbacks, asserts on a reply that nobody asked for,
 * and waits for a writable event before each write.
 *
 * Thread    the loop's only.
 * Answers   on_open once, then on_reply for each reply; on_lost at most once and as the last, with
 *           the wire still to be closed. None of them from inside a call, none after
 * redis_wire_close. Borrows   arguments until the call returns; the reply while on_reply runs.
 */
#ifndef QUORATE_BASE_REDIS_WIRE_H
#define QUORATE_BASE_REDIS_WIRE_H

#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redis_wire;
struct redisReply;

struct redis_wire_events {
    void (*on_open)(void *arg);
    void (*on_reply)(void *arg, const struct redisReply *reply);
    void (*on_lost)(void *arg, const char *why);
    void *arg;
};

/* `address` is numeric. NULL: refused at once, `why` (128 bytes) says how. */
struct redis_wire *redis_wire_dial(struct loop *loop, const char *address, uint16_t port,
                                   const struct redis_wire_events *events, char *why);

/* Allowed inside any of its callbacks. Output that was not written is discarded. */
void redis_wire_close(struct redis_wire *wire);

void redis_wire_append(struct redis_wire *wire, int arg_count, const char **args,
                       const size_t *arg_bytes);

/* Not yet taken by the socket. */
size_t redis_wire_unsent_bytes(const struct redis_wire *wire);

/* Ends it without cutting the server short: hands to the socket what it takes at once, discards the
 * rest, says no more (half-close), and from now on drops replies. Calls on_end, once, when the
 * server has read all and closed too, or died; the wire is still to be closed then.
 *
 * A plain close would not do: the first reply to a closed socket makes the kernel reset it, and
 * Redis then throws away whatever part of the input it has not yet read (all but the first 16 KiB).
 */
void redis_wire_finish(struct redis_wire *wire, void (*on_end)(void *arg), void *arg);

#endif
