/* One lane's machine. Answers of the ports record what happened and wake the lane; lane_step alone
 * decides what comes next, at the end of the turn, so that a batch takes all that came in the turn.
 */
#include "inventory/lane_parts.h"

#include "base/check.h"
#include "base/log.h"
#include "base/metrics.h"

#include <inttypes.h>

#define PAUSE_US UINT64_C(50000)
#define PAUSE_SHORT_US                                                                             \
    UINT64_C(200000) /* below the quorum, with orders that must not be refused                     \
                      */

void lane_take(struct lane *lane, struct lane_order *order)
{
    lane_queue_remove(&lane->waiting, order);
    lane->maybes -= order->maybe;
}

void lane_requeue(struct lane *lane, struct lane_order *order)
{
    lane->maybes += order->maybe;
    lane_queue_push_front(&lane->waiting, order);
}

void lane_give_up_lease(struct lane *lane)
{
    if (!lane->leased) return;
    lane->leased = false;
    lane->lanes->options.locks.release(lane->lanes->options.locks.arg, lane->product_id,
                                       &lane->lease);
}

/* Refuses what came up to this moment, in order; orders that may have been sold are never told that
 * nothing happened, they stay until that is settled or their deadline comes. */
static void refuse(struct lane *lane, enum reason reason, struct lane_text *text,
                   uint64_t arrived_until_us)
{
    struct lane_order *order = lane->waiting.first;
    while (order != NULL) {
        struct lane_order *next = order->next;
        if (!order->maybe && order->arrived_us <= arrived_until_us) {
            lane_take(lane, order);
            lane_order_decide(order, reason, text);
        }
        order = next;
    }
}

static void on_pause_over(void *arg)
{
    struct lane *lane = arg;
    CHECK(lane->waits == LANE_FOR_A_MOMENT);
    lane->waits = LANE_FOR_NOTHING;
    lanes_wake(lane->lanes, lane);
}

static void pause_for(struct lane *lane, uint64_t us)
{
    CHECK(lane->waits == LANE_FOR_NOTHING);
    lane->waits = LANE_FOR_A_MOMENT;
    timer_start(&lane->pause, lane->lanes->options.timers, lanes_now_us(lane->lanes) + us,
                on_pause_over, lane);
}

void lane_trouble(struct lane *lane, enum reason reason, const char *message)
{
    uint64_t now_us = lanes_now_us(lane->lanes);
    uint64_t patience_us = lane->lanes->options.patience_us;
    if (now_us >= patience_us) {
        struct lane_text *text = lane_text_new(message);
        refuse(lane, reason, text, now_us - patience_us);
        lane_text_drop(text);
    }
    if (lane->waiting.count > 0) pause_for(lane, PAUSE_US);
}

/* Those who asked for the lock from the beginning of this acquire on have waited for it in whole.
 */
static void refuse_busy(struct lane *lane, const char *message)
{
    struct lane_text *text = lane_text_new(message);
    refuse(lane, REASON_BUSY, text, lane->asked_us);
    lane_text_drop(text);
}

static void refuse_all(struct lane *lane, enum reason reason, const char *message)
{
    struct lane_text *text = lane_text_new(message);
    refuse(lane, reason, text, UINT64_MAX);
    lane_text_drop(text);
}

static void on_lock(void *arg, const struct lane_lock_answer *answer)
{
    struct lane *lane = arg;
    struct lanes *lanes = lane->lanes;
    CHECK(lane->waits == LANE_FOR_LOCK && !lane->leased);
    lane->waits = LANE_FOR_NOTHING;
    if (lanes->metrics.lock != NULL) {
        histogram_add(lanes->metrics.lock, lanes_now_us(lanes) - lane->asked_us);
    }
    lane->lock_agains = answer->outcome == LANE_LOCK_AGAIN ? lane->lock_agains + 1 : 0;
    switch (answer->outcome) {
    case LANE_LOCK_GRANTED:
        lane->leased = true;
        lane->lease = answer->lease;
        lane->lease_batches = 0;
        break;
    case LANE_LOCK_BUSY:
        refuse_busy(lane, answer->message);
        break;
    case LANE_LOCK_NO_QUORUM:
        refuse_all(lane, REASON_NO_QUORUM, answer->message);
        if (lane->waiting.count > 0) pause_for(lane, PAUSE_SHORT_US);
        break;
    case LANE_LOCK_OVERLOADED:
        refuse_all(lane, REASON_OVERLOADED, answer->message);
        if (lane->waiting.count > 0) pause_for(lane, PAUSE_US);
        break;
    case LANE_LOCK_AGAIN:
        if (lane->lock_agains > 1) pause_for(lane, PAUSE_US);
        break;
    case LANE_LOCK_DOWN:
        lane_trouble(lane, REASON_DOWN, answer->message);
        break;
    }
    lanes_wake(lanes, lane);
}

/* A spent lease is released behind the question for the next one: lockd, which has a waiter then,
 * hands over in one round of its nodes instead of a release and a grant. */
static void acquire(struct lane *lane)
{
    struct lanes *lanes = lane->lanes;
    bool spent = lane->leased;
    struct lane_lease old = lane->lease;
    lane->leased = false;
    lane->waits = LANE_FOR_LOCK;
    lane->asked_us = lanes_now_us(lanes);
    lanes->options.locks.acquire(lanes->options.locks.arg, lane->product_id, lane->min_token,
                                 lanes->options.patience_us, on_lock, lane);
    if (spent) lanes->options.locks.release(lanes->options.locks.arg, lane->product_id, &old);
}

/* A lease serves no further batch when it was for one order only, when others wait for it, or when
 * a third of its life is over: the rest is room for the statement, and for lockd to be fair. */
static bool lease_spent(const struct lane *lane)
{
    const struct lane_lease *lease = &lane->lease;
    uint64_t now_us = lanes_now_us(lane->lanes);
    if (now_us >= lease->ends_us) return true;
    if (lane->lease_batches == 0)
        return now_us - lease->began_us > (lease->ends_us - lease->began_us) / 2;
    if (lane->lanes->options.batch_max == 1 || lease->waiters) return true;
    return now_us - lease->began_us >= (lease->ends_us - lease->began_us) / 3;
}

static void below_quorum(struct lane *lane)
{
    struct lanes *lanes = lane->lanes;
    lane_give_up_lease(lane);
    refuse(lane, REASON_NO_QUORUM, lanes->voting_text, UINT64_MAX);
    if (lane->waiting.count > 0) pause_for(lane, PAUSE_SHORT_US);
}

static void ask_voting(struct lane *lane)
{
    lane->waits = LANE_FOR_VOTING;
    lanes_ask_voting(lane->lanes);
}

/* "Sold out" is said from a read, without the lock. */
static void step_sold_out(struct lane *lane)
{
    lane_give_up_lease(lane);
    switch (lanes_quorum(lane->lanes)) {
    case LANES_QUORUM_STALE:
        ask_voting(lane);
        return;
    case LANES_QUORUM_NO:
        below_quorum(lane);
        return;
    case LANES_QUORUM_YES:
        lane_batch_begin(lane, true);
    }
}

static void step_selling(struct lane *lane)
{
    const struct lanes *lanes = lane->lanes;
    enum lanes_quorum quorum = lanes_quorum(lanes);
    if (quorum == LANES_QUORUM_NO) {
        below_quorum(lane);
        return;
    }
    /* An acquire tells by itself who votes. But it would wait for a quorum that was not there when
     * last heard of; asking first refuses sooner. */
    bool was_short = lanes->voting_known && lanes->voting < lanes->options.quorum;
    if (quorum == LANES_QUORUM_STALE && (lane->leased || was_short)) {
        ask_voting(lane);
        return;
    }
    if (!lane->leased || lease_spent(lane)) {
        acquire(lane);
        return;
    }
    lane_batch_begin(lane, false);
}

void lane_step(struct lane *lane)
{
    while (lane->waits == LANE_FOR_NOTHING) {
        if (lane->waiting.count == 0) {
            lane_give_up_lease(lane);
            lanes_idle(lane->lanes, lane);
            return;
        }
        if (!lane->found && lane->maybes == 0) {
            lane_batch_begin(lane, true);
        } else if (lane->sold_out && lane->maybes == 0) {
            step_sold_out(lane);
        } else {
            step_selling(lane);
        }
    }
}
