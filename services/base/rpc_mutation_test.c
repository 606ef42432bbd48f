/* 10,000 messages, each a good one with something broken, in either direction; the seed is fixed,
 * so that a failure can be looked at. Nothing may crash, leak or hang, and whoever calls decently
 * meanwhile must not notice. */
#include "base/check.h"
#include "plain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MESSAGES      10000
#define STREAM        "/quorate.probe.v1.Probe/Stream"
#define DECENT_EVERY  100
#define MESSAGE_BYTES (64 * 1024)

typedef Quorate__Rpc__V1__Call Call;
typedef Quorate__Rpc__V1__Answer Answer;

static uint64_t draw(uint64_t *seed, uint64_t below)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (*seed >> 33) % below;
}

static void flip(struct bytes *bytes, uint64_t *seed)
{
    bytes->at[draw(seed, bytes->count)] ^= (char)(1 << draw(seed, 8));
}

static void set_edge(struct bytes *bytes, uint64_t *seed)
{
    static const unsigned char edges[] = {0, 1, 0x7f, 0x80, 0xff, 0xfe, 0x0a, 0x42};
    bytes->at[draw(seed, bytes->count)] = (char)edges[draw(seed, sizeof edges)];
}

static void cut_off(struct bytes *bytes, uint64_t *seed)
{
    bytes->count = 1 + draw(seed, bytes->count);
}

static void append_noise(struct bytes *bytes, uint64_t *seed)
{
    for (uint64_t left = 1 + draw(seed, 40); left > 0; left--) {
        char noise = (char)draw(seed, 256);
        bytes_add(bytes, &noise, 1);
    }
}

static void repeat_part(struct bytes *bytes, uint64_t *seed)
{
    size_t from = draw(seed, bytes->count);
    size_t count = 1 + draw(seed, bytes->count - from);
    if (bytes->count + count > MESSAGE_BYTES) return;
    char *part = xcalloc(1, count);
    memcpy(part, bytes->at + from, count);
    bytes_add(bytes, part, count);
    free(part);
}

/* The first frame's length says what the message has, so that what is broken is inside. */
/* NOLINTNEXTLINE(readability-non-const-parameter): one of several ways */
static void mend_length(struct bytes *bytes, uint64_t *seed)
{
    (void)seed;
    if (bytes->count <= 4) return;
    size_t count = bytes->count - 4;
    for (int i = 0; i < 4; i++)
        bytes->at[i] = (char)(count >> (24 - 8 * i));
}

static void mutate(struct bytes *bytes, uint64_t *seed)
{
    static void (*const ways[])(struct bytes *, uint64_t *) = {
        flip, flip, set_edge, cut_off, append_noise, repeat_part, mend_length};
    for (uint64_t times = 1 + draw(seed, 2); times > 0; times--)
        ways[draw(seed, sizeof ways / sizeof ways[0])](bytes, seed);
}

/* A message of one to three frames, good ones made by `add`: most with something broken inside,
 * some broken as a whole. */
static struct bytes broken_message(uint64_t *seed, uint64_t call_id,
                                   void (*add)(struct bytes *, uint64_t, uint64_t))
{
    struct bytes message = {0};
    for (uint64_t frames = 1 + draw(seed, 3); frames > 0; frames--) {
        struct bytes frame = {0};
        add(&frame, call_id + draw(seed, 2) * draw(seed, 50), draw(seed, 1000));
        if (draw(seed, 4) != 0) {
            mutate(&frame, seed);
            mend_length(&frame, seed);
        }
        bytes_add(&message, frame.at, frame.count);
        bytes_free(&frame);
    }
    if (draw(seed, 4) == 0) mutate(&message, seed);
    return message;
}

/* --- towards the server --- */

static void add_good_call(struct bytes *bytes, uint64_t call_id, uint64_t which)
{
    Quorate__Probe__V1__EchoRequest echo = QUORATE__PROBE__V1__ECHO_REQUEST__INIT;
    Quorate__Probe__V1__BumpRequest bump = QUORATE__PROBE__V1__BUMP_REQUEST__INIT;
    Quorate__Probe__V1__StreamRequest stream = QUORATE__PROBE__V1__STREAM_REQUEST__INIT;
    Quorate__Rpc__V1__Metadata metadata = QUORATE__RPC__V1__METADATA__INIT;
    Call call = QUORATE__RPC__V1__CALL__INIT;
    echo.text = "a text of some length, to be found again";
    bump.hold_ms = 5;
    stream.count = 40;
    call.call_id = call_id;
    switch (which % 7) {
    case 0:
        bytes_add_call(bytes, call_id, "Echo", &echo.base);
        return;
    case 1:
        bytes_add_call(bytes, call_id, "Bump", &bump.base);
        return;
    case 2:
        bytes_add_call(bytes, call_id, "Stream", &stream.base);
        return;
    case 3:
        call.kind = QUORATE__RPC__V1__CALL__KIND__CANCEL;
        break;
    case 4:
        call.kind = QUORATE__RPC__V1__CALL__KIND__READ;
        call.read = 8;
        break;
    case 5:
        call.method = "/grpc.health.v1.Health/Watch";
        call.timeout_ms = 20;
        break;
    default:
        call.method = "/quorate.rpc.v1.Peer/Hello";
        metadata.request_id = "request-1";
        metadata.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        call.metadata = &metadata;
        break;
    }
    bytes_add_frame(bytes, &call.base);
}

static bool nothing_held(void *arg)
{
    struct world *world = arg;
    return world->probe.open == 0;
}

static void a_server_survives_10000_broken_messages(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    struct plain plain;
    plain_dial(&plain, &world, 1024);
    uint64_t seed = 20260102;
    for (uint32_t i = 0; i < MESSAGES; i++) {
        struct bytes bytes = broken_message(&seed, 1 + draw(&seed, 50), add_good_call);
        plain_send(&plain, 0x80000000u | (uint32_t)draw(&seed, 20), &bytes);
        if (i % DECENT_EVERY != 0) continue;
        struct ask ask;
        ask_init(&ask, &world, 10000);
        ask_echo(&ask, "decent");
        assert_true(world_until(&world, ask_ended, &ask));
        assert_int_equal(ask.reason, REASON_NONE);
        assert_string_equal(ask.text, "decent");
        plain.rest.bytes = 0;
        while (plain.rest.bytes == 0) {
            Answer *answer = plain_hear(&plain, 0); /* reads what there is */
            if (answer == NULL) break;
            quorate__rpc__v1__answer__free_unpacked(answer, NULL);
            plain.rest.bytes = 0;
        }
    }
    plain_close(&plain);
    assert_true(world_until(&world, nothing_held, &world));
    /* Broken enough to be dropped, good enough to reach every corner. */
    const struct metrics *metrics = world.server_metrics;
    assert_true(counted(metrics, "quorate_rpc_dropped_total{why=\"malformed\"}") > 1000);
    assert_true(counted(metrics, "quorate_rpc_call_seconds_count{method=\"" STREAM "\"}") > 300);
    assert_true(
        counted(metrics, "quorate_rpc_calls_total{method=\"" STREAM "\",reason=\"INVALID\"}") > 5);
    world_close(&world);
}

/* --- towards the client --- */

static void add_good_answer(struct bytes *bytes, uint64_t call_id, uint64_t which)
{
    Answer answer = QUORATE__RPC__V1__ANSWER__INIT;
    Quorate__Rpc__V1__Status status = QUORATE__RPC__V1__STATUS__INIT;
    answer.call_id = call_id;
    if (which % 3 == 0) {
        answer.body = (ProtobufCBinaryData){4, (uint8_t *)"\x08\x01\x10\x02"};
    } else if (which % 3 == 1) {
        answer.more = true;
        answer.number = 1;
        answer.body = (ProtobufCBinaryData){2, (uint8_t *)"\x20\x01"};
    } else {
        answer.status = &status;
        status.reason = QUORATE__RPC__V1__REASON__REASON_BUSY;
        status.code = QUORATE__RPC__V1__CODE__ABORTED;
        status.message = "held by others";
        status.detail_type = "quorate.probe.v1.CountReply";
        status.detail = (ProtobufCBinaryData){2, (uint8_t *)"\x08\x01"};
    }
    bytes_add_frame(bytes, &answer.base);
}

struct counter {
    struct rpc_call call;
    unsigned heard;
    unsigned ends;
};

static void on_count(const Quorate__Probe__V1__CountReply *reply, void *arg)
{
    struct counter *counter = arg;
    CHECK(counter->ends == 0 && (reply != NULL || !counter->call.more));
    if (counter->call.more) {
        counter->heard++;
    } else {
        counter->ends++;
    }
}

static void call_count(struct counter *counter, struct world *world)
{
    *counter = (struct counter){0};
    Quorate__Probe__V1__CountRequest request = QUORATE__PROBE__V1__COUNT_REQUEST__INIT;
    rpc_call_init(&counter->call, world->client, &quorate__probe__v1__probe__descriptor,
                  loop_now_us(world->loop) + 600000000);
    quorate__probe__v1__probe__count(&counter->call.service, &request, on_count, counter);
}

/* Reads calls until there are none, answers Hello, and returns the id of the last other call. */
static uint64_t read_calls(struct plain *server, uint64_t last_id)
{
    for (Call *call; (call = plain_hear_call(server, 0)) != NULL;) {
        if (strcmp(call->method, "/quorate.rpc.v1.Peer/Hello") == 0) {
            Answer head = QUORATE__RPC__V1__ANSWER__INIT;
            struct bytes bytes = {0};
            head.call_id = call->call_id;
            head.body = (ProtobufCBinaryData){9, (uint8_t *)"\x09\1\0\0\0\0\0\0\1"};
            bytes_add_frame(&bytes, &head.base);
            plain_answer(server, &bytes);
        } else if (call->kind == QUORATE__RPC__V1__CALL__KIND__START) {
            last_id = call->call_id;
        }
        quorate__rpc__v1__call__free_unpacked(call, NULL);
    }
    return last_id;
}

static void a_client_survives_10000_broken_messages(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    struct plain server;
    plain_listen(&server, &world);
    world_dial(&world, 0);
    while (!rpc_client_up(world.client)) {
        world_run_ms(&world, 1);
        read_calls(&server, 0);
    }
    uint64_t seed = 20260102;
    uint64_t last_id = 0;
    unsigned ended = 0;
    struct counter counter;
    call_count(&counter, &world);
    for (int i = 0; i < MESSAGES; i++) {
        if (i % 10 == 0) {
            world_run_ms(&world, 0);
            last_id = read_calls(&server, last_id);
        }
        if (!rpc_call_open(&counter.call)) {
            ended += counter.ends;
            call_count(&counter, &world);
            world_run_ms(&world, 1);
            last_id = read_calls(&server, last_id);
        }
        struct bytes bytes = broken_message(&seed, last_id, add_good_answer);
        plain_answer(&server, &bytes);
    }
    assert_true(ended > 100);
    rpc_call_cancel(&counter.call);
    plain_close(&server);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_survives_10000_broken_messages),
        cmocka_unit_test(a_client_survives_10000_broken_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
