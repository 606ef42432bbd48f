/* Against a real redis-server that is paused, killed, restarted or stuck. */
#include "base/redis_node_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void three_timeouts_in_a_row_take_it_down(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    redis_fixture_pause(world.redis);
    for (unsigned i = 1; i <= 3; i++) {
        assert_true(world_send(&world, "ECHO x", 20));
        LOOP_UNTIL(world.loop, world_all_answered(&world));
        assert_int_equal(world.unknowns, i);
    }
    LOOP_UNTIL(world.loop, world.downs > 0);
    assert_string_equal(world.why, "three commands in a row timed out");
    assert_int_equal(world.drops, 1);
    assert_false(world_send(&world, "ECHO x", 20));
    loop_run_ms(world.loop, 1200); /* paused it accepts connections, and must not come up */
    assert_int_equal(world.greetings, 1);
    assert_true(world.downs >= 2);
    redis_fixture_resume(world.redis);
    LOOP_UNTIL(world.loop, world_is_up(&world));
    assert_int_equal(world.greetings, 2);
    world_close(&world);
}

static void a_short_stall_under_load_is_one_timeout(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    redis_fixture_pause(world.redis);
    for (unsigned i = 0; i < 100; i++)
        assert_true(world_send(&world, "ECHO x", 20));
    LOOP_UNTIL(world.loop, world_all_answered(&world));
    loop_run_ms(world.loop, 20);
    assert_int_equal(world.unknowns, 100);
    redis_fixture_resume(world.redis);
    assert_true(world_send(&world, "ECHO x", 1000));
    LOOP_UNTIL(world.loop, world_all_answered(&world));
    assert_int_equal(world.replies, 1);
    assert_int_equal(world.downs, 0);
    world_close(&world);
}

static void a_reply_between_timeouts_starts_the_count_again(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    for (unsigned i = 0; i < 3; i++) {
        redis_fixture_pause(world.redis);
        for (unsigned j = 0; j < 2; j++) {
            assert_true(world_send(&world, "ECHO x", 20));
            LOOP_UNTIL(world.loop, world_all_answered(&world));
        }
        redis_fixture_resume(world.redis);
        assert_true(world_send(&world, "ECHO x", 1000));
        LOOP_UNTIL(world.loop, world_all_answered(&world));
    }
    assert_int_equal(world.unknowns, 6);
    assert_int_equal(world.downs, 0);
    world_close(&world);
}

static void half_a_second_without_an_answer_takes_it_down(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    redis_fixture_pause(world.redis);
    uint64_t sent_us = loop_now_us(world.loop);
    assert_true(world_send(&world, "ECHO x", 5000));
    LOOP_UNTIL(world.loop, world.downs > 0);
    uint64_t took_us = loop_now_us(world.loop) - sent_us;
    assert_true(took_us >= 500000 && took_us < 900000);
    assert_string_equal(world.why, "no answer for 500 ms");
    assert_int_equal(world.unknowns, 1); /* told before on_down */
    world_close(&world);
}

static void our_own_pause_is_not_held_against_the_server(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    for (int i = 0; i < 5; i++)
        assert_true(world_send(&world, "ECHO x", 50));
    loop_run_ms(world.loop, 0); /* written; the answers come while we sleep */
    usleep(700000);
    LOOP_UNTIL(world.loop, world_all_answered(&world));
    loop_run_ms(world.loop, 100);
    assert_int_equal(world.downs, 0);
    assert_true(world_is_up(&world));
    world_close(&world);
}

static void a_kill_ends_pending_calls_and_a_restart_is_found(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    redis_fixture_pause(world.redis);
    assert_true(world_send(&world, "INCR a", 5000));
    assert_true(world_send(&world, "INCR a", 5000));
    loop_run_ms(world.loop, 5);
    redis_fixture_kill(world.redis);
    LOOP_UNTIL(world.loop, world.unknowns >= 2);
    LOOP_UNTIL(world.loop, world.downs > 0);
    assert_false(world_send(&world, "INCR a", 5000));
    redis_fixture_restart(world.redis, false);
    LOOP_UNTIL(world.loop, world_is_up(&world));
    assert_true(world_send_script(&world, SCRIPT_SET, "a", 1000)); /* loaded again */
    LOOP_UNTIL(world.loop, world.replies > 0);
    assert_string_equal(world.last, "OK");
    world_close(&world);
}

static void dialing_backs_off(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    redis_fixture_kill(world.redis);
    LOOP_UNTIL(world.loop, world.downs > 0);
    world.downs = 0;
    loop_run_ms(world.loop, 1000); /* 50 100 200 400 | 800 */
    assert_in_range(world.downs, 3, 4);
    assert_string_equal(world.why, "Connection refused");
    world_close(&world);
}

/* Up, down, unreachable, up: with standard error in a file. */
static long bytes_logged(struct world *world, bool quiet)
{
    redis_node_close(world->node);
    world->quiet = quiet;
    world->downs = 0;
    FILE *log = tmpfile();
    int saved = dup(STDERR_FILENO);
    dup2(fileno(log), STDERR_FILENO);
    world_dial(world, "127.0.0.1", redis_fixture_port(world->redis));
    LOOP_UNTIL(world->loop, world_is_up(world));
    redis_fixture_kill(world->redis);
    LOOP_UNTIL(world->loop, world->downs > 1);
    redis_fixture_restart(world->redis, false);
    LOOP_UNTIL(world->loop, world_is_up(world));
    dup2(saved, STDERR_FILENO);
    close(saved);
    long bytes = lseek(fileno(log), 0, SEEK_END);
    fclose(log);
    return bytes;
}

static void a_quiet_one_comes_and_goes_without_a_line(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    assert_true(bytes_logged(&world, false) > 0);
    assert_int_equal(bytes_logged(&world, true), 0);
    world_close(&world);
}

/* A paused server executes what is in its socket when it wakes. With nothing to follow the SETs,
 * the keys would be there. */
static void F25_last_words_are_executed_when_a_paused_server_wakes(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    redis_fixture_pause(world.redis);
    enum { KEYS = 1500 }; /* more than the server reads at once */
    for (unsigned i = 0; i < KEYS; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", i);
        assert_true(world_send_script(&world, SCRIPT_SET, key, 50));
    }
    assert_true(world_send(&world, "SET witness 1", 50));
    world.last_words = KEYS;
    LOOP_UNTIL(world.loop, world.downs > 0);
    assert_int_equal(world.drops, 1);
    redis_fixture_resume(world.redis);
    LOOP_UNTIL(world.loop, world_is_up(&world));
    assert_asked(&world, "KEYS *", "witness");
    world_close(&world);
}

static void output_to_a_stuck_server_is_bounded(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    redis_fixture_pause(world.redis);
    size_t bytes = 64 << 10;
    char *big = calloc(1, bytes);
    struct span args[] = {span_of("ECHO"), {big, bytes}};
    unsigned taken = 0;
    while (redis_node_command(world.node, args, 2, 5000, world_on_answer, &world))
        assert_true(++taken < 1000);
    assert_in_range(taken, 64, 256);
    LOOP_UNTIL(world.loop, world.downs > 0);
    assert_int_equal(world.unknowns, taken);
    free(big);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_timeouts_in_a_row_take_it_down),
        cmocka_unit_test(a_short_stall_under_load_is_one_timeout),
        cmocka_unit_test(a_reply_between_timeouts_starts_the_count_again),
        cmocka_unit_test(half_a_second_without_an_answer_takes_it_down),
        cmocka_unit_test(our_own_pause_is_not_held_against_the_server),
        cmocka_unit_test(a_kill_ends_pending_calls_and_a_restart_is_found),
        cmocka_unit_test(dialing_backs_off),
        cmocka_unit_test(a_quiet_one_comes_and_goes_without_a_line),
        cmocka_unit_test(F25_last_words_are_executed_when_a_paused_server_wakes),
        cmocka_unit_test(output_to_a_stuck_server_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
