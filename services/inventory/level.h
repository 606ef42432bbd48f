/* level.h - brings nodes level with Postgres.
 *
 * A node that is behind takes part in a walk through all products, page by page, until it has seen
 * every product that was read after it joined. The walk goes round: nodes join wherever it is,
 * share its pages, and leave after a full lap; it stands still while no node is behind. Values are
 * written by the same versioned script as live puts, so that a page may be older than what the
 * node holds by now. One script per node is under way at a time: live puts wait behind at most one.
 *
 * Pure: nodes, source and timers are parameters.
 *
 * Thread    the loop's only.
 * Borrows   timers, port and source for the level's life.
 */
#ifndef QUORATE_INVENTORY_LEVEL_H
#define QUORATE_INVENTORY_LEVEL_H

#include "base/timer.h"
#include "inventory/stock.h"
#include "inventory/stock_port.h"

#define LEVEL_PAGE         1000   /* products read at once */
#define LEVEL_CHUNK        250    /* products in one script */
#define LEVEL_PAUSE_US     100000 /* after a page or script that failed; doubles */
#define LEVEL_PAUSE_MAX_US 1000000

struct level;

struct level_options {
    struct timers *timers;
    const struct stock_port *port;
    const struct stock_source *source;
    /* A node has seen every product. NULL: not told. */
    void (*on_even)(void *arg, unsigned node, uint64_t products);
    void *arg;
};

struct level *level_new(const struct level_options *options);

/* Every write must have been answered; a page may come later, it is dropped. NULL is harmless. */
void level_free(struct level *level);

/* The node is up, and may lack anything that was committed before now. */
void level_behind(struct level *level, unsigned node);

/* The node went down. */
void level_away(struct level *level, unsigned node);

/* The node has everything that was committed before it was reported behind. */
bool level_even(const struct level *level, unsigned node);

#endif
