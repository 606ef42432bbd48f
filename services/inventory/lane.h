/* lane.h - the queues in front of the products: who buys next, under which lease, and what each
 * buyer hears.
 *
 * Every product that is bought has a lane: its orders in order of arrival, drained in batches of at
 * most `batch_max` that take what waits now and never wait to fill. A batch needs a lease of the
 * product (token), then runs as one statement in the store, which claims the token, answers
 * recorded keys and sells to those who fit. One lane has one thing under way at a time. Lanes open
 * for products that the store knows, and close when they have been idle for a while.
 *
 * What a buyer hears:
 *   sold (REASON_NONE)  committed; or recorded earlier under the same key, with the first body.
 *   INSUFFICIENT        the quantity exceeds the stock that a committed statement returned, or that
 *                       a read returned which began after the order came.
 *   KEY_REUSED          the key (per user) is recorded with another product or quantity, or came
 *                       with another quantity in the same batch.
 *   UNAUTHENTICATED     there is no such account.
 *   NOT_FOUND           there is no such product.
 *   BUSY                others held the product for the whole wait.
 *   NO_QUORUM           too few nodes vote. Nothing was sold, sold out or not.
 *   DOWN                lockd or Postgres can't be reached (for longer than the patience).
 *   OVERLOADED          lockd has no room for this wait.
 *   EXPIRED             the deadline passed while the order waited; it was not executed.
 *   OUTCOME_UNKNOWN     the deadline passed after the order was handed to Postgres.
 * All but the first and the last mean that this order changed nothing.
 *
 * An order of which the statement says nothing was either crowded out (it runs again at the head of
 * the next batch) or has no account: it has none if it would have fitted even behind every order
 * that may stand before it.
 *
 * A statement whose answer never came leaves orders that may be sold, now or later. The lane gives
 * its lease up, takes a new one with a higher token, and runs them again with their keys: if the
 * straggler has committed, the keys are known; if it comes later, its token is refused. Until that
 * is settled such an order is never told "nothing happened", nor answered from a read.
 *
 * The lease is kept while orders wait, for at most a third of its life, not beyond the batch when
 * others wait for it at lockd, and not beyond the batch with batch_max 1; it is released as soon as
 * nothing waits. Every answer of lockd says how many nodes vote. That knowledge may be a second
 * old; then the lane asks before it starts a batch under its lease or answers "sold out".
 *
 * Pure: clock, timers, store, locks and stock are parameters.
 *
 * Thread    the loop's only.
 * Answers   an accepted order is answered exactly once, from lanes_run, before its deadline, or
 * never after lanes_cancel. Within an answer everything is allowed but lanes_run and lanes_free.
 * Borrows   a buy until lanes_buy returns; an answer and its order while the answer runs; timers,
 *           metrics and ports for the lanes' life.
 * Units     absolute microseconds of CLOCK_BOOTTIME in `_us`.
 */
#ifndef QUORATE_INVENTORY_LANE_H
#define QUORATE_INVENTORY_LANE_H

#include "base/reason.h"
#include "base/timer.h"
#include "inventory/sale.h"

struct lanes;
struct lane_order;
struct metrics;

#define LANE_REQUEST_ID_BYTES_MAX 64
#define LANE_MESSAGE_BYTES_MAX    512

/* A lease as lockd gave it. */
struct lane_lease {
    char request_id[LANE_REQUEST_ID_BYTES_MAX + 1];
    unsigned lockd; /* which one granted it; the locks' own */
    uint64_t token;
    uint64_t began_us; /* when it was asked for */
    uint64_t ends_us;  /* on our clock, no later than at lockd */
    bool waiters;      /* others wait for it */
};

enum lane_lock_outcome {
    LANE_LOCK_GRANTED,    /* and it still lasts */
    LANE_LOCK_BUSY,       /* held by others for the whole wait */
    LANE_LOCK_NO_QUORUM,  /* too few nodes vote */
    LANE_LOCK_OVERLOADED, /* lockd has no room */
    LANE_LOCK_AGAIN,      /* no grant, ask again with a new id: lost answer, dead on arrival */
    LANE_LOCK_DOWN,       /* no lockd can be reached */
};

struct lane_lock_answer {
    enum lane_lock_outcome outcome;
    struct lane_lease lease; /* GRANTED */
    const char *message;     /* otherwise: for people; borrowed while the answer runs */
};
typedef void lane_lock_fn(void *arg, const struct lane_lock_answer *answer);

/* lockd. Whatever it answers, acquires included, first goes to lanes_hear_voting. */
struct lane_locks {
    /* Asks for a lease of this product with a token above min_token (0: any), under a request id
     * that was never used, and waits wait_us for others at most. Answered exactly once, never
     * before it returned. What was granted and is not reported as GRANTED the locks release
     * themselves. */
    void (*acquire)(void *arg, int64_t product_id, uint64_t min_token, uint64_t wait_us,
                    lane_lock_fn *on_answer, void *answer_arg);
    /* Gives a lease back. Does its best, tells nobody. */
    void (*release)(void *arg, int64_t product_id, const struct lane_lease *lease);
    /* Asks how many nodes vote; ends in exactly one lanes_hear_voting, never before it returned. */
    void (*ask)(void *arg);
    void *arg;
};

/* Postgres. Both are answered exactly once, never before they returned. */
struct lane_store {
    void (*sell)(void *arg, const struct sale *sale, sale_answer_fn *on_answer, void *answer_arg);
    /* Reads the stock and which of these orders' keys are recorded, in a statement that begins
     * after this call. Answers DONE, NO_PRODUCT or DOWN. */
    void (*look)(void *arg, const struct sale *sale, sale_answer_fn *on_answer, void *answer_arg);
    void *arg;
};

/* The live stock, and the reads of it. */
struct lane_stock {
    /* A statement for this product was handed to the store. */
    void (*began)(void *arg, int64_t product_id);
    /* It has answered: `now` is the committed stock, to be put on the nodes; NULL: there is none,
     * or none is known. */
    void (*ended)(void *arg, int64_t product_id, const struct stock_value *now);
    void *arg;
};

struct lanes_options {
    struct timers *timers;
    struct lane_store store;
    struct lane_locks locks;
    struct lane_stock stock;
    /* Has lanes_run called at the end of this turn of the loop. */
    void (*run_later)(void *arg);
    void *run_arg;
    unsigned quorum;        /* votes that a sale needs */
    unsigned nodes;         /* how many there are */
    size_t batch_max;       /* 1 to SALE_ORDERS_MAX; 1: a lock and a commit for each order */
    size_t orders_max;      /* open orders of all lanes */
    size_t lane_orders_max; /* open orders of one lane */
    size_t lanes_max;       /* lanes, idle ones included (those make room) */
    uint64_t patience_us; /* how long an order waits for a lock that others hold, or for a lockd or
                             Postgres that is down, before it is told so */
    uint64_t idle_us;     /* an idle lane closes after this */
    struct metrics *metrics; /* NULL: not counted */
};

struct lanes *lanes_new(const struct lanes_options *options);

/* No order may be open, no port's answer outstanding: see lanes_quiet. NULL is harmless. */
void lanes_free(struct lanes *lanes);

/* No order is open, nothing is under way and no lease is held: all was given back. */
bool lanes_quiet(const struct lanes *lanes);

/* Valid by the limits of sale.h: the caller has refused others. */
struct lane_buy {
    int64_t user_id;
    int64_t product_id;
    int64_t quantity;
    struct span key;
    uint64_t deadline_us; /* the answer comes no later; leave time for its way back */
};

struct lane_answer {
    enum reason reason;
    const struct purchase *purchase; /* REASON_NONE */
    int64_t available;               /* INSUFFICIENT: the stock that is left */
    const char *message;             /* failures: one sentence for people */
};
typedef void lane_answer_fn(void *arg, const struct lane_answer *answer);

/* Queues an order. NULL: too many are open; no answer follows, nothing will be sold. */
struct lane_order *lanes_buy(struct lanes *lanes, const struct lane_buy *buy,
                             lane_answer_fn *on_answer, void *arg);

/* Nobody waits for this order any more: it is not executed unless that is under way already, and
 * never answered. Only before it was answered. */
void lanes_cancel(struct lanes *lanes, struct lane_order *order);

/* Moves every lane that something happened to, then answers. */
void lanes_run(struct lanes *lanes);

struct lane_voting {
    bool heard;          /* false: lockd did not answer; the rest is not read */
    unsigned voting;     /* nodes that vote */
    uint64_t asked_us;   /* when the question was sent: the knowledge is as old as that */
    const char *message; /* NULL, or who does not vote and why, for people; copied */
};

/* What an answer of lockd said. Also what ends locks.ask (`asked` true). */
void lanes_hear_voting(struct lanes *lanes, const struct lane_voting *voting, bool asked);

/* Asks lockd how many nodes vote, unless that is under way: for a service's health, which must be
 * known while nobody buys. */
void lanes_ask_voting(struct lanes *lanes);

/* Enough nodes vote, as far as is known; that knowledge is at most a second old. */
bool lanes_have_quorum(const struct lanes *lanes);

struct lanes_counts {
    size_t lanes;  /* open */
    size_t orders; /* open */
};
struct lanes_counts lanes_counts(const struct lanes *lanes);

#endif
