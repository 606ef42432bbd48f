#include "inventory/stock_view.h"

#include "base/check.h"

#include <stddef.h>

static bool same(const struct stock_node *a, const struct stock_node *b)
{
    return a->held == b->held && a->stock == b->stock && a->version == b->version;
}

struct stock_view stock_view_of(const struct stock_node *nodes, unsigned node_count)
{
    CHECK(node_count <= STOCK_NODES_MAX);
    struct stock_view view = {0};
    const struct stock_node *first = NULL;
    unsigned most = 0;
    view.equal = true;
    for (unsigned i = 0; i < node_count; i++) {
        const struct stock_node *node = &nodes[i];
        if (node->held == STOCK_UNREACHABLE) continue;
        view.reachable++;
        if (first == NULL) first = node;
        if (!same(node, first)) view.equal = false;
        if (node->held == STOCK_ABSENT) continue;
        unsigned alike = 0;
        for (unsigned j = 0; j < node_count; j++)
            alike += same(node, &nodes[j]);
        if (alike < most || (alike == most && node->version <= view.version)) continue;
        most = alike;
        view.has_stock = true;
        view.stock = node->stock;
        view.version = node->version;
    }
    view.equal = view.equal && view.has_stock;
    return view;
}

bool stock_view_synced(const struct stock_view *view, const struct stock_value *value)
{
    return view->equal && view->stock == value->stock && view->version == value->version;
}
