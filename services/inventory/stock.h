/* stock.h - the live stock of all products on all Redis nodes.
 *
 * Postgres is the truth; each node holds `stock:<id>`, the number that people read, and
 * `stockver:<id>`, the version it belongs to. What was committed is put on every node by a script
 * that keeps the higher version, so puts may come late, twice or out of order and the nodes still
 * converge; nothing is ever lowered blindly. A node that comes back (restart, lost data, partition)
 * is brought level with Postgres page by page, beside the live puts. A node is served whatever
 * lockd thinks of it: quarantine concerns votes, not stock.
 *
 * Missed puts are not kept: a node that was away is levelled with the whole catalogue, a put that a
 * reachable node did not acknowledge is repeated with the newest value, and when too many of those
 * wait, the node is levelled too. So memory is bounded by what is in flight.
 *
 * Thread    the loop's only.
 * Answers   a put or read is answered exactly once, never before the call returned, at the latest
 * when options.timeout_ms has passed twice.
 * Borrows   values and product lists until the call returns; what an answer points to while it
 * runs; the node list, the source and metrics until stock_close.
 * Units     milliseconds in `_ms`.
 */
#ifndef QUORATE_INVENTORY_STOCK_H
#define QUORATE_INVENTORY_STOCK_H

#include "base/conf.h"
#include "base/loop.h"
#include "inventory/stock_view.h"

#include <stddef.h>

#define STOCK_READ_MAX 1000

struct stock;
struct metrics;

/* The products after an id, in order of id, as Postgres has them now. */
struct stock_page {
    bool ok; /* false: Postgres could not be read; asked again after a while */
    const struct stock_value *values;
    size_t count; /* fewer than asked for: these are the last */
};
typedef void stock_page_fn(void *arg, const struct stock_page *page);

/* The source of truth for levelling. At most one page is under way at a time. */
struct stock_source {
    /* The read must begin after this call. Answered exactly once, never before it returned. It may
     * be answered after stock_close, which is then harmless, but must be answered. */
    void (*page)(void *arg, int64_t after, size_t limit, stock_page_fn *on_page, void *on_page_arg);
    void *arg;
};

struct stock_options {
    const struct stock_source *source;
    struct metrics *metrics; /* NULL: not counted */
    uint32_t timeout_ms;     /* for a node's answer; 0: 200 */
    uint32_t repeats_max;    /* puts kept for repetition; 0: 4096 */
};

/* `nodes` as REDIS_NODES gives them: host:port, 1 to STOCK_NODES_MAX. Never fails: dials now and
 * redials for ever; every node is levelled once it is there, so also after a start. */
struct stock *stock_open(struct loop *loop, const struct conf_list *nodes,
                         const struct stock_options *options);

/* Answers what is pending (nodes that did not answer yet as unreachable), then frees. Not from
 * inside an answer. NULL is harmless. */
void stock_close(struct stock *stock);

/* A put has reached every node that it could reach. */
struct stock_stored {
    struct stock_value value;       /* what was put: yours, or a newer one of the same product */
    unsigned node_count;            /* in the order of REDIS_NODES */
    const struct stock_node *nodes; /* what each node holds after it */
};
typedef void stock_stored_fn(void *arg, const struct stock_stored *stored);

/* Puts a committed stock on all nodes. At most one put of a product is under way; of those that
 * come meanwhile only the newest goes out, and answers for all. `on_stored` may be NULL. */
void stock_put(struct stock *stock, const struct stock_value *value, stock_stored_fn *on_stored,
               void *arg);

struct stock_read {
    size_t count; /* products, in the order asked for */
    unsigned node_count;
    const struct stock_node *nodes; /* of product i: nodes[i * node_count] and following */
};
typedef void stock_read_fn(void *arg, const struct stock_read *read);

/* Asks every reachable node for 1 to STOCK_READ_MAX products, in one question each. A read sees at
 * least what was put before it on every node that acknowledged it, or is asked behind it. */
void stock_read(struct stock *stock, const int64_t *products, size_t count, stock_read_fn *on_read,
                void *arg);

unsigned stock_node_count(const struct stock *stock);
const char *stock_node_name(const struct stock *stock, unsigned node);

enum stock_node_state {
    STOCK_NODE_DOWN,
    STOCK_NODE_BEHIND, /* up; being brought level */
    STOCK_NODE_LEVEL,
};
enum stock_node_state stock_node_state(const struct stock *stock, unsigned node);

#endif
