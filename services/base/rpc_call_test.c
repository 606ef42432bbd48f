/* A client against servers that no decent program is: silent, lying, garbling. The server here is
 * the test itself, frame by frame. */
#include "base/check.h"
#include "plain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

typedef Quorate__Rpc__V1__Call Call;
typedef Quorate__Rpc__V1__Answer Answer;

#define INSTANCE UINT64_C(0x1234567890abcdef)

struct scene {
    struct world world;
    struct plain server;
};

static void answer(struct scene *scene, const Answer *head)
{
    struct bytes bytes = {0};
    bytes_add_frame(&bytes, &head->base);
    plain_answer(&scene->server, &bytes);
}

static void answer_with(struct scene *scene, Answer *head, const ProtobufCMessage *body)
{
    uint8_t packed[256];
    CHECK(protobuf_c_message_get_packed_size(body) <= sizeof packed);
    head->body = (ProtobufCBinaryData){protobuf_c_message_pack(body, packed), packed};
    answer(scene, head);
    head->body = (ProtobufCBinaryData){0, NULL};
}

static Call *hear(struct scene *scene)
{
    Call *call = plain_hear_call(&scene->server, 8000);
    assert_non_null(call);
    return call;
}

static void forget(Call *call)
{
    quorate__rpc__v1__call__free_unpacked(call, NULL);
}

static uint64_t hear_id(struct scene *scene)
{
    Call *call = hear(scene);
    uint64_t call_id = call->call_id;
    forget(call);
    return call_id;
}

static void answer_hello(struct scene *scene, uint32_t calls_max)
{
    Call *call = hear(scene);
    assert_string_equal(call->method, "/quorate.rpc.v1.Peer/Hello");
    assert_true(call->instance == 0 && call->expires_us == 0);
    Quorate__Rpc__V1__HelloReply reply = QUORATE__RPC__V1__HELLO_REPLY__INIT;
    reply.instance = INSTANCE;
    reply.boottime_us = 5000000000; /* its clock is another one */
    reply.calls_max = calls_max;
    reply.program = "liar";
    Answer head = QUORATE__RPC__V1__ANSWER__INIT;
    head.call_id = call->call_id;
    answer_with(scene, &head, &reply.base);
    forget(call);
}

static bool is_up(void *arg)
{
    struct world *world = arg;
    return rpc_client_up(world->client);
}

static void open_scene(struct scene *scene, uint32_t calls_max)
{
    world_init(&scene->world);
    plain_listen(&scene->server, &scene->world);
    world_dial(&scene->world, 0);
    answer_hello(scene, calls_max);
    assert_true(world_until(&scene->world, is_up, &scene->world));
}

static void close_scene(struct scene *scene)
{
    plain_close(&scene->server);
    world_close(&scene->world);
}

static void it_is_not_up_before_hello_was_answered(void **state)
{
    (void)state;
    struct scene scene;
    world_init(&scene.world);
    plain_listen(&scene.server, &scene.world);
    world_dial(&scene.world, 0);
    world_run_ms(&scene.world, 100);
    assert_false(rpc_client_up(scene.world.client));
    assert_int_equal(world_bump(&scene.world, 0, 1000), REASON_DOWN);
    answer_hello(&scene, 0);
    assert_true(world_until(&scene.world, is_up, &scene.world));
    assert_true(rpc_client_instance(scene.world.client) == INSTANCE);
    assert_null(plain_hear_call(&scene.server, 20)); /* nothing had been kept for it */
    close_scene(&scene);
}

static void a_call_carries_instance_and_expiry_on_the_servers_clock(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0);
    struct ask ask;
    uint64_t start_us = loop_now_us(scene.world.loop);
    ask_init(&ask, &scene.world, 1000);
    ask_bump(&ask, 0);
    Call *call = hear(&scene);
    assert_string_equal(call->method, "/quorate.probe.v1.Probe/Bump");
    assert_true(call->instance == INSTANCE);
    /* D is a second after about now, when the server's clock shows about 5000 s. */
    assert_true(call->expires_us <= 5000000000 + (ask.call.deadline_us - start_us) + 1000000);
    assert_true(call->expires_us >= 5000000000 + 900000);
    forget(call);
    rpc_call_cancel(&ask.call);
    call = hear(&scene);
    assert_int_equal(call->kind, QUORATE__RPC__V1__CALL__KIND__CANCEL);
    forget(call);
    close_scene(&scene);
}

static void calls_of_one_turn_share_messages_of_32(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0);
    static struct ask asks[40];
    for (int i = 0; i < 40; i++) {
        ask_init(&asks[i], &scene.world, 60000);
        ask_bump(&asks[i], 0);
    }
    int in_first = 0;
    for (int i = 0; i < 40; i++) {
        hear_id(&scene);
        if (i < 32)
            in_first += i == 31 ? scene.server.rest.bytes == 0 : scene.server.rest.bytes > 0;
    }
    assert_int_equal(in_first, 32);
    for (int i = 0; i < 40; i++)
        rpc_call_cancel(&asks[i].call);
    close_scene(&scene);
}

static void a_lost_reply_ends_at_the_deadline_and_a_late_one_is_ignored(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0);
    struct ask ask;
    ask_init(&ask, &scene.world, 50);
    ask_bump(&ask, 0);
    uint64_t call_id = hear_id(&scene);
    assert_true(world_until(&scene.world, ask_ended, &ask));
    assert_int_equal(ask.reason, REASON_OUTCOME_UNKNOWN);
    assert_true(ask.ended_us >= ask.call.deadline_us);
    assert_true(ask.ended_us < ask.call.deadline_us + 1000000);
    /* The next call takes the same place in the table; the old answer is not its own. */
    struct ask next;
    ask_init(&next, &scene.world, 60000);
    ask_bump(&next, 0);
    uint64_t next_id = hear_id(&scene);
    assert_true(next_id != call_id);
    Answer head = QUORATE__RPC__V1__ANSWER__INIT;
    head.call_id = call_id;
    answer(&scene, &head);
    world_run_ms(&scene.world, 20);
    assert_int_equal(next.ends, 0);
    assert_int_equal(ask.ends, 1);
    head.call_id = next_id;
    answer(&scene, &head);
    answer(&scene, &head);
    assert_true(world_until(&scene.world, ask_ended, &next));
    world_run_ms(&scene.world, 20);
    assert_int_equal(next.ends, 1);
    assert_int_equal(next.reason, REASON_NONE);
    close_scene(&scene);
}

static void past_the_window_a_call_is_refused_and_not_sent(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 3); /* the server's window, smaller than ours */
    struct ask asks[4];
    for (int i = 0; i < 4; i++) {
        ask_init(&asks[i], &scene.world, 60000);
        ask_bump(&asks[i], 0);
    }
    assert_int_equal(asks[3].ends, 0);
    assert_true(world_until(&scene.world, ask_ended, &asks[3]));
    assert_int_equal(asks[3].reason, REASON_OVERLOADED);
    for (int i = 0; i < 3; i++)
        hear_id(&scene);
    assert_null(plain_hear_call(&scene.server, 20));
    for (int i = 0; i < 3; i++)
        rpc_call_cancel(&asks[i].call);
    close_scene(&scene);
}

static void what_is_too_large_is_refused_and_not_sent(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0);
    char *text = xcalloc(1, 262145);
    memset(text, 'x', 262144);
    struct ask ask;
    ask_init(&ask, &scene.world, 60000);
    ask_echo(&ask, text);
    assert_true(world_until(&scene.world, ask_ended, &ask));
    assert_int_equal(ask.reason, REASON_INVALID);
    ask_init(&ask, &scene.world, 60000);
    ask.call.request_id = (struct span){text, 129};
    ask_bump(&ask, 0);
    assert_true(world_until(&scene.world, ask_ended, &ask));
    assert_int_equal(ask.reason, REASON_INVALID);
    assert_null(plain_hear_call(&scene.server, 20));
    text[262000] = '\0';
    ask_init(&ask, &scene.world, 60000);
    ask_echo(&ask, text);
    Call *call = hear(&scene);
    assert_true(call->body.len > 262000);
    forget(call);
    rpc_call_cancel(&ask.call);
    free(text);
    close_scene(&scene);
}

static void a_server_that_takes_nothing_is_overloaded_not_waited_for(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0);
    static char text[20001];
    memset(text, 'x', sizeof text - 1);
    static struct ask asks[3000];
    unsigned refused = 0;
    for (int i = 0; i < 3000; i++) {
        /* Some in every turn, so that each turn is a message; nobody reads them. */
        ask_init(&asks[i], &scene.world, 60000);
        ask_echo(&asks[i], text);
        world_run_ms(&scene.world, 0);
        refused += asks[i].reason == REASON_OVERLOADED;
        if (i >= 900) rpc_call_cancel(&asks[i - 900].call); /* the window is not what is full */
    }
    assert_true(refused > 0);
    assert_true(refused < 2500);
    for (int i = 0; i < 3000; i++)
        rpc_call_cancel(&asks[i].call);
    close_scene(&scene);
}

static enum reason answered_with(struct scene *scene, Answer *head, bool reads_only)
{
    struct ask ask;
    ask_init(&ask, &scene->world, 60000);
    ask.call.reads_only = reads_only;
    ask_bump(&ask, 0);
    head->call_id = hear_id(scene);
    answer(scene, head);
    CHECK(world_until(&scene->world, ask_ended, &ask));
    return ask.reason;
}

static void a_strange_end_is_an_unknown_outcome(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0);
    Answer head = QUORATE__RPC__V1__ANSWER__INIT;
    head.body = (ProtobufCBinaryData){3, (uint8_t *)"\x0a\xff\xff"};
    assert_int_equal(answered_with(&scene, &head, false), REASON_OUTCOME_UNKNOWN);
    Call *cancel = hear(&scene);
    assert_int_equal(cancel->kind, QUORATE__RPC__V1__CALL__KIND__CANCEL);
    forget(cancel);
    Quorate__Rpc__V1__Status status = QUORATE__RPC__V1__STATUS__INIT;
    head = (Answer)QUORATE__RPC__V1__ANSWER__INIT;
    head.status = &status;
    status.reason = 99; /* of a later version */
    status.code = QUORATE__RPC__V1__CODE__ABORTED;
    assert_int_equal(answered_with(&scene, &head, false), REASON_OUTCOME_UNKNOWN);
    status.reason = 0; /* a code without a reason */
    assert_int_equal(answered_with(&scene, &head, false), REASON_OUTCOME_UNKNOWN);
    status.reason = (Quorate__Rpc__V1__Reason)REASON_OUTCOME_UNKNOWN;
    assert_int_equal(answered_with(&scene, &head, false), REASON_OUTCOME_UNKNOWN);
    assert_int_equal(answered_with(&scene, &head, true), REASON_EXPIRED);
    status.reason = (Quorate__Rpc__V1__Reason)REASON_NO_QUORUM;
    assert_int_equal(answered_with(&scene, &head, false), REASON_NO_QUORUM);
    close_scene(&scene);
}

static void send_number(struct scene *scene, uint64_t call_id, uint64_t number)
{
    Quorate__Probe__V1__CountReply reply = QUORATE__PROBE__V1__COUNT_REPLY__INIT;
    reply.number = number;
    Answer head = QUORATE__RPC__V1__ANSWER__INIT;
    head.call_id = call_id;
    head.more = true;
    head.number = number;
    answer_with(scene, &head, &reply.base);
}

static enum reason stream_with_gap(struct scene *scene, bool reads_only, bool at_the_end)
{
    struct ask ask;
    ask_init(&ask, &scene->world, 60000);
    ask.call.reads_only = reads_only;
    ask_stream(&ask, 3, REASON_NONE, false);
    uint64_t call_id = hear_id(scene);
    send_number(scene, call_id, 1);
    if (at_the_end) {
        Quorate__Rpc__V1__Status status = QUORATE__RPC__V1__STATUS__INIT;
        Answer head = QUORATE__RPC__V1__ANSWER__INIT;
        head.call_id = call_id;
        head.number = 3;
        head.status = &status;
        answer(scene, &head);
    } else {
        send_number(scene, call_id, 3);
    }
    CHECK(world_until(&scene->world, ask_ended, &ask));
    assert_int_equal(ask.messages, 1);
    Call *cancel = hear(scene);
    assert_int_equal(cancel->kind, QUORATE__RPC__V1__CALL__KIND__CANCEL);
    assert_true(cancel->call_id == call_id);
    forget(cancel);
    return ask.reason;
}

static void a_gap_in_a_stream_is_seen(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0);
    assert_int_equal(stream_with_gap(&scene, true, false), REASON_OVERLOADED);
    assert_int_equal(stream_with_gap(&scene, false, false), REASON_OUTCOME_UNKNOWN);
    assert_int_equal(stream_with_gap(&scene, true, true), REASON_OVERLOADED);
    close_scene(&scene);
}

static void what_was_read_is_said_every_eight(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0);
    struct ask ask;
    ask_init(&ask, &scene.world, 60000);
    ask_stream(&ask, 20, REASON_NONE, false);
    uint64_t call_id = hear_id(&scene);
    for (uint64_t number = 1; number <= 20; number++)
        send_number(&scene, call_id, number);
    for (uint64_t read = 8; read <= 16; read += 8) {
        Call *call = hear(&scene);
        assert_int_equal(call->kind, QUORATE__RPC__V1__CALL__KIND__READ);
        assert_int_equal(call->read, read);
        forget(call);
    }
    assert_int_equal(ask.messages, 20);
    rpc_call_cancel(&ask.call);
    close_scene(&scene);
}

static void garbage_from_a_server_is_dropped(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0);
    struct ask ask;
    ask_init(&ask, &scene.world, 60000);
    ask_bump(&ask, 0);
    uint64_t call_id = hear_id(&scene);
    uint64_t seed = 7;
    for (int i = 0; i < 500; i++) {
        struct bytes bytes = {0};
        char noise[64];
        for (size_t at = 0; at < sizeof noise; at++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            noise[at] = (char)(seed >> 56);
        }
        if (i % 2 == 0) bytes_add(&bytes, "\0\0\0\x40", 4);
        bytes_add(&bytes, noise, sizeof noise);
        plain_answer(&scene.server, &bytes);
    }
    Answer head = QUORATE__RPC__V1__ANSWER__INIT;
    head.call_id = call_id;
    answer(&scene, &head);
    assert_true(world_until(&scene.world, ask_ended, &ask));
    assert_int_equal(ask.reason, REASON_NONE);
    close_scene(&scene);
}

/* Ten seconds, because Hello is said every five and waited for as long. */
static void hello_is_said_again_and_silence_is_noticed(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene, 0);
    uint64_t start_us = loop_now_us(scene.world.loop);
    struct ask ask;
    ask_init(&ask, &scene.world, 60000);
    ask_bump(&ask, 0);
    hear_id(&scene);
    Call *call = hear(&scene);
    assert_string_equal(call->method, "/quorate.rpc.v1.Peer/Hello");
    forget(call);
    assert_true(loop_now_us(scene.world.loop) - start_us > 4500000);
    assert_true(rpc_client_up(scene.world.client));
    assert_true(world_until(&scene.world, ask_ended, &ask)); /* we never answered that one */
    assert_int_equal(ask.reason, REASON_OUTCOME_UNKNOWN);
    assert_false(rpc_client_up(scene.world.client));
    assert_true(loop_now_us(scene.world.loop) - start_us < 12000000);
    answer_hello(&scene, 0); /* on a new connection */
    assert_true(world_until(&scene.world, is_up, &scene.world));
    close_scene(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_not_up_before_hello_was_answered),
        cmocka_unit_test(a_call_carries_instance_and_expiry_on_the_servers_clock),
        cmocka_unit_test(calls_of_one_turn_share_messages_of_32),
        cmocka_unit_test(a_lost_reply_ends_at_the_deadline_and_a_late_one_is_ignored),
        cmocka_unit_test(past_the_window_a_call_is_refused_and_not_sent),
        cmocka_unit_test(what_is_too_large_is_refused_and_not_sent),
        cmocka_unit_test(a_server_that_takes_nothing_is_overloaded_not_waited_for),
        cmocka_unit_test(a_strange_end_is_an_unknown_outcome),
        cmocka_unit_test(a_gap_in_a_stream_is_seen),
        cmocka_unit_test(what_was_read_is_said_every_eight),
        cmocka_unit_test(garbage_from_a_server_is_dropped),
        cmocka_unit_test(hello_is_said_again_and_silence_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
