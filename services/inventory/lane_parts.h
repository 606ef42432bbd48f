/* lane_parts.h - what the files of the lanes share: orders, lanes, and the table of them.
 *
 * lane.h is the contract; lanes.c the table, its bounds and what lockd last said; lane.c one lane's
 * machine; lane_batch.c how a batch is composed and judged; lane_order.c orders and their answers.
 *
 * Ownership an order belongs to its lane's queue, then to the batch under way, then to the list of
 *           decided answers, and is freed when it has been answered. An order in a batch that was
 *           answered early (deadline) or cancelled stays there, mute, until the batch is judged.
 */
#ifndef QUORATE_INVENTORY_LANE_PARTS_H
#define QUORATE_INVENTORY_LANE_PARTS_H

#include "inventory/by_product.h"
#include "inventory/lane.h"

/* A sentence shared by all orders that it is told to. */
struct lane_text {
    unsigned holders;
    char text[];
};

struct lane_order {
    struct lane *lane;
    struct lane_order *next; /* in a queue */
    struct lane_order **back;
    struct lane_order *twin;   /* in a batch: the next one with the same user, key and quantity */
    lane_answer_fn *on_answer; /* NULL: mute, nobody is to be told any more */
    void *arg;
    struct timer deadline;
    uint64_t arrived_us;
    size_t place; /* of its slot in the batch */
    bool batched; /* in the batch under way */
    bool maybe;   /* was in a statement whose answer never came, and that is not settled */
    int64_t user_id;
    int64_t product_id;
    int64_t quantity;
    /* Decided: */
    enum reason reason;
    struct purchase purchase;
    int64_t available;
    struct lane_text *text;
    size_t key_bytes;
    char key[];
};

struct lane_queue {
    struct lane_order *first;
    struct lane_order **tail;
    size_t count;
};

/* What was handed to the store and is under way. */
struct lane_batch {
    bool look;
    uint64_t began_us;
    size_t count;
    struct lane_order *slots[];
};

enum lane_waits {
    LANE_FOR_NOTHING,  /* lane_step decides what comes next */
    LANE_FOR_LOCK,     /* lockd's answer to an acquire */
    LANE_FOR_VOTING,   /* lockd's answer how many nodes vote */
    LANE_FOR_STORE,    /* the batch's answer */
    LANE_FOR_A_MOMENT, /* a pause, because something is down */
};

struct lane {
    struct lanes *lanes;
    int64_t product_id;
    UT_hash_handle hh;
    struct lane *ready_next;
    bool ready;
    enum lane_waits waits;
    struct lane_queue waiting;
    size_t maybes; /* of those that wait */
    size_t orders; /* open: waiting or in the batch, and not mute */
    struct lane_batch *batch;
    bool found;    /* the store knows the product */
    bool sold_out; /* its stock was 0 when last heard of */
    bool leased;
    struct lane_lease lease;
    unsigned lease_batches; /* begun under this lease */
    uint64_t min_token;     /* the next lease's token must be higher */
    uint64_t asked_us;      /* when the acquire under way was sent */
    unsigned agains;        /* statements rolled back in a row */
    unsigned lock_agains;   /* acquires without an answer in a row */
    struct timer pause;
    struct lane *idle_next;  /* in the list of idle lanes, longest idle first */
    struct lane **idle_back; /* NULL: not idle */
    uint64_t idle_since_us;
};

struct lane_metrics {
    uint64_t *answers[REASON_CANCELLED + 1];
    uint64_t *orders;
    uint64_t *batches;
    uint64_t *looks;
    uint64_t *unknowns;
    int64_t *lanes;
    int64_t *open;
    struct histogram *statement;
    struct histogram *lock;
    struct histogram *wait;
};

struct lanes {
    struct lanes_options options;
    struct lane *table;
    size_t lane_count;
    size_t orders; /* open, all lanes */
    struct lane *ready;
    struct lane **ready_tail;
    struct lane_queue decided;
    bool running;  /* in lanes_run */
    bool stepping; /* and lanes are moving */
    struct lane *idle;
    struct lane **idle_tail;
    struct timer idle_check;
    /* What lockd last said. */
    bool voting_known;
    unsigned voting;
    uint64_t voting_asked_us;
    struct lane_text *voting_text;
    bool asking;
    /* Scratch of one batch. */
    struct sale_order *sale_orders;
    const struct sale_row **rows;
    uint16_t *keys; /* hash table of places + 1 */
    uint64_t key_seed;
    struct lane_metrics metrics;
};

static inline uint64_t lanes_now_us(const struct lanes *lanes)
{
    return timers_now_us(lanes->options.timers);
}

/* lane_order.c */
void lane_queue_init(struct lane_queue *queue);
void lane_queue_push(struct lane_queue *queue, struct lane_order *order);
void lane_queue_push_front(struct lane_queue *queue, struct lane_order *order);
void lane_queue_remove(struct lane_queue *queue, struct lane_order *order);

struct lane_order *lane_order_new(const struct lane_buy *buy, lane_answer_fn *on_answer, void *arg);
void lane_order_free(struct lane_order *order);

/* Fixes how an order ends and queues its answer; the order is in no queue. A mute one is freed. */
void lane_order_decide(struct lane_order *order, enum reason reason, struct lane_text *text);

/* Answers an order that was decided, and frees it. */
void lane_order_deliver(struct lane_order *order);

struct lane_text *lane_text_new(const char *text);
struct lane_text *lane_text_hold(struct lane_text *text);
void lane_text_drop(struct lane_text *text);

/* lane_batch.c */

/* Takes what waits from the queue's head into a batch and hands it to the store. */
void lane_batch_begin(struct lane *lane, bool look);

/* lane.c */
void lane_step(struct lane *lane);
/* Puts an order back to the head of the queue. */
void lane_requeue(struct lane *lane, struct lane_order *order);
/* Takes an order out of the queue. */
void lane_take(struct lane *lane, struct lane_order *order);
void lane_give_up_lease(struct lane *lane);
/* Something is down: tells those whose patience is over, and pauses. */
void lane_trouble(struct lane *lane, enum reason reason, const char *message);

/* lanes.c */
enum lanes_quorum { LANES_QUORUM_YES, LANES_QUORUM_NO, LANES_QUORUM_STALE };
enum lanes_quorum lanes_quorum(const struct lanes *lanes);
void lanes_wake(struct lanes *lanes, struct lane *lane);
void lanes_idle(struct lanes *lanes, struct lane *lane);

#endif
