/* resource_step holds the transitions; everything else records a fact and lets it decide. */
#include "lockd/resource.h"

#include "base/metrics.h"

#include <stdlib.h>
#include <utlist.h>

#define SHORT_PAUSE_MS  5 /* first pause after a round that lacked answers; doubles */
#define SHORT_DOUBLINGS 4
#define TIE_PAUSE_MS    2 /* first window after a tie between partial owners; doubles */
#define TIE_DOUBLINGS   8
#define HELD_JITTER_MS  10 /* lockds that wait for the same end don't come at the same instant */
#define HAND_ONS_MAX    8  /* from waiter to waiter here, while another lockd waits */
#define HINT_MS         5  /* for the hints of a quorum, once one has come */
#define US_PER_MS       UINT64_C(1000)

static uint64_t now_us(const struct resource *resource)
{
    return timers_now_us(resource->leases->options.timers);
}

static uint64_t random_below(const struct resource *resource, uint64_t limit)
{
    const struct leases_options *options = &resource->leases->options;
    return limit == 0 ? 0 : options->random(options->random_arg) % limit;
}

static void resource_on_timer(void *arg);

/* ---- values on the nodes ---- */

static void give_up(struct resource *resource)
{
    if (resource->round != NULL) redlock_abandon(resource->round);
    resource->round = NULL;
    stake_release(resource, &resource->next);
    stake_release(resource, &resource->past);
}

/* ---- life ---- */

// NOLINTNEXTLINE(readability-function-size): counts what uthash expands to
struct resource *resource_new(struct leases *leases, struct span name)
{
    struct resource *resource = xcalloc(1, sizeof *resource + name.bytes);
    resource->leases = leases;
    resource->name_bytes = name.bytes;
    memcpy(resource->name, name.at, name.bytes);
    HASH_ADD_KEYPTR(hh, leases->resources, resource->name, name.bytes, resource);
    ++*leases->series.resources;
    return resource;
}

static void resource_free(struct resource *resource)
{
    CHECK(resource->queue == NULL && resource->holder_calls == NULL && resource->round == NULL);
    timer_stop(&resource->timer);
    HASH_DEL(resource->leases->resources, resource);
    --*resource->leases->series.resources;
    free(resource);
}

static void waiter_free(struct waiter *waiter)
{
    HASH_DEL(waiter->resource->queue, waiter);
    free(waiter);
}

void resource_close(struct resource *resource)
{
    give_up(resource);
    while (resource->queue != NULL)
        waiter_free(resource->queue);
    resource_free(resource);
}

/* ---- the lease ---- */

bool resource_live(const struct resource *resource)
{
    return resource->state == RESOURCE_HELD && now_us(resource) < resource->ends_us;
}

/* From here on its value is only something to be taken over: every holder knows its own end, and
 * that has come or was declared. */
static void end_lease(struct resource *resource)
{
    CHECK(resource->state == RESOURCE_HELD);
    resource->state = RESOURCE_IDLE;
    timer_stop(&resource->timer);
    resource->past = resource->lease;
    resource->lease.bytes = 0;
    resource_learn(resource, resource->past.token + 1);
    struct leases_answer lost = answer_refusal(resource->leases, REASON_LOST, "the lease is over");
    while (resource->holder_calls != NULL) {
        struct leases_call *call = resource->holder_calls;
        holder_call_stop(call);
        call_tell(call, &lost);
    }
}

void resource_lapse(struct resource *resource)
{
    if (resource->state != RESOURCE_HELD || resource_live(resource)) return;
    ++*resource->leases->series.expired;
    end_lease(resource);
}

void resource_let_go(struct resource *resource)
{
    ++*resource->leases->series.released;
    end_lease(resource);
}

void resource_set_end(struct resource *resource, uint64_t ends_us, uint64_t keys_end_us)
{
    CHECK(resource->state == RESOURCE_HELD);
    if (ends_us > resource->ends_us) resource->ends_us = ends_us;
    if (keys_end_us > resource->keys_end_us) resource->keys_end_us = keys_end_us;
    timer_start(&resource->timer, resource->leases->options.timers, resource->ends_us,
                resource_on_timer, resource);
}

void resource_grant_answer(const struct resource *resource, struct leases_answer *answer)
{
    *answer = (struct leases_answer){
        .reason = REASON_NONE,
        .token = resource->lease.token,
        .ends_us = resource->ends_us,
        .waiters = resource->queue != NULL || resource->others_wait,
        .voting = transport_voting(resource->leases->options.transport),
    };
}

static void grant(struct resource *resource, const struct redlock_result *result)
{
    struct waiter *waiter = resource->queue;
    struct leases *leases = resource->leases;
    if (resource->past.bytes > 0) ++*leases->series.handed_on;
    resource->others_wait = result->others_wait;
    resource->hand_ons =
        result->others_wait && resource->past.bytes > 0 ? resource->hand_ons + 1 : 0;
    histogram_add(leases->series.wait, now_us(resource) - waiter->since_us);
    resource->lease = resource->next;
    resource->next.bytes = 0;
    resource->past.bytes = 0; /* taken over, or released by the round where it was not */
    resource->tries = 0;
    resource->failure = REASON_NONE;
    memcpy(resource->holder, waiter->request_id, sizeof resource->holder);
    resource->state = RESOURCE_HELD;
    resource->ends_us = 0;
    resource->keys_end_us = 0;
    resource_set_end(resource, result->ends_us, result->keys_end_us);

    struct leases_call *calls = waiter->calls;
    waiter_free(waiter);
    struct leases_call *first = calls;
    while (calls != NULL) {
        struct leases_call *call = calls;
        DL_DELETE(calls, call);
        resource->waiting--;
        --*leases->series.waiters;
        call->waiter = NULL;
        if (call != first) holder_call_repeat(call, resource); /* asked twice: told next turn */
    }
    struct leases_answer answer;
    resource_grant_answer(resource, &answer);
    call_answer(first, &answer);
}

/* ---- the queue ---- */

struct waiter *resource_find_waiter(struct resource *resource, struct span request_id)
{
    struct waiter *waiter = NULL;
    HASH_FIND(hh, resource->queue, request_id.at, request_id.bytes, waiter);
    return waiter;
}

// NOLINTNEXTLINE(readability-function-size): counts what uthash expands to
void resource_queue(struct resource *resource, struct leases_call *call,
                    const struct leases_acquire *acquire)
{
    struct waiter *waiter = resource_find_waiter(resource, acquire->request_id);
    if (waiter == NULL) {
        waiter = xcalloc(1, sizeof *waiter);
        waiter->resource = resource;
        waiter->since_us = now_us(resource);
        waiter->ttl_ms = acquire->ttl_ms;
        memcpy(waiter->request_id, acquire->request_id.at, acquire->request_id.bytes);
        HASH_ADD(hh, resource->queue, request_id, acquire->request_id.bytes, waiter);
    }
    if (acquire->min_token > waiter->min_token) waiter->min_token = acquire->min_token;
    call->state = CALL_WAITS;
    call->waiter = waiter;
    call->resource = resource;
    call->no_wait = acquire->no_wait;
    DL_APPEND(waiter->calls, call);
    resource->waiting++;
    ++*resource->leases->series.waiters;
}

/* The first waiter is gone: what was asked for it must not settle. A pause stays, as it is about
 * the nodes and not about who waits. */
static void drop_waiter(struct waiter *waiter)
{
    struct resource *resource = waiter->resource;
    if (waiter == resource->queue) {
        resource->tries = 0;
        if (resource->state != RESOURCE_HELD) {
            give_up(resource);
            if (resource->state == RESOURCE_ASKING) resource->state = RESOURCE_IDLE;
        }
    }
    waiter_free(waiter);
}

void resource_unqueue(struct leases_call *call)
{
    struct waiter *waiter = call->waiter;
    DL_DELETE(waiter->calls, call);
    waiter->resource->waiting--;
    --*waiter->resource->leases->series.waiters;
    call->waiter = NULL;
    if (waiter->calls == NULL) drop_waiter(waiter);
}

void resource_refuse(const struct resource *resource, struct leases_answer *answer)
{
    const struct leases *leases = resource->leases;
    bool quorate =
        transport_voting(leases->options.transport) >= transport_quorum(leases->options.transport);
    bool held = resource->state == RESOURCE_HELD;
    if (!quorate || (!held && resource->failure == REASON_NO_QUORUM)) {
        *answer = answer_refusal(leases, REASON_NO_QUORUM,
                                 "too few nodes vote or answer in time; nothing was granted");
        return;
    }
    *answer = answer_refusal(leases, REASON_BUSY, "others held it for the whole wait");
    uint64_t until_us = 0;
    if (held) {
        memcpy(answer->holder, resource->holder, sizeof answer->holder);
        until_us = resource->ends_us;
    } else if (resource->failure == REASON_BUSY) {
        memcpy(answer->holder, resource->busy_holder, sizeof answer->holder);
        until_us = resource->busy_until_us;
    }
    uint64_t now = now_us(resource);
    if (until_us > now) {
        answer->remaining_ms = (uint32_t)((until_us - now + US_PER_MS - 1) / US_PER_MS);
    }
}

/* ---- rounds ---- */

/* Those who wanted one try have had it. */
static void refuse_impatient(struct resource *resource)
{
    struct leases_answer answer;
    resource_refuse(resource, &answer);
    struct leases_call *next;
    for (struct leases_call *call = resource->queue->calls; call != NULL; call = next) {
        next = call->next;
        if (!call->no_wait) continue;
        bool last = next == NULL && call->waiter->calls == call; /* the waiter goes with it */
        resource_unqueue(call);
        call_tell(call, &answer);
        if (last) return;
    }
}

static void start_pause(struct resource *resource, uint64_t pause_us)
{
    resource->state = RESOURCE_PAUSED;
    timer_start(&resource->timer, resource->leases->options.timers, now_us(resource) + pause_us,
                resource_on_timer, resource);
}

static void pause_for(struct resource *resource, uint64_t pause_us)
{
    resource->tries++;
    start_pause(resource, pause_us);
    refuse_impatient(resource);
    resource_step(resource);
}

/* ---- other lockds ---- */

/* Another lockd's waiters came later than ours, but ours would go on for ever among themselves: the
 * lock is really let go, and ours come again when the other has had the time to hear of it, to ask
 * and to be granted. (Nobody is refused for it: this was no try.) */
static void yield(struct resource *resource)
{
    ++*resource->leases->series.yielded;
    stake_release(resource, &resource->past);
    resource->hand_ons = 0;
    resource->failure = REASON_NONE;
    uint64_t away_us = 2 * resource->round_us + TIE_PAUSE_MS * US_PER_MS;
    start_pause(resource, away_us + random_below(resource, away_us));
}

/* How long to wait at most for the owner, by what the nodes have told. All lockds hear it at once:
 * not all shall ask at the same instant. */
static uint64_t hinted_pause_us(const struct resource *resource, uint64_t pause_us)
{
    if (resource->hinted == 0) return pause_us;
    uint64_t soon_us = HINT_MS * US_PER_MS;
    unsigned nodes = (unsigned)__builtin_popcount(resource->hinted);
    if (nodes >= transport_quorum(resource->leases->options.transport))
        soon_us = random_below(resource, resource->round_us);
    return pause_us < soon_us ? pause_us : soon_us;
}

void resource_hint(struct resource *resource, unsigned node)
{
    resource->hinted |= UINT32_C(1) << node;
    if (resource->state != RESOURCE_PAUSED || !resource->for_owner) return;
    uint64_t now = now_us(resource);
    uint64_t left_us = resource->timer.due_us > now ? resource->timer.due_us - now : 0;
    uint64_t pause_us = hinted_pause_us(resource, left_us);
    if (pause_us < left_us)
        timer_start(&resource->timer, resource->leases->options.timers, now + pause_us,
                    resource_on_timer, resource);
}

/* The nodes lack, or are too slow: the same value again, a little later. */
static void pause_short(struct resource *resource)
{
    resource->failure = REASON_NO_QUORUM;
    unsigned doublings = resource->tries < SHORT_DOUBLINGS ? resource->tries : SHORT_DOUBLINGS;
    uint64_t pause_us = (SHORT_PAUSE_MS * US_PER_MS) << doublings;
    pause_for(resource, pause_us + random_below(resource, pause_us / 2));
}

/* One owner holds a quorum: nothing to be had before a quorum of nodes is free again. A tie, on the
 * other hand, is over as soon as its parties have let go, and the first to come back alone wins: a
 * random wait that doubles. What is unclear (a node is silent) is treated as a tie, but never
 * beyond the end of what was seen. A token that was merely too low waits for nothing. */
static void pause_contended(struct resource *resource, const struct redlock_result *result)
{
    resource->failure = REASON_BUSY;
    memcpy(resource->busy_holder, result->holder, sizeof resource->busy_holder);
    resource->busy_until_us = now_us(resource) + result->remaining_ms * US_PER_MS;
    uint64_t free_us = result->free_in_ms * US_PER_MS;
    resource->for_owner = result->held;
    if (result->held) {
        free_us += random_below(resource, HELD_JITTER_MS * US_PER_MS);
        pause_for(resource, hinted_pause_us(resource, free_us));
        return;
    }
    if (result->holder[0] == '\0' && resource->tries == 0) {
        pause_for(resource, 0);
        return;
    }
    unsigned doublings = resource->tries < TIE_DOUBLINGS ? resource->tries : TIE_DOUBLINGS;
    uint64_t window_us = TIE_PAUSE_MS * US_PER_MS + 2 * result->elapsed_us;
    uint64_t pause_us = random_below(resource, window_us << doublings);
    if (free_us > 0 && pause_us > free_us) pause_us = free_us + random_below(resource, window_us);
    pause_for(resource, pause_us);
}

/* Nobody waits for it any more, only their timers are late (as after a pause of the process): a
 * lease would be stranded. */
static bool overdue(const struct resource *resource)
{
    uint64_t now = now_us(resource);
    const struct leases_call *call;
    DL_FOREACH(resource->queue->calls, call)
    {
        if (call->timer.due_us > now) return false;
    }
    return true;
}

static void on_round(void *arg, const struct redlock_result *result)
{
    struct resource *resource = arg;
    struct leases_series *series = &resource->leases->series;
    CHECK(resource->state == RESOURCE_ASKING && resource->queue != NULL);
    resource->round = NULL;
    resource->state = RESOURCE_IDLE;
    resource->round_us = result->elapsed_us;
    resource_learn(resource, result->bound);
    histogram_add(series->round, result->elapsed_us);
    switch (result->outcome) {
    case REDLOCK_WON:
        ++*series->rounds_won;
        if (resource->next.token > resource->queue->min_token && !overdue(resource)) {
            grant(resource, result);
            return;
        }
        give_up(resource); /* or asked again meanwhile, for a higher token */
        pause_for(resource, 0);
        return;
    case REDLOCK_LATE:
        ++*series->rounds_late;
        give_up(resource);
        pause_short(resource);
        return;
    case REDLOCK_SHORT:
        ++*series->rounds_short;
        pause_short(resource);
        return;
    case REDLOCK_CONTENDED:
        ++*series->rounds_contended;
        give_up(resource);
        pause_contended(resource, result);
        return;
    case REDLOCK_LOST:
        break;
    }
    CHECK(!"a grant is never lost");
}

static void ask(struct resource *resource)
{
    struct leases *leases = resource->leases;
    const struct transport *transport = leases->options.transport;
    /* Below the quorum nothing is sent: it could only leave keys behind. */
    if (transport_voting(transport) < transport_quorum(transport) ||
        (resource->next.bytes == 0 && !resource_stake(resource, resource->queue))) {
        ++*leases->series.rounds_short;
        stake_release(resource, &resource->past);
        pause_short(resource);
        return;
    }
    resource->hinted = 0;
    resource->for_owner = false;
    struct redlock_question question = {
        .kind = ORDER_GRANT,
        .resource = resource_name(resource),
        .value = {resource->next.text, resource->next.bytes},
        .token = resource->next.token,
        .ttl_ms = resource->next.ttl_ms,
        .from = {resource->past.text, resource->past.bytes},
        .from_token = resource->past.token,
    };
    resource->state = RESOURCE_ASKING;
    resource->round = redlock_ask(&leases->redlock, &question, on_round, resource);
}

void resource_step(struct resource *resource)
{
    if (resource->state == RESOURCE_PAUSED && resource->queue == NULL) {
        resource->state = RESOURCE_IDLE;
    }
    if (resource->state != RESOURCE_IDLE) return;
    if (resource->queue != NULL) {
        bool hands_on = resource->past.bytes > 0;
        if (hands_on && resource->others_wait && resource->hand_ons >= HAND_ONS_MAX) {
            yield(resource);
        } else {
            ask(resource);
        }
    } else {
        give_up(resource);
        resource_free(resource);
    }
}

void resource_nudge(struct resource *resource)
{
    if (resource->state != RESOURCE_PAUSED || resource->failure != REASON_BUSY) return;
    timer_stop(&resource->timer);
    resource->state = RESOURCE_IDLE;
}

static void resource_on_timer(void *arg)
{
    struct resource *resource = arg;
    if (resource->state == RESOURCE_HELD) {
        resource_lapse(resource);
    } else {
        CHECK(resource->state == RESOURCE_PAUSED);
        resource->state = RESOURCE_IDLE;
    }
    resource_step(resource);
}
