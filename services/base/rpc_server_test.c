/* A server against callers of every kind: what is refused, and what is dropped. */
#include "base/check.h"
#include "plain.h"
#include "proto/health.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

typedef Quorate__Rpc__V1__Call Call;
typedef Quorate__Rpc__V1__Answer Answer;

struct scene {
    struct world world;
    struct plain plain;
};

static void open_scene(struct scene *scene, uint32_t calls_max, uint32_t calls_total_max)
{
    world_init(&scene->world);
    world_serve(&scene->world, calls_max, calls_total_max);
    plain_dial(&scene->plain, &scene->world, 1024);
}

static void close_scene(struct scene *scene)
{
    plain_close(&scene->plain);
    world_close(&scene->world);
}

static Call call_of(const char *method)
{
    Call call = QUORATE__RPC__V1__CALL__INIT;
    call.call_id = 1;
    call.method = (char *)method;
    return call;
}

static enum reason ask(struct scene *scene, const Call *call)
{
    struct bytes bytes = {0};
    bytes_add_frame(&bytes, &call->base);
    return plain_ask(&scene->plain, &bytes);
}

#define BUMP      "/quorate.probe.v1.Probe/Bump"
#define BUMP_LATE "/quorate.probe.v1.Probe/BumpLate"

static void hello_says_who_and_when(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0, 0);
    Call call = call_of("/quorate.rpc.v1.Peer/Hello");
    struct bytes bytes = {0};
    bytes_add_frame(&bytes, &call.base);
    uint64_t before_us = loop_now_us(scene.world.loop);
    plain_send(&scene.plain, PLAIN_ID, &bytes);
    Answer *answer = plain_hear(&scene.plain, 5000);
    assert_non_null(answer);
    assert_null(answer->status);
    Quorate__Rpc__V1__HelloReply *reply =
        quorate__rpc__v1__hello_reply__unpack(NULL, answer->body.len, answer->body.data);
    assert_true(reply->instance == rpc_server_instance(scene.world.server));
    assert_true(reply->boottime_us >= before_us);
    assert_true(reply->boottime_us <= loop_now_us(scene.world.loop));
    assert_int_equal(reply->message_bytes_max, 1048576);
    assert_int_equal(reply->frame_bytes_max, 262144);
    assert_int_equal(reply->frames_max, 32);
    assert_int_equal(reply->calls_max, 1024);
    assert_string_equal(reply->program, "probe");
    quorate__rpc__v1__hello_reply__free_unpacked(reply, NULL);
    quorate__rpc__v1__answer__free_unpacked(answer, NULL);
    close_scene(&scene);
}

static void each_fault_of_a_call_is_told(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0, 0);
    Call call = call_of("/quorate.probe.v1.Probe/Nothing");
    assert_int_equal(ask(&scene, &call), REASON_NO_METHOD);
    call = call_of("");
    assert_int_equal(ask(&scene, &call), REASON_NO_METHOD);
    call = call_of(BUMP);
    call.kind = 9;
    assert_int_equal(ask(&scene, &call), REASON_INVALID);
    call = call_of(BUMP);
    call.body = (ProtobufCBinaryData){3, (uint8_t *)"\x0a\xff\xff"};
    assert_int_equal(ask(&scene, &call), REASON_INVALID);
    Quorate__Rpc__V1__Metadata metadata = QUORATE__RPC__V1__METADATA__INIT;
    char text[200];
    memset(text, 'x', sizeof text);
    text[129] = '\0';
    metadata.request_id = text;
    call = call_of(BUMP);
    call.metadata = &metadata;
    assert_int_equal(ask(&scene, &call), REASON_INVALID);
    text[128] = '\0';
    assert_int_equal(ask(&scene, &call), REASON_NONE);
    text[56] = '\0';
    metadata.traceparent = text;
    assert_int_equal(ask(&scene, &call), REASON_INVALID);
    assert_int_equal(scene.world.probe.bumps, 1);
    /* Without a call id the answer has none either. */
    call = call_of(BUMP);
    call.call_id = 0;
    struct bytes bytes = {0};
    bytes_add_frame(&bytes, &call.base);
    plain_send(&scene.plain, PLAIN_ID, &bytes);
    assert_int_equal(plain_reason(&scene.plain, 0), REASON_INVALID);
    assert_int_equal(scene.world.probe.bumps, 1);
    close_scene(&scene);
}

static void what_comes_late_or_astray_is_not_executed(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0, 0);
    uint64_t now_us = loop_now_us(scene.world.loop);
    Call call = call_of(BUMP);
    call.expires_us = now_us;
    assert_int_equal(ask(&scene, &call), REASON_EXPIRED);
    call.expires_us = now_us + 5000000;
    call.instance = rpc_server_instance(scene.world.server) + 1;
    assert_int_equal(ask(&scene, &call), REASON_EXPIRED);
    assert_int_equal(scene.world.probe.bumps, 0);
    call.instance--;
    assert_int_equal(ask(&scene, &call), REASON_NONE);
    call.method = BUMP_LATE;
    call.instance++;
    call.expires_us = 1;
    assert_int_equal(ask(&scene, &call), REASON_NONE);
    assert_int_equal(scene.world.probe.bumps, 2);
    close_scene(&scene);
}

static void add_held(struct bytes *bytes, uint64_t call_id, uint32_t hold_ms, bool stubborn)
{
    Quorate__Probe__V1__BumpRequest bump = QUORATE__PROBE__V1__BUMP_REQUEST__INIT;
    bump.hold_ms = hold_ms;
    bump.stubborn = stubborn;
    bytes_add_call(bytes, call_id, "Bump", &bump.base);
}

static void the_server_answers_at_the_deadline_if_the_handler_does_not(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0, 0);
    Quorate__Probe__V1__BumpRequest bump = QUORATE__PROBE__V1__BUMP_REQUEST__INIT;
    bump.hold_ms = 200;
    bump.stubborn = true;
    uint8_t packed[32];
    Call call = call_of(BUMP);
    call.timeout_ms = 50;
    call.body = (ProtobufCBinaryData){protobuf_c_message_pack(&bump.base, packed), packed};
    assert_int_equal(ask(&scene, &call), REASON_OUTCOME_UNKNOWN);
    assert_int_equal(scene.world.probe.open, 1);
    bump.stubborn = false; /* answers in its on_gone */
    bump.hold_ms = 5000;
    call.body.len = protobuf_c_message_pack(&bump.base, packed);
    assert_int_equal(ask(&scene, &call), REASON_CANCELLED);
    assert_null(plain_hear(&scene.plain, 300)); /* its late answer goes nowhere */
    assert_int_equal(scene.world.probe.open, 0);
    close_scene(&scene);
}

static void past_the_window_of_a_connection_calls_are_refused(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 3, 0);
    struct bytes bytes = {0};
    for (uint64_t id = 1; id <= 4; id++)
        add_held(&bytes, id, 200, true);
    Call hello = call_of("/quorate.rpc.v1.Peer/Hello");
    hello.call_id = 5;
    bytes_add_frame(&bytes, &hello.base);
    plain_send(&scene.plain, PLAIN_ID, &bytes);
    assert_int_equal(plain_reason(&scene.plain, 4), REASON_OVERLOADED);
    assert_int_equal(plain_reason(&scene.plain, 5), REASON_NONE);
    assert_int_equal(scene.world.probe.open, 3);
    /* Another connection has a window of its own. */
    struct plain other;
    plain_dial(&other, &scene.world, 1024);
    bytes_add_call(&bytes, 1, "Bump", NULL);
    assert_int_equal(plain_ask(&other, &bytes), REASON_NONE);
    plain_close(&other);
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(plain_reason(&scene.plain, id), REASON_NONE);
    bytes_add_call(&bytes, 1, "Bump", NULL);
    assert_int_equal(plain_ask(&scene.plain, &bytes), REASON_NONE);
    close_scene(&scene);
}

static void what_was_cancelled_counts_until_its_handler_ends_it(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 3, 0);
    struct bytes bytes = {0};
    for (uint64_t id = 1; id <= 3; id++)
        add_held(&bytes, id, 100, true);
    Call cancel = QUORATE__RPC__V1__CALL__INIT;
    cancel.kind = QUORATE__RPC__V1__CALL__KIND__CANCEL;
    for (cancel.call_id = 1; cancel.call_id <= 3; cancel.call_id++)
        bytes_add_frame(&bytes, &cancel.base);
    bytes_add_call(&bytes, 9, "Bump", NULL);
    plain_send(&scene.plain, PLAIN_ID, &bytes);
    assert_int_equal(plain_reason(&scene.plain, 9), REASON_OVERLOADED);
    assert_null(plain_hear(&scene.plain, 200));
    bytes_add_call(&bytes, 1, "Bump", NULL);
    assert_int_equal(plain_ask(&scene.plain, &bytes), REASON_NONE);
    close_scene(&scene);
}

static void past_the_total_calls_are_refused(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0, 4);
    struct plain other;
    plain_dial(&other, &scene.world, 1024);
    struct bytes bytes = {0};
    add_held(&bytes, 1, 200, true);
    add_held(&bytes, 2, 200, true);
    plain_send(&scene.plain, PLAIN_ID, &bytes);
    world_run_ms(&scene.world, 50);
    for (uint64_t id = 1; id <= 3; id++)
        add_held(&bytes, id, 200, true);
    plain_send(&other, PLAIN_ID, &bytes);
    assert_int_equal(plain_reason(&other, 3), REASON_OVERLOADED);
    plain_close(&other);
    close_scene(&scene);
}

static void frames_past_32_and_above_256_kib_are_refused(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0, 0);
    struct bytes bytes = {0};
    for (uint64_t id = 1; id <= 34; id++)
        bytes_add_call(&bytes, id, "Bump", NULL);
    plain_send(&scene.plain, PLAIN_ID, &bytes);
    for (uint64_t id = 1; id <= 34; id++) {
        assert_int_equal(plain_reason(&scene.plain, id),
                         id <= 32 ? REASON_NONE : REASON_OVERLOADED);
    }
    assert_int_equal(scene.world.probe.bumps, 32);
    Quorate__Probe__V1__EchoRequest echo = QUORATE__PROBE__V1__ECHO_REQUEST__INIT;
    echo.text = xcalloc(1, 300000);
    memset(echo.text, 'x', 299999);
    bytes_add_call(&bytes, 1, "Echo", &echo.base);
    assert_int_equal(plain_ask(&scene.plain, &bytes), REASON_OVERLOADED);
    echo.text[200000] = '\0';
    bytes_add_call(&bytes, 1, "Echo", &echo.base);
    assert_int_equal(plain_ask(&scene.plain, &bytes), REASON_NONE);
    free(echo.text);
    close_scene(&scene);
}

static void a_message_above_a_mebibyte_costs_its_sender_the_connection(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0, 0);
    struct plain other;
    plain_dial(&other, &scene.world, 1024);
    struct bytes bytes = {0};
    char *garbage = xcalloc(1, 1200000);
    bytes_add(&bytes, garbage, 1200000);
    free(garbage);
    plain_send(&other, PLAIN_ID, &bytes);
    assert_null(plain_hear(&other, 50));
    bytes_add_call(&bytes, 1, "Bump", NULL);
    assert_int_equal(plain_ask(&scene.plain, &bytes), REASON_NONE);
    plain_close(&other);
    close_scene(&scene);
}

static void a_reply_that_fits_no_frame_is_an_unknown_outcome(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0, 0);
    Quorate__Probe__V1__EchoRequest echo = QUORATE__PROBE__V1__ECHO_REQUEST__INIT;
    struct bytes bytes = {0};
    echo.bytes = 262144;
    bytes_add_call(&bytes, 1, "Echo", &echo.base);
    assert_int_equal(plain_ask(&scene.plain, &bytes), REASON_OUTCOME_UNKNOWN);
    close_scene(&scene);
}

static void a_call_that_comes_twice_is_executed_once(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0, 0);
    struct bytes bytes = {0};
    add_held(&bytes, 1, 50, true);
    add_held(&bytes, 1, 50, true);
    assert_int_equal(plain_ask(&scene.plain, &bytes), REASON_NONE);
    assert_null(plain_hear(&scene.plain, 50));
    assert_int_equal(scene.world.probe.bumps, 1);
    assert_int_equal(
        counted(scene.world.server_metrics, "quorate_rpc_dropped_total{why=\"duplicate\"}"), 1);
    /* Another context of a plain program is no repetition, whatever call id it chose. */
    add_held(&bytes, 1, 50, true);
    plain_send(&scene.plain, PLAIN_ID, &bytes);
    add_held(&bytes, 1, 10, true);
    plain_send(&scene.plain, PLAIN_ID + 1, &bytes);
    assert_int_equal(plain_reason(&scene.plain, 1), REASON_NONE);
    assert_int_equal(scene.plain.header[3], (char)(PLAIN_ID + 1));
    assert_int_equal(plain_reason(&scene.plain, 1), REASON_NONE);
    assert_int_equal(scene.plain.header[3], (char)PLAIN_ID);
    close_scene(&scene);
}

/* Each gets a message of its own; NNG keeps 64 for a connection and drops the rest in silence. */
static void answers_to_many_contexts_at_once_all_arrive(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0, 0);
    enum { CONTEXTS = 600 };
    for (uint32_t i = 0; i < CONTEXTS; i++) {
        struct bytes bytes = {0};
        add_held(&bytes, 1, 3000, false);
        plain_send(&scene.plain, PLAIN_ID + i, &bytes);
    }
    world_run_ms(&scene.world, 100);
    assert_int_equal(scene.world.probe.open, CONTEXTS);
    probe_fini(&scene.world.probe); /* answers all of them in one turn */
    for (uint32_t i = 0; i < CONTEXTS; i++)
        assert_int_equal(plain_reason(&scene.plain, 1), REASON_DOWN);
    close_scene(&scene);
}

static void a_plain_program_can_cancel_from_another_request(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0, 0);
    struct bytes bytes = {0};
    add_held(&bytes, 77, 3000, false);
    plain_send(&scene.plain, PLAIN_ID, &bytes);
    Call cancel = QUORATE__RPC__V1__CALL__INIT;
    cancel.kind = QUORATE__RPC__V1__CALL__KIND__CANCEL;
    cancel.call_id = 77;
    bytes_add_frame(&bytes, &cancel.base);
    plain_send(&scene.plain, PLAIN_ID + 5, &bytes);
    assert_null(plain_hear(&scene.plain, 100));
    assert_int_equal(scene.world.probe.gone, 1);
    assert_int_equal(scene.world.probe.open, 0);
    close_scene(&scene);
}

static void a_lost_connection_tells_its_handlers(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0, 0);
    struct plain other;
    plain_dial(&other, &scene.world, 1024);
    struct bytes bytes = {0};
    for (uint64_t id = 1; id <= 20; id++)
        add_held(&bytes, id, 3000, id > 10);
    plain_send(&other, PLAIN_ID, &bytes);
    world_run_ms(&scene.world, 50);
    assert_int_equal(scene.world.probe.open, 20);
    plain_close(&other);
    world_run_ms(&scene.world, 100);
    assert_int_equal(scene.world.probe.gone, 10);
    assert_int_equal(scene.world.probe.open, 10); /* the stubborn ones; they end at the close */
    assert_int_equal(counted(scene.world.server_metrics, "quorate_rpc_connections"), 1);
    close_scene(&scene);
}

static void what_cannot_be_parsed_is_dropped_and_counted(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0, 0);
    const struct {
        const char *bytes;
        size_t count;
    } cases[] = {{"x", 1},
                 {"\0\0\0\0", 4},
                 {"\0\0\0\5abc", 7},
                 {"\0\0\0\1\xff", 5},
                 {"\xff\xff\xff\xff\0", 5},
                 {"\0\0\0\3\x08\x01\x1a", 7}};
    size_t count = sizeof cases / sizeof cases[0];
    for (size_t i = 0; i < count; i++) {
        struct bytes bytes = {0};
        bytes_add(&bytes, cases[i].bytes, cases[i].count);
        plain_send(&scene.plain, PLAIN_ID, &bytes);
    }
    struct bytes bytes = {0};
    bytes_add_call(&bytes, 1, "Bump", NULL);
    assert_int_equal(plain_ask(&scene.plain, &bytes), REASON_NONE);
    assert_int_equal(
        counted(scene.world.server_metrics, "quorate_rpc_dropped_total{why=\"malformed\"}"), count);
    assert_int_equal(counted(scene.world.server_metrics,
                             "quorate_rpc_calls_total{method=\"" BUMP "\",reason=\"NONE\"}"),
                     1);
    assert_int_equal(
        counted(scene.world.server_metrics, "quorate_rpc_call_seconds_count{method=\"" BUMP "\"}"),
        1);
    close_scene(&scene);
}

/* Its replies fill the socket and NNG's queue and are then lost; the server goes on. */
static void a_caller_that_does_not_read_harms_itself_only(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0, 0);
    struct plain deaf;
    plain_dial(&deaf, &scene.world, 0);
    Quorate__Probe__V1__EchoRequest echo = QUORATE__PROBE__V1__ECHO_REQUEST__INIT;
    echo.bytes = 200000;
    enum { CALLS = 300 };
    for (uint32_t i = 0; i < CALLS; i++) {
        struct bytes bytes = {0};
        bytes_add_call(&bytes, 1, "Echo", &echo.base);
        plain_send(&deaf, PLAIN_ID + i, &bytes);
    }
    world_run_ms(&scene.world, 100);
    struct bytes bytes = {0};
    bytes_add_call(&bytes, 1, "Bump", NULL);
    assert_int_equal(plain_ask(&scene.plain, &bytes), REASON_NONE);
    unsigned heard = 0;
    for (Answer *answer; (answer = plain_hear(&deaf, 200)) != NULL; heard++)
        quorate__rpc__v1__answer__free_unpacked(answer, NULL);
    assert_true(heard > 32);
    assert_true(heard < CALLS);
    plain_close(&deaf);
    close_scene(&scene);
}

/* --- health --- */

struct watch {
    struct rpc_call call;
    int states[64];
    unsigned heard;
    unsigned ends;
};

static void on_health(const Grpc__Health__V1__HealthCheckResponse *response, void *arg)
{
    struct watch *watch = arg;
    if (response == NULL) {
        watch->ends++;
        return;
    }
    CHECK(watch->heard < 64);
    watch->states[watch->heard++] = (int)response->status;
}

static void start_watch(struct watch *watch, struct world *world, const char *service, bool once)
{
    *watch = (struct watch){0};
    rpc_call_init(&watch->call, world->client, &grpc__health__v1__health__descriptor,
                  loop_now_us(world->loop) + 60000000);
    watch->call.reads_only = true;
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    request.service = (char *)service;
    if (once) {
        grpc__health__v1__health__check(&watch->call.service, &request, on_health, watch);
    } else {
        grpc__health__v1__health__watch(&watch->call.service, &request, on_health, watch);
    }
    world_run_ms(world, 30);
}

enum { SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3 };

static void health_is_checked_and_watched(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    static const char name[] = "quorate.probe.v1.Probe";
    struct watch watch;
    struct watch unknown;
    struct watch check;
    start_watch(&watch, &world, name, false);
    start_watch(&unknown, &world, "no.Such", false);
    assert_int_equal(watch.states[0], SERVING);
    assert_int_equal(unknown.states[0], SERVICE_UNKNOWN);
    rpc_server_set_serving(world.server, name, false);
    world_run_ms(&world, 20);
    rpc_server_set_serving(world.server, name, false); /* no change */
    world_run_ms(&world, 20);
    assert_int_equal(watch.heard, 2);
    assert_int_equal(watch.states[1], NOT_SERVING);
    start_watch(&check, &world, name, true);
    assert_int_equal(check.states[0], NOT_SERVING);
    start_watch(&check, &world, "", true);
    assert_int_equal(check.states[0], SERVING);
    start_watch(&check, &world, "no.Such", true);
    assert_int_equal(check.call.status.reason, REASON_NOT_FOUND);
    rpc_call_cancel(&watch.call);
    rpc_server_set_serving(world.server, name, true);
    world_run_ms(&world, 20);
    assert_int_equal(watch.heard, 2);
    assert_int_equal(watch.ends, 0);
    rpc_call_cancel(&unknown.call);
    world_close(&world);
}

/* More changes than the window holds in one turn: the watcher hears the last, and no more than one
 * that it has heard already. */
static void a_watcher_that_lags_hears_the_last_state(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    struct watch watch;
    start_watch(&watch, &world, "", false);
    for (int i = 1; i <= 100; i++)
        rpc_server_set_serving(world.server, "", i % 2 == 0);
    rpc_server_set_serving(world.server, "", false);
    world_run_ms(&world, 50);
    assert_true(watch.heard >= 32);
    assert_true(watch.heard < 60);
    assert_int_equal(watch.states[watch.heard - 1], NOT_SERVING);
    rpc_call_cancel(&watch.call);
    world_close(&world);
}

static void on_empty(void *arg)
{
    bool *empty = arg;
    *empty = true;
}

static void a_draining_server_says_so_and_tells_when_it_is_empty(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    struct watch watch;
    struct watch check;
    struct ask held;
    start_watch(&watch, &world, "", false);
    ask_init(&held, &world, 5000);
    ask_bump(&held, 200);
    world_run_ms(&world, 30);
    bool empty = false;
    rpc_server_drain(world.server, on_empty, &empty);
    assert_int_equal(world_bump(&world, 0, 5000), REASON_DOWN);
    start_watch(&check, &world, "", true);
    assert_int_equal(check.states[0], NOT_SERVING);
    assert_int_equal(watch.heard, 2);
    assert_int_equal(watch.states[1], NOT_SERVING);
    assert_false(empty);
    assert_true(world_until(&world, ask_ended, &held));
    assert_int_equal(held.reason, REASON_NONE);
    assert_false(empty);
    world_run_ms(&world, 200);
    assert_true(empty);
    rpc_call_cancel(&watch.call);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_says_who_and_when),
        cmocka_unit_test(each_fault_of_a_call_is_told),
        cmocka_unit_test(what_comes_late_or_astray_is_not_executed),
        cmocka_unit_test(the_server_answers_at_the_deadline_if_the_handler_does_not),
        cmocka_unit_test(past_the_window_of_a_connection_calls_are_refused),
        cmocka_unit_test(what_was_cancelled_counts_until_its_handler_ends_it),
        cmocka_unit_test(past_the_total_calls_are_refused),
        cmocka_unit_test(frames_past_32_and_above_256_kib_are_refused),
        cmocka_unit_test(a_message_above_a_mebibyte_costs_its_sender_the_connection),
        cmocka_unit_test(a_reply_that_fits_no_frame_is_an_unknown_outcome),
        cmocka_unit_test(a_call_that_comes_twice_is_executed_once),
        cmocka_unit_test(answers_to_many_contexts_at_once_all_arrive),
        cmocka_unit_test(a_plain_program_can_cancel_from_another_request),
        cmocka_unit_test(a_lost_connection_tells_its_handlers),
        cmocka_unit_test(what_cannot_be_parsed_is_dropped_and_counted),
        cmocka_unit_test(a_caller_that_does_not_read_harms_itself_only),
        cmocka_unit_test(health_is_checked_and_watched),
        cmocka_unit_test(a_watcher_that_lags_hears_the_last_state),
        cmocka_unit_test(a_draining_server_says_so_and_tells_when_it_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
