/* Against a real redis-server that publishes. */
#include "base/redis_node_world.h"

#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A node with a subscription, and all that it heard, in order: answers as they are, pushes as
 * "channel=payload". */
struct subscriber {
    struct world world; /* first: what on_push is handed */
    unsigned pushes;
    unsigned answers;
    char heard[256];
    bool close_in_push;
    bool drop_in_push;
};

static void note(struct subscriber *subscriber, const char *text, size_t bytes)
{
    size_t used = strlen(subscriber->heard);
    snprintf(subscriber->heard + used, sizeof subscriber->heard - used, "%s%.*s",
             used == 0 ? "" : " ", (int)bytes, text);
}

static void on_push(void *arg, struct span channel, struct span payload)
{
    struct subscriber *subscriber = arg;
    char text[64];
    int bytes = snprintf(text, sizeof text, "%.*s=%.*s", SPAN_ARGS(channel), SPAN_ARGS(payload));
    note(subscriber, text, (size_t)bytes);
    subscriber->pushes++;
    if (subscriber->drop_in_push) {
        subscriber->drop_in_push = false;
        redis_node_drop(subscriber->world.node, "the owner wants it");
    }
    if (subscriber->close_in_push) {
        redis_node_close(subscriber->world.node);
        subscriber->world.node = NULL;
    }
}

/* Of PING word: ["pong", word]. */
static void on_pong(void *arg, enum redis_answer answer, const redisReply *reply)
{
    struct subscriber *subscriber = arg;
    subscriber->answers++;
    if (answer == REDIS_UNKNOWN) {
        note(subscriber, "unknown", strlen("unknown"));
        return;
    }
    assert_int_equal(reply->type, REDIS_REPLY_ARRAY);
    assert_int_equal(reply->elements, 2);
    assert_string_equal(reply->element[0]->str, "pong");
    note(subscriber, reply->element[1]->str, reply->element[1]->len);
}

static void ping(struct subscriber *subscriber, const char *word, uint32_t timeout_ms)
{
    struct span args[] = {span_of("PING"), span_of(word)};
    assert_true(
        redis_node_command(subscriber->world.node, args, 2, timeout_ms, on_pong, subscriber));
}

static void subscribe(struct world *world, const char *channel)
{
    char command[64];
    unsigned before = world->replies;
    snprintf(command, sizeof command, "SUBSCRIBE %s", channel);
    assert_true(world_send(world, command, 1000));
    LOOP_UNTIL(world->loop, world->replies > before);
    assert_string_equal(world->last, "subscribe");
}

/* Without a subscription yet. */
static void subscriber_dial(struct subscriber *subscriber)
{
    struct world *world = &subscriber->world;
    *subscriber = (struct subscriber){.pushes = 0};
    world_open(world);
    redis_node_close(world->node);
    world->on_push = on_push;
    world_dial(world, "127.0.0.1", redis_fixture_port(world->redis));
    LOOP_UNTIL(world->loop, world_is_up(world));
}

static void subscriber_open(struct subscriber *subscriber)
{
    subscriber_dial(subscriber);
    subscribe(&subscriber->world, "news");
}

static void a_push_is_heard_with_nothing_pending(void **state)
{
    (void)state;
    struct subscriber subscriber;
    struct world *world = &subscriber.world;
    subscriber_open(&subscriber);
    assert_asked(world, "PUBLISH news a", "1");
    assert_asked(world, "PUBLISH other b", "0");
    assert_asked(world, "PUBLISH news c", "1");
    assert_int_equal(subscriber.pushes, 0);
    LOOP_UNTIL(world->loop, subscriber.pushes >= 2);
    loop_run_ms(world->loop, 20);
    assert_string_equal(subscriber.heard, "news=a news=c");
    assert_true(world_is_up(world));
    assert_int_equal(world->downs, 0);
    world_close(world);
}

/* Each PING is in the server before the next message is published, because that takes a new
 * connection. */
static void pushes_between_replies_are_not_taken_for_them(void **state)
{
    (void)state;
    struct subscriber subscriber;
    struct world *world = &subscriber.world;
    subscriber_open(&subscriber);
    ping(&subscriber, "1", 5000);
    assert_asked(world, "PUBLISH news a", "1"); /* heard while 1 is pending, which is yet unsent */
    LOOP_UNTIL(world->loop, subscriber.answers == 1);
    ping(&subscriber, "2", 5000);
    ping(&subscriber, "3", 5000);
    loop_run_ms(world->loop, 0);
    assert_asked(world, "PUBLISH news b", "1");
    assert_asked(world, "PUBLISH news c", "1");
    ping(&subscriber, "4", 5000);
    LOOP_UNTIL(world->loop, subscriber.answers == 4);
    assert_string_equal(subscriber.heard, "news=a 1 2 3 news=b news=c 4");
    subscribe(world, "more"); /* three elements, but a reply */
    assert_asked(world, "PUBLISH more d", "1");
    LOOP_UNTIL(world->loop, subscriber.pushes == 4);
    assert_string_equal(subscriber.heard, "news=a 1 2 3 news=b news=c 4 more=d");
    world_close(world);
}

static void an_array_of_three_strings_is_a_reply(void **state)
{
    (void)state;
    struct subscriber subscriber;
    struct world *world = &subscriber.world;
    subscriber_dial(&subscriber);
    assert_asked(world, "MSET a messages b b", "OK");
    assert_true(world_send(world, "MGET a b b", 1000));
    LOOP_UNTIL(world->loop, world_all_answered(world));
    assert_string_equal(world->last, "messages");
    assert_int_equal(subscriber.pushes, 0);
    world_close(world);
}

static void a_late_reply_is_not_mistaken_for_a_later_one_among_pushes(void **state)
{
    (void)state;
    struct subscriber subscriber;
    struct world *world = &subscriber.world;
    subscriber_open(&subscriber);
    redis_fixture_pause(world->redis);
    ping(&subscriber, "late", 20);
    LOOP_UNTIL(world->loop, subscriber.answers == 1);
    redis_fixture_resume(world->redis);
    assert_asked(world, "PUBLISH news a", "1");
    ping(&subscriber, "timely", 5000);
    LOOP_UNTIL(world->loop, subscriber.answers == 2);
    assert_string_equal(subscriber.heard, "unknown news=a timely");
    world_close(world);
}

static void without_on_push_it_is_a_reply_that_nobody_asked_for(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    subscribe(&world, "news");
    assert_asked(&world, "PUBLISH news a", "1");
    LOOP_UNTIL(world.loop, world.downs > 0);
    assert_string_equal(world.why, "a reply that nobody asked for");
    world_close(&world);
}

static void a_subscriber_is_told_that_its_server_died_and_may_subscribe_anew(void **state)
{
    (void)state;
    struct subscriber subscriber;
    struct world *world = &subscriber.world;
    subscriber_open(&subscriber);
    redis_fixture_kill(world->redis);
    LOOP_UNTIL(world->loop, world->downs > 0);
    redis_fixture_restart(world->redis, false);
    LOOP_UNTIL(world->loop, world_is_up(world));
    assert_asked(world, "PUBLISH news a", "0");
    subscribe(world, "news");
    assert_asked(world, "PUBLISH news b", "1");
    LOOP_UNTIL(world->loop, subscriber.pushes > 0);
    assert_string_equal(subscriber.heard, "news=b");
    world_close(world);
}

/* The pushes are more than one turn of the loop reads, and the reply is behind them. */
static void our_own_pause_is_not_held_against_a_server_that_publishes(void **state)
{
    (void)state;
    struct subscriber subscriber;
    struct world *world = &subscriber.world;
    subscriber_open(&subscriber);
    enum { PUSHES = 2000 };
    assert_asked(world, "EVAL for\ti=1,2000\tdo\tredis.call('PUBLISH','news',('x'):rep(50))\tend 0",
                 "(nil)");
    ping(&subscriber, "1", 5000);
    usleep(700000);
    LOOP_UNTIL(world->loop, subscriber.answers > 0);
    assert_int_equal(subscriber.pushes, PUSHES);
    loop_run_ms(world->loop, 20);
    assert_int_equal(world->downs, 0);
    world_close(world);
}

static void may_be_closed_inside_a_push(void **state)
{
    (void)state;
    struct subscriber subscriber;
    struct world *world = &subscriber.world;
    subscriber_open(&subscriber);
    ping(&subscriber, "1", 5000);
    assert_asked(world, "PUBLISH news a", "1");
    assert_asked(world, "PUBLISH news b", "1");
    subscriber.close_in_push = true;
    LOOP_UNTIL(world->loop, subscriber.pushes > 0);
    assert_null(world->node);
    loop_run_ms(world->loop, 20);
    assert_string_equal(subscriber.heard, "news=a unknown");
    world_close(world);
}

static void may_be_dropped_inside_a_push(void **state)
{
    (void)state;
    struct subscriber subscriber;
    struct world *world = &subscriber.world;
    subscriber_open(&subscriber);
    ping(&subscriber, "1", 5000);
    assert_asked(world, "PUBLISH news a", "1");
    assert_asked(world, "PUBLISH news b", "1");
    subscriber.drop_in_push = true;
    LOOP_UNTIL(world->loop, world->downs > 0);
    assert_string_equal(subscriber.heard, "news=a unknown");
    LOOP_UNTIL(world->loop, world_is_up(world));
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_push_is_heard_with_nothing_pending),
        cmocka_unit_test(pushes_between_replies_are_not_taken_for_them),
        cmocka_unit_test(an_array_of_three_strings_is_a_reply),
        cmocka_unit_test(a_late_reply_is_not_mistaken_for_a_later_one_among_pushes),
        cmocka_unit_test(without_on_push_it_is_a_reply_that_nobody_asked_for),
        cmocka_unit_test(a_subscriber_is_told_that_its_server_died_and_may_subscribe_anew),
        cmocka_unit_test(our_own_pause_is_not_held_against_a_server_that_publishes),
        cmocka_unit_test(may_be_closed_inside_a_push),
        cmocka_unit_test(may_be_dropped_inside_a_push),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
