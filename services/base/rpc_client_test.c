/* One client and one server on one loop: how calls end. What needs a process of its own, to be
 * paused or killed, is in tests/rpc. */
#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static void a_call_is_answered_once_and_never_before_the_stub_returns(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    struct ask ask;
    ask_init(&ask, &world, 5000);
    ask.call.request_id = span_of("req-7");
    ask.call.traceparent = span_of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    ask_echo(&ask, "good morning");
    assert_int_equal(ask.ends, 0);
    assert_true(rpc_call_open(&ask.call));
    assert_true(world_until(&world, ask_ended, &ask));
    assert_int_equal(ask.reason, REASON_NONE);
    assert_string_equal(ask.text, "good morning");
    assert_string_equal(ask.request_id, "req-7");
    assert_string_equal(ask.traceparent, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_true(ask.left_us > 4000000 && ask.left_us <= 5000000);
    assert_false(rpc_call_open(&ask.call));
    world_run_ms(&world, 20);
    assert_int_equal(ask.ends, 1);
    world_close(&world);
}

static void replies_come_out_of_order(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    struct ask slow;
    struct ask quick;
    ask_init(&slow, &world, 5000);
    ask_init(&quick, &world, 5000);
    ask_bump(&slow, 50);
    ask_bump(&quick, 0);
    assert_true(world_until(&world, ask_ended, &slow));
    assert_int_equal(quick.place, 1);
    assert_int_equal(slow.place, 2);
    world_close(&world);
}

enum { MANY = 1000 };

static bool all_ended(void *arg)
{
    struct ask *asks = arg;
    for (int i = 0; i < MANY; i++) {
        if (asks[i].ends == 0) return false;
    }
    return true;
}

static void a_thousand_calls_at_once_each_get_their_own_answer(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    static struct ask asks[MANY];
    char text[32];
    for (int i = 0; i < MANY; i++) {
        ask_init(&asks[i], &world, 10000);
        snprintf(text, sizeof text, "number %d", i);
        ask_echo(&asks[i], text);
    }
    assert_true(world_until(&world, all_ended, asks));
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof text, "number %d", i);
        assert_int_equal(asks[i].reason, REASON_NONE);
        assert_int_equal(asks[i].ends, 1);
        assert_string_equal(asks[i].text, text);
    }
    world_close(&world);
}

static void a_failure_carries_reason_message_and_detail(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    struct ask ask;
    ask_init(&ask, &world, 5000);
    ask_fail(&ask, REASON_BUSY, "held by others", 42);
    assert_true(world_until(&world, ask_ended, &ask));
    assert_int_equal(ask.reason, REASON_BUSY);
    assert_string_equal(ask.call.status.message, "held by others");
    assert_int_equal(ask.detail_bumps, 42);
    ask_init(&ask, &world, 5000);
    ask_fail(&ask, REASON_INVALID, "caf\xc3\xa9 \xff\xc0\x80", 0);
    assert_true(world_until(&world, ask_ended, &ask));
    assert_string_equal(ask.call.status.message, "caf\xc3\xa9 ???");
    assert_int_equal(ask.detail_bumps, 0);
    world_close(&world);
}

static void a_stream_brings_every_message_in_order_and_then_its_end(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    struct ask ask;
    ask_init(&ask, &world, 10000);
    ask_stream(&ask, 1000, REASON_NONE, false);
    assert_true(world_until(&world, ask_ended, &ask));
    assert_int_equal(ask.messages, 1000);
    assert_int_equal(ask.reason, REASON_NONE);
    ask_init(&ask, &world, 5000);
    ask_stream(&ask, 3, REASON_LOST, false);
    assert_true(world_until(&world, ask_ended, &ask));
    assert_int_equal(ask.messages, 3);
    assert_int_equal(ask.reason, REASON_LOST);
    ask_init(&ask, &world, 5000);
    ask_stream(&ask, 0, REASON_NONE, false);
    assert_true(world_until(&world, ask_ended, &ask));
    assert_int_equal(ask.messages, 0);
    assert_int_equal(ask.reason, REASON_NONE);
    assert_int_equal(ask.ends, 1);
    world_close(&world);
}

static void a_stream_that_is_not_read_hits_its_window(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    struct ask ask;
    ask_init(&ask, &world, 5000);
    ask_stream(&ask, 1000, REASON_NONE, true); /* sends more than 32 before it can hear of one */
    assert_true(world_until(&world, ask_ended, &ask));
    assert_int_equal(ask.reason, REASON_OVERLOADED);
    assert_int_equal(ask.messages, 32);
    world_close(&world);
}

static bool probe_is_idle(void *arg)
{
    struct world *world = arg;
    return world->probe.open == 0;
}

static bool probe_holds_one(void *arg)
{
    struct world *world = arg;
    return world->probe.open == 1;
}

static void cancel_silences_the_call_and_stops_the_handler(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    struct ask ask;
    ask_init(&ask, &world, 60000);
    ask_bump(&ask, 50000);
    assert_true(world_until(&world, probe_holds_one, &world));
    rpc_call_cancel(&ask.call);
    assert_false(rpc_call_open(&ask.call));
    rpc_call_cancel(&ask.call); /* harmless */
    assert_true(world_until(&world, probe_is_idle, &world));
    assert_int_equal(world.probe.gone, 1);
    assert_int_equal(ask.ends, 0);
    /* Also one that was not sent yet, and one that was refused. */
    ask_init(&ask, &world, 60000);
    ask_bump(&ask, 50000);
    rpc_call_cancel(&ask.call);
    struct ask refused;
    ask_init(&refused, &world, 0);
    ask_bump(&refused, 0);
    rpc_call_cancel(&refused.call);
    world_run_ms(&world, 50);
    assert_int_equal(world.probe.open, 0);
    assert_int_equal(ask.ends + refused.ends, 0);
    world_close(&world);
}

static void the_deadline_ends_a_call_at_both_ends(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    uint64_t start_us = loop_now_us(world.loop);
    struct ask ask;
    ask_init(&ask, &world, 100);
    ask_bump(&ask, 50000);
    assert_true(world_until(&world, ask_ended, &ask));
    /* What the handler says in its on_gone, a moment before ours; or ours, on a busy machine. */
    assert_true(ask.reason == REASON_CANCELLED || ask.reason == REASON_OUTCOME_UNKNOWN);
    assert_true(ask.ended_us - start_us >= 90000);
    assert_true(ask.ended_us - start_us < 1000000);
    assert_true(world_until(&world, probe_is_idle, &world));
    assert_int_equal(world.probe.gone, 1);
    world_run_ms(&world, 20);
    assert_int_equal(ask.ends, 1);
    world_close(&world);
}

static void a_deadline_that_has_passed_is_not_sent(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    assert_int_equal(world_bump(&world, 0, 0), REASON_EXPIRED);
    assert_int_equal(world_count(&world).bumps, 0);
    world_close(&world);
}

static void nobody_there_is_down_at_once(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    world_dial(&world, 0);
    uint64_t start_us = loop_now_us(world.loop);
    assert_int_equal(world_bump(&world, 0, 5000), REASON_DOWN);
    assert_true(loop_now_us(world.loop) - start_us < 1000000);
    assert_int_equal(rpc_client_instance(world.client), 0);
    assert_int_equal(rpc_client_local_us(world.client, 0, 1), 0);
    world_close(&world);
}

static bool is_down(void *arg)
{
    struct world *world = arg;
    return !rpc_client_up(world->client);
}

static bool is_up(void *arg)
{
    return !is_down(arg);
}

static void a_new_server_is_greeted_and_up_again(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    assert_int_equal(world.changes, 1);
    assert_int_equal(world_bump(&world, 0, 5000), REASON_NONE);
    uint64_t instance = rpc_client_instance(world.client);
    world_stop_server(&world);
    assert_true(world_until(&world, is_down, &world));
    assert_false(world.up);
    assert_int_equal(world_bump(&world, 0, 5000), REASON_DOWN);
    world_serve(&world, 0, 0);
    assert_true(world_until(&world, is_up, &world));
    assert_int_equal(world.changes, 3);
    assert_true(world.up);
    assert_true(rpc_client_instance(world.client) != instance);
    assert_int_equal(world_bump(&world, 0, 5000), REASON_NONE);
    assert_int_equal(world_count(&world).bumps, 1);
    world_close(&world);
}

/* Somebody listens at the address and never says a word; NNG alone would wait for ten seconds. */
static void a_handshake_without_answer_is_given_up(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", strstr(world.url, "//") + 2);
    int mute = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(mute, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(mute, 8), 0);
    world_dial(&world, 0);
    world_run_ms(&world, 300);
    assert_false(rpc_client_up(world.client));
    unlink(address.sun_path);
    world_serve(&world, 0, 0);
    uint64_t start_us = loop_now_us(world.loop);
    assert_true(world_until(&world, is_up, &world));
    assert_true(loop_now_us(world.loop) - start_us < 6000000);
    close(mute);
    world_close(&world);
}

static void the_client_may_be_closed_with_calls_open(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    struct ask sent;
    struct ask unsent;
    ask_init(&sent, &world, 60000);
    ask_bump(&sent, 50000);
    assert_true(world_until(&world, probe_holds_one, &world));
    ask_init(&unsent, &world, 60000);
    ask_bump(&unsent, 50000);
    rpc_client_close(world.client);
    world.client = NULL;
    assert_int_equal(sent.ends + unsent.ends, 0);
    world_run_ms(&world, 1);
    assert_int_equal(sent.ends, 1);
    assert_int_equal(sent.reason, REASON_OUTCOME_UNKNOWN);
    assert_int_equal(unsent.ends, 1);
    assert_int_equal(unsent.reason, REASON_DOWN);
    assert_true(world_until(&world, probe_is_idle, &world));
    assert_int_equal(world.probe.gone, 1);
    world_close(&world);
}

static void close_and_retry(const Quorate__Probe__V1__CountReply *reply, void *arg)
{
    (void)reply;
    struct ask *ask = arg;
    ask->ends++;
    rpc_client_close(ask->world->client);
    ask->world->client = NULL;
}

static void the_client_may_be_closed_inside_an_answer(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    struct ask first;
    struct ask second;
    ask_init(&first, &world, 60000);
    ask_init(&second, &world, 60000);
    Quorate__Probe__V1__CountRequest request = QUORATE__PROBE__V1__COUNT_REQUEST__INIT;
    quorate__probe__v1__probe__count(&first.call.service, &request, close_and_retry, &first);
    ask_bump(&second, 0);
    assert_true(world_until(&world, ask_ended, &second));
    assert_int_equal(first.ends, 1);
    assert_int_equal(second.reason, REASON_OUTCOME_UNKNOWN);
    world_close(&world);
}

static void a_malformed_address_is_refused(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    struct rpc_client_options options = {.url = "tcp//nowhere"};
    assert_null(rpc_client_open(world.loop, &options));
    struct rpc_server_options server = {.url = "ipc:///nowhere/at/all"};
    assert_null(rpc_server_open(world.loop, &server));
    world_close(&world);
}

static void local_time_never_comes_after_the_servers(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    /* One machine, one clock: the moment must come out as at most itself, and close to it. */
    uint64_t then_us = loop_now_us(world.loop) + 10000000;
    uint64_t local_us =
        rpc_client_local_us(world.client, rpc_server_instance(world.server), then_us);
    assert_true(local_us <= then_us);
    assert_true(then_us - local_us < 300000);
    assert_int_equal(rpc_client_local_us(world.client, 1, then_us), 0);
    assert_int_equal(rpc_client_instance(world.client), rpc_server_instance(world.server));
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_answered_once_and_never_before_the_stub_returns),
        cmocka_unit_test(replies_come_out_of_order),
        cmocka_unit_test(a_thousand_calls_at_once_each_get_their_own_answer),
        cmocka_unit_test(a_failure_carries_reason_message_and_detail),
        cmocka_unit_test(a_stream_brings_every_message_in_order_and_then_its_end),
        cmocka_unit_test(a_stream_that_is_not_read_hits_its_window),
        cmocka_unit_test(cancel_silences_the_call_and_stops_the_handler),
        cmocka_unit_test(the_deadline_ends_a_call_at_both_ends),
        cmocka_unit_test(a_deadline_that_has_passed_is_not_sent),
        cmocka_unit_test(nobody_there_is_down_at_once),
        cmocka_unit_test(a_new_server_is_greeted_and_up_again),
        cmocka_unit_test(a_handshake_without_answer_is_given_up),
        cmocka_unit_test(the_client_may_be_closed_with_calls_open),
        cmocka_unit_test(the_client_may_be_closed_inside_an_answer),
        cmocka_unit_test(a_malformed_address_is_refused),
        cmocka_unit_test(local_time_never_comes_after_the_servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
