/* fake_nodes.h - Redis nodes for tests: a world without sockets, on a clock that a test moves.
 *
 * Writes wait in each node's inbox until the test delivers them, in order; a write may also be lost
 * (answered "unknown", executed or not). The versions rule of put.lua is repeated here in C.
 */
#ifndef QUORATE_INVENTORY_FAKE_NODES_H
#define QUORATE_INVENTORY_FAKE_NODES_H

#include "base/timer.h"
#include "inventory/stock_port.h"

#define FAKE_PRODUCTS_MAX 8192
#define FAKE_WRITE_MAX    256

struct fake_write {
    size_t count;
    struct stock_value values[FAKE_WRITE_MAX];
    stock_written_fn *on_written;
    void *arg;
    struct fake_write *next;
};

struct fake_node {
    bool up;
    bool full; /* up, but takes no writes */
    struct stock_node held[FAKE_PRODUCTS_MAX];
    struct fake_write *inbox;
    struct fake_write **inbox_tail;
    size_t writes; /* taken */
    size_t products_written;
};

struct fake_nodes {
    struct stock_port port;
    struct fake_node nodes[STOCK_NODES_MAX];
    struct timers timers;
    struct clock clock;
    uint64_t now_us;
    bool flush_wanted;
};

enum fake_fate {
    FAKE_DONE,    /* executed and answered */
    FAKE_LOST,    /* neither */
    FAKE_UNHEARD, /* executed, the answer was lost */
};

struct fake_nodes *fake_nodes_new(unsigned node_count); /* all up, empty */
void fake_nodes_free(struct fake_nodes *fake);

/* The next write in a node's inbox; false: there is none. */
bool fake_deliver(struct fake_nodes *fake, unsigned index, enum fake_fate fate);

/* A node goes down: its inbox is answered "unknown", never executed. */
void fake_down(struct fake_nodes *fake, unsigned index);

/* It forgets everything. */
void fake_wipe(struct fake_nodes *fake, unsigned index);

void fake_advance(struct fake_nodes *fake, uint64_t us);

/* A flush_later that notes that it was asked. */
void fake_flush_later(void *fake);

const struct stock_node *fake_held(const struct fake_nodes *fake, unsigned node, int64_t product);

#endif
