/* stock_port.h - the Redis nodes, as puts and levelling see them.
 *
 * In production this is Redis, in tests a simulated world. Nothing here does I/O.
 *
 * Thread    the loop's only.
 * Answers   a write that returned true is answered exactly once, never before it returned; false:
 * the node is not up, nothing was sent, no answer follows. A write that was sent before another
 * on the same node is executed before it.
 * Borrows   values until write returns; `held` while the answer runs.
 */
#ifndef QUORATE_INVENTORY_STOCK_PORT_H
#define QUORATE_INVENTORY_STOCK_PORT_H

#include "inventory/stock_view.h"

#include <stddef.h>

/* `held`: for each value written, what the node holds afterwards; never UNREACHABLE. NULL: no
 * answer in time, or an error: the write may have happened, or may yet. */
typedef void stock_written_fn(void *arg, const struct stock_node *held);

struct stock_port {
    unsigned node_count;

    bool (*up)(void *arg, unsigned node);

    /* Each value is kept by the node unless it holds a higher version. */
    bool (*write)(void *arg, unsigned node, const struct stock_value *values, size_t count,
                  stock_written_fn *on_written, void *on_written_arg);

    void *arg;
};

#endif
