/* fake_redis.h - a Redis server in the memory of a test: runs the very scripts of production with
 * Lua 5.1, on a clock of its own that can be set, and can be restarted with or without its data.
 *
 * Knows the handful of commands that the scripts and the admission use; any other ends the test.
 */
#ifndef QUORATE_LOCKD_FAKE_REDIS_H
#define QUORATE_LOCKD_FAKE_REDIS_H

#include "base/clock.h"
#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redisReply;
struct lua_State;
struct fake_entry;

struct fake_redis {
    const struct clock *clock; /* the world's boot time */
    int64_t wall_offset_us;    /* its wall clock, relative to that */
    char run_id[41];
    unsigned starts;
    bool replica;
    bool promoted;
    bool rewriting;
    const char *appendonly;
    const char *appendfsync;
    const char *no_appendfsync_on_rewrite;
    const char *maxmemory_policy;
    struct fake_entry *entries;
    struct lua_State *lua;
    uint64_t commands; /* executed */
    uint64_t published;
};

/* Durable: appendonly, always, noeviction. */
void fake_redis_init(struct fake_redis *redis, const struct clock *clock);
void fake_redis_fini(struct fake_redis *redis);

/* Another process: a new run_id. */
void fake_redis_restart(struct fake_redis *redis, bool keep_data);

/* Free the replies with freeReplyObject. */
struct redisReply *fake_redis_command(struct fake_redis *redis, const struct span *args,
                                      size_t count);
struct redisReply *fake_redis_eval(struct fake_redis *redis, const char *source, size_t key_count,
                                   const struct span *args, size_t arg_count);

/* A string key's value; "" if it is not there. For looking from outside. */
const char *fake_redis_get(struct fake_redis *redis, const char *key);
const char *fake_redis_hash_get(struct fake_redis *redis, const char *key, const char *field);
int64_t fake_redis_pttl(struct fake_redis *redis, const char *key);
size_t fake_redis_keys(struct fake_redis *redis, const char *prefix);

#endif
