/* locks.h - lockd, as the lanes see it: leases of products and how many nodes vote.
 *
 * The client file of quorate.lock.v1: the only place that knows its messages. Several lockds may be
 * configured; one is used, and the next when that is away or does not answer. A request id is never
 * used at two of them.
 *
 * What was granted and not reported (an answer that came late or not at all) is released by its
 * request id; a release that lockd did not confirm is repeated, at any lockd, until the lease would
 * have ended: a restarted lockd otherwise makes the next buyer wait for that.
 *
 * Thread    the loop's only.
 * Answers   as lane.h's locks.
 * Borrows   what lane.h's locks borrow; urls and metrics until locks_close.
 */
#ifndef QUORATE_INVENTORY_LOCKS_H
#define QUORATE_INVENTORY_LOCKS_H

#include "base/conf.h"
#include "base/loop.h"
#include "inventory/lane.h"

struct locks;
struct metrics;

struct locks_options {
    const struct conf_list *urls; /* of the RPC: tcp://host:port */
    struct metrics *metrics;      /* NULL: not counted */
    uint32_t ttl_ms;              /* of a lease */
    /* What every answer of lockd says; `asked`: it ends a locks_ask. */
    void (*on_voting)(void *arg, const struct lane_voting *voting, bool asked);
    void *arg;
};

/* NULL: an address is malformed (said in the log). */
struct locks *locks_open(struct loop *loop, const struct locks_options *options);

/* Answers what is open with DOWN or AGAIN (an ask with nothing heard) within this turn of the loop,
 * then frees. Leases must have been released. NULL is harmless. */
void locks_close(struct locks *locks);

/* Every release was confirmed, and nothing else is open. */
bool locks_quiet(const struct locks *locks);

/* lane.h's locks. */
void locks_acquire(struct locks *locks, int64_t product_id, uint64_t min_token, uint64_t wait_us,
                   lane_lock_fn *on_answer, void *arg);
void locks_release(struct locks *locks, int64_t product_id, const struct lane_lease *lease);
void locks_ask(struct locks *locks);

#endif
