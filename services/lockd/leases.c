/* What clients ask is checked here, found here, and then a matter of its resource. */
#include "lockd/leases.h"

#include "base/metrics.h"
#include "base/utf8.h"
#include "lockd/resource.h"

#include <stdlib.h>

#define US_PER_MS UINT64_C(1000)

static uint64_t now_us(const struct leases *leases)
{
    return timers_now_us(leases->options.timers);
}

static void open_series(struct leases_series *series, struct metrics *metrics)
{
    const char *rounds = "quorate_lock_rounds_total";
    const char *rounds_help = "Rounds that grant or hand on, by outcome.";
    const char *extends = "quorate_lock_extends_total";
    const char *extends_help = "Rounds that extend, by outcome.";
    *series = (struct leases_series){
        .rounds_won = metrics_counter(metrics, rounds, "outcome=\"won\"", rounds_help),
        .rounds_late = metrics_counter(metrics, rounds, "outcome=\"late\"", rounds_help),
        .rounds_short = metrics_counter(metrics, rounds, "outcome=\"short\"", rounds_help),
        .rounds_contended = metrics_counter(metrics, rounds, "outcome=\"contended\"", rounds_help),
        .extends_won = metrics_counter(metrics, extends, "outcome=\"won\"", extends_help),
        .extends_failed = metrics_counter(metrics, extends, "outcome=\"failed\"", extends_help),
        .released = metrics_counter(metrics, "quorate_lock_released_total", NULL,
                                    "Leases that their holder released."),
        .expired = metrics_counter(metrics, "quorate_lock_expired_total", NULL,
                                   "Leases that ended because their time was up."),
        .handed_on = metrics_counter(metrics, "quorate_lock_handed_on_total", NULL,
                                     "Leases that took over an ended one in the same round."),
        .yielded = metrics_counter(metrics, "quorate_lock_yielded_total", NULL,
                                   "Leases let go for another lockd although others waited here."),
        .resources = metrics_gauge(metrics, "quorate_lock_resources", NULL,
                                   "Resources that are held or waited for."),
        .waiters = metrics_gauge(metrics, "quorate_lock_waiters", NULL, "Open acquires."),
        .dead = metrics_gauge(metrics, "quorate_lock_dead_ids", NULL,
                              "Released request ids that are remembered."),
        .round = metrics_histogram(metrics, "quorate_lock_round_seconds", NULL,
                                   "From before the first send of a round to its decision."),
        .wait = metrics_histogram(metrics, "quorate_lock_wait_seconds", NULL,
                                  "From an acquire's arrival to its grant."),
    };
}

struct leases *leases_new(const struct leases_options *options)
{
    CHECK(options->timers != NULL && options->transport != NULL && options->metrics != NULL);
    CHECK(options->random != NULL);
    CHECK(options->ttl_default_ms >= LEASE_TTL_MIN_MS);
    CHECK(options->ttl_default_ms <= options->ttl_max_ms);
    CHECK(options->wait_default_ms > 0 && options->node_timeout_ms > 0);
    CHECK(options->waiters_max > 0 && options->resources_max > 0 && options->dead_max > 0);
    struct leases *leases = xcalloc(1, sizeof *leases);
    leases->options = *options;
    leases->redlock = (struct redlock){
        .timers = options->timers,
        .transport = options->transport,
        .node_timeout_ms = options->node_timeout_ms,
    };
    open_series(&leases->series, options->metrics);
    dead_init(&leases->dead, options->ttl_max_ms * US_PER_MS, options->dead_max);
    return leases;
}

/* Takes a call out of whatever it waits in. The resource is to be stepped then; NULL: there is
 * none. */
static struct resource *detach(struct leases_call *call)
{
    struct resource *resource = NULL;
    switch (call->state) {
    case CALL_WAITS:
        resource = call->resource;
        resource_unqueue(call);
        break;
    case CALL_EXTENDS:
    case CALL_REPEATS:
        holder_call_stop(call);
        break;
    case CALL_TOLD:
        break;
    }
    return resource;
}

void leases_free(struct leases *leases)
{
    while (leases->calls != NULL) {
        struct leases_call *call = leases->calls;
        (void)detach(call); /* and nobody is granted any more */
        struct leases_answer answer = answer_refusal(leases, REASON_DOWN, "lockd is stopping");
        call_answer(call, &answer);
    }
    struct resource *resource;
    struct resource *next;
    HASH_ITER(hh, leases->resources, resource, next)
    {
        resource_close(resource);
    }
    dead_fini(&leases->dead);
    *leases->series.dead = 0;
    free(leases);
}

/* ---- what clients say ---- */

static bool bytes_valid(struct span text, size_t bytes_max)
{
    return text.bytes > 0 && text.bytes <= bytes_max;
}

bool leases_resource_valid(struct span resource)
{
    if (!bytes_valid(resource, RESOURCE_BYTES_MAX)) return false;
    for (size_t i = 0; i < resource.bytes; i++) {
        unsigned char byte = (unsigned char)resource.at[i];
        if (byte <= ' ' || byte == 0x7f) return false;
    }
    return utf8_length(resource) > 0; /* it is shown to people, and protobuf's strings are UTF-8 */
}

bool leases_request_id_valid(struct span request_id)
{
    if (!bytes_valid(request_id, REQUEST_ID_BYTES_MAX)) return false;
    for (size_t i = 0; i < request_id.bytes; i++) {
        char byte = request_id.at[i];
        bool letter = (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
        bool digit = byte >= '0' && byte <= '9';
        if (!letter && !digit && (byte == '\0' || strchr("._:-", byte) == NULL)) return false;
    }
    return true;
}

/* Fills in a default. False: out of bounds. */
static bool ttl_settle(const struct leases *leases, uint32_t *ttl_ms)
{
    if (*ttl_ms == 0) *ttl_ms = leases->options.ttl_default_ms;
    return *ttl_ms >= LEASE_TTL_MIN_MS && *ttl_ms <= leases->options.ttl_max_ms;
}

static void refuse(struct leases_call *call, enum reason reason, const char *message)
{
    struct leases_answer answer = answer_refusal(call->leases, reason, message);
    call_tell(call, &answer);
}

static const char *const bad_resource =
    "a resource is 1-200 bytes of UTF-8 without space or control characters";
static const char *const bad_request_id = "a request id is 1-64 bytes of [A-Za-z0-9._:-]";
static const char *const bad_ttl = "the TTL is below 10 ms or above LOCK_TTL_MAX";

static struct resource *find(const struct leases *leases, struct span name)
{
    struct resource *resource = NULL;
    HASH_FIND(hh, leases->resources, name.at, name.bytes, resource);
    return resource;
}

/* As find, after ending the lease if its time is up: the clock decides, not the order in which a
 * process that was paused gets to its timers. */
static struct resource *find_current(const struct leases *leases, struct span name)
{
    struct resource *resource = find(leases, name);
    if (resource != NULL) resource_lapse(resource);
    return resource;
}

static bool holds(const struct resource *resource, struct span request_id)
{
    return resource != NULL && resource_live(resource) &&
           span_equal(span_of(resource->holder), request_id);
}

/* ---- acquire ---- */

/* NULL: nothing is wrong with it. */
static const char *acquire_fault(const struct leases *leases, struct leases_acquire *acquire)
{
    if (!leases_resource_valid(acquire->resource)) return bad_resource;
    if (!leases_request_id_valid(acquire->request_id)) return bad_request_id;
    if (!ttl_settle(leases, &acquire->ttl_ms)) return bad_ttl;
    if (acquire->wait_ms == 0) acquire->wait_ms = leases->options.wait_default_ms;
    uint64_t wall_us = clock_wall_us(leases->options.timers->clock);
    if (acquire->min_token > wall_us + REDLOCK_AHEAD_MAX_US || acquire->min_token >= TOKEN_MAX) {
        return "min_token is more than a year ahead of the clock";
    }
    return NULL;
}

static void acquire_on_deadline(void *arg)
{
    struct leases_call *call = arg;
    struct resource *resource = call->resource;
    struct leases_answer answer;
    resource_refuse(resource, &answer);
    resource_unqueue(call);
    resource_step(resource);
    call_answer(call, &answer);
}

/* The request id holds it, and is well. */
static void acquire_again(struct leases_call *call, struct resource *resource,
                          const struct leases_acquire *acquire)
{
    if (resource->lease.token <= acquire->min_token) {
        refuse(call, REASON_INVALID,
               "this request id holds a lease with a lower token: release it, use a new id");
        return;
    }
    holder_call_repeat(call, resource);
}

static void acquire_wait(struct leases_call *call, struct resource *resource,
                         const struct leases_acquire *acquire)
{
    struct leases *leases = call->leases;
    if (resource == NULL && *leases->series.resources >= leases->options.resources_max) {
        refuse(call, REASON_OVERLOADED, "too many resources are held or waited for");
        return;
    }
    if (resource != NULL && resource->waiting >= leases->options.waiters_max) {
        refuse(call, REASON_OVERLOADED, "too many wait for this resource");
        resource_step(resource);
        return;
    }
    if (resource == NULL) resource = resource_new(leases, acquire->resource);
    struct waiter *waiter = resource_find_waiter(resource, acquire->request_id);
    bool first =
        resource->state != RESOURCE_HELD && (resource->queue == NULL || resource->queue == waiter);
    if (acquire->no_wait && !first) {
        struct leases_answer answer;
        resource_refuse(resource, &answer);
        call_tell(call, &answer);
        resource_step(resource);
        return;
    }
    resource_queue(resource, call, acquire);
    uint64_t due_us = acquire->deadline_us;
    uint64_t wait_end_us = now_us(leases) + acquire->wait_ms * US_PER_MS;
    if (!acquire->no_wait && wait_end_us < due_us) due_us = wait_end_us;
    timer_start(&call->timer, leases->options.timers, due_us, acquire_on_deadline, call);
    resource_step(resource);
}

struct leases_call *leases_acquire(struct leases *leases, const struct leases_acquire *acquire,
                                   leases_answer_fn *on_answer, void *arg)
{
    struct leases_call *call = call_new(leases, on_answer, arg);
    struct leases_acquire settled = *acquire;
    const char *fault = acquire_fault(leases, &settled);
    if (fault != NULL) {
        refuse(call, REASON_INVALID, fault);
        return call;
    }
    if (settled.deadline_us <= now_us(leases)) {
        refuse(call, REASON_EXPIRED, "it came after its deadline");
        return call;
    }
    if (dead_has(&leases->dead, settled.resource, settled.request_id, now_us(leases))) {
        refuse(call, REASON_LOST, "this request id was released");
        return call;
    }
    struct resource *resource = find_current(leases, settled.resource);
    if (holds(resource, settled.request_id)) {
        acquire_again(call, resource, &settled);
    } else {
        acquire_wait(call, resource, &settled);
    }
    return call;
}

/* ---- extend, withdraw, release ---- */

struct leases_call *leases_extend(struct leases *leases, const struct leases_extend *extend,
                                  leases_answer_fn *on_answer, void *arg)
{
    struct leases_call *call = call_new(leases, on_answer, arg);
    struct leases_extend settled = *extend;
    const char *fault = NULL;
    if (!leases_resource_valid(settled.resource)) fault = bad_resource;
    if (!leases_request_id_valid(settled.request_id)) fault = bad_request_id;
    if (!ttl_settle(leases, &settled.ttl_ms)) fault = bad_ttl;
    if (fault != NULL) {
        refuse(call, REASON_INVALID, fault);
        return call;
    }
    if (settled.deadline_us <= now_us(leases)) {
        refuse(call, REASON_EXPIRED, "it came after its deadline");
        return call;
    }
    struct resource *resource = find_current(leases, settled.resource);
    if (holds(resource, settled.request_id) && resource->lease.token == settled.token) {
        holder_call_extend(call, resource, &settled);
        return call;
    }
    refuse(call, REASON_LOST, "this lockd knows no such lease, or it is over");
    if (resource != NULL) resource_step(resource);
    return call;
}

void leases_withdraw(struct leases *leases, struct leases_call *call)
{
    CHECK(call->leases == leases);
    struct resource *resource = detach(call);
    call_free(call);
    if (resource != NULL) resource_step(resource);
}

static void bury(struct leases *leases, struct span resource, struct span request_id)
{
    dead_add(&leases->dead, resource, request_id, now_us(leases));
    *leases->series.dead = leases->dead.count;
}

/* The calls of a waiter whose request id was released. */
static void release_waiter(struct waiter *waiter)
{
    struct leases_answer lost =
        answer_refusal(waiter->resource->leases, REASON_LOST, "this request id was released");
    bool last = false;
    while (!last) {
        struct leases_call *call = waiter->calls;
        last = call->next == NULL;
        resource_unqueue(call);
        call_tell(call, &lost);
    }
}

/* Granted by another lockd or before a restart, or never: only the nodes can know. */
static void release_unknown(struct leases *leases, struct span resource, struct span request_id)
{
    struct order order = {
        .kind = ORDER_FORGET,
        .resource = resource,
        .value = request_id,
        .ttl_ms = leases->options.ttl_max_ms,
    };
    redlock_tell(leases->options.transport, &order);
}

enum reason leases_release(struct leases *leases, struct span resource, struct span request_id,
                           uint64_t token)
{
    if (!leases_resource_valid(resource) || !leases_request_id_valid(request_id)) {
        return REASON_INVALID;
    }
    struct resource *found = find_current(leases, resource);
    struct waiter *waiter = found == NULL ? NULL : resource_find_waiter(found, request_id);
    bool held = holds(found, request_id);
    bool other = token != 0 && (waiter != NULL || (held && found->lease.token != token));
    bool dead = dead_has(&leases->dead, resource, request_id, now_us(leases));
    /* `other`: it names an earlier lease of the same id, which is over without that. */
    if (!other && !dead) {
        bury(leases, resource, request_id);
        if (held) {
            resource_let_go(found);
        } else if (waiter != NULL) {
            release_waiter(waiter);
        } else {
            release_unknown(leases, resource, request_id);
            if (found != NULL) resource_nudge(found);
        }
    }
    if (found != NULL) resource_step(found);
    return REASON_NONE;
}

void leases_hint(struct leases *leases, unsigned node, struct span resource)
{
    CHECK(node < leases->options.transport->nodes);
    struct resource *found = find(leases, resource);
    if (found != NULL) resource_hint(found, node);
}

struct leases_counts leases_counts(const struct leases *leases)
{
    const struct leases_series *series = &leases->series;
    return (struct leases_counts){
        .rounds_won = *series->rounds_won,
        .rounds_short = *series->rounds_short + *series->rounds_late,
        .rounds_contended = *series->rounds_contended,
        .resources = (uint32_t)*series->resources,
        .waiters = (uint32_t)*series->waiters,
    };
}
