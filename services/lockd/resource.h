/* resource.h - one resource: its holder, its queue, and the round under way.
 *
 * The inside of leases.c, which finds resources by name and checks what clients say; nobody else
 * includes it. A resource exists as long as somebody holds it or waits for it.
 *
 * Thread    the loop's only.
 * Ownership a resource owns its waiters; calls belong to the leases and are linked here. A resource
 *           frees itself in resource_step and in its timer: after either it may be gone.
 * Units     microseconds of boot time for instants, milliseconds for lives on the nodes.
 */
#ifndef QUORATE_LOCKD_RESOURCE_H
#define QUORATE_LOCKD_RESOURCE_H

#include "base/check.h"
#include "lockd/dead.h"
#include "lockd/leases.h"
#include "lockd/redlock.h"

#define uthash_fatal(text) check_fail(text, __FILE__, __LINE__)
#include <uthash.h>

struct resource;
struct waiter;

/* What is counted; owned by the metrics. */
struct leases_series {
    uint64_t *rounds_won, *rounds_late, *rounds_short, *rounds_contended;
    uint64_t *extends_won, *extends_failed;
    uint64_t *released, *expired, *handed_on, *yielded;
    int64_t *resources, *waiters, *dead;
    struct histogram *round, *wait;
};

struct leases {
    struct leases_options options;
    struct redlock redlock;
    struct leases_series series;
    struct resource *resources; /* by name */
    struct leases_call *calls;  /* all open ones */
    struct dead dead;
    uint64_t token_seen; /* highest of all resources; see resource_learn */
};

enum call_state {
    CALL_WAITS,   /* an acquire, in its waiter's list */
    CALL_EXTENDS, /* an extend, in its resource's list, with or without a round */
    CALL_REPEATS, /* an acquire of what it holds already, in its resource's list until next turn */
    CALL_TOLD,    /* its answer is ready and given at the next turn; in nobody's list */
};

struct leases_call {
    struct leases *leases;
    leases_answer_fn *on_answer;
    void *arg;
    enum call_state state;
    struct timer timer; /* WAITS, EXTENDS: its deadline; otherwise the next turn */
    struct waiter *waiter;
    struct resource *resource;
    bool no_wait;
    struct redlock_round *round; /* EXTENDS */
    struct timer retry;          /* EXTENDS: between two rounds */
    uint32_t ttl_ms;
    unsigned tries;
    struct leases_answer answer; /* TOLD */
    struct leases_call *prev, *next;
    struct leases_call *all_prev, *all_next;
};

/* A value that may be on nodes. */
struct stake {
    char text[VALUE_BYTES_MAX + 1];
    size_t bytes; /* 0: none */
    uint64_t token;
    uint32_t ttl_ms;
};

/* One request id in the queue, and the calls that wait for it. */
struct waiter {
    UT_hash_handle hh; /* uthash keeps the order of arrival: the table is the queue */
    struct resource *resource;
    struct leases_call *calls;
    uint64_t since_us;
    uint64_t min_token;
    uint32_t ttl_ms;
    char request_id[REQUEST_ID_BYTES_MAX + 1];
};

enum resource_state {
    RESOURCE_IDLE,   /* between states: resource_step moves on */
    RESOURCE_HELD,   /* a lease is out, until it is released or ends by itself */
    RESOURCE_ASKING, /* a round for the first waiter is under way */
    RESOURCE_PAUSED, /* between two rounds for the first waiter */
};

struct resource {
    UT_hash_handle hh;
    struct leases *leases;
    enum resource_state state;
    struct timer timer;          /* HELD: the end; PAUSED: the next round */
    struct redlock_round *round; /* ASKING */
    struct waiter *queue;        /* first come first */
    uint32_t waiting;            /* calls in the queue */
    unsigned tries;              /* rounds in vain for the first waiter */

    struct stake lease; /* HELD */
    char holder[REQUEST_ID_BYTES_MAX + 1];
    uint64_t ends_us;
    uint64_t keys_end_us;
    struct leases_call *holder_calls; /* EXTENDS and REPEATS */

    struct stake past; /* the last lease, over: the next grant takes it over, or it is released */
    struct stake next; /* what the first waiter is asking with */

    enum reason failure; /* of the last round: NONE, BUSY, NO_QUORUM */
    char busy_holder[REQUEST_ID_BYTES_MAX + 1];
    uint64_t busy_until_us;

    bool others_wait; /* at another lockd, by its mark on the nodes when last granted or extended */
    unsigned hand_ons; /* from waiter to waiter here, since others wait */
    uint32_t hinted;   /* nodes that told of a release since the last round began; a bit each */
    bool for_owner;    /* PAUSED: one other owner holds a quorum. Hints are about him; a tie, in
                          which several let go at once, is settled by chance alone */
    uint64_t round_us; /* how long the last round took */

    uint64_t token_seen; /* here; own tombstones included */
    size_t name_bytes;
    char name[];
};

struct resource *resource_new(struct leases *leases, struct span name);

/* At the end of the leases: forgets its waiters, releases what no holder relies on, frees. */
void resource_close(struct resource *resource);

/* A lease is out and its end has not come; the clock decides, as its timer may be late. */
bool resource_live(const struct resource *resource);

/* Ends a lease whose time is up. What follows is resource_step's. */
void resource_lapse(struct resource *resource);

/* The holder lets go. What follows is resource_step's. */
void resource_let_go(struct resource *resource);

/* Puts a call at the end of the queue, or to its waiter if that is there already. */
void resource_queue(struct resource *resource, struct leases_call *call,
                    const struct leases_acquire *acquire);
struct waiter *resource_find_waiter(struct resource *resource, struct span request_id);

/* Takes a call out of the queue; a waiter without calls goes too. resource_step follows. */
void resource_unqueue(struct leases_call *call);

/* Does what is due next: asks for the first waiter, or frees the resource if nobody needs it. */
void resource_step(struct resource *resource);

/* This node says that another owner has let go. The resource may be gone afterwards. */
void resource_hint(struct resource *resource, unsigned node);

/* Another owner may have let go: no use to wait for its end. resource_step follows. */
void resource_nudge(struct resource *resource);

/* Why a call that waits here is not granted. */
void resource_refuse(const struct resource *resource, struct leases_answer *answer);

/* What the holder is told. */
void resource_grant_answer(const struct resource *resource, struct leases_answer *answer);

void resource_set_end(struct resource *resource, uint64_t ends_us, uint64_t keys_end_us);

static inline struct span resource_name(const struct resource *resource)
{
    return (struct span){resource->name, resource->name_bytes};
}

/* stake.c: values and tokens. A token that is known to be in use for this resource. */
void resource_learn(struct resource *resource, uint64_t token);

/* Makes the value with which this waiter asks, in `next`. False: the token space is used up. */
bool resource_stake(struct resource *resource, const struct waiter *waiter);

/* Releases it everywhere, if there is one. */
void stake_release(struct resource *resource, struct stake *stake);

/* call.c: a call's life. */
struct leases_call *call_new(struct leases *leases, leases_answer_fn *on_answer, void *arg);

/* The call must be in no list. Frees it and answers: the last thing the caller does. */
void call_answer(struct leases_call *call, const struct leases_answer *answer);

/* Answers at the next turn of the loop: for what is known before the call has returned, and where
 * several are answered at once. */
void call_tell(struct leases_call *call, const struct leases_answer *answer);

/* Without an answer. */
void call_free(struct leases_call *call);

/* All fields of an answer that says no. */
struct leases_answer answer_refusal(const struct leases *leases, enum reason reason,
                                    const char *message);

/* holder_call.c: what calls of the holder wait for. An extend asks the nodes until it has an
 * answer, its deadline, or the lease's end; an acquire of what its request id holds already gets
 * the same lease at the next turn. */
void holder_call_extend(struct leases_call *call, struct resource *resource,
                        const struct leases_extend *extend);
void holder_call_repeat(struct leases_call *call, struct resource *resource);

/* Takes the call out of its resource's list, without an answer. */
void holder_call_stop(struct leases_call *call);

#endif
