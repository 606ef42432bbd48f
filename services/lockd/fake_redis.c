#include "lockd/fake_redis.h"

#include "base/check.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS_MAX = 8, WORDS_MAX = 32 };

struct fake_entry {
    char *key;
    char *value; /* NULL: a hash */
    char *fields[FIELDS_MAX];
    char *values[FIELDS_MAX];
    uint64_t expires_us; /* on the server's wall clock; 0: never */
    struct fake_entry *next;
};

static uint64_t wall_us(const struct fake_redis *redis)
{
    return clock_boot_us(redis->clock) + (uint64_t)redis->wall_offset_us;
}

static void entry_free(struct fake_entry *entry)
{
    for (size_t i = 0; i < FIELDS_MAX; i++) {
        free(entry->fields[i]);
        free(entry->values[i]);
    }
    free(entry->key);
    free(entry->value);
    free(entry);
}

static void expire(struct fake_redis *redis)
{
    for (struct fake_entry **at = &redis->entries; *at != NULL;) {
        struct fake_entry *entry = *at;
        if (entry->expires_us != 0 && entry->expires_us <= wall_us(redis)) {
            *at = entry->next;
            entry_free(entry);
        } else {
            at = &entry->next;
        }
    }
}

static struct fake_entry *find(struct fake_redis *redis, const char *key)
{
    expire(redis);
    struct fake_entry *entry = redis->entries;
    while (entry != NULL && strcmp(entry->key, key) != 0)
        entry = entry->next;
    return entry;
}

static void drop(struct fake_redis *redis, const char *key)
{
    for (struct fake_entry **at = &redis->entries; *at != NULL; at = &(*at)->next) {
        if (strcmp((*at)->key, key) != 0) continue;
        struct fake_entry *entry = *at;
        *at = entry->next;
        entry_free(entry);
        return;
    }
}

static void drop_all(struct fake_redis *redis)
{
    while (redis->entries != NULL)
        drop(redis, redis->entries->key);
}

static struct fake_entry *make(struct fake_redis *redis, const char *key)
{
    struct fake_entry *entry = xcalloc(1, sizeof *entry);
    entry->key = xstrdup(key);
    entry->next = redis->entries;
    redis->entries = entry;
    return entry;
}

/* Replies. */

static redisReply *reply_new(int type)
{
    redisReply *reply = xcalloc(1, sizeof *reply);
    reply->type = type;
    return reply;
}

static redisReply *reply_text(int type, const char *text)
{
    if (text == NULL) return reply_new(REDIS_REPLY_NIL);
    redisReply *reply = reply_new(type);
    reply->str = xstrdup(text);
    reply->len = strlen(text);
    return reply;
}

static redisReply *reply_integer(long long integer)
{
    redisReply *reply = reply_new(REDIS_REPLY_INTEGER);
    reply->integer = integer;
    return reply;
}

static redisReply *reply_array(size_t elements)
{
    redisReply *reply = reply_new(REDIS_REPLY_ARRAY);
    reply->elements = elements;
    reply->element = xcalloc(elements, sizeof(redisReply *));
    return reply;
}

/* Commands. Words are NUL-terminated. */

static char **field_of(struct fake_entry *entry, const char *field, bool make_it)
{
    for (size_t i = 0; i < FIELDS_MAX; i++) {
        if (entry->fields[i] != NULL && strcmp(entry->fields[i], field) == 0)
            return &entry->values[i];
    }
    if (!make_it) return NULL;
    for (size_t i = 0; i < FIELDS_MAX; i++) {
        if (entry->fields[i] != NULL) continue;
        entry->fields[i] = xstrdup(field);
        return &entry->values[i];
    }
    CHECK(!"room for another field");
}

static redisReply *do_set(struct fake_redis *redis, char **words, size_t count)
{
    drop(redis, words[1]);
    struct fake_entry *entry = make(redis, words[1]);
    entry->value = xstrdup(words[2]);
    if (count > 3) {
        CHECK(count == 5 && strcmp(words[3], "PX") == 0);
        entry->expires_us = wall_us(redis) + strtoull(words[4], NULL, 10) * 1000;
    }
    return reply_text(REDIS_REPLY_STATUS, "OK");
}

static redisReply *do_hset(struct fake_redis *redis, char **words, size_t count)
{
    struct fake_entry *entry = find(redis, words[1]);
    if (entry == NULL) entry = make(redis, words[1]);
    for (size_t i = 2; i + 1 < count; i += 2) {
        char **value = field_of(entry, words[i], true);
        free(*value);
        *value = xstrdup(words[i + 1]);
    }
    return reply_integer(1);
}

static redisReply *do_hdel(struct fake_redis *redis, char **words, size_t count)
{
    struct fake_entry *entry = find(redis, words[1]);
    for (size_t i = 2; entry != NULL && i < count; i++) {
        char **value = field_of(entry, words[i], false);
        if (value == NULL) continue;
        size_t at = (size_t)(value - entry->values);
        free(entry->fields[at]);
        free(entry->values[at]);
        entry->fields[at] = entry->values[at] = NULL;
    }
    return reply_integer(1);
}

static redisReply *do_hmget(struct fake_redis *redis, char **words, size_t count)
{
    struct fake_entry *entry = find(redis, words[1]);
    redisReply *reply = reply_array(count - 2);
    for (size_t i = 2; i < count; i++) {
        char **value = entry == NULL ? NULL : field_of(entry, words[i], false);
        reply->element[i - 2] = reply_text(REDIS_REPLY_STRING, value == NULL ? NULL : *value);
    }
    return reply;
}

static redisReply *do_keys(struct fake_redis *redis, const char *pattern)
{
    size_t bytes = strlen(pattern);
    CHECK(bytes > 0 && pattern[bytes - 1] == '*');
    char prefix[64];
    snprintf(prefix, sizeof prefix, "%.*s", (int)bytes - 1, pattern);
    redisReply *reply = reply_array(fake_redis_keys(redis, prefix));
    size_t at = 0;
    for (const struct fake_entry *entry = redis->entries; entry != NULL; entry = entry->next) {
        if (strncmp(entry->key, prefix, bytes - 1) == 0)
            reply->element[at++] = reply_text(REDIS_REPLY_STRING, entry->key);
    }
    return reply;
}

static redisReply *do_time(struct fake_redis *redis)
{
    char text[24];
    redisReply *reply = reply_array(2);
    snprintf(text, sizeof text, "%" PRIu64, wall_us(redis) / 1000000);
    reply->element[0] = reply_text(REDIS_REPLY_STRING, text);
    snprintf(text, sizeof text, "%" PRIu64, wall_us(redis) % 1000000);
    reply->element[1] = reply_text(REDIS_REPLY_STRING, text);
    return reply;
}

static redisReply *do_info(const struct fake_redis *redis)
{
    char text[512];
    snprintf(text, sizeof text,
             "# Server\r\nredis_version:7.0.15\r\nrun_id:%s\r\n# Persistence\r\n"
             "aof_rewrite_in_progress:%d\r\naof_rewrite_scheduled:0\r\n# Replication\r\n"
             "role:%s\r\nsecond_repl_offset:%s\r\n",
             redis->run_id, redis->rewriting, redis->replica ? "slave" : "master",
             redis->promoted ? "1203" : "-1");
    return reply_text(REDIS_REPLY_STRING, text);
}

static redisReply *do_config(const struct fake_redis *redis, const char *pattern)
{
    const char *append[] = {"appendonly",
                            redis->appendonly,
                            "appendfilename",
                            "appendonly.aof",
                            "appendfsync",
                            redis->appendfsync,
                            "no-appendfsync-on-rewrite",
                            redis->no_appendfsync_on_rewrite};
    const char *policy[] = {"maxmemory-policy", redis->maxmemory_policy};
    bool wants_append = strcmp(pattern, "*append*") == 0;
    CHECK(wants_append || strcmp(pattern, policy[0]) == 0);
    const char **pairs = wants_append ? append : policy;
    redisReply *reply = reply_array(wants_append ? 8 : 2);
    for (size_t i = 0; i < reply->elements; i++)
        reply->element[i] = reply_text(REDIS_REPLY_STRING, pairs[i]);
    return reply;
}

static redisReply *do_pexpire(struct fake_redis *redis, const char *key, const char *ttl_ms)
{
    struct fake_entry *entry = find(redis, key);
    if (entry == NULL) return reply_integer(0);
    entry->expires_us = wall_us(redis) + strtoull(ttl_ms, NULL, 10) * 1000;
    return reply_integer(1);
}

static redisReply *run(struct fake_redis *redis, char **words, size_t count)
{
    CHECK(count >= 1 && words[0] != NULL);
    expire(redis);
    redis->commands++;
    const char *name = words[0];
    if (strcmp(name, "TIME") == 0) return do_time(redis);
    if (strcmp(name, "INFO") == 0) return do_info(redis);
    if (strcmp(name, "CONFIG") == 0) return do_config(redis, count == 3 ? words[2] : "");
    if (strcmp(name, "DBSIZE") == 0) return reply_integer((long long)fake_redis_keys(redis, ""));
    if (strcmp(name, "FLUSHALL") == 0) {
        drop_all(redis);
        return reply_text(REDIS_REPLY_STATUS, "OK");
    }
    CHECK(count >= 2 && words[1] != NULL);
    if (strcmp(name, "GET") == 0) {
        const struct fake_entry *entry = find(redis, words[1]);
        return reply_text(REDIS_REPLY_STRING, entry == NULL ? NULL : entry->value);
    }
    if (strcmp(name, "SET") == 0) return do_set(redis, words, count);
    if (strcmp(name, "HSET") == 0) return do_hset(redis, words, count);
    if (strcmp(name, "HDEL") == 0) return do_hdel(redis, words, count);
    if (strcmp(name, "HMGET") == 0) return do_hmget(redis, words, count);
    if (strcmp(name, "KEYS") == 0) return do_keys(redis, words[1]);
    if (strcmp(name, "PUBLISH") == 0) {
        redis->published++;
        return reply_integer(0);
    }
    if (strcmp(name, "PTTL") == 0) return reply_integer(fake_redis_pttl(redis, words[1]));
    if (strcmp(name, "PEXPIRE") == 0)
        return do_pexpire(redis, words[1], count == 3 ? words[2] : "");
    CHECK(strcmp(name, "DEL") == 0);
    bool there = find(redis, words[1]) != NULL;
    drop(redis, words[1]);
    return reply_integer(there);
}

redisReply *fake_redis_command(struct fake_redis *redis, const struct span *args, size_t count)
{
    char *words[WORDS_MAX] = {NULL};
    CHECK(count <= WORDS_MAX);
    for (size_t i = 0; i < count; i++)
        words[i] = xstrndup(args[i].at, args[i].bytes);
    redisReply *reply = run(redis, words, count);
    for (size_t i = 0; i < count; i++)
        free(words[i]);
    return reply;
}

/* Lua: values convert as in Redis. */

static void push_reply(lua_State *lua, const redisReply *reply)
{
    switch (reply->type) {
    case REDIS_REPLY_STRING:
        lua_pushlstring(lua, reply->str, reply->len);
        return;
    case REDIS_REPLY_INTEGER:
        lua_pushnumber(lua, (lua_Number)reply->integer);
        return;
    case REDIS_REPLY_STATUS:
        lua_newtable(lua);
        lua_pushlstring(lua, reply->str, reply->len);
        lua_setfield(lua, -2, "ok");
        return;
    case REDIS_REPLY_ARRAY:
        lua_newtable(lua);
        for (size_t i = 0; i < reply->elements; i++) {
            push_reply(lua, reply->element[i]);
            lua_rawseti(lua, -2, (int)i + 1);
        }
        return;
    default:
        lua_pushboolean(lua, 0);
    }
}

static int redis_call(lua_State *lua)
{
    lua_getfield(lua, LUA_REGISTRYINDEX, "fake_redis");
    struct fake_redis *redis = lua_touserdata(lua, -1);
    lua_pop(lua, 1);
    struct span args[WORDS_MAX];
    int count = lua_gettop(lua);
    CHECK(count <= WORDS_MAX);
    for (int i = 0; i < count; i++)
        args[i].at = luaL_checklstring(lua, i + 1, &args[i].bytes);
    redisReply *reply = fake_redis_command(redis, args, (size_t)count);
    push_reply(lua, reply);
    freeReplyObject(reply);
    return 1;
}

static redisReply *take_reply(lua_State *lua)
{
    if (lua_type(lua, -1) == LUA_TNUMBER) return reply_integer((long long)lua_tonumber(lua, -1));
    if (lua_type(lua, -1) == LUA_TSTRING)
        return reply_text(REDIS_REPLY_STRING, lua_tostring(lua, -1));
    if (lua_type(lua, -1) != LUA_TTABLE) return reply_new(REDIS_REPLY_NIL);
    redisReply *reply = reply_array(lua_objlen(lua, -1));
    for (size_t i = 0; i < reply->elements; i++) {
        lua_rawgeti(lua, -1, (int)i + 1);
        reply->element[i] = take_reply(lua);
        lua_pop(lua, 1);
    }
    return reply;
}

static void set_list(lua_State *lua, const char *name, const struct span *items, size_t count)
{
    lua_newtable(lua);
    for (size_t i = 0; i < count; i++) {
        lua_pushlstring(lua, items[i].bytes == 0 ? "" : items[i].at, items[i].bytes);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    lua_setglobal(lua, name);
}

redisReply *fake_redis_eval(struct fake_redis *redis, const char *source, size_t key_count,
                            const struct span *args, size_t arg_count)
{
    lua_State *lua = redis->lua;
    set_list(lua, "KEYS", args, key_count);
    set_list(lua, "ARGV", args + key_count, arg_count - key_count);
    if (luaL_loadbuffer(lua, source, strlen(source), "script") != 0 ||
        lua_pcall(lua, 0, 1, 0) != 0) {
        check_fail(lua_tostring(lua, -1), __FILE__, __LINE__);
    }
    redisReply *reply = take_reply(lua);
    lua_settop(lua, 0);
    return reply;
}

static void new_process(struct fake_redis *redis)
{
    snprintf(redis->run_id, sizeof redis->run_id, "%08x%032" PRIxPTR, ++redis->starts,
             (uintptr_t)redis);
}

void fake_redis_init(struct fake_redis *redis, const struct clock *clock)
{
    *redis = (struct fake_redis){.clock = clock,
                                 .appendonly = "yes",
                                 .appendfsync = "always",
                                 .no_appendfsync_on_rewrite = "no",
                                 .maxmemory_policy = "noeviction",
                                 .lua = luaL_newstate()};
    luaL_openlibs(redis->lua);
    lua_pushlightuserdata(redis->lua, redis);
    lua_setfield(redis->lua, LUA_REGISTRYINDEX, "fake_redis");
    lua_newtable(redis->lua);
    lua_pushcfunction(redis->lua, redis_call);
    lua_setfield(redis->lua, -2, "call");
    lua_setglobal(redis->lua, "redis");
    new_process(redis);
}

void fake_redis_fini(struct fake_redis *redis)
{
    drop_all(redis);
    lua_close(redis->lua);
}

void fake_redis_restart(struct fake_redis *redis, bool keep_data)
{
    new_process(redis);
    redis->promoted = false;
    if (!keep_data) drop_all(redis);
}

const char *fake_redis_get(struct fake_redis *redis, const char *key)
{
    const struct fake_entry *entry = find(redis, key);
    return entry == NULL || entry->value == NULL ? "" : entry->value;
}

const char *fake_redis_hash_get(struct fake_redis *redis, const char *key, const char *field)
{
    struct fake_entry *entry = find(redis, key);
    char **value = entry == NULL ? NULL : field_of(entry, field, false);
    return value == NULL ? "" : *value;
}

int64_t fake_redis_pttl(struct fake_redis *redis, const char *key)
{
    const struct fake_entry *entry = find(redis, key);
    if (entry == NULL) return -2;
    if (entry->expires_us == 0) return -1;
    return (int64_t)(entry->expires_us - wall_us(redis)) / 1000;
}

size_t fake_redis_keys(struct fake_redis *redis, const char *prefix)
{
    expire(redis);
    size_t count = 0;
    for (const struct fake_entry *entry = redis->entries; entry != NULL; entry = entry->next)
        count += strncmp(entry->key, prefix, strlen(prefix)) == 0;
    return count;
}
