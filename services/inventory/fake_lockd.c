#include "inventory/fake_lockd.h"

#include "base/check.h"
#include "base/rpc_server.h"
#include "proto/lock.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SILENCED_MAX 64

struct fake_lockd {
    Quorate__Lock__V1__Lock_Service service; /* first */
    struct loop *loop;
    struct rpc_server *rpc;
    enum fake_manner manner;
    enum reason reason;
    unsigned voting;
    struct fake_seen seen;
    struct rpc_request *silenced[SILENCED_MAX]; /* must be ended before the server */
    unsigned silenced_count;
    struct timer over;
};

static void silence(struct fake_lockd *lockd, struct rpc_request *request)
{
    CHECK(lockd->silenced_count < SILENCED_MAX);
    lockd->silenced[lockd->silenced_count++] = request;
}

static void refuse(const struct fake_lockd *lockd, struct rpc_request *request)
{
    Quorate__Lock__V1__Refusal refusal = QUORATE__LOCK__V1__REFUSAL__INIT;
    Quorate__Lock__V1__MissingNode missing = QUORATE__LOCK__V1__MISSING_NODE__INIT;
    Quorate__Lock__V1__MissingNode *list[] = {&missing};
    refusal.voting = lockd->voting;
    refusal.quorum = 3;
    refusal.holder = "somebody";
    refusal.remaining_ms = 1234;
    missing.name = "redis2:6379";
    missing.why = "connection refused";
    refusal.missing = list;
    refusal.n_missing = 1;
    rpc_request_fail(request, lockd->reason, "told to refuse", &refusal.base);
}

static void on_acquire(Quorate__Lock__V1__Lock_Service *service,
                       const Quorate__Lock__V1__AcquireRequest *input,
                       Quorate__Lock__V1__AcquireReply_Closure closure, void *closure_data)
{
    struct fake_lockd *lockd = (struct fake_lockd *)service;
    lockd->seen.acquires++;
    lockd->seen.last_min_token = input->min_token;
    snprintf(lockd->seen.last_acquired, sizeof lockd->seen.last_acquired, "%s", input->request_id);
    if (lockd->manner == FAKE_REFUSES) {
        refuse(lockd, closure_data);
        return;
    }
    if (lockd->manner == FAKE_SILENT) {
        silence(lockd, closure_data);
        return;
    }
    uint64_t above = input->min_token;
    if (above < lockd->seen.last_token) above = lockd->seen.last_token;
    Quorate__Lock__V1__AcquireReply reply = QUORATE__LOCK__V1__ACQUIRE_REPLY__INIT;
    lockd->seen.last_token = above + 1;
    reply.token = above + 1;
    reply.voting = lockd->voting;
    if (lockd->manner == FAKE_GRANTS) {
        reply.validity_us = (uint64_t)input->ttl_ms * 1000;
        reply.ends_us = loop_now_us(lockd->loop) + reply.validity_us;
    }
    closure(&reply, closure_data);
}

static void on_release(Quorate__Lock__V1__Lock_Service *service,
                       const Quorate__Lock__V1__ReleaseRequest *input,
                       Quorate__Lock__V1__ReleaseReply_Closure closure, void *closure_data)
{
    struct fake_lockd *lockd = (struct fake_lockd *)service;
    lockd->seen.releases++;
    lockd->seen.last_released_token = input->token;
    snprintf(lockd->seen.last_released, sizeof lockd->seen.last_released, "%s", input->request_id);
    Quorate__Lock__V1__ReleaseReply reply = QUORATE__LOCK__V1__RELEASE_REPLY__INIT;
    reply.voting = lockd->voting;
    closure(&reply, closure_data);
}

static void on_extend(Quorate__Lock__V1__Lock_Service *service,
                      const Quorate__Lock__V1__ExtendRequest *input,
                      Quorate__Lock__V1__ExtendReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)input;
    (void)closure;
    rpc_request_fail(closure_data, REASON_LOST, "never granted", NULL);
}

static void on_nodes(Quorate__Lock__V1__Lock_Service *service,
                     const Quorate__Lock__V1__NodesRequest *input,
                     Quorate__Lock__V1__NodesReply_Closure closure, void *closure_data)
{
    (void)input;
    struct fake_lockd *lockd = (struct fake_lockd *)service;
    lockd->seen.asks++;
    Quorate__Lock__V1__Node states[5];
    Quorate__Lock__V1__Node *list[5];
    Quorate__Lock__V1__NodesReply reply = QUORATE__LOCK__V1__NODES_REPLY__INIT;
    char names[5][16];
    for (unsigned i = 0; i < 5; i++) {
        quorate__lock__v1__node__init(&states[i]);
        snprintf(names[i], sizeof names[i], "redis%u:6379", i);
        states[i].name = names[i];
        states[i].state = i < lockd->voting ? QUORATE__LOCK__V1__NODE__STATE__VOTING
                                            : QUORATE__LOCK__V1__NODE__STATE__DOWN;
        states[i].why = "connection refused";
        list[i] = &states[i];
    }
    reply.nodes = list;
    reply.n_nodes = 5;
    reply.quorum = 3;
    reply.voting = lockd->voting;
    closure(&reply, closure_data);
}

struct fake_lockd *fake_lockd_open(struct loop *loop, const char *url)
{
    struct fake_lockd *lockd = xcalloc(1, sizeof *lockd);
    lockd->service = (Quorate__Lock__V1__Lock_Service)QUORATE__LOCK__V1__LOCK__INIT(on_);
    lockd->loop = loop;
    lockd->voting = 5;
    lockd->seen.last_token = 1000;
    struct rpc_server_options options = {.url = url, .program = "lockd", .version = "0"};
    lockd->rpc = rpc_server_open(loop, &options);
    CHECK(lockd->rpc != NULL);
    rpc_server_add(lockd->rpc, &lockd->service.base);
    rpc_server_runs_late(lockd->rpc, "/quorate.lock.v1.Lock/Release");
    return lockd;
}

/* The RPC server uses its services to the end of the turn. */
static void on_turn_over(void *arg)
{
    free(arg);
}

void fake_lockd_close(struct fake_lockd *lockd)
{
    if (lockd == NULL) return;
    for (unsigned i = 0; i < lockd->silenced_count; i++)
        rpc_request_fail(lockd->silenced[i], REASON_DOWN, "closed", NULL);
    rpc_server_close(lockd->rpc);
    timer_start(&lockd->over, loop_timers(lockd->loop), loop_now_us(lockd->loop), on_turn_over,
                lockd);
}

void fake_lockd_be(struct fake_lockd *lockd, enum fake_manner manner, enum reason reason)
{
    lockd->manner = manner;
    lockd->reason = reason;
}

void fake_lockd_voting(struct fake_lockd *lockd, unsigned voting)
{
    lockd->voting = voting;
}

const struct fake_seen *fake_lockd_seen(const struct fake_lockd *lockd)
{
    return &lockd->seen;
}
