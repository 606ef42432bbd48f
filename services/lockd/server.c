#include "lockd/server.h"

#include "base/check.h"
#include "base/log.h"
#include "proto/lock.pb-c.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE "quorate.lock.v1.Lock"

/* An answer on the very deadline comes too late for its caller. */
enum { ANSWER_EARLY_US = 2000 };

struct lock_server {
    Quorate__Lock__V1__Lock_Service base; /* first: what the handlers get */
    struct lock_server_options options;
    struct pending *open;
    bool draining;
    bool serving;
};

enum pending_kind { PENDING_ACQUIRE, PENDING_EXTEND };

/* An Acquire or Extend that waits for its answer. */
struct pending {
    struct lock_server *server;
    struct rpc_request *request;
    struct leases_call *call;
    enum pending_kind kind;
    union {
        Quorate__Lock__V1__AcquireReply_Closure acquire;
        Quorate__Lock__V1__ExtendReply_Closure extend;
    } closure;
    struct pending *next;
    struct pending **back;
};

static const char *state_word(enum members_state state)
{
    switch (state) {
    case MEMBERS_DOWN:
        return "down";
    case MEMBERS_JOINING:
        return "joining";
    case MEMBERS_QUARANTINE:
        return "quarantine";
    case MEMBERS_REFUSED:
        return "refused";
    case MEMBERS_VOTING:
        return "voting";
    }
    CHECK(!"a state");
}

static unsigned voting_now(const struct lock_server *server)
{
    return transport_voting(members_transport(server->options.members));
}

static struct pending *pending_new(struct lock_server *server, struct rpc_request *request,
                                   enum pending_kind kind)
{
    struct pending *pending = xcalloc(1, sizeof *pending);
    pending->server = server;
    pending->request = request;
    pending->kind = kind;
    pending->next = server->open;
    pending->back = &server->open;
    if (server->open != NULL) server->open->back = &pending->next;
    server->open = pending;
    return pending;
}

static void pending_free(struct pending *pending)
{
    *pending->back = pending->next;
    if (pending->next != NULL) pending->next->back = pending->back;
    free(pending);
}

/* Who does not vote, and why: the detail of a refusal. */
struct missing {
    Quorate__Lock__V1__MissingNode nodes[TRANSPORT_NODES_MAX];
    Quorate__Lock__V1__MissingNode *pointers[TRANSPORT_NODES_MAX];
    char whys[TRANSPORT_NODES_MAX][200];
    size_t count;
};

static void find_missing(const struct lock_server *server, struct missing *missing)
{
    const struct transport *transport = members_transport(server->options.members);
    missing->count = 0;
    for (unsigned i = 0; i < transport->nodes; i++) {
        struct members_node node = members_node(server->options.members, i);
        if (node.state == MEMBERS_VOTING) continue;
        size_t at = missing->count++;
        snprintf(missing->whys[at], sizeof missing->whys[at], "%s: %s", state_word(node.state),
                 node.why);
        quorate__lock__v1__missing_node__init(&missing->nodes[at]);
        missing->nodes[at].name = (char *)node.name;
        missing->nodes[at].why = missing->whys[at];
        missing->pointers[at] = &missing->nodes[at];
    }
}

/* Every failure of Acquire and Extend carries a Refusal. */
static void refuse(const struct lock_server *server, struct rpc_request *request,
                   const struct leases_answer *answer)
{
    struct missing missing;
    Quorate__Lock__V1__Refusal refusal;
    quorate__lock__v1__refusal__init(&refusal);
    refusal.voting = answer->voting;
    refusal.quorum = transport_quorum(members_transport(server->options.members));
    refusal.holder = (char *)answer->holder;
    refusal.remaining_ms = answer->remaining_ms;
    if (answer->reason == REASON_NO_QUORUM) {
        find_missing(server, &missing);
        refusal.n_missing = missing.count;
        refusal.missing = missing.pointers;
    }
    rpc_request_fail(request, answer->reason, answer->message, &refusal.base);
}

static void refuse_at_once(struct lock_server *server, struct rpc_request *request,
                           enum reason reason, const char *message)
{
    struct leases_answer answer = {
        .reason = reason, .message = message, .voting = voting_now(server)};
    refuse(server, request, &answer);
}

static void on_answer(void *arg, const struct leases_answer *answer)
{
    struct pending copy = *(struct pending *)arg;
    pending_free(arg);
    rpc_request_on_gone(copy.request, NULL, NULL);
    if (answer->reason != REASON_NONE) {
        refuse(copy.server, copy.request, answer);
        return;
    }
    uint64_t now_us = timers_now_us(copy.server->options.timers);
    uint64_t validity_us = answer->ends_us > now_us ? answer->ends_us - now_us : 0;
    uint64_t elapsed_us = now_us - rpc_request_arrived_us(copy.request);
    if (copy.kind == PENDING_ACQUIRE) {
        Quorate__Lock__V1__AcquireReply reply;
        quorate__lock__v1__acquire_reply__init(&reply);
        reply.token = answer->token;
        reply.ends_us = answer->ends_us;
        reply.validity_us = validity_us;
        reply.elapsed_us = elapsed_us;
        reply.voting = answer->voting;
        reply.waiters = answer->waiters;
        copy.closure.acquire(&reply, copy.request);
    } else {
        Quorate__Lock__V1__ExtendReply reply;
        quorate__lock__v1__extend_reply__init(&reply);
        reply.ends_us = answer->ends_us;
        reply.validity_us = validity_us;
        reply.elapsed_us = elapsed_us;
        reply.voting = answer->voting;
        reply.waiters = answer->waiters;
        copy.closure.extend(&reply, copy.request);
    }
}

/* Nobody waits any more. A withdrawn acquire leaves nothing behind; what a withdrawn extend did is
 * not known, which the RPC server says in our place. */
static void on_gone(void *arg)
{
    struct pending copy = *(struct pending *)arg;
    pending_free(arg);
    leases_withdraw(copy.server->options.leases, copy.call);
    if (copy.kind == PENDING_ACQUIRE) {
        refuse_at_once(copy.server, copy.request, REASON_EXPIRED,
                       "the deadline passed while the call waited for its turn");
    } else {
        refuse_at_once(copy.server, copy.request, REASON_OUTCOME_UNKNOWN,
                       "the deadline passed before the nodes had answered");
    }
}

static uint64_t deadline_us(const struct lock_server *server, const struct rpc_request *request)
{
    uint64_t now_us = timers_now_us(server->options.timers);
    uint64_t deadline = rpc_request_deadline_us(request);
    uint64_t left_us = deadline > now_us ? deadline - now_us : 0;
    return deadline - (left_us / 4 < ANSWER_EARLY_US ? left_us / 4 : ANSWER_EARLY_US);
}

static void acquire(Quorate__Lock__V1__Lock_Service *service,
                    const Quorate__Lock__V1__AcquireRequest *input,
                    Quorate__Lock__V1__AcquireReply_Closure closure, void *closure_data)
{
    struct lock_server *server = (struct lock_server *)service;
    struct rpc_request *request = closure_data;
    if (server->draining) {
        refuse_at_once(server, request, REASON_DOWN, "lockd is stopping");
        return;
    }
    struct leases_acquire ask = {.resource = span_of(input->resource),
                                 .request_id = span_of(input->request_id),
                                 .min_token = input->min_token,
                                 .deadline_us = deadline_us(server, request),
                                 .ttl_ms = input->ttl_ms,
                                 .wait_ms = input->wait_ms,
                                 .no_wait = input->no_wait};
    struct pending *pending = pending_new(server, request, PENDING_ACQUIRE);
    pending->closure.acquire = closure;
    rpc_request_on_gone(request, on_gone, pending);
    pending->call = leases_acquire(server->options.leases, &ask, on_answer, pending);
}

static void extend(Quorate__Lock__V1__Lock_Service *service,
                   const Quorate__Lock__V1__ExtendRequest *input,
                   Quorate__Lock__V1__ExtendReply_Closure closure, void *closure_data)
{
    struct lock_server *server = (struct lock_server *)service;
    struct rpc_request *request = closure_data;
    if (server->draining) {
        refuse_at_once(server, request, REASON_DOWN, "lockd is stopping");
        return;
    }
    struct leases_extend ask = {.resource = span_of(input->resource),
                                .request_id = span_of(input->request_id),
                                .token = input->token,
                                .deadline_us = deadline_us(server, request),
                                .ttl_ms = input->ttl_ms};
    struct pending *pending = pending_new(server, request, PENDING_EXTEND);
    pending->closure.extend = closure;
    rpc_request_on_gone(request, on_gone, pending);
    pending->call = leases_extend(server->options.leases, &ask, on_answer, pending);
}

static void release(Quorate__Lock__V1__Lock_Service *service,
                    const Quorate__Lock__V1__ReleaseRequest *input,
                    Quorate__Lock__V1__ReleaseReply_Closure closure, void *closure_data)
{
    struct lock_server *server = (struct lock_server *)service;
    struct rpc_request *request = closure_data;
    if (server->draining) {
        rpc_request_fail(request, REASON_DOWN, "lockd is stopping", NULL);
        return;
    }
    enum reason reason = leases_release(server->options.leases, span_of(input->resource),
                                        span_of(input->request_id), input->token);
    if (reason != REASON_NONE) {
        rpc_request_fail(request, reason, "the resource or the request id is malformed", NULL);
        return;
    }
    Quorate__Lock__V1__ReleaseReply reply;
    quorate__lock__v1__release_reply__init(&reply);
    reply.voting = voting_now(server);
    closure(&reply, request);
}

static Quorate__Lock__V1__Node__State state_number(enum members_state state)
{
    static_assert((int)MEMBERS_VOTING == (int)QUORATE__LOCK__V1__NODE__STATE__VOTING &&
                      (int)MEMBERS_DOWN == (int)QUORATE__LOCK__V1__NODE__STATE__DOWN &&
                      (int)MEMBERS_REFUSED == (int)QUORATE__LOCK__V1__NODE__STATE__REFUSED,
                  "the states are numbered as in lock.proto");
    return (Quorate__Lock__V1__Node__State)state;
}

static void nodes(Quorate__Lock__V1__Lock_Service *service,
                  const Quorate__Lock__V1__NodesRequest *input,
                  Quorate__Lock__V1__NodesReply_Closure closure, void *closure_data)
{
    (void)input;
    struct lock_server *server = (struct lock_server *)service;
    const struct transport *transport = members_transport(server->options.members);
    Quorate__Lock__V1__Node all[TRANSPORT_NODES_MAX];
    Quorate__Lock__V1__Node *pointers[TRANSPORT_NODES_MAX];
    for (unsigned i = 0; i < transport->nodes; i++) {
        struct members_node node = members_node(server->options.members, i);
        quorate__lock__v1__node__init(&all[i]);
        all[i].name = (char *)node.name;
        all[i].state = state_number(node.state);
        all[i].why = (char *)node.why;
        all[i].quarantine_ms = node.quarantine_ms;
        all[i].grants = node.grants;
        all[i].timeouts = node.timeouts;
        all[i].reconnects = node.reconnects;
        all[i].incidents = node.incidents;
        all[i].grant_p50_us = node.grant_p50_us;
        all[i].grant_p95_us = node.grant_p95_us;
        all[i].grant_p99_us = node.grant_p99_us;
        all[i].grant_max_us = node.grant_max_us;
        pointers[i] = &all[i];
    }
    Quorate__Lock__V1__NodesReply reply;
    quorate__lock__v1__nodes_reply__init(&reply);
    reply.instance = server->options.instance;
    reply.quorum = transport_quorum(transport);
    reply.voting = transport_voting(transport);
    reply.n_nodes = transport->nodes;
    reply.nodes = pointers;
    if (!server->draining) { /* the leases are gone then */
        struct leases_counts counts = leases_counts(server->options.leases);
        reply.rounds_won = counts.rounds_won;
        reply.rounds_short = counts.rounds_short;
        reply.rounds_contended = counts.rounds_contended;
    }
    closure(&reply, closure_data);
}

void lock_server_on_nodes(struct lock_server *server)
{
    const struct transport *transport = members_transport(server->options.members);
    unsigned voting = transport_voting(transport);
    bool serving = !server->draining && voting >= transport_quorum(transport);
    if (serving == server->serving) return;
    server->serving = serving;
    if (serving) {
        LOG_INFO("quorum.reached", "voting=%u of=%u", voting, transport->nodes);
    } else {
        LOG_ERROR("quorum.lost", "voting=%u of=%u", voting, transport->nodes);
    }
    rpc_server_set_serving(server->options.rpc, "", serving);
    rpc_server_set_serving(server->options.rpc, SERVICE, serving);
}

struct lock_server *lock_server_new(const struct lock_server_options *options)
{
    struct lock_server *server = xcalloc(1, sizeof *server);
    server->options = *options;
    quorate__lock__v1__lock__init(&server->base, NULL);
    server->base.acquire = acquire;
    server->base.release = release;
    server->base.extend = extend;
    server->base.nodes = nodes;
    rpc_server_add(options->rpc, &server->base.base);
    rpc_server_runs_late(options->rpc, "/" SERVICE "/Release");
    rpc_server_set_serving(options->rpc, "", false);
    rpc_server_set_serving(options->rpc, SERVICE, false);
    return server;
}

void lock_server_drain(struct lock_server *server)
{
    server->draining = true;
}

void lock_server_free(struct lock_server *server)
{
    CHECK(server->open == NULL);
    free(server);
}
