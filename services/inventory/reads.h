/* reads.h - the stock of a product as Postgres and as every node has it, both really read, at one
 * moment.
 *
 * A read that arrives while a batch's statement is under way is answered from that batch: what the
 * statement returned and what the nodes answered when they stored it. Otherwise Postgres is read,
 * then the nodes, for all products and callers that wait at that moment together; a read never
 * joins one that began before it arrived. Where the versions differ it is repeated, at most
 * READS_TRIES times: then the answer says how they differ, and `moving` if they were still
 * changing. A node that stayed behind a settled Postgres gets its stock put anew, after the answer.
 * No lock is taken. Nothing here does I/O.
 *
 * Thread    the loop's only.
 * Answers   reads_get answers each call exactly once, never before it returned, and not after
 * reads_cancel.
 * Borrows   the call until it was answered or cancelled; timers, ports and metrics for reads' life.
 * Units     absolute microseconds of CLOCK_BOOTTIME in `_us`.
 */
#ifndef QUORATE_INVENTORY_READS_H
#define QUORATE_INVENTORY_READS_H

#include "base/timer.h"
#include "inventory/stock.h"

#define READS_TRIES 5

struct reads;
struct metrics;

enum reads_outcome {
    READS_DONE,
    READS_NOT_FOUND, /* Postgres has no such product */
    READS_DOWN,      /* Postgres could not be read */
    READS_EXPIRED,   /* the deadline passed */
};

struct reads_stock {
    enum reads_outcome outcome;
    struct stock_value db;          /* DONE: Postgres */
    struct stock_view view;         /* DONE: the nodes taken together */
    const struct stock_node *nodes; /* DONE: each, in the order of REDIS_NODES */
    unsigned node_count;
    bool synced; /* every reachable node and Postgres agree, and there is one */
    bool moving; /* these are values of different moments */
};
typedef void reads_answer_fn(void *arg, const struct reads_stock *stock);

/* Found products in any order; those that are not there do not exist. */
typedef void reads_store_fn(void *arg, bool ok, const struct stock_value *found, size_t count);

/* Where reads get their values. Each is answered exactly once, never before it returned, and before
 * reads_free. */
struct reads_ports {
    /* Postgres: these products (1 to STOCK_READ_MAX), in a statement that begins after this call.
     */
    void (*store_read)(void *arg, const int64_t *products, size_t count, reads_store_fn *on_read,
                       void *on_read_arg);
    /* As stock_read and stock_put. */
    void (*nodes_read)(void *arg, const int64_t *products, size_t count, stock_read_fn *on_read,
                       void *on_read_arg);
    void (*nodes_put)(void *arg, const struct stock_value *value, stock_stored_fn *on_stored,
                      void *on_stored_arg);
    /* Calls reads_flush at the end of this turn of the loop. */
    void (*flush_later)(void *arg);
    void *arg;
};

/* `metrics` may be NULL. */
struct reads *reads_new(struct timers *timers, const struct reads_ports *ports,
                        struct metrics *metrics);

/* Every call must have been answered or cancelled, every port's answer come. NULL is harmless. */
void reads_free(struct reads *reads);

struct reads_call {
    reads_answer_fn *on_answer;
    void *arg;
    struct timer deadline;
    struct reads_call *next;
    struct reads_call **back; /* NULL: not waiting */
};

void reads_get(struct reads *reads, struct reads_call *call, int64_t product, uint64_t deadline_us,
               reads_answer_fn *on_answer, void *arg);

/* Never answers any more. Harmless on a call that does not wait. */
void reads_cancel(struct reads_call *call);

/* A batch's statement for this product was handed to Postgres, under a lease. Batches of one
 * product are told in order, one at a time. */
void reads_batch_began(struct reads *reads, int64_t product);

/* Its statement has answered: `value` is what it returned, in the same turn as its stock_put; NULL:
 * it failed, or its outcome is unknown. */
void reads_batch_ended(struct reads *reads, int64_t product, const struct stock_value *value);

/* Sends what waits; see flush_later. */
void reads_flush(struct reads *reads);

struct reads_counts {
    uint64_t gets;    /* calls */
    uint64_t rounds;  /* reads of Postgres that they shared */
    uint64_t joined;  /* calls that were answered from a batch */
    uint64_t again;   /* repetitions, because versions differed */
    uint64_t moving;  /* tries given up as moving */
    uint64_t repairs; /* puts made because nodes stayed behind */
    size_t products;  /* with calls or a batch under way, now */
};
struct reads_counts reads_counts(const struct reads *reads);

#endif
