/* What a server says of its health, once and to who watches. */
#include "base/check.h"
#include "proto/health.pb-c.h"
#include "world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

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
        cmocka_unit_test(health_is_checked_and_watched),
        cmocka_unit_test(a_watcher_that_lags_hears_the_last_state),
        cmocka_unit_test(a_draining_server_says_so_and_tells_when_it_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
