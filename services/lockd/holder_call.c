/* A lease's end is moved only here, and only by a round that was won before the old end: the next
 * holder is granted from that instant on, and no vote that comes later can take it back. */
#include "lockd/resource.h"

#include <utlist.h>

#define PAUSE_MS      5 /* first pause between two rounds of an extend; doubles */
#define DOUBLINGS_MAX 4
#define US_PER_MS     UINT64_C(1000)

static void ask(struct leases_call *call);

static void join(struct leases_call *call, struct resource *resource, enum call_state state)
{
    CHECK(resource->state == RESOURCE_HELD);
    call->state = state;
    call->resource = resource;
    DL_APPEND(resource->holder_calls, call);
}

void holder_call_stop(struct leases_call *call)
{
    CHECK(call->state == CALL_EXTENDS || call->state == CALL_REPEATS);
    DL_DELETE(call->resource->holder_calls, call);
    if (call->round != NULL) redlock_abandon(call->round);
    call->round = NULL;
    timer_stop(&call->timer);
    timer_stop(&call->retry);
}

static void answer_granted(struct leases_call *call)
{
    struct leases_answer answer;
    resource_grant_answer(call->resource, &answer);
    holder_call_stop(call);
    call_answer(call, &answer);
}

static void answer_refused(struct leases_call *call, enum reason reason, const char *message)
{
    struct leases_answer answer = answer_refusal(call->leases, reason, message);
    holder_call_stop(call);
    call_answer(call, &answer);
}

/* The end may have come while its timer is still to fire; then all of the holder's calls are told,
 * this one too. */
static bool is_over(struct leases_call *call)
{
    struct resource *resource = call->resource;
    if (resource_live(resource)) return false;
    resource_lapse(resource);
    resource_step(resource);
    return true;
}

static void repeat_on_turn(void *arg)
{
    struct leases_call *call = arg;
    if (!is_over(call)) answer_granted(call);
}

void holder_call_repeat(struct leases_call *call, struct resource *resource)
{
    join(call, resource, CALL_REPEATS);
    struct timers *timers = call->leases->options.timers;
    timer_start(&call->timer, timers, timers_now_us(timers), repeat_on_turn, call);
}

static void extend_on_deadline(void *arg)
{
    struct leases_call *call = arg;
    if (is_over(call)) return;
    answer_refused(call, REASON_NO_QUORUM,
                   "too few nodes answered; the lease stands until its old end");
}

static void extend_on_retry(void *arg)
{
    struct leases_call *call = arg;
    if (!is_over(call)) ask(call);
}

static void pause(struct leases_call *call)
{
    struct timers *timers = call->leases->options.timers;
    unsigned doublings = call->tries < DOUBLINGS_MAX ? call->tries : DOUBLINGS_MAX;
    call->tries++;
    uint64_t due_us = timers_now_us(timers) + ((PAUSE_MS * US_PER_MS) << doublings);
    timer_start(&call->retry, timers, due_us, extend_on_retry, call);
}

static void on_round(void *arg, const struct redlock_result *result)
{
    struct leases_call *call = arg;
    struct leases *leases = call->leases;
    call->round = NULL;
    uint64_t *counter =
        result->outcome == REDLOCK_WON ? leases->series.extends_won : leases->series.extends_failed;
    ++*counter;
    if (is_over(call)) return;
    switch (result->outcome) {
    case REDLOCK_WON:
        call->resource->others_wait = result->others_wait;
        resource_set_end(call->resource, result->ends_us, result->keys_end_us);
        answer_granted(call);
        return;
    case REDLOCK_LOST:
        answer_refused(call, REASON_LOST, "the nodes have given it to another, or forgotten it");
        return;
    case REDLOCK_LATE:
    case REDLOCK_SHORT: /* a node that was healed counts the next time */
        pause(call);
        return;
    case REDLOCK_CONTENDED:
        break;
    }
    CHECK(!"an extend is never contended");
}

static void ask(struct leases_call *call)
{
    struct leases *leases = call->leases;
    const struct transport *transport = leases->options.transport;
    const struct resource *resource = call->resource;
    if (transport_voting(transport) < transport_quorum(transport)) {
        pause(call);
        return;
    }
    /* Never below what the keys have left: a round that failed after shortening them would leave
     * the old end standing over keys that go before it. */
    uint64_t now_us = timers_now_us(leases->options.timers);
    uint64_t left_ms = 0;
    if (resource->keys_end_us > now_us) {
        left_ms = (resource->keys_end_us - now_us + US_PER_MS - 1) / US_PER_MS;
    }
    struct redlock_question question = {
        .kind = ORDER_EXTEND,
        .resource = resource_name(resource),
        .value = {resource->lease.text, resource->lease.bytes},
        .token = resource->lease.token,
        .ttl_ms = left_ms > call->ttl_ms ? (uint32_t)left_ms : call->ttl_ms,
    };
    call->round = redlock_ask(&leases->redlock, &question, on_round, call);
}

void holder_call_extend(struct leases_call *call, struct resource *resource,
                        const struct leases_extend *extend)
{
    join(call, resource, CALL_EXTENDS);
    call->ttl_ms = extend->ttl_ms;
    struct timers *timers = call->leases->options.timers;
    uint64_t due_us = timers_now_us(timers) + call->leases->options.wait_default_ms * US_PER_MS;
    if (extend->deadline_us < due_us) due_us = extend->deadline_us;
    timer_start(&call->timer, timers, due_us, extend_on_deadline, call);
    ask(call);
}
