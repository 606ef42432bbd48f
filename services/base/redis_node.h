/* redis_node.h - one connection to one independent Redis server, with a deadline for every command
 * and a breaker.
 *
 * The node dials for ever (back-off 50 ms to redial_max_ms, names resolved off the loop). A TCP
 * connection is not a node that works: it becomes GREETING when its scripts were loaded, and UP
 * when its owner admits it. It goes DOWN, at once and with a reason, when the connection breaks,
 * three commands in a row time out (each sent after the one before had timed out: what waits
 * together is one stall), or one is without an answer for 500 ms.
 *
 * With on_push its owner may SUBSCRIBE, on every connection anew; from then on the server takes
 * little else (RESP2): PING, and more of the same. To such a node an array of three strings that
 * begins with "message" is always a push and never a reply.
 *
 * Thread    the loop's only.
 * Answers   a command that returned true is answered exactly once, never before it returned; false:
 * it was not sent and no answer follows. A reply that comes after the deadline has spoken is
 * dropped. Borrows   arguments until the call returns; the reply while the answer runs, a push
 * while on_push runs; scripts and options' texts for the node's life. Units     milliseconds in
 * `timeout_ms`; absolute microseconds of CLOCK_BOOTTIME in `_us`.
 */
#ifndef QUORATE_BASE_REDIS_NODE_H
#define QUORATE_BASE_REDIS_NODE_H

#include "base/loop.h"
#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redis_node;
struct redisReply;

enum redis_node_state {
    REDIS_NODE_DOWN,     /* no connection, or none that answered yet */
    REDIS_NODE_GREETING, /* connected, scripts loaded: the owner examines it; commands pass */
    REDIS_NODE_UP,       /* admitted by the owner */
};

enum redis_answer {
    REDIS_REPLIED, /* reply is set, possibly a Redis error */
    REDIS_UNKNOWN, /* no reply in time, or the connection was lost: it may have been executed, or
                      may yet be */
};

/* `reply` is NULL unless REDIS_REPLIED. */
typedef void redis_answer_fn(void *arg, enum redis_answer answer, const struct redisReply *reply);

struct redis_node_options {
    const char *name; /* host:port as configured, for the log */
    const char *host;
    uint16_t port;
    const char *const *scripts; /* Lua sources, loaded on each connection */
    size_t script_count;
    uint32_t redial_max_ms; /* the longest back-off, how late a node may be found again; 0: 1000 */
    bool quiet; /* comes and goes at debug level: another connection to the server tells of it */
    /* Connected and scripts loaded (state GREETING). NULL: the node is UP at once. */
    void (*on_greeting)(void *arg);
    /* Went down; `why` is for people. Also when it never came up: once per failed dial. NULL: not
     * told. */
    void (*on_down)(void *arg, const char *why);
    /* About to drop a connection that is stuck but may still be read by the server: last chance to
     * redis_node_last_words, and for nothing else. NULL: none. */
    void (*on_drop)(void *arg);
    /* A message of a channel that was subscribed to; comes between any two replies. NULL: a push
     * is a reply that nobody asked for. */
    void (*on_push)(void *arg, struct span channel, struct span payload);
    void *arg;
};

/* Never fails: dials now and redials for ever. */
struct redis_node *redis_node_open(struct loop *loop, const struct redis_node_options *options);

/* Answers what is pending with REDIS_UNKNOWN, then frees. Allowed inside an answer and on_push.
 * NULL is harmless. */
void redis_node_close(struct redis_node *node);

enum redis_node_state redis_node_state(const struct redis_node *node);
const char *redis_node_why(const struct redis_node *node); /* why it is down; "" when it is not */

/* GREETING becomes UP. */
void redis_node_admit(struct redis_node *node);

/* Drops the connection and dials anew after the back-off. Pending commands are answered from the
 * loop. */
void redis_node_drop(struct redis_node *node, const char *why);

/* Any command, while GREETING or UP. */
bool redis_node_command(struct redis_node *node, const struct span *args, size_t arg_count,
                        uint32_t timeout_ms, redis_answer_fn *on_answer, void *arg);

/* EVALSHA of scripts[script] with `key_count` keys first in args. A server that lost its scripts is
 * loaded anew by a reconnect. */
bool redis_node_script(struct redis_node *node, size_t script, size_t key_count,
                       const struct span *args, size_t arg_count, uint32_t timeout_ms,
                       redis_answer_fn *on_answer, void *arg);

/* Inside on_drop: appends a script call to the connection's last output; written as far as the
 * socket takes it, no answer. A server that was paused executes it when it wakes, after all that
 * was sent before. */
void redis_node_last_words(struct redis_node *node, size_t script, size_t key_count,
                           const struct span *args, size_t arg_count);

struct redis_node_counts {
    uint64_t commands;
    uint64_t timeouts;
    uint64_t connects;
};
struct redis_node_counts redis_node_counts(const struct redis_node *node);

#endif
