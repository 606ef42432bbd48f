/* Against real redis-servers, because what matters here is what a real socket does with a server
 * that is paused, killed or restarted. */
#include "base/redis_node.h"

#include "base/redis_fixture.h"

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const scripts[] = {
    "return redis.call('SET', KEYS[1], ARGV[1])",
    "return redis.call('DEL', KEYS[1])",
};
enum { SCRIPT_SET, SCRIPT_DELETE };

struct world {
    struct loop *loop;
    struct redis_fixture *redis;
    struct redis_node *node;
    struct timer look;
    bool (*wanted)(struct world *world);
    uint64_t give_up_us;
    unsigned greetings;
    unsigned downs;
    unsigned drops;
    unsigned replies;
    unsigned unknowns;
    unsigned last_words; /* how many to say in on_drop */
    char last[128];      /* last reply's text */
    char why[128];
    bool close_in_answer;
    bool drop_in_answer;
};

static void look(void *arg)
{
    struct world *world = arg;
    if (world->wanted(world)) {
        loop_stop(world->loop);
        return;
    }
    assert_true(loop_now_us(world->loop) < world->give_up_us);
    timer_start(&world->look, loop_timers(world->loop), loop_now_us(world->loop) + 1000, look,
                world);
}

static void run_until(struct world *world, bool (*wanted)(struct world *world))
{
    world->wanted = wanted;
    world->give_up_us = loop_now_us(world->loop) + 20000000;
    timer_start(&world->look, loop_timers(world->loop), 0, look, world);
    loop_run(world->loop);
}

static void run_ms(struct world *world, uint32_t ms)
{
    struct timer stop = {0};
    timer_start(&stop, loop_timers(world->loop), loop_now_us(world->loop) + ms * UINT64_C(1000),
                (timer_due_fn *)loop_stop, world->loop);
    loop_run(world->loop);
}

static bool is_up(struct world *world)
{
    return redis_node_state(world->node) == REDIS_NODE_UP;
}

static bool is_down(struct world *world)
{
    return world->downs > 0;
}

static bool all_answered(struct world *world)
{
    struct redis_node_counts counts = redis_node_counts(world->node);
    return world->replies + world->unknowns ==
           counts.commands - counts.connects * (sizeof scripts / sizeof scripts[0]);
}

static bool one_reply(struct world *world)
{
    return world->replies >= 1;
}

static bool two_unknowns(struct world *world)
{
    return world->unknowns >= 2;
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

static void on_answer(void *arg, enum redis_answer answer, const redisReply *reply)
{
    struct world *world = arg;
    if (answer == REDIS_REPLIED) {
        world->replies++;
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

static void open_at(struct world *world, const char *host, uint16_t port)
{
    struct redis_node_options options = {.name = "redis",
                                         .host = host,
                                         .port = port,
                                         .scripts = scripts,
                                         .script_count = 2,
                                         .on_greeting = on_greeting,
                                         .on_down = on_down,
                                         .on_drop = on_drop,
                                         .arg = world};
    world->node = redis_node_open(world->loop, &options);
}

static void setup(struct world *world)
{
    *world = (struct world){.loop = loop_new(), .redis = redis_fixture_start("")};
    open_at(world, "127.0.0.1", redis_fixture_port(world->redis));
    run_until(world, is_up);
}

static void teardown(struct world *world)
{
    redis_node_close(world->node);
    loop_free(world->loop);
    if (world->redis != NULL) redis_fixture_free(world->redis);
}

static bool send_text(struct world *world, const char *command, uint32_t timeout_ms)
{
    struct span args[8];
    size_t count = 0;
    for (const char *at = command; *at != '\0';) {
        size_t bytes = strcspn(at, " ");
        args[count++] = (struct span){at, bytes};
        at += bytes + (at[bytes] == ' ');
    }
    return redis_node_command(world->node, args, count, timeout_ms, on_answer, world);
}

static bool send_script(struct world *world, size_t script, const char *key, uint32_t timeout_ms)
{
    struct span args[] = {span_of(key), span_of("value")};
    return redis_node_script(world->node, script, 1, args, script == SCRIPT_SET ? 2 : 1, timeout_ms,
                             on_answer, world);
}

static void assert_asked(struct world *world, const char *command, const char *expected)
{
    char *answer = redis_fixture_ask(world->redis, command);
    assert_string_equal(answer, expected);
    free(answer);
}

static void replies_and_errors_arrive_in_order(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    assert_true(send_script(&world, SCRIPT_SET, "a", 1000));
    assert_true(send_text(&world, "GET a", 1000));
    assert_int_equal(world.replies, 0);
    run_until(&world, all_answered);
    assert_string_equal(world.last, "value");
    assert_true(send_text(&world, "LPUSH a 1", 1000));
    run_until(&world, all_answered);
    assert_int_equal(strncmp(world.last, "WRONGTYPE", 9), 0);
    assert_int_equal(world.replies, 3);
    assert_int_equal(world.unknowns, 0);
    assert_string_equal(redis_node_why(world.node), "");
    teardown(&world);
}

static void a_name_is_looked_up(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    redis_node_close(world.node);
    open_at(&world, "localhost", redis_fixture_port(world.redis));
    run_until(&world, is_up);
    redis_node_close(world.node);
    open_at(&world, "no-such-host.invalid", 6379);
    run_until(&world, is_down);
    assert_int_equal(strncmp(world.why, "name lookup: ", 13), 0);
    redis_node_close(world.node);
    open_at(&world, "closed-while-looking.invalid", 6379);
    run_ms(&world, 1);
    teardown(&world);
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
    setup(&world);
    long before = reads_of(&world);
    for (int i = 0; i < 100; i++)
        assert_true(send_text(&world, "INCR counter", 1000));
    run_until(&world, all_answered);
    assert_true(reads_of(&world) - before <= 4); /* one of ours, the rest are this question's */
    assert_int_equal(world.replies, 100);
    teardown(&world);
}

static void a_late_reply_is_dropped_and_the_next_one_is_not_mistaken(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    redis_fixture_pause(world.redis);
    uint64_t sent_us = loop_now_us(world.loop);
    assert_true(send_text(&world, "ECHO late", 50));
    run_until(&world, all_answered);
    assert_int_equal(world.unknowns, 1);
    assert_true(loop_now_us(world.loop) - sent_us >= 50000);
    assert_true(is_up(&world));
    redis_fixture_resume(world.redis);
    assert_true(send_text(&world, "ECHO timely", 1000));
    run_until(&world, all_answered);
    assert_string_equal(world.last, "timely");
    assert_int_equal(world.replies, 1);
    assert_int_equal(redis_node_counts(world.node).timeouts, 1);
    assert_int_equal(world.downs, 0);
    teardown(&world);
}

static void three_timeouts_in_a_row_take_it_down(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    redis_fixture_pause(world.redis);
    for (unsigned i = 1; i <= 3; i++) {
        assert_true(send_text(&world, "ECHO x", 20));
        run_until(&world, all_answered);
        assert_int_equal(world.unknowns, i);
    }
    run_until(&world, is_down);
    assert_string_equal(world.why, "three commands in a row timed out");
    assert_int_equal(world.drops, 1);
    assert_false(send_text(&world, "ECHO x", 20));
    run_ms(&world, 1200); /* paused it accepts connections, and must not come up */
    assert_int_equal(world.greetings, 1);
    assert_true(world.downs >= 2);
    redis_fixture_resume(world.redis);
    run_until(&world, is_up);
    assert_int_equal(world.greetings, 2);
    teardown(&world);
}

static void a_short_stall_under_load_is_one_timeout(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    redis_fixture_pause(world.redis);
    for (unsigned i = 0; i < 100; i++)
        assert_true(send_text(&world, "ECHO x", 20));
    run_until(&world, all_answered);
    run_ms(&world, 20);
    assert_int_equal(world.unknowns, 100);
    redis_fixture_resume(world.redis);
    assert_true(send_text(&world, "ECHO x", 1000));
    run_until(&world, all_answered);
    assert_int_equal(world.replies, 1);
    assert_int_equal(world.downs, 0);
    teardown(&world);
}

static void a_reply_between_timeouts_starts_the_count_again(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    for (unsigned i = 0; i < 3; i++) {
        redis_fixture_pause(world.redis);
        for (unsigned j = 0; j < 2; j++) {
            assert_true(send_text(&world, "ECHO x", 20));
            run_until(&world, all_answered);
        }
        redis_fixture_resume(world.redis);
        assert_true(send_text(&world, "ECHO x", 1000));
        run_until(&world, all_answered);
    }
    assert_int_equal(world.unknowns, 6);
    assert_int_equal(world.downs, 0);
    teardown(&world);
}

static void half_a_second_without_an_answer_takes_it_down(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    redis_fixture_pause(world.redis);
    uint64_t sent_us = loop_now_us(world.loop);
    assert_true(send_text(&world, "ECHO x", 5000));
    run_until(&world, is_down);
    uint64_t took_us = loop_now_us(world.loop) - sent_us;
    assert_true(took_us >= 500000 && took_us < 900000);
    assert_string_equal(world.why, "no answer for 500 ms");
    assert_int_equal(world.unknowns, 1); /* told before on_down */
    teardown(&world);
}

static void our_own_pause_is_not_held_against_the_server(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    for (int i = 0; i < 5; i++)
        assert_true(send_text(&world, "ECHO x", 50));
    run_ms(&world, 0); /* written; the answers come while we sleep */
    usleep(700000);
    run_until(&world, all_answered);
    run_ms(&world, 100);
    assert_int_equal(world.downs, 0);
    assert_true(is_up(&world));
    teardown(&world);
}

static void a_kill_ends_pending_calls_and_a_restart_is_found(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    redis_fixture_pause(world.redis);
    assert_true(send_text(&world, "INCR a", 5000));
    assert_true(send_text(&world, "INCR a", 5000));
    run_ms(&world, 5);
    redis_fixture_kill(world.redis);
    run_until(&world, two_unknowns);
    run_until(&world, is_down);
    assert_false(send_text(&world, "INCR a", 5000));
    redis_fixture_restart(world.redis, false);
    run_until(&world, is_up);
    assert_true(send_script(&world, SCRIPT_SET, "a", 1000)); /* loaded again */
    run_until(&world, one_reply);
    assert_string_equal(world.last, "OK");
    teardown(&world);
}

static void dialing_backs_off(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    redis_fixture_kill(world.redis);
    run_until(&world, is_down);
    world.downs = 0;
    run_ms(&world, 1000); /* 50 100 200 400 | 800 */
    assert_in_range(world.downs, 3, 4);
    assert_string_equal(world.why, "Connection refused");
    teardown(&world);
}

static void lost_scripts_are_loaded_anew(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    assert_asked(&world, "SCRIPT FLUSH", "OK");
    assert_true(send_script(&world, SCRIPT_SET, "a", 1000));
    run_until(&world, one_reply);
    assert_int_equal(strncmp(world.last, "NOSCRIPT", 8), 0);
    assert_int_equal(redis_node_state(world.node), REDIS_NODE_DOWN);
    run_until(&world, is_up);
    assert_true(send_script(&world, SCRIPT_SET, "a", 1000));
    run_until(&world, all_answered);
    assert_string_equal(world.last, "OK");
    teardown(&world);
}

static void may_be_closed_inside_an_answer(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    for (int i = 0; i < 3; i++)
        assert_true(send_text(&world, "ECHO x", 1000));
    world.close_in_answer = true;
    run_until(&world, one_reply);
    assert_null(world.node);
    assert_int_equal(world.replies, 1);
    assert_int_equal(world.unknowns, 2);
    teardown(&world);
}

static void may_be_closed_inside_a_deadline(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    redis_fixture_pause(world.redis);
    for (int i = 0; i < 3; i++)
        assert_true(send_text(&world, "ECHO x", 20));
    world.close_in_answer = true;
    run_until(&world, two_unknowns);
    assert_null(world.node);
    assert_int_equal(world.unknowns, 3);
    teardown(&world);
}

static void may_be_closed_while_its_calls_are_buried(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    redis_fixture_pause(world.redis);
    for (int i = 0; i < 3; i++)
        assert_true(send_text(&world, "ECHO x", 1000));
    redis_node_drop(world.node, "the owner wants it");
    assert_int_equal(world.unknowns, 0);
    world.close_in_answer = true;
    run_until(&world, two_unknowns);
    assert_int_equal(world.unknowns, 3);
    assert_int_equal(world.downs, 0);
    teardown(&world);
}

static void may_be_closed_at_any_step_of_dialing(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    for (uint32_t turns = 0; turns < 6; turns++) {
        redis_node_close(world.node);
        open_at(&world, turns % 2 == 0 ? "127.0.0.1" : "localhost",
                redis_fixture_port(world.redis));
        for (uint32_t i = 0; i < turns; i++)
            run_ms(&world, 0);
    }
    teardown(&world);
}

static void may_be_dropped_inside_an_answer(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    for (int i = 0; i < 3; i++)
        assert_true(send_text(&world, "ECHO x", 1000));
    world.drop_in_answer = true;
    run_until(&world, is_down);
    assert_int_equal(world.replies, 1);
    assert_int_equal(world.unknowns, 2);
    assert_int_equal(world.drops, 0); /* not stuck: the owner had its say */
    assert_string_equal(world.why, "the owner wants it");
    run_until(&world, is_up);
    teardown(&world);
}

/* A paused server executes what is in its socket when it wakes. With nothing to follow the SETs,
 * the keys would be there. */
static void F25_last_words_are_executed_when_a_paused_server_wakes(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    redis_fixture_pause(world.redis);
    enum { KEYS = 1500 }; /* more than the server reads at once */
    for (unsigned i = 0; i < KEYS; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", i);
        assert_true(send_script(&world, SCRIPT_SET, key, 50));
    }
    assert_true(send_text(&world, "SET witness 1", 50));
    world.last_words = KEYS;
    run_until(&world, is_down);
    assert_int_equal(world.drops, 1);
    redis_fixture_resume(world.redis);
    run_until(&world, is_up);
    assert_asked(&world, "KEYS *", "witness");
    teardown(&world);
}

static void output_to_a_stuck_server_is_bounded(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    redis_fixture_pause(world.redis);
    size_t bytes = 64 << 10;
    char *big = calloc(1, bytes);
    struct span args[] = {span_of("ECHO"), {big, bytes}};
    unsigned taken = 0;
    while (redis_node_command(world.node, args, 2, 5000, on_answer, &world))
        assert_true(++taken < 1000);
    assert_in_range(taken, 64, 256);
    run_until(&world, is_down);
    assert_int_equal(world.unknowns, taken);
    free(big);
    teardown(&world);
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
        open_at(&world, "127.0.0.1", ntohs(address.sin_port));
        run_until(&world, is_down);
        assert_string_equal(world.why, whys[i]);
        teardown(&world);
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
        cmocka_unit_test(three_timeouts_in_a_row_take_it_down),
        cmocka_unit_test(a_short_stall_under_load_is_one_timeout),
        cmocka_unit_test(a_reply_between_timeouts_starts_the_count_again),
        cmocka_unit_test(half_a_second_without_an_answer_takes_it_down),
        cmocka_unit_test(our_own_pause_is_not_held_against_the_server),
        cmocka_unit_test(a_kill_ends_pending_calls_and_a_restart_is_found),
        cmocka_unit_test(dialing_backs_off),
        cmocka_unit_test(lost_scripts_are_loaded_anew),
        cmocka_unit_test(may_be_closed_inside_an_answer),
        cmocka_unit_test(may_be_closed_inside_a_deadline),
        cmocka_unit_test(may_be_closed_while_its_calls_are_buried),
        cmocka_unit_test(may_be_closed_at_any_step_of_dialing),
        cmocka_unit_test(may_be_dropped_inside_an_answer),
        cmocka_unit_test(F25_last_words_are_executed_when_a_paused_server_wakes),
        cmocka_unit_test(output_to_a_stuck_server_is_bounded),
        cmocka_unit_test(strangers_are_not_taken_for_redis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
