/* A server against callers of every kind: what is refused, and what is dropped. */
#include "base/rpc_server_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void hello_says_who_and_when(void **state)
{
    struct scene *scene = *state;
    Call call = call_of("/quorate.rpc.v1.Peer/Hello");
    struct bytes bytes = {0};
    bytes_add_frame(&bytes, &call.base);
    uint64_t before_us = loop_now_us(scene->world.loop);
    plain_send(&scene->plain, PLAIN_ID, &bytes);
    Answer *answer = plain_hear(&scene->plain, 5000);
    assert_non_null(answer);
    assert_null(answer->status);
    Quorate__Rpc__V1__HelloReply *reply =
        quorate__rpc__v1__hello_reply__unpack(NULL, answer->body.len, answer->body.data);
    assert_true(reply->instance == rpc_server_instance(scene->world.server));
    assert_true(reply->boottime_us >= before_us);
    assert_true(reply->boottime_us <= loop_now_us(scene->world.loop));
    assert_int_equal(reply->message_bytes_max, 1048576);
    assert_int_equal(reply->frame_bytes_max, 262144);
    assert_int_equal(reply->frames_max, 32);
    assert_int_equal(reply->calls_max, 1024);
    assert_string_equal(reply->program, "probe");
    quorate__rpc__v1__hello_reply__free_unpacked(reply, NULL);
    quorate__rpc__v1__answer__free_unpacked(answer, NULL);
}

static void each_fault_of_a_call_is_told(void **state)
{
    struct scene *scene = *state;
    Call call = call_of("/quorate.probe.v1.Probe/Nothing");
    assert_int_equal(scene_ask(scene, &call), REASON_NO_METHOD);
    call = call_of("");
    assert_int_equal(scene_ask(scene, &call), REASON_NO_METHOD);
    call = call_of(BUMP);
    call.kind = 9;
    assert_int_equal(scene_ask(scene, &call), REASON_INVALID);
    call = call_of(BUMP);
    call.body = (ProtobufCBinaryData){3, (uint8_t *)"\x0a\xff\xff"};
    assert_int_equal(scene_ask(scene, &call), REASON_INVALID);
    Quorate__Rpc__V1__Metadata metadata = QUORATE__RPC__V1__METADATA__INIT;
    char text[200];
    memset(text, 'x', sizeof text);
    text[129] = '\0';
    metadata.request_id = text;
    call = call_of(BUMP);
    call.metadata = &metadata;
    assert_int_equal(scene_ask(scene, &call), REASON_INVALID);
    text[128] = '\0';
    assert_int_equal(scene_ask(scene, &call), REASON_NONE);
    text[56] = '\0';
    metadata.traceparent = text;
    assert_int_equal(scene_ask(scene, &call), REASON_INVALID);
    assert_int_equal(scene->world.probe.bumps, 1);
    /* Without a call id the answer has none either. */
    call = call_of(BUMP);
    call.call_id = 0;
    struct bytes bytes = {0};
    bytes_add_frame(&bytes, &call.base);
    plain_send(&scene->plain, PLAIN_ID, &bytes);
    assert_int_equal(plain_reason(&scene->plain, 0), REASON_INVALID);
    assert_int_equal(scene->world.probe.bumps, 1);
}

static void what_comes_late_or_astray_is_not_executed(void **state)
{
    struct scene *scene = *state;
    uint64_t now_us = loop_now_us(scene->world.loop);
    Call call = call_of(BUMP);
    call.expires_us = now_us;
    assert_int_equal(scene_ask(scene, &call), REASON_EXPIRED);
    call.expires_us = now_us + 5000000;
    call.instance = rpc_server_instance(scene->world.server) + 1;
    assert_int_equal(scene_ask(scene, &call), REASON_EXPIRED);
    assert_int_equal(scene->world.probe.bumps, 0);
    call.instance--;
    assert_int_equal(scene_ask(scene, &call), REASON_NONE);
    call.method = BUMP_LATE;
    call.instance++;
    call.expires_us = 1;
    assert_int_equal(scene_ask(scene, &call), REASON_NONE);
    assert_int_equal(scene->world.probe.bumps, 2);
}

static void the_server_answers_at_the_deadline_if_the_handler_does_not(void **state)
{
    struct scene *scene = *state;
    Quorate__Probe__V1__BumpRequest bump = QUORATE__PROBE__V1__BUMP_REQUEST__INIT;
    bump.hold_ms = 200;
    bump.stubborn = true;
    uint8_t packed[32];
    Call call = call_of(BUMP);
    call.timeout_ms = 50;
    call.body = (ProtobufCBinaryData){protobuf_c_message_pack(&bump.base, packed), packed};
    assert_int_equal(scene_ask(scene, &call), REASON_OUTCOME_UNKNOWN);
    assert_int_equal(scene->world.probe.open, 1);
    bump.stubborn = false; /* answers in its on_gone */
    bump.hold_ms = 5000;
    call.body.len = protobuf_c_message_pack(&bump.base, packed);
    assert_int_equal(scene_ask(scene, &call), REASON_CANCELLED);
    assert_null(plain_hear(&scene->plain, 300)); /* its late answer goes nowhere */
    assert_int_equal(scene->world.probe.open, 0);
}

static void a_call_that_comes_twice_is_executed_once(void **state)
{
    struct scene *scene = *state;
    struct bytes bytes = {0};
    add_held(&bytes, 1, 50, true);
    add_held(&bytes, 1, 50, true);
    assert_int_equal(plain_ask(&scene->plain, &bytes), REASON_NONE);
    assert_null(plain_hear(&scene->plain, 50));
    assert_int_equal(scene->world.probe.bumps, 1);
    assert_int_equal(
        counted(scene->world.server_metrics, "quorate_rpc_dropped_total{why=\"duplicate\"}"), 1);
    /* Another context of a plain program is no repetition, whatever call id it chose. */
    add_held(&bytes, 1, 50, true);
    plain_send(&scene->plain, PLAIN_ID, &bytes);
    add_held(&bytes, 1, 10, true);
    plain_send(&scene->plain, PLAIN_ID + 1, &bytes);
    assert_int_equal(plain_reason(&scene->plain, 1), REASON_NONE);
    assert_int_equal(scene->plain.header[3], (char)(PLAIN_ID + 1));
    assert_int_equal(plain_reason(&scene->plain, 1), REASON_NONE);
    assert_int_equal(scene->plain.header[3], (char)PLAIN_ID);
}

static void a_plain_program_can_cancel_from_another_request(void **state)
{
    struct scene *scene = *state;
    struct bytes bytes = {0};
    add_held(&bytes, 77, 3000, false);
    plain_send(&scene->plain, PLAIN_ID, &bytes);
    Call cancel = QUORATE__RPC__V1__CALL__INIT;
    cancel.kind = QUORATE__RPC__V1__CALL__KIND__CANCEL;
    cancel.call_id = 77;
    bytes_add_frame(&bytes, &cancel.base);
    plain_send(&scene->plain, PLAIN_ID + 5, &bytes);
    assert_null(plain_hear(&scene->plain, 100));
    assert_int_equal(scene->world.probe.gone, 1);
    assert_int_equal(scene->world.probe.open, 0);
}

static void a_lost_connection_tells_its_handlers(void **state)
{
    struct scene *scene = *state;
    struct plain other;
    plain_dial(&other, &scene->world, 1024);
    struct bytes bytes = {0};
    for (uint64_t id = 1; id <= 20; id++)
        add_held(&bytes, id, 3000, id > 10);
    plain_send(&other, PLAIN_ID, &bytes);
    world_run_ms(&scene->world, 50);
    assert_int_equal(scene->world.probe.open, 20);
    plain_close(&other);
    world_run_ms(&scene->world, 100);
    assert_int_equal(scene->world.probe.gone, 10);
    assert_int_equal(scene->world.probe.open, 10); /* the stubborn ones; they end at the close */
    assert_int_equal(counted(scene->world.server_metrics, "quorate_rpc_connections"), 1);
}

static void what_cannot_be_parsed_is_dropped_and_counted(void **state)
{
    struct scene *scene = *state;
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
        plain_send(&scene->plain, PLAIN_ID, &bytes);
    }
    struct bytes bytes = {0};
    bytes_add_call(&bytes, 1, "Bump", NULL);
    assert_int_equal(plain_ask(&scene->plain, &bytes), REASON_NONE);
    assert_int_equal(
        counted(scene->world.server_metrics, "quorate_rpc_dropped_total{why=\"malformed\"}"),
        count);
    assert_int_equal(counted(scene->world.server_metrics,
                             "quorate_rpc_calls_total{method=\"" BUMP "\",reason=\"NONE\"}"),
                     1);
    assert_int_equal(
        counted(scene->world.server_metrics, "quorate_rpc_call_seconds_count{method=\"" BUMP "\"}"),
        1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hello_says_who_and_when),
        TEST(each_fault_of_a_call_is_told),
        TEST(what_comes_late_or_astray_is_not_executed),
        TEST(the_server_answers_at_the_deadline_if_the_handler_does_not),
        TEST(a_call_that_comes_twice_is_executed_once),
        TEST(a_plain_program_can_cancel_from_another_request),
        TEST(a_lost_connection_tells_its_handlers),
        TEST(what_cannot_be_parsed_is_dropped_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
