/* edge.h - what the calls of the edge share. Made and taken down by main.c. */
#ifndef QUORATE_EDGE_EDGE_H
#define QUORATE_EDGE_EDGE_H

#include "base/metrics.h"
#include "edge/auth.h"
#include "edge/edge_conf.h"
#include "edge/exchange.h"
#include "edge/inventory_client.h"
#include "edge/lockd_client.h"
#include "edge/passwords.h"

struct route_stats;
struct http;

struct edge {
    const struct edge_conf *conf;
    struct loop *loop;
    struct metrics *metrics;
    struct auth *auth;
    struct passwords *passwords;
    struct inventory_client *inventory;
    struct lockd_client *lockd;
    struct http *http;
    struct route_stats *stats;
    uint64_t started_us;
    bool was_healthy;     /* at some time since, when somebody asked */
    size_t listing_bytes; /* pages that clients have not taken yet */
    uint64_t key_seed;    /* of the idempotency keys made here: unique with key_count */
    uint64_t key_count;
};

#endif
