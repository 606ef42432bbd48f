/* redlock.h - one question to all nodes, decided as soon as enough of them have answered.
 *
 * A round sends a grant or an extend to every voting node at once, counts the answers, and decides
 * at the quorum's yes or when that has become impossible; it never waits for the slowest node. It
 * knows nothing of queues, retries or clients: leases.h does. What a won round means, and why it
 * can be trusted, is the page at the top of redlock.c.
 *
 * Thread    the loop's only.
 * Answers   redlock_ask is answered exactly once, never before it returned and no later than the
 *           node timeout (or the TTL, if that is shorter); unless it was abandoned.
 * Borrows   the question until redlock_ask returns; timers until the answer; the transport until
 *           it has answered everything that the round sent.
 * Ownership a round frees itself: it must not be touched after its answer or redlock_abandon.
 * Units     milliseconds for lives on the nodes, microseconds of boot time for instants.
 */
#ifndef QUORATE_LOCKD_REDLOCK_H
#define QUORATE_LOCKD_REDLOCK_H

#include "base/timer.h"
#include "lockd/transport.h"

/* By how much clocks may disagree while a lease of ttl_ms runs: 1 % for their rates, 2 ms for their
 * grain and for Redis' own expiry. */
static inline uint64_t redlock_drift_us(uint32_t ttl_ms)
{
    return (uint64_t)ttl_ms * 10 + 2000;
}

/* How far ahead of the wall clock a token may be that a client asks for, or that one resource's
 * nodes report, before it is taken as the measure for others. */
#define REDLOCK_AHEAD_MAX_US (UINT64_C(366) * 24 * 3600 * 1000000)

struct redlock {
    struct timers *timers;
    const struct transport *transport;
    uint32_t node_timeout_ms;
};

struct redlock_question {
    enum order_kind kind; /* GRANT or EXTEND */
    struct span resource;
    struct span value;
    uint64_t token;
    uint32_t ttl_ms;
    struct span from; /* GRANT: the ended lease that this one takes over; empty: none */
    uint64_t from_token;
};

enum redlock_outcome {
    REDLOCK_WON,       /* a quorum said yes, and there is time left */
    REDLOCK_LATE,      /* a quorum said yes, but too late for the lease to be worth anything */
    REDLOCK_SHORT,     /* too few answers: the same question may be asked again */
    REDLOCK_CONTENDED, /* grant: another owner, or a token that was too low */
    REDLOCK_LOST,      /* extend: so many nodes know better that no quorum can say yes */
};

struct redlock_result {
    enum redlock_outcome outcome;
    uint64_t ends_us;      /* WON: the lease is over here, on our own clock */
    uint64_t keys_end_us;  /* WON: and here no key that was counted can have expired yet */
    uint64_t elapsed_us;   /* since before the first send */
    bool others_wait;      /* WON: another lockd waits for the resource */
    uint64_t bound;        /* highest that a node reported; 0: none did */
    bool held;             /* CONTENDED: one other owner holds a quorum. False: a tie, or unclear */
    uint32_t free_in_ms;   /* CONTENDED: until a quorum of nodes is free, if nobody lets go */
    uint32_t remaining_ms; /* CONTENDED: of the owner with most nodes */
    char holder[REQUEST_ID_BYTES_MAX + 1]; /* its request id; empty: nobody held anything */
};

typedef void redlock_answer_fn(void *arg, const struct redlock_result *result);

struct redlock_round;
struct redlock_round *redlock_ask(const struct redlock *redlock,
                                  const struct redlock_question *question,
                                  redlock_answer_fn *on_answer, void *arg);

/* The round speaks no more. What it sent may still be executed: release it. */
void redlock_abandon(struct redlock_round *round);

/* RELEASE or FORGET on all nodes, whatever they have said so far; worth repeating for ttl_ms to a
 * node that is away. Nobody waits for the answers. */
void redlock_tell(const struct transport *transport, const struct order *order);

#endif
