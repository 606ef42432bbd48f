#include "edge/peer.h"

#include "base/check.h"
#include "base/log.h"
#include "proto/health.pb-c.h"
#include "proto/rpc.pb-c.h"

#include <stdlib.h>

struct peer {
    struct loop *loop;
    const char *url;
    struct rpc_client *rpc;
    enum peer_state state;
    struct rpc_call question;
    struct timer next_question;
    void (*on_change)(void *arg, bool up);
    void *on_change_arg;
};

static void become(struct peer *peer, enum peer_state state)
{
    if (peer->state == state) return;
    LOG_INFO("peer.state", "peer=%s from=%s to=%s", peer->url, peer_state_name(peer->state),
             peer_state_name(state));
    peer->state = state;
}

static void on_checked(const Grpc__Health__V1__HealthCheckResponse *reply, void *arg)
{
    struct peer *peer = arg;
    if (reply != NULL) {
        bool serving =
            reply->status == GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
        become(peer, serving ? PEER_SERVING : PEER_NOT_SERVING);
    } else {
        become(peer, rpc_client_up(peer->rpc) ? PEER_SILENT : PEER_DOWN);
    }
}

static void ask(void *arg)
{
    struct peer *peer = arg;
    uint64_t now_us = loop_now_us(peer->loop);
    timer_start(&peer->next_question, loop_timers(peer->loop), now_us + PEER_ASKS_EVERY_US, ask,
                peer);
    if (rpc_call_open(&peer->question)) return; /* the last one is still on its way */
    rpc_call_init(&peer->question, peer->rpc, &grpc__health__v1__health__descriptor,
                  now_us + PEER_PATIENCE_US);
    peer->question.reads_only = true;
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    grpc__health__v1__health__check(&peer->question.service, &request, on_checked, peer);
}

static void on_rpc_change(void *arg, bool up)
{
    struct peer *peer = arg;
    if (!up) become(peer, PEER_DOWN);
    if (up) /* ask at once, from the loop */
        timer_start(&peer->next_question, loop_timers(peer->loop), 0, ask, peer);
    if (peer->on_change != NULL) peer->on_change(peer->on_change_arg, up);
}

struct peer *peer_open(struct loop *loop, const char *url, struct metrics *metrics)
{
    struct peer *peer = xcalloc(1, sizeof *peer);
    peer->loop = loop;
    peer->url = url;
    peer->rpc = rpc_client_open(loop, &(struct rpc_client_options){.url = url,
                                                                   .program = "edge",
                                                                   .calls_max = 1024,
                                                                   .metrics = metrics,
                                                                   .on_change = on_rpc_change,
                                                                   .arg = peer});
    if (peer->rpc == NULL) {
        free(peer);
        return NULL;
    }
    timer_start(&peer->next_question, loop_timers(loop), 0, ask, peer);
    return peer;
}

void peer_close(struct peer *peer)
{
    if (peer == NULL) return;
    peer->on_change = NULL;
    timer_stop(&peer->next_question);
    rpc_call_cancel(&peer->question);
    rpc_client_close(peer->rpc);
    free(peer);
}

const char *peer_url(const struct peer *peer)
{
    return peer->url;
}

struct rpc_client *peer_rpc(const struct peer *peer)
{
    return peer->rpc;
}

enum peer_state peer_state(const struct peer *peer)
{
    return peer->state;
}

const char *peer_state_name(enum peer_state state)
{
    switch (state) {
    case PEER_DOWN:
        return "down";
    case PEER_SILENT:
        return "silent";
    case PEER_NOT_SERVING:
        return "not serving";
    case PEER_SERVING:
        return "serving";
    }
    CHECK(!"a known state");
    return NULL;
}

void peer_on_change(struct peer *peer, void (*on_change)(void *arg, bool up), void *arg)
{
    peer->on_change = on_change;
    peer->on_change_arg = arg;
}

static void on_metrics(const Quorate__Rpc__V1__MetricsReply *reply, void *arg)
{
    struct peer_metrics_call *call = arg;
    call->on_answer(call->arg, span_of(reply == NULL ? NULL : reply->text));
}

void peer_fetch_metrics(struct peer *peer, struct peer_metrics_call *call, uint64_t deadline_us,
                        peer_metrics_fn *on_answer, void *arg)
{
    CHECK(on_answer != NULL);
    call->on_answer = on_answer;
    call->arg = arg;
    rpc_call_init(&call->rpc, peer->rpc, &quorate__rpc__v1__peer__descriptor, deadline_us);
    call->rpc.reads_only = true;
    Quorate__Rpc__V1__MetricsRequest request = QUORATE__RPC__V1__METRICS_REQUEST__INIT;
    quorate__rpc__v1__peer__metrics(&call->rpc.service, &request, on_metrics, call);
}

void peer_metrics_cancel(struct peer_metrics_call *call)
{
    rpc_call_cancel(&call->rpc);
}
