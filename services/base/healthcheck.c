#include "base/healthcheck.h"

#include "base/check.h"
#include "base/log.h"
#include "base/rpc_client.h"
#include "proto/health.pb-c.h"
#include "proto/rpc.pb-c.h"

#include <stdlib.h>

int healthcheck_verdict(const struct healthcheck *found)
{
    const char *word = "no answer";
    if (found->alive) word = found->serves ? "serves" : "alive, does not serve";
    puts(word);
    bool starts = !found->has_served && found->age_us < HEALTHCHECK_START_US;
    return found->alive && (found->serves || !starts) ? 0 : 1;
}

/* One visit: connect, Hello, Check. Whatever goes wrong, the patience ends it. */
struct visit {
    struct loop *loop;
    struct rpc_client *client;
    struct rpc_call call;
    struct timer patience;
    struct healthcheck found;
};

static void on_patience_over(void *arg)
{
    struct visit *visit = arg;
    loop_stop(visit->loop);
}

static void on_checked(const Grpc__Health__V1__HealthCheckResponse *reply, void *arg)
{
    struct visit *visit = arg;
    visit->found.serves =
        reply != NULL &&
        reply->status == GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
    loop_stop(visit->loop);
}

static void on_hello(const Quorate__Rpc__V1__HelloReply *reply, void *arg)
{
    struct visit *visit = arg;
    if (reply == NULL) {
        loop_stop(visit->loop);
        return;
    }
    visit->found.alive = true;
    visit->found.has_served = reply->has_served;
    visit->found.age_us = reply->boottime_us - reply->started_us;
    rpc_call_init(&visit->call, visit->client, &grpc__health__v1__health__descriptor,
                  loop_now_us(visit->loop) + HEALTHCHECK_WAIT_US);
    visit->call.reads_only = true;
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    grpc__health__v1__health__check(&visit->call.service, &request, on_checked, visit);
}

static void on_change(void *arg, bool up)
{
    struct visit *visit = arg;
    if (!up || rpc_call_open(&visit->call)) return;
    rpc_call_init(&visit->call, visit->client, &quorate__rpc__v1__peer__descriptor,
                  loop_now_us(visit->loop) + HEALTHCHECK_WAIT_US);
    visit->call.reads_only = true;
    Quorate__Rpc__V1__HelloRequest request = QUORATE__RPC__V1__HELLO_REQUEST__INIT;
    request.program = (char *)"healthcheck";
    quorate__rpc__v1__peer__hello(&visit->call.service, &request, on_hello, visit);
}

_Noreturn void healthcheck_rpc(const char *url)
{
    struct visit visit = {.loop = loop_new()};
    log_set_level(LOG_LEVEL_ERROR); /* "connected to ..." is no news here */
    struct rpc_client_options options = {
        .url = url, .program = "healthcheck", .on_change = on_change, .arg = &visit};
    visit.client = rpc_client_open(visit.loop, &options);
    if (visit.client != NULL) {
        timer_start(&visit.patience, loop_timers(visit.loop),
                    loop_now_us(visit.loop) + HEALTHCHECK_WAIT_US, on_patience_over, &visit);
        loop_run(visit.loop);
    }
    int code = healthcheck_verdict(&visit.found);
    fflush(stdout);
    _Exit(code);
}
