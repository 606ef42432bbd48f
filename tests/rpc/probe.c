#include "probe.h"

#include "base/check.h"

#include <stdlib.h>
#include <utlist.h>

/* A request that is answered later, or a stream. */
struct probe_held {
    struct probe *probe;
    struct rpc_request *request;
    Quorate__Probe__V1__CountReply_Closure closure;
    struct timer timer;
    uint32_t left; /* messages of the stream */
    uint64_t number;
    enum reason fail;
    bool pushy;
    struct probe_held *prev, *next;
};

static Quorate__Probe__V1__CountReply counts(const struct probe *probe)
{
    Quorate__Probe__V1__CountReply reply = QUORATE__PROBE__V1__COUNT_REPLY__INIT;
    reply.bumps = probe->bumps;
    reply.gone = probe->gone;
    reply.open = probe->open;
    return reply;
}

static struct rpc_request *held_forget(struct probe_held *held)
{
    struct rpc_request *request = held->request;
    timer_stop(&held->timer);
    DL_DELETE(held->probe->held, held);
    held->probe->open--;
    free(held);
    return request;
}

static void on_gone(void *arg)
{
    struct probe_held *held = arg;
    held->probe->gone++;
    rpc_request_fail(held_forget(held), REASON_CANCELLED, "nobody waits", NULL);
}

static struct probe_held *hold(struct probe *probe, struct rpc_request *request)
{
    struct probe_held *held = xcalloc(1, sizeof *held);
    held->probe = probe;
    held->request = request;
    DL_APPEND(probe->held, held);
    probe->open++;
    rpc_request_on_gone(request, on_gone, held);
    return held;
}

static void echo(Quorate__Probe__V1__Probe_Service *service,
                 const Quorate__Probe__V1__EchoRequest *input,
                 Quorate__Probe__V1__EchoReply_Closure closure, void *closure_data)
{
    struct probe *probe = (struct probe *)service;
    struct rpc_request *request = closure_data;
    Quorate__Probe__V1__EchoReply reply = QUORATE__PROBE__V1__ECHO_REPLY__INIT;
    char *text = NULL;
    if (input->bytes > 0) {
        text = xcalloc(1, (size_t)input->bytes + 1);
        memset(text, 'x', input->bytes);
    }
    reply.text = text == NULL ? input->text : text;
    reply.request_id = (char *)rpc_request_id(request).at;
    reply.traceparent = (char *)rpc_request_traceparent(request).at;
    reply.left_us = rpc_request_deadline_us(request) - loop_now_us(probe->loop);
    closure(&reply, closure_data);
    free(text);
}

static void on_held(void *arg)
{
    struct probe_held *held = arg;
    struct probe *probe = held->probe;
    Quorate__Probe__V1__CountReply_Closure closure = held->closure;
    struct rpc_request *request = held_forget(held);
    Quorate__Probe__V1__CountReply reply = counts(probe);
    closure(&reply, request);
}

static void bump(Quorate__Probe__V1__Probe_Service *service,
                 const Quorate__Probe__V1__BumpRequest *input,
                 Quorate__Probe__V1__CountReply_Closure closure, void *closure_data)
{
    struct probe *probe = (struct probe *)service;
    probe->bumps++;
    if (input->hold_ms > 0) {
        struct probe_held *held = hold(probe, closure_data);
        held->closure = closure;
        if (input->stubborn) rpc_request_on_gone(closure_data, NULL, NULL);
        timer_start(&held->timer, loop_timers(probe->loop),
                    loop_now_us(probe->loop) + 1000 * (uint64_t)input->hold_ms, on_held, held);
        return;
    }
    Quorate__Probe__V1__CountReply reply = counts(probe);
    closure(&reply, closure_data);
}

static void count(Quorate__Probe__V1__Probe_Service *service,
                  const Quorate__Probe__V1__CountRequest *input,
                  Quorate__Probe__V1__CountReply_Closure closure, void *closure_data)
{
    (void)input;
    Quorate__Probe__V1__CountReply reply = counts((struct probe *)service);
    closure(&reply, closure_data);
}

static void fail(Quorate__Probe__V1__Probe_Service *service,
                 const Quorate__Probe__V1__FailRequest *input,
                 Quorate__Probe__V1__CountReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)closure;
    Quorate__Probe__V1__CountReply detail = QUORATE__PROBE__V1__COUNT_REPLY__INIT;
    detail.bumps = input->detail_bumps;
    rpc_request_fail(closure_data, reason_from_number(input->reason), input->message,
                     input->detail_bumps == 0 ? NULL : &detail.base);
}

static void pour(void *arg)
{
    struct probe_held *held = arg;
    while (held->left > 0) {
        Quorate__Probe__V1__CountReply reply = QUORATE__PROBE__V1__COUNT_REPLY__INIT;
        reply.number = held->number + 1;
        if (!rpc_request_send(held->request, &reply.base)) {
            if (held->pushy)
                rpc_request_fail(held_forget(held), REASON_OVERLOADED, "read faster", NULL);
            return;
        }
        held->number++;
        held->left--;
    }
    enum reason reason = held->fail;
    struct rpc_request *request = held_forget(held);
    if (reason == REASON_NONE) {
        rpc_request_end(request);
    } else {
        rpc_request_fail(request, reason, "as told", NULL);
    }
}

static void stream(Quorate__Probe__V1__Probe_Service *service,
                   const Quorate__Probe__V1__StreamRequest *input,
                   Quorate__Probe__V1__CountReply_Closure closure, void *closure_data)
{
    (void)closure;
    struct probe_held *held = hold((struct probe *)service, closure_data);
    held->left = input->count;
    held->fail = reason_from_number(input->fail);
    held->pushy = input->pushy;
    rpc_request_on_ready(held->request, pour, held);
    pour(held);
}

void probe_init(struct probe *probe, struct loop *loop)
{
    *probe = (struct probe){.loop = loop};
    quorate__probe__v1__probe__init(&probe->base, NULL);
    probe->base.echo = echo;
    probe->base.bump = bump;
    probe->base.bump_late = bump;
    probe->base.count = count;
    probe->base.fail = fail;
    probe->base.stream = stream;
}

void probe_serve(struct probe *probe, struct rpc_server *server)
{
    rpc_server_add(server, &probe->base.base);
    rpc_server_runs_late(server, "/quorate.probe.v1.Probe/BumpLate");
}

void probe_fini(struct probe *probe)
{
    struct probe_held *held;
    struct probe_held *next;
    DL_FOREACH_SAFE(probe->held, held, next)
    rpc_request_fail(held_forget(held), REASON_DOWN, "the server ends", NULL);
}
