/* Against a real redis-server, because what matters here is what a real socket does; and against
 * what only says that it is one. */
#include "base/redis_node_world.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void replies_and_errors_arrive_in_order(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    assert_true(world_send_script(&world, SCRIPT_SET, "a", 1000));
    assert_true(world_send(&world, "GET a", 1000));
    assert_int_equal(world.replies, 0);
    LOOP_UNTIL(world.loop, world_all_answered(&world));
    assert_string_equal(world.last, "value");
    assert_true(world_send(&world, "LPUSH a 1", 1000));
    LOOP_UNTIL(world.loop, world_all_answered(&world));
    assert_int_equal(strncmp(world.last, "WRONGTYPE", 9), 0);
    assert_int_equal(world.replies, 3);
    assert_int_equal(world.unknowns, 0);
    assert_string_equal(redis_node_why(world.node), "");
    world_close(&world);
}

static void a_name_is_looked_up(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    redis_node_close(world.node);
    world_dial(&world, "localhost", redis_fixture_port(world.redis));
    LOOP_UNTIL(world.loop, world_is_up(&world));
    redis_node_close(world.node);
    world_dial(&world, "no-such-host.invalid", 6379);
    LOOP_UNTIL(world.loop, world.downs > 0);
    assert_int_equal(strncmp(world.why, "name lookup: ", 13), 0);
    redis_node_close(world.node);
    world_dial(&world, "closed-while-looking.invalid", 6379);
    loop_run_ms(world.loop, 1);
    world_close(&world);
}

static long reads_of(struct world *world)
{
    char *stats = redis_fixture_ask(world->redis, "INFO stats");
    long reads = strtol(strstr(stats, "total_reads_processed:") + 22, NULL, 10);
    free(stats);
    return reads;
}

static void commands_of_one_turn_leave_in_one_write(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    long before = reads_of(&world);
    for (int i = 0; i < 100; i++)
        assert_true(world_send(&world, "INCR counter", 1000));
    LOOP_UNTIL(world.loop, world_all_answered(&world));
    assert_true(reads_of(&world) - before <= 4); /* one of ours, the rest are this question's */
    assert_int_equal(world.replies, 100);
    world_close(&world);
}

static void a_late_reply_is_dropped_and_the_next_one_is_not_mistaken(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    redis_fixture_pause(world.redis);
    uint64_t sent_us = loop_now_us(world.loop);
    assert_true(world_send(&world, "ECHO late", 50));
    LOOP_UNTIL(world.loop, world_all_answered(&world));
    assert_int_equal(world.unknowns, 1);
    assert_true(loop_now_us(world.loop) - sent_us >= 50000);
    assert_true(world_is_up(&world));
    redis_fixture_resume(world.redis);
    assert_true(world_send(&world, "ECHO timely", 1000));
    LOOP_UNTIL(world.loop, world_all_answered(&world));
    assert_string_equal(world.last, "timely");
    assert_int_equal(world.replies, 1);
    assert_int_equal(redis_node_counts(world.node).timeouts, 1);
    assert_int_equal(world.downs, 0);
    world_close(&world);
}

static void lost_scripts_are_loaded_anew(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    assert_asked(&world, "SCRIPT FLUSH", "OK");
    assert_true(world_send_script(&world, SCRIPT_SET, "a", 1000));
    LOOP_UNTIL(world.loop, world.replies > 0);
    assert_int_equal(strncmp(world.last, "NOSCRIPT", 8), 0);
    assert_int_equal(redis_node_state(world.node), REDIS_NODE_DOWN);
    LOOP_UNTIL(world.loop, world_is_up(&world));
    assert_true(world_send_script(&world, SCRIPT_SET, "a", 1000));
    LOOP_UNTIL(world.loop, world_all_answered(&world));
    assert_string_equal(world.last, "OK");
    world_close(&world);
}

static void may_be_closed_inside_an_answer(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    for (int i = 0; i < 3; i++)
        assert_true(world_send(&world, "ECHO x", 1000));
    world.close_in_answer = true;
    LOOP_UNTIL(world.loop, world.replies > 0);
    assert_null(world.node);
    assert_int_equal(world.replies, 1);
    assert_int_equal(world.unknowns, 2);
    world_close(&world);
}

static void may_be_closed_inside_a_deadline(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    redis_fixture_pause(world.redis);
    for (int i = 0; i < 3; i++)
        assert_true(world_send(&world, "ECHO x", 20));
    world.close_in_answer = true;
    LOOP_UNTIL(world.loop, world.unknowns >= 2);
    assert_null(world.node);
    assert_int_equal(world.unknowns, 3);
    world_close(&world);
}

static void may_be_closed_while_its_calls_are_buried(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    redis_fixture_pause(world.redis);
    for (int i = 0; i < 3; i++)
        assert_true(world_send(&world, "ECHO x", 1000));
    redis_node_drop(world.node, "the owner wants it");
    assert_int_equal(world.unknowns, 0);
    world.close_in_answer = true;
    LOOP_UNTIL(world.loop, world.unknowns >= 2);
    assert_int_equal(world.unknowns, 3);
    assert_int_equal(world.downs, 0);
    world_close(&world);
}

static void may_be_closed_at_any_step_of_dialing(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    for (uint32_t turns = 0; turns < 12; turns++) {
        redis_node_close(world.node);
        world_dial(&world, turns % 2 == 0 ? "127.0.0.1" : "localhost",
                   redis_fixture_port(world.redis));
        for (uint32_t i = 0; i < turns; i++)
            loop_run_ms(world.loop, 0);
    }
    world_close(&world);
}

static void may_be_dropped_inside_an_answer(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    for (int i = 0; i < 3; i++)
        assert_true(world_send(&world, "ECHO x", 1000));
    world.drop_in_answer = true;
    LOOP_UNTIL(world.loop, world.downs > 0);
    assert_int_equal(world.replies, 1);
    assert_int_equal(world.unknowns, 2);
    assert_int_equal(world.drops, 0); /* not stuck: the owner had its say */
    assert_string_equal(world.why, "the owner wants it");
    LOOP_UNTIL(world.loop, world_is_up(&world));
    world_close(&world);
}

/* Says something that is no answer to what it was asked. */
struct stranger {
    int listener;
    uint16_t port;
    const char *says;
    pthread_t thread;
};

static void *stranger_main(void *arg)
{
    struct stranger *stranger = arg;
    int peer = accept(stranger->listener, NULL, NULL);
    char buffer[4096];
    if (read(peer, buffer, sizeof buffer) > 0)
        (void)!write(peer, stranger->says, strlen(stranger->says));
    (void)!read(peer, buffer, sizeof buffer);
    close(peer);
    return NULL;
}

static void strangers_are_not_taken_for_redis(void **state)
{
    (void)state;
    static const char *const sayings[] = {
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "+OK\r\n+OK\r\n+OK\r\n",
        "$40\r\n0123456789012345678901234567890123456789\r\n"
        "$40\r\n0123456789012345678901234567890123456789\r\n+more\r\n",
        "-LOADING Redis is loading the dataset in memory\r\n",
    };
    static const char *const whys[] = {
        "Protocol error, got \"H\" as reply type byte",
        "no Redis: an odd answer to SCRIPT LOAD",
        "a reply that nobody asked for",
        "LOADING Redis is loading the dataset in memory",
    };
    for (size_t i = 0; i < sizeof sayings / sizeof sayings[0]; i++) {
        struct stranger stranger = {.listener = socket(AF_INET, SOCK_STREAM, 0),
                                    .says = sayings[i]};
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t bytes = sizeof address;
        assert_int_equal(bind(stranger.listener, (struct sockaddr *)&address, bytes), 0);
        assert_int_equal(listen(stranger.listener, 1), 0);
        getsockname(stranger.listener, (struct sockaddr *)&address, &bytes);
        assert_int_equal(pthread_create(&stranger.thread, NULL, stranger_main, &stranger), 0);
        struct world world = {.loop = loop_new()};
        world_dial(&world, "127.0.0.1", ntohs(address.sin_port));
        LOOP_UNTIL(world.loop, world.downs > 0);
        assert_string_equal(world.why, whys[i]);
        world_close(&world);
        pthread_join(stranger.thread, NULL);
        close(stranger.listener);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_and_errors_arrive_in_order),
        cmocka_unit_test(a_name_is_looked_up),
        cmocka_unit_test(commands_of_one_turn_leave_in_one_write),
        cmocka_unit_test(a_late_reply_is_dropped_and_the_next_one_is_not_mistaken),
        cmocka_unit_test(lost_scripts_are_loaded_anew),
        cmocka_unit_test(may_be_closed_inside_an_answer),
        cmocka_unit_test(may_be_closed_inside_a_deadline),
        cmocka_unit_test(may_be_closed_while_its_calls_are_buried),
        cmocka_unit_test(may_be_closed_at_any_step_of_dialing),
        cmocka_unit_test(may_be_dropped_inside_an_answer),
        cmocka_unit_test(strangers_are_not_taken_for_redis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
