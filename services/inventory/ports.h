/* ports.h - inventory's parts plugged into one another.
 *
 * Lanes know the store, lockd and the live stock only as ports (lane.h); here is what is behind
 * them in production, and the loop's tick that moves them.
 *
 * Thread    the loop's only.
 * Borrows   loop, database, metrics and the lists of options until ports_close.
 */
#ifndef QUORATE_INVENTORY_PORTS_H
#define QUORATE_INVENTORY_PORTS_H

#include "inventory/live.h"
#include "inventory/locks.h"
#include "inventory/store.h"

struct ports;
struct database;

struct ports_options {
    struct database *database;
    const struct conf_list *redis_nodes;
    const struct conf_list *lockd_urls;
    uint32_t lease_ttl_ms;
    struct lanes_options lanes; /* bounds only: its ports are filled in here */
    struct metrics *metrics;
};

/* NULL: an address is malformed (said in the log). */
struct ports *ports_open(struct loop *loop, const struct ports_options *options);

struct lanes *ports_lanes(struct ports *ports);
struct live *ports_live(struct ports *ports);
struct store *ports_store(struct ports *ports);

/* Nothing is open in lanes and locks: every lease was given back. */
bool ports_quiet(const struct ports *ports);

/* Only when quiet, and with the database closed: that answers what the store still owes. */
void ports_close(struct ports *ports);

#endif
