/* lane_world.h - a world for lanes under test: a clock that stands still, a database that does what
 * the batch statement does, a lockd that grants what it is told to.
 *
 * What lanes ask of the store and of lockd waits in lists until the test (or the world's `auto_`
 * switches) answers it, so that every order of events can be played.
 */
#ifndef QUORATE_INVENTORY_LANE_WORLD_H
#define QUORATE_INVENTORY_LANE_WORLD_H

#include "inventory/lane.h"

#define WORLD_PRODUCTS  4 /* ids 1 to 4 */
#define WORLD_USERS     1000
#define WORLD_CALLS_MAX 256
#define WORLD_SOLD_MAX  65536

struct world_product {
    bool exists;
    int64_t initial;
    int64_t stock;
    int64_t version;
    uint64_t last_token;
};

struct world_record {
    char key[SALE_KEY_BYTES_MAX + 1];
    uint64_t token;
    int64_t version;
    size_t place;
    struct purchase purchase;
};

/* A sale or look that the store was handed. */
struct world_call {
    bool open;
    bool look;
    struct sale sale;
    sale_answer_fn *on_answer;
    void *arg;
};

struct world_acquire {
    bool open;
    int64_t product_id;
    uint64_t min_token;
    uint64_t asked_us;
    lane_lock_fn *on_answer;
    void *arg;
};

struct world {
    uint64_t now_us;
    struct clock clock;
    struct timers timers;
    struct lanes *lanes;
    bool run_wanted;
    /* the database */
    struct world_product products[WORLD_PRODUCTS + 1];
    int64_t user_max; /* users 1 to this exist */
    struct world_record *records;
    size_t record_count;
    struct world_call calls[WORLD_CALLS_MAX];
    bool store_down; /* answers DOWN at the next settle */
    bool auto_store;
    /* lockd */
    struct world_acquire acquires[WORLD_CALLS_MAX];
    uint64_t token; /* highest granted */
    uint64_t ttl_us;
    unsigned voting;
    bool waiters;
    bool lockd_down;
    bool auto_locks;
    bool asked; /* a question for the votes is open */
    uint64_t asked_us;
    unsigned acquired, released, asks, sells, looks;
    unsigned handed_on; /* releases behind an acquire of the same product */
    unsigned open_leases;
    char held[WORLD_PRODUCTS + 1]
             [LANE_REQUEST_ID_BYTES_MAX + 1]; /* the lease of a product, or "" */
    uint64_t last_min_token;
    /* what reads and nodes were told */
    unsigned began, ended;
    struct stock_value put[WORLD_PRODUCTS + 1];
};

struct buyer {
    struct world *world;
    struct lane_order *order;
    unsigned answers;
    uint64_t answered_us;
    enum reason reason;
    struct purchase purchase;
    int64_t available;
    char message[LANE_MESSAGE_BYTES_MAX];
};

/* Stock 100 of product 1; 5 nodes vote; everything answers by itself. */
void world_open(struct world *world, const struct lanes_options *options);
void world_close(struct world *world);

/* Default options: batches of 128, patience 1 s. */
struct lanes_options world_options(void);

void world_product_add(struct world *world, int64_t id, int64_t stock);

/* Runs lanes and what answers by itself until nothing moves; time stands still. */
void world_settle(struct world *world);
/* Time passes, in steps of at most 10 ms, settling after each. */
void world_pass(struct world *world, uint64_t us);

struct world_buy {
    int64_t user_id;
    int64_t product_id; /* 0: 1 */
    int64_t quantity;   /* 0: 1 */
    const char *key;
    uint64_t within_us; /* 0: 5 s */
};
/* False: refused, OVERLOADED. */
bool world_buy(struct world *world, struct buyer *buyer, const struct world_buy *buy);

/* The only open call (of a product); fails if there is none. */
struct world_call *world_sell_open(struct world *world);
struct world_call *world_look_open(struct world *world);
struct world_acquire *world_acquire_open(struct world *world);

struct world_result {
    struct sale_answer answer;
    struct sale_row rows[SALE_ORDERS_MAX];
};
/* Does to the database what the statement does, without answering. */
void world_execute(struct world *world, const struct world_call *call, struct world_result *result);
/* Answers, and settles. */
void world_answer(struct world *world, struct world_call *call, const struct sale_answer *answer);
/* Both. */
void world_complete(struct world *world, struct world_call *call);
void world_grant(struct world *world, struct world_acquire *acquire);
void world_refuse(struct world *world, struct world_acquire *acquire,
                  enum lane_lock_outcome outcome);

int64_t world_sold(const struct world *world, int64_t product_id);

#endif
