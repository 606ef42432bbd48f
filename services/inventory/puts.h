/* puts.h - committed stock on its way to every node.
 *
 * A put of a product is a round: the value goes to all nodes that are up, and the round ends when
 * each has answered or timed out. One round of a product at a time, so that its answers belong to
 * one value; of what comes meanwhile only the newest version makes the next round. Rounds that
 * start together share one script per node: a flight. Two flights are in the air at most, until a
 * majority of the nodes has answered; what comes meanwhile starts together when one has landed, so
 * that scripts grow with the load instead of their number.
 *
 * Puts that somebody waits for leave at the end of the turn. Others leave then too if nothing has
 * left for PUTS_PACE_US, else when that has passed: the nodes sync their disk for every script, and
 * what is behind it there may be the lock of the next sale.
 *
 * A node that is up but did not acknowledge is repeated to, with growing pauses, until it did, went
 * down, or a newer round has covered it. Past repeats_max such products the node is reported as
 * behind instead and the product forgotten. What a node that is down misses is not kept: it will be
 * levelled when it is back.
 *
 * Pure: nodes, timers and the end of the turn are parameters.
 *
 * Thread    the loop's only.
 * Answers   puts_put answers exactly once, never before it returned.
 * Borrows   timers, port and metrics for puts' life; the value until the call returns.
 */
#ifndef QUORATE_INVENTORY_PUTS_H
#define QUORATE_INVENTORY_PUTS_H

#include "base/timer.h"
#include "inventory/stock.h"
#include "inventory/stock_port.h"

#define PUTS_REPEAT_US     100000  /* first pause; doubles */
#define PUTS_REPEAT_MAX_US 1600000 /* longest pause */
#define PUTS_CHUNK         128     /* products in one script */
#define PUTS_FLIGHTS_MAX   2
#define PUTS_PACE_US       4000

struct puts;
struct metrics;

struct puts_options {
    struct timers *timers;
    const struct stock_port *port;
    uint32_t repeats_max;
    struct metrics *metrics; /* NULL: not counted */
    /* Call puts_flush at the end of this turn of the loop. */
    void (*flush_later)(void *arg);
    /* This node missed puts that are no longer kept. */
    void (*behind)(void *arg, unsigned node);
    void *arg;
};

struct puts *puts_new(const struct puts_options *options);

/* Every write must have been answered and every put with it; forgets what waits for repetition.
 * NULL is harmless. */
void puts_free(struct puts *puts);

void puts_put(struct puts *puts, const struct stock_value *value, stock_stored_fn *on_stored,
              void *arg);

/* `all`: whatever is in the air, because somebody is about to ask the nodes. */
void puts_flush(struct puts *puts, bool all);

struct puts_counts {
    uint64_t puts;    /* asked for */
    uint64_t rounds;  /* made of them, repetitions not counted */
    uint64_t repeats; /* rounds that repeated */
    size_t products;  /* kept now */
    size_t repeating; /* of these wait for repetition */
};
struct puts_counts puts_counts(const struct puts *puts);

#endif
