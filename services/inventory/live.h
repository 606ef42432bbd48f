/* live.h - the live stock and its reads, joined to this inventory's store and lanes.
 *
 * Glue only: stock.h is the stock on the nodes, reads.h the consistent read; here they get Postgres
 * to level nodes by and to read from, the loop to work on, and word of every batch.
 *
 * Thread    the loop's only.
 * Borrows   the node list, store and metrics until live_close.
 */
#ifndef QUORATE_INVENTORY_LIVE_H
#define QUORATE_INVENTORY_LIVE_H

#include "inventory/lane.h"
#include "inventory/reads.h"

struct live;
struct store;

struct live_options {
    const struct conf_list *nodes; /* REDIS_NODES */
    struct store *store;
    struct metrics *metrics; /* NULL: not counted */
};

struct live *live_open(struct loop *loop, const struct live_options *options);

/* Every reads_get must have been answered or cancelled, and the store have answered everything
 * (close the database first). Answers what stock owes, then frees. Not from inside an answer. NULL
 * is harmless. */
void live_close(struct live *live);

struct stock *live_stock(struct live *live);
struct reads *live_reads(struct live *live);

/* What lanes tell of their batches: puts what was committed, answers the reads that wait for it. */
struct lane_stock live_lane_stock(struct live *live);

#endif
