/* stock_view.h - what the Redis nodes hold of a product, and what follows from it.
 *
 * Plain values and one pure judgement: no node is asked here.
 *
 * Units     stock in items; versions are Postgres's (products.version), below 2^53.
 */
#ifndef QUORATE_INVENTORY_STOCK_VIEW_H
#define QUORATE_INVENTORY_STOCK_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#define STOCK_NODES_MAX   9
#define STOCK_VERSION_MAX ((INT64_C(1) << 53) - 1)

/* A product's stock as Postgres had it at a version. */
struct stock_value {
    int64_t product;
    int64_t stock;
    int64_t version;
};

enum stock_held {
    STOCK_UNREACHABLE, /* the node is down, did not answer in time, or answered with an error */
    STOCK_ABSENT,      /* it answered, and holds no value (or one that is no number) */
    STOCK_HELD,
};

/* One node's answer. */
struct stock_node {
    enum stock_held held;
    int64_t stock; /* both 0 unless HELD */
    int64_t version;
};

/* All nodes' answers taken together. */
struct stock_view {
    unsigned reachable; /* nodes that answered */
    bool has_stock;     /* some node holds a value */
    bool equal;         /* some node answered, and all that did hold one and the same value */
    int64_t stock;      /* of the highest version among those that most reachable nodes hold */
    int64_t version;
};

struct stock_view stock_view_of(const struct stock_node *nodes, unsigned node_count);

/* Every reachable node holds exactly this, and there is one. */
bool stock_view_synced(const struct stock_view *view, const struct stock_value *value);

#endif
