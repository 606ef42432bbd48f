/* The server is a process of its own here, and is killed, paused, and started anew. */
#include "base/check.h"
#include "world.h"

#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

extern char **environ;

/* Returns when it listens. */
static pid_t start_server(struct world *world)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    char *arguments[] = {PROBE_SERVER, world->url, NULL};
    pid_t pid;
    CHECK(posix_spawn(&pid, PROBE_SERVER, &actions, NULL, arguments, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    char ready[8] = "";
    CHECK(read(ends[0], ready, sizeof ready) == 6);
    close(ends[0]);
    return pid;
}

static void end_server(pid_t pid, int signal_number)
{
    kill(pid, signal_number);
    waitpid(pid, NULL, 0);
}

static bool is_up(void *arg)
{
    struct world *world = arg;
    return rpc_client_up(world->client);
}

static pid_t open_with_server(struct world *world)
{
    world_init(world);
    pid_t pid = start_server(world);
    world_dial(world, 0);
    CHECK(world_until(world, is_up, world));
    return pid;
}

static void a_killed_server_ends_calls_at_once(void **state)
{
    (void)state;
    struct world world;
    pid_t pid = open_with_server(&world);
    struct ask sent;
    struct ask reads;
    ask_init(&sent, &world, 60000);
    ask_init(&reads, &world, 60000);
    reads.call.reads_only = true;
    ask_bump(&sent, 50000);
    ask_bump(&reads, 50000);
    world_run_ms(&world, 50);
    uint64_t start_us = loop_now_us(world.loop);
    end_server(pid, SIGKILL);
    struct ask unsent; /* in the envelope when the loss is noticed */
    ask_init(&unsent, &world, 60000);
    assert_true(world_until(&world, ask_ended, &sent));
    assert_true(loop_now_us(world.loop) - start_us < 1000000);
    assert_int_equal(sent.reason, REASON_OUTCOME_UNKNOWN);
    assert_int_equal(reads.reason, REASON_DOWN);
    ask_bump(&unsent, 0);
    assert_true(world_until(&world, ask_ended, &unsent));
    assert_int_equal(unsent.reason, REASON_DOWN);
    pid = start_server(&world);
    assert_true(world_until(&world, is_up, &world));
    world_run_ms(&world, 50);
    assert_int_equal(world_count(&world).bumps, 0); /* nothing was sent again */
    assert_int_equal(sent.ends + reads.ends + unsent.ends, 3);
    end_server(pid, SIGTERM);
    world_close(&world);
}

/* A paused server's socket takes the request and its loop reads it when it wakes. */
static void F24_a_paused_server_does_not_execute_what_expired(void **state)
{
    (void)state;
    struct world world;
    pid_t pid = open_with_server(&world);
    assert_int_equal(world_bump(&world, 0, 5000), REASON_NONE);
    kill(pid, SIGSTOP);
    assert_int_equal(world_bump(&world, 0, 300), REASON_OUTCOME_UNKNOWN);
    struct ask reads;
    ask_init(&reads, &world, 100);
    ask_count(&reads);
    assert_true(world_until(&world, ask_ended, &reads));
    assert_int_equal(reads.reason, REASON_EXPIRED);
    struct ask late;
    ask_init(&late, &world, 100);
    ask_bump_late(&late); /* declared to run whatever its deadline */
    assert_true(world_until(&world, ask_ended, &late));
    world_run_ms(&world, 200);
    kill(pid, SIGCONT);
    world_run_ms(&world, 200);
    assert_int_equal(world_count(&world).bumps, 2); /* the first and the late one */
    end_server(pid, SIGTERM);
    world_close(&world);
}

/* The same with what NNG itself still holds when the server dies: a new one gets it. */
static void F24_a_new_server_does_not_execute_what_was_meant_for_the_old(void **state)
{
    (void)state;
    struct world world;
    pid_t pid = open_with_server(&world);
    kill(pid, SIGSTOP);
    /* More than a socket takes, so that NNG's own queue fills. */
    static struct ask asks[400];
    static char text[100000];
    memset(text, 'x', sizeof text - 1);
    for (int i = 0; i < 400; i++) {
        ask_init(&asks[i], &world, 60000);
        if (i % 8 == 7) {
            ask_bump(&asks[i], 0);
        } else {
            ask_echo(&asks[i], text);
        }
    }
    world_run_ms(&world, 100);
    end_server(pid, SIGKILL);
    for (int i = 0; i < 400; i++)
        assert_true(world_until(&world, ask_ended, &asks[i]));
    for (int i = 7; i < 400; i += 8) {
        assert_true(asks[i].reason == REASON_OUTCOME_UNKNOWN ||
                    asks[i].reason == REASON_OVERLOADED);
    }
    pid = start_server(&world);
    assert_true(world_until(&world, is_up, &world));
    world_run_ms(&world, 100);
    assert_int_equal(world_count(&world).bumps, 0);
    end_server(pid, SIGTERM);
    world_close(&world);
}

static void a_draining_server_answers_what_it_has_and_refuses_the_rest(void **state)
{
    (void)state;
    struct world world;
    pid_t pid = open_with_server(&world);
    struct ask held;
    ask_init(&held, &world, 5000);
    ask_bump(&held, 300);
    world_run_ms(&world, 50);
    kill(pid, SIGTERM);
    world_run_ms(&world, 50);
    assert_int_equal(world_bump(&world, 0, 5000), REASON_DOWN);
    assert_int_equal(held.ends, 0);
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_true(world_until(&world, ask_ended, &held));
    assert_int_equal(held.reason, REASON_NONE);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_server_ends_calls_at_once),
        cmocka_unit_test(F24_a_paused_server_does_not_execute_what_expired),
        cmocka_unit_test(F24_a_new_server_does_not_execute_what_was_meant_for_the_old),
        cmocka_unit_test(a_draining_server_answers_what_it_has_and_refuses_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
