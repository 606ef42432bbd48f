/* A server and callers that want, send or hold too much. */
#include "base/rpc_server_scene.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void past_the_window_of_a_connection_calls_are_refused(void **state)
{
    struct scene *scene = *state;
    struct bytes bytes = {0};
    for (uint64_t id = 1; id <= 4; id++)
        add_held(&bytes, id, 200, true);
    Call hello = call_of("/quorate.rpc.v1.Peer/Hello");
    hello.call_id = 5;
    bytes_add_frame(&bytes, &hello.base);
    plain_send(&scene->plain, PLAIN_ID, &bytes);
    assert_int_equal(plain_reason(&scene->plain, 4), REASON_OVERLOADED);
    assert_int_equal(plain_reason(&scene->plain, 5), REASON_NONE);
    assert_int_equal(scene->world.probe.open, 3);
    /* Another connection has a window of its own. */
    struct plain other;
    plain_dial(&other, &scene->world, 1024);
    bytes_add_call(&bytes, 1, "Bump", NULL);
    assert_int_equal(plain_ask(&other, &bytes), REASON_NONE);
    plain_close(&other);
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(plain_reason(&scene->plain, id), REASON_NONE);
    bytes_add_call(&bytes, 1, "Bump", NULL);
    assert_int_equal(plain_ask(&scene->plain, &bytes), REASON_NONE);
}

static void what_was_cancelled_counts_until_its_handler_ends_it(void **state)
{
    struct scene *scene = *state;
    struct bytes bytes = {0};
    for (uint64_t id = 1; id <= 3; id++)
        add_held(&bytes, id, 100, true);
    Call cancel = QUORATE__RPC__V1__CALL__INIT;
    cancel.kind = QUORATE__RPC__V1__CALL__KIND__CANCEL;
    for (cancel.call_id = 1; cancel.call_id <= 3; cancel.call_id++)
        bytes_add_frame(&bytes, &cancel.base);
    bytes_add_call(&bytes, 9, "Bump", NULL);
    plain_send(&scene->plain, PLAIN_ID, &bytes);
    assert_int_equal(plain_reason(&scene->plain, 9), REASON_OVERLOADED);
    assert_null(plain_hear(&scene->plain, 200));
    bytes_add_call(&bytes, 1, "Bump", NULL);
    assert_int_equal(plain_ask(&scene->plain, &bytes), REASON_NONE);
}

static void past_the_total_calls_are_refused(void **state)
{
    struct scene *scene = *state;
    struct plain other;
    plain_dial(&other, &scene->world, 1024);
    struct bytes bytes = {0};
    add_held(&bytes, 1, 200, true);
    add_held(&bytes, 2, 200, true);
    plain_send(&scene->plain, PLAIN_ID, &bytes);
    world_run_ms(&scene->world, 50);
    for (uint64_t id = 1; id <= 3; id++)
        add_held(&bytes, id, 200, true);
    plain_send(&other, PLAIN_ID, &bytes);
    assert_int_equal(plain_reason(&other, 3), REASON_OVERLOADED);
    plain_close(&other);
}

static void frames_past_32_and_above_256_kib_are_refused(void **state)
{
    struct scene *scene = *state;
    struct bytes bytes = {0};
    for (uint64_t id = 1; id <= 34; id++)
        bytes_add_call(&bytes, id, "Bump", NULL);
    plain_send(&scene->plain, PLAIN_ID, &bytes);
    for (uint64_t id = 1; id <= 34; id++) {
        assert_int_equal(plain_reason(&scene->plain, id),
                         id <= 32 ? REASON_NONE : REASON_OVERLOADED);
    }
    assert_int_equal(scene->world.probe.bumps, 32);
    Quorate__Probe__V1__EchoRequest echo = QUORATE__PROBE__V1__ECHO_REQUEST__INIT;
    echo.text = xcalloc(1, 300000);
    memset(echo.text, 'x', 299999);
    bytes_add_call(&bytes, 1, "Echo", &echo.base);
    assert_int_equal(plain_ask(&scene->plain, &bytes), REASON_OVERLOADED);
    echo.text[200000] = '\0';
    bytes_add_call(&bytes, 1, "Echo", &echo.base);
    assert_int_equal(plain_ask(&scene->plain, &bytes), REASON_NONE);
    free(echo.text);
}

static void a_message_above_a_mebibyte_costs_its_sender_the_connection(void **state)
{
    struct scene *scene = *state;
    struct plain other;
    plain_dial(&other, &scene->world, 1024);
    struct bytes bytes = {0};
    char *garbage = xcalloc(1, 1200000);
    bytes_add(&bytes, garbage, 1200000);
    free(garbage);
    plain_send(&other, PLAIN_ID, &bytes);
    assert_null(plain_hear(&other, 50));
    bytes_add_call(&bytes, 1, "Bump", NULL);
    assert_int_equal(plain_ask(&scene->plain, &bytes), REASON_NONE);
    plain_close(&other);
}

static void a_reply_that_fits_no_frame_is_an_unknown_outcome(void **state)
{
    struct scene *scene = *state;
    Quorate__Probe__V1__EchoRequest echo = QUORATE__PROBE__V1__ECHO_REQUEST__INIT;
    struct bytes bytes = {0};
    echo.bytes = 262144;
    bytes_add_call(&bytes, 1, "Echo", &echo.base);
    assert_int_equal(plain_ask(&scene->plain, &bytes), REASON_OUTCOME_UNKNOWN);
}

/* Each gets a message of its own; NNG keeps 64 for a connection and drops the rest in silence. */
static void answers_to_many_contexts_at_once_all_arrive(void **state)
{
    struct scene *scene = *state;
    enum { CONTEXTS = 600 };
    for (uint32_t i = 0; i < CONTEXTS; i++) {
        struct bytes bytes = {0};
        add_held(&bytes, 1, 3000, false);
        plain_send(&scene->plain, PLAIN_ID + i, &bytes);
    }
    world_run_ms(&scene->world, 100);
    assert_int_equal(scene->world.probe.open, CONTEXTS);
    probe_fini(&scene->world.probe); /* answers all of them in one turn */
    for (uint32_t i = 0; i < CONTEXTS; i++)
        assert_int_equal(plain_reason(&scene->plain, 1), REASON_DOWN);
}

/* Its replies fill the socket and NNG's queue and are then lost; the server goes on. */
static void a_caller_that_does_not_read_harms_itself_only(void **state)
{
    struct scene *scene = *state;
    struct plain deaf;
    plain_dial(&deaf, &scene->world, 0);
    Quorate__Probe__V1__EchoRequest echo = QUORATE__PROBE__V1__ECHO_REQUEST__INIT;
    echo.bytes = 200000;
    enum { CALLS = 300 };
    for (uint32_t i = 0; i < CALLS; i++) {
        struct bytes bytes = {0};
        bytes_add_call(&bytes, 1, "Echo", &echo.base);
        plain_send(&deaf, PLAIN_ID + i, &bytes);
    }
    world_run_ms(&scene->world, 100);
    struct bytes bytes = {0};
    bytes_add_call(&bytes, 1, "Bump", NULL);
    assert_int_equal(plain_ask(&scene->plain, &bytes), REASON_NONE);
    unsigned heard = 0;
    for (Answer *answer; (answer = plain_hear(&deaf, 200)) != NULL; heard++)
        quorate__rpc__v1__answer__free_unpacked(answer, NULL);
    assert_true(heard > 32);
    assert_true(heard < CALLS);
    plain_close(&deaf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_LIMITED(past_the_window_of_a_connection_calls_are_refused, 3, 0),
        TEST_LIMITED(what_was_cancelled_counts_until_its_handler_ends_it, 3, 0),
        TEST_LIMITED(past_the_total_calls_are_refused, 0, 4),
        TEST(frames_past_32_and_above_256_kib_are_refused),
        TEST(a_message_above_a_mebibyte_costs_its_sender_the_connection),
        TEST(a_reply_that_fits_no_frame_is_an_unknown_outcome),
        TEST(answers_to_many_contexts_at_once_all_arrive),
        TEST(a_caller_that_does_not_read_harms_itself_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
