#include "inventory/locks.h"

#include "base/check.h"
#include "base/log.h"
#include "base/rpc_client.h"
#include "proto/lock.pb-c.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define LOCKDS_MAX         8
#define ANSWER_US          UINT64_C(500000) /* for lockd's answer, beyond the wait asked for */
#define ASK_US             UINT64_C(500000)
#define RELEASE_US         UINT64_C(1000000)
#define RELEASE_AGAIN_US   UINT64_C(100000)
#define CLOCKS_APART       100 /* one per cent: clocks run at most this much apart */
#define RESOURCE_BYTES_MAX 32

struct locks {
    struct loop *loop;
    struct locks_options options;
    struct rpc_client *clients[LOCKDS_MAX];
    size_t client_count;
    size_t current;
    uint64_t random; /* drawn at start: makes our request ids unlike all others' */
    uint64_t sequence;
    size_t open; /* calls */
    bool closing;
    struct release *waiting; /* to be repeated */
};

static void resource_name(int64_t product_id, char into[RESOURCE_BYTES_MAX])
{
    snprintf(into, RESOURCE_BYTES_MAX, "stock:%" PRId64, product_id);
}

/* Stays with one lockd as long as it is there: its queue knows us. */
static size_t choose(struct locks *locks)
{
    for (size_t i = 0; i < locks->client_count; i++) {
        size_t at = (locks->current + i) % locks->client_count;
        if (!rpc_client_up(locks->clients[at])) continue;
        locks->current = at;
        break;
    }
    return locks->current; /* none is up: this one's client says so */
}

static void give_up_on(struct locks *locks, size_t at)
{
    if (locks->current == at) locks->current = (at + 1) % locks->client_count;
}

/* The last open call of closed locks frees them. */
static void call_ended(struct locks *locks)
{
    CHECK(locks->open > 0);
    locks->open--;
    if (locks->closing && locks->open == 0) free(locks);
}

static void hear_voting(const struct locks *locks, unsigned voting, uint64_t asked_us,
                        const char *message)
{
    struct lane_voting news = {true, voting, asked_us, message};
    if (!locks->closing) locks->options.on_voting(locks->options.arg, &news, false);
}

/* ---- releases ---- */

struct release {
    struct locks *locks;
    struct rpc_call call;
    struct timer again;
    struct release *next; /* waiting to be repeated */
    struct release **back;
    size_t lockd;
    uint64_t sent_us;
    uint64_t until_us; /* the lease is over anyway */
    uint64_t token;
    int64_t product_id;
    char request_id[LANE_REQUEST_ID_BYTES_MAX + 1];
};

static void release_send(struct release *release);

static void release_again(void *arg)
{
    struct release *release = arg;
    *release->back = release->next;
    if (release->next != NULL) release->next->back = release->back;
    if (!rpc_client_up(release->locks->clients[release->lockd])) {
        release->lockd = choose(release->locks);
    }
    release_send(release);
}

static bool release_repeatable(const struct release *release)
{
    switch (release->call.status.reason) {
    case REASON_DOWN:
    case REASON_OUTCOME_UNKNOWN:
    case REASON_OVERLOADED:
    case REASON_EXPIRED:
        return loop_now_us(release->locks->loop) < release->until_us;
    default:
        return false;
    }
}

static void on_released(const Quorate__Lock__V1__ReleaseReply *reply, void *arg)
{
    struct release *release = arg;
    struct locks *locks = release->locks;
    if (reply != NULL) hear_voting(locks, reply->voting, release->sent_us, NULL);
    if (reply == NULL && !locks->closing && release_repeatable(release)) {
        struct timers *timers = loop_timers(locks->loop);
        release->next = locks->waiting;
        release->back = &locks->waiting;
        if (release->next != NULL) release->next->back = &release->next;
        locks->waiting = release;
        timer_start(&release->again, timers, timers_now_us(timers) + RELEASE_AGAIN_US,
                    release_again, release);
    } else {
        free(release);
    }
    call_ended(locks);
}

static void release_send(struct release *release)
{
    struct locks *locks = release->locks;
    char resource[RESOURCE_BYTES_MAX];
    resource_name(release->product_id, resource);
    Quorate__Lock__V1__ReleaseRequest request = QUORATE__LOCK__V1__RELEASE_REQUEST__INIT;
    request.resource = resource;
    request.request_id = release->request_id;
    request.token = release->token;
    release->sent_us = loop_now_us(locks->loop);
    rpc_call_init(&release->call, locks->clients[release->lockd],
                  &quorate__lock__v1__lock__descriptor, release->sent_us + RELEASE_US);
    locks->open++;
    quorate__lock__v1__lock__release(&release->call.service, &request, on_released, release);
}

static void release_lease(struct locks *locks, int64_t product_id, const struct lane_lease *lease)
{
    if (locks->closing) return;
    struct release *release = xcalloc(1, sizeof *release);
    release->locks = locks;
    release->lockd = lease->lockd;
    release->product_id = product_id;
    release->token = lease->token;
    release->until_us = lease->ends_us;
    memcpy(release->request_id, lease->request_id, sizeof release->request_id);
    release_send(release);
}

void locks_release(struct locks *locks, int64_t product_id, const struct lane_lease *lease)
{
    CHECK(lease->lockd < locks->client_count && lease->token > 0);
    release_lease(locks, product_id, lease);
}

/* ---- acquires ---- */

struct acquire {
    struct locks *locks;
    struct rpc_call call;
    int64_t product_id;
    struct lane_lease lease; /* as far as it is known */
    lane_lock_fn *on_answer;
    void *arg;
};

static void acquire_end(struct acquire *acquire, enum lane_lock_outcome outcome,
                        const char *message)
{
    struct locks *locks = acquire->locks;
    struct lane_lock_answer answer = {outcome, acquire->lease, message};
    lane_lock_fn *on_answer = acquire->on_answer;
    void *arg = acquire->arg;
    free(acquire);
    on_answer(arg, &answer);
    call_ended(locks);
}

/* What may have been granted, or may yet be. */
static void acquire_undo(const struct acquire *acquire)
{
    struct lane_lease lease = acquire->lease;
    if (lease.ends_us == 0) {
        lease.ends_us =
            loop_now_us(acquire->locks->loop) + (uint64_t)acquire->locks->options.ttl_ms * 1000;
    }
    release_lease(acquire->locks, acquire->product_id, &lease);
}

static void acquire_granted(struct acquire *acquire, const Quorate__Lock__V1__AcquireReply *reply)
{
    struct locks *locks = acquire->locks;
    const struct rpc_client *client = locks->clients[acquire->lease.lockd];
    struct lane_lease *lease = &acquire->lease;
    lease->token = reply->token;
    lease->waiters = reply->waiters;
    /* Two ways to know the end, both never late: by lockd's clock, and by counting from before the
     * question. */
    uint64_t lasts_us = reply->elapsed_us + reply->validity_us;
    uint64_t counted_us = lease->began_us + lasts_us - lasts_us / CLOCKS_APART;
    lease->ends_us = rpc_client_local_us(client, rpc_client_instance(client), reply->ends_us);
    if (lease->ends_us < counted_us) lease->ends_us = counted_us;
    hear_voting(locks, reply->voting, lease->began_us, NULL);
    if (reply->token == 0 || loop_now_us(locks->loop) >= lease->ends_us) {
        acquire_undo(acquire);
        acquire_end(acquire, LANE_LOCK_AGAIN, "the lease was over when its grant arrived");
        return;
    }
    acquire_end(acquire, LANE_LOCK_GRANTED, NULL);
}

static void describe_busy(const Quorate__Lock__V1__Refusal *refusal, char *into, size_t room)
{
    if (refusal == NULL || refusal->holder == NULL || *refusal->holder == '\0') {
        snprintf(into, room, "held by others");
        return;
    }
    snprintf(into, room, "held by %.80s for at most %" PRIu32 " ms", refusal->holder,
             refusal->remaining_ms);
}

static void describe_missing(const Quorate__Lock__V1__Refusal *refusal, char *into, size_t room)
{
    into[0] = '\0';
    if (refusal == NULL) return;
    size_t used = 0;
    for (size_t i = 0; i < refusal->n_missing && used < room; i++) {
        const Quorate__Lock__V1__MissingNode *node = refusal->missing[i];
        int wrote = snprintf(into + used, room - used, "%s%.60s (%.80s)", i == 0 ? "" : ", ",
                             node->name, node->why);
        used += (size_t)wrote;
    }
}

static void acquire_refused(struct acquire *acquire, enum lane_lock_outcome outcome)
{
    struct locks *locks = acquire->locks;
    Quorate__Lock__V1__Refusal *refusal = (Quorate__Lock__V1__Refusal *)rpc_status_detail(
        &acquire->call.status, &quorate__lock__v1__refusal__descriptor);
    char message[LANE_MESSAGE_BYTES_MAX];
    if (outcome == LANE_LOCK_BUSY) {
        describe_busy(refusal, message, sizeof message);
    } else if (outcome == LANE_LOCK_NO_QUORUM) {
        char missing[LANE_MESSAGE_BYTES_MAX / 2];
        describe_missing(refusal, missing, sizeof missing);
        snprintf(message, sizeof message, "Too few lock nodes vote%s%.250s",
                 missing[0] == '\0' ? "" : ": ", missing);
    } else {
        snprintf(message, sizeof message, "%.500s", acquire->call.status.message);
    }
    if (refusal != NULL) {
        hear_voting(locks, refusal->voting, acquire->lease.began_us, NULL);
        protobuf_c_message_free_unpacked(&refusal->base, NULL);
    }
    acquire_end(acquire, outcome, message);
}

static void on_acquired(const Quorate__Lock__V1__AcquireReply *reply, void *arg)
{
    struct acquire *acquire = arg;
    struct locks *locks = acquire->locks;
    if (reply != NULL) {
        acquire_granted(acquire, reply);
        return;
    }
    switch (acquire->call.status.reason) {
    case REASON_BUSY:
        acquire_refused(acquire, LANE_LOCK_BUSY);
        return;
    case REASON_NO_QUORUM:
        acquire_refused(acquire, LANE_LOCK_NO_QUORUM);
        return;
    case REASON_OVERLOADED:
        acquire_refused(acquire, LANE_LOCK_OVERLOADED);
        return;
    case REASON_DOWN:
        acquire_end(acquire, LANE_LOCK_DOWN, "lockd can't be reached");
        return;
    case REASON_OUTCOME_UNKNOWN:
        acquire_undo(acquire);
        give_up_on(locks, acquire->lease.lockd);
        acquire_end(acquire, LANE_LOCK_AGAIN, "lockd did not answer");
        return;
    case REASON_EXPIRED: /* another instance by now, or it came too late */
    case REASON_LOST:
    case REASON_CANCELLED:
        acquire_end(acquire, LANE_LOCK_AGAIN, "lockd did not take the request");
        return;
    default: /* a fault of ours or of the product's token: a person must look */
        LOG_ERROR("lock.refused", "product=%" PRId64 " reason=%s text=\"%s\"", acquire->product_id,
                  reason_name(acquire->call.status.reason), acquire->call.status.message);
        acquire_end(acquire, LANE_LOCK_DOWN, "lockd refuses to grant a lease");
    }
}

void locks_acquire(struct locks *locks, int64_t product_id, uint64_t min_token, uint64_t wait_us,
                   lane_lock_fn *on_answer, void *arg)
{
    CHECK(!locks->closing && wait_us >= 1000);
    struct acquire *acquire = xcalloc(1, sizeof *acquire);
    acquire->locks = locks;
    acquire->product_id = product_id;
    acquire->on_answer = on_answer;
    acquire->arg = arg;
    struct lane_lease *lease = &acquire->lease;
    lease->lockd = (unsigned)choose(locks);
    lease->began_us = loop_now_us(locks->loop);
    snprintf(lease->request_id, sizeof lease->request_id, "inventory.%016" PRIx64 ".%" PRIu64,
             locks->random, ++locks->sequence);
    char resource[RESOURCE_BYTES_MAX];
    resource_name(product_id, resource);
    Quorate__Lock__V1__AcquireRequest request = QUORATE__LOCK__V1__ACQUIRE_REQUEST__INIT;
    request.resource = resource;
    request.request_id = lease->request_id;
    request.ttl_ms = locks->options.ttl_ms;
    request.wait_ms = (uint32_t)(wait_us / 1000);
    request.min_token = min_token;
    rpc_call_init(&acquire->call, locks->clients[lease->lockd],
                  &quorate__lock__v1__lock__descriptor, lease->began_us + wait_us + ANSWER_US);
    locks->open++;
    quorate__lock__v1__lock__acquire(&acquire->call.service, &request, on_acquired, acquire);
}

/* ---- who votes ---- */

struct ask {
    struct locks *locks;
    struct rpc_call call;
    size_t lockd;
    uint64_t asked_us;
};

static void describe_nodes(const Quorate__Lock__V1__NodesReply *reply, char *into, size_t room)
{
    size_t used = 0;
    into[0] = '\0';
    for (size_t i = 0; i < reply->n_nodes && used < room; i++) {
        const Quorate__Lock__V1__Node *node = reply->nodes[i];
        if (node->state == QUORATE__LOCK__V1__NODE__STATE__VOTING) continue;
        int wrote = snprintf(into + used, room - used, "%s%.60s (%.80s)", used == 0 ? "" : ", ",
                             node->name, node->why);
        used += (size_t)wrote;
    }
}

static void on_nodes(const Quorate__Lock__V1__NodesReply *reply, void *arg)
{
    struct ask *ask = arg;
    struct locks *locks = ask->locks;
    struct lane_voting news = {.asked_us = ask->asked_us, .message = "lockd can't be reached"};
    char missing[LANE_MESSAGE_BYTES_MAX];
    if (reply != NULL) {
        describe_nodes(reply, missing, sizeof missing);
        news.heard = true;
        news.voting = reply->voting;
        news.message = missing[0] == '\0' ? NULL : missing;
    } else {
        give_up_on(locks, ask->lockd);
    }
    free(ask);
    locks->options.on_voting(locks->options.arg, &news, true);
    call_ended(locks);
}

void locks_ask(struct locks *locks)
{
    CHECK(!locks->closing);
    struct ask *ask = xcalloc(1, sizeof *ask);
    ask->locks = locks;
    ask->lockd = choose(locks);
    ask->asked_us = loop_now_us(locks->loop);
    rpc_call_init(&ask->call, locks->clients[ask->lockd], &quorate__lock__v1__lock__descriptor,
                  ask->asked_us + ASK_US);
    ask->call.reads_only = true;
    Quorate__Lock__V1__NodesRequest request = QUORATE__LOCK__V1__NODES_REQUEST__INIT;
    locks->open++;
    quorate__lock__v1__lock__nodes(&ask->call.service, &request, on_nodes, ask);
}

/* ---- life ---- */

struct locks *locks_open(struct loop *loop, const struct locks_options *options)
{
    CHECK(options->on_voting != NULL && options->ttl_ms > 0);
    CHECK(options->urls->count >= 1 && options->urls->count <= LOCKDS_MAX);
    struct locks *locks = xcalloc(1, sizeof *locks);
    locks->loop = loop;
    locks->options = *options;
    CHECK(getrandom(&locks->random, sizeof locks->random, 0) == sizeof locks->random);
    for (size_t i = 0; i < options->urls->count; i++) {
        struct rpc_client_options client = {.url = options->urls->items[i],
                                            .program = "inventory",
                                            .calls_max = 16384,
                                            .metrics = options->metrics};
        locks->clients[i] = rpc_client_open(loop, &client);
        if (locks->clients[i] == NULL) {
            locks_close(locks);
            return NULL;
        }
        locks->client_count++;
    }
    return locks;
}

void locks_close(struct locks *locks)
{
    if (locks == NULL) return;
    locks->closing = true;
    while (locks->waiting != NULL) {
        struct release *release = locks->waiting;
        locks->waiting = release->next;
        timer_stop(&release->again);
        free(release);
    }
    for (size_t i = 0; i < locks->client_count; i++)
        rpc_client_close(locks->clients[i]); /* open calls are answered at the end of this turn */
    if (locks->open == 0) free(locks);
}

bool locks_quiet(const struct locks *locks)
{
    return locks->open == 0 && locks->waiting == NULL;
}
