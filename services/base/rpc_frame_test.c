#include "base/rpc_frame.h"

#include "proto/rpc.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct span bytes_of(const struct rpc_envelope *envelope)
{
    return (struct span){(const char *)envelope->bytes, envelope->used};
}

static void a_frame_reads_back_with_its_body_as_one_message(void **state)
{
    (void)state;
    struct rpc_envelope envelope = {0};
    Quorate__Rpc__V1__HelloRequest body = QUORATE__RPC__V1__HELLO_REQUEST__INIT;
    char program[300];
    memset(program, 'p', sizeof program);
    program[299] = '\0';
    body.program = program;
    Quorate__Rpc__V1__Call head = QUORATE__RPC__V1__CALL__INIT;
    for (uint64_t id = 1; id <= 3; id++) {
        head.call_id = id;
        head.method = "/a.B/C";
        struct rpc_frame frame = {
            .head = &head.base, .body = id == 2 ? NULL : &body.base, .body_field = 8};
        rpc_frame_measure(&frame);
        assert_true(rpc_envelope_add(&envelope, &frame));
    }
    struct span rest = bytes_of(&envelope);
    assert_true(rpc_frames_whole(rest));
    struct span frame;
    for (uint64_t id = 1; id <= 3; id++) {
        assert_true(rpc_frames_next(&rest, &frame));
        Quorate__Rpc__V1__Call *call =
            quorate__rpc__v1__call__unpack(NULL, frame.bytes, (const uint8_t *)frame.at);
        assert_non_null(call);
        assert_int_equal(call->call_id, id);
        assert_string_equal(call->method, "/a.B/C");
        Quorate__Rpc__V1__HelloRequest *hello =
            quorate__rpc__v1__hello_request__unpack(NULL, call->body.len, call->body.data);
        assert_string_equal(hello->program, id == 2 ? "" : program);
        quorate__rpc__v1__hello_request__free_unpacked(hello, NULL);
        quorate__rpc__v1__call__free_unpacked(call, NULL);
    }
    assert_false(rpc_frames_next(&rest, &frame));
    rpc_envelope_fini(&envelope);
}

static void the_bytes_are_those_of_the_contract(void **state)
{
    (void)state;
    struct rpc_envelope envelope = {0};
    Quorate__Rpc__V1__Answer head = QUORATE__RPC__V1__ANSWER__INIT;
    Quorate__Rpc__V1__HelloRequest body = QUORATE__RPC__V1__HELLO_REQUEST__INIT;
    head.call_id = 5;
    body.program = "x";
    struct rpc_frame frame = {.head = &head.base, .body = &body.base, .body_field = 4};
    assert_int_equal(rpc_frame_measure(&frame), 7);
    assert_true(rpc_envelope_add(&envelope, &frame));
    const char expected[] = "\x00\x00\x00\x07\x08\x05\x22\x03\x0a\x01x";
    assert_int_equal(envelope.used, sizeof expected - 1);
    assert_memory_equal(envelope.bytes, expected, sizeof expected - 1);
    rpc_envelope_fini(&envelope);
}

static void an_envelope_takes_32_frames_and_a_mebibyte(void **state)
{
    (void)state;
    struct rpc_envelope envelope = {0};
    Quorate__Rpc__V1__Answer head = QUORATE__RPC__V1__ANSWER__INIT;
    head.call_id = 1;
    struct rpc_frame frame = {.head = &head.base};
    rpc_frame_measure(&frame);
    for (int i = 0; i < RPC_FRAMES_MAX; i++)
        assert_true(rpc_envelope_add(&envelope, &frame));
    assert_false(rpc_envelope_add(&envelope, &frame));
    rpc_envelope_clear(&envelope);
    size_t bytes = 250000;
    uint8_t *data = calloc(1, bytes);
    head.body = (ProtobufCBinaryData){bytes, data};
    rpc_frame_measure(&frame);
    for (int i = 0; i < 4; i++)
        assert_true(rpc_envelope_add(&envelope, &frame));
    assert_false(rpc_envelope_add(&envelope, &frame)); /* 5 x 250000 > 1048576 */
    assert_true(rpc_frames_whole(bytes_of(&envelope)));
    rpc_envelope_clear(&envelope);
    assert_int_equal(envelope.capacity, 0); /* a large buffer is not kept */
    free(data);
    rpc_envelope_fini(&envelope);
}

static void broken_lengths_are_seen(void **state)
{
    (void)state;
    const struct {
        const char *bytes;
        size_t count;
        bool whole;
    } cases[] = {
        {"", 0, false},
        {"\0\0\0", 3, false},
        {"\0\0\0\1", 4, false},
        {"\0\0\0\0", 4, false},
        {"\0\0\0\1a", 5, true},
        {"\0\0\0\1ab", 6, false},
        {"\0\0\0\2a", 5, false},
        {"\0\0\0\1a\0\0\0\2bc", 11, true},
        {"\0\0\0\1a\0\0\0\2b", 10, false},
        {"\0\0\0\1a\0\0\0\0", 9, false},
        {"\377\377\377\377a", 5, false},
        {"\377\377\377\374aaaa", 8, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(rpc_frames_whole((struct span){cases[i].bytes, cases[i].count}),
                         cases[i].whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_reads_back_with_its_body_as_one_message),
        cmocka_unit_test(the_bytes_are_those_of_the_contract),
        cmocka_unit_test(an_envelope_takes_32_frames_and_a_mebibyte),
        cmocka_unit_test(broken_lengths_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
