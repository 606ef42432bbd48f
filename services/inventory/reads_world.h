/* reads_world.h - reads under test: a Postgres and nodes that are arrays, and whose questions wait
 * until the test answers them, in order, with what they hold by then.
 */
#ifndef QUORATE_INVENTORY_READS_WORLD_H
#define QUORATE_INVENTORY_READS_WORLD_H

#include "inventory/reads.h"

enum { NODES = 5, PRODUCTS = 8, CALLS = 64, QUESTIONS = 16 };

#define DEADLINE_US 5000000

/* A question put to a port, waiting for the test to answer it. */
struct question {
    enum { STORE_READ = 1, NODES_READ, NODES_PUT } kind;
    size_t count;
    int64_t products[PRODUCTS];
    struct stock_value value; /* NODES_PUT */
    union {
        reads_store_fn *on_store;
        stock_read_fn *on_read;
        stock_stored_fn *on_stored;
    };
    void *arg;
};

struct answer {
    struct reads_call call;
    unsigned count;
    struct reads_stock stock;
    struct stock_node nodes[NODES];
    struct world *world;
    int64_t get_again; /* the answer asks for this product */
};

struct world {
    uint64_t now_us;
    struct clock clock;
    struct timers timers;
    struct reads *reads;
    bool flush_wanted;
    struct stock_value db[PRODUCTS];          /* by id; version 0: none */
    struct stock_node nodes[NODES][PRODUCTS]; /* what they hold */
    bool postgres_down;
    struct question questions[QUESTIONS];
    size_t asked;
    size_t asked_in_all[4]; /* by kind */
    struct answer answers[CALLS];
};

/* For cmocka. Products 1 to 7 are 100 times their id everywhere, at version 10. */
int world_set_up(void **state);
int world_tear_down(void **state);

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

/* What reads wanted to be called for at the end of the turn. */
void world_flush(struct world *world);
void world_advance(struct world *world, uint64_t us);

/* Asks; answered later, at most once. */
struct answer *world_get(struct world *world, int64_t product);

/* The oldest question, which must be of this kind, is answered by the world as it is now. */
void world_answer_store(struct world *world);
void world_answer_nodes(struct world *world);
void world_answer_put(struct world *world);

/* It is not answered: the test does that. */
struct question world_take(struct world *world, int kind);

/* Postgres, then the nodes. */
void world_one_try(struct world *world);
/* Until nothing is asked any more. */
void world_answer_all(struct world *world);

/* As a put does. */
void world_store_on_nodes(struct world *world, const struct stock_value *value);

void assert_done(const struct answer *answer, int64_t stock, int64_t version, bool synced);

#endif
