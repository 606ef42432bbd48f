#include "base/redis_node_world.h"

#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const scripts[SCRIPT_COUNT] = {
    "return redis.call('SET', KEYS[1], ARGV[1])",
    "return redis.call('DEL', KEYS[1])",
};

bool world_is_up(const struct world *world)
{
    return redis_node_state(world->node) == REDIS_NODE_UP;
}

bool world_all_answered(const struct world *world)
{
    struct redis_node_counts counts = redis_node_counts(world->node);
    return world->replies + world->unknowns == counts.commands - counts.connects * SCRIPT_COUNT;
}

static void on_greeting(void *arg)
{
    struct world *world = arg;
    world->greetings++;
    assert_int_equal(redis_node_state(world->node), REDIS_NODE_GREETING);
    redis_node_admit(world->node);
}

static void on_down(void *arg, const char *why)
{
    struct world *world = arg;
    assert_int_equal(redis_node_state(world->node), REDIS_NODE_DOWN);
    assert_string_equal(redis_node_why(world->node), why);
    snprintf(world->why, sizeof world->why, "%s", why);
    world->downs++;
}

static void on_drop(void *arg)
{
    struct world *world = arg;
    world->drops++;
    for (unsigned i = 0; i < world->last_words; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", i);
        struct span args[] = {span_of(key)};
        redis_node_last_words(world->node, SCRIPT_DELETE, 1, args, 1);
    }
}

void world_on_answer(void *arg, enum redis_answer answer, const struct redisReply *reply)
{
    struct world *world = arg;
    if (answer == REDIS_REPLIED) {
        world->replies++;
        if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0) reply = reply->element[0];
        snprintf(world->last, sizeof world->last, "%s", reply->str == NULL ? "" : reply->str);
    } else {
        assert_null(reply);
        world->unknowns++;
    }
    if (world->drop_in_answer) {
        world->drop_in_answer = false;
        redis_node_drop(world->node, "the owner wants it");
        assert_int_equal(redis_node_state(world->node), REDIS_NODE_DOWN);
    }
    if (world->close_in_answer) {
        world->close_in_answer = false;
        redis_node_close(world->node);
        world->node = NULL;
    }
}

void world_dial(struct world *world, const char *host, uint16_t port)
{
    struct redis_node_options options = {.name = "redis",
                                         .host = host,
                                         .port = port,
                                         .scripts = scripts,
                                         .script_count = SCRIPT_COUNT,
                                         .quiet = world->quiet,
                                         .on_greeting = on_greeting,
                                         .on_down = on_down,
                                         .on_drop = on_drop,
                                         .on_push = world->on_push,
                                         .arg = world};
    world->node = redis_node_open(world->loop, &options);
}

void world_open(struct world *world)
{
    *world = (struct world){.loop = loop_new(), .redis = redis_fixture_start("")};
    world_dial(world, "127.0.0.1", redis_fixture_port(world->redis));
    LOOP_UNTIL(world->loop, world_is_up(world));
}

void world_close(struct world *world)
{
    redis_node_close(world->node);
    loop_free(world->loop);
    if (world->redis != NULL) redis_fixture_free(world->redis);
}

bool world_send(struct world *world, const char *command, uint32_t timeout_ms)
{
    struct span args[8];
    size_t count = 0;
    for (const char *at = command; *at != '\0';) {
        size_t bytes = strcspn(at, " ");
        args[count++] = (struct span){at, bytes};
        at += bytes + (at[bytes] == ' ');
    }
    return redis_node_command(world->node, args, count, timeout_ms, world_on_answer, world);
}

bool world_send_script(struct world *world, size_t script, const char *key, uint32_t timeout_ms)
{
    struct span args[] = {span_of(key), span_of("value")};
    return redis_node_script(world->node, script, 1, args, script == SCRIPT_SET ? 2 : 1, timeout_ms,
                             world_on_answer, world);
}

void assert_asked(struct world *world, const char *command, const char *expected)
{
    char *answer = redis_fixture_ask(world->redis, command);
    assert_string_equal(answer, expected);
    free(answer);
}
