/* sim_node.h - one Redis server of the simulated world: what the scripts do, in C.
 *
 * (sim_node_test.c holds it against the scripts themselves.) The store of one node, with keys that
 * expire on its own clock, and the rules by which it grants, extends and releases. Each rule can be
 * left out, so that a test can show what it is good for. Connections, delays and who may vote are
 * world.h's.
 *
 * Units     microseconds of the node's own clock; milliseconds in orders and votes.
 */
#ifndef QUORATE_LOCKD_SIM_NODE_H
#define QUORATE_LOCKD_SIM_NODE_H

#include "lockd/transport.h"

#define SIM_RESOURCES_MAX 16
#define INSTANCE_BYTES    16

/* Rules to leave out. */
enum sim_rule {
    SIM_RULE_TOMBSTONE = 1 << 0,    /* a release raises the fence to token + 1 */
    SIM_RULE_FENCE = 1 << 1,        /* a grant needs a token above the bound */
    SIM_RULE_THIRD_OWNER = 1 << 2,  /* a grant never overwrites one who is not `from` */
    SIM_RULE_EXACT_OWNER = 1 << 3,  /* a release deletes its own value, not all of its request id */
    SIM_RULE_HEAL_ONLY = 1 << 4,    /* an extend that re-creates does not count */
    SIM_RULE_EXTEND_FENCE = 1 << 5, /* an extend re-creates only up to the bound */
    SIM_RULE_NEVER_SHORTEN = 1 << 6, /* the end of a key only moves back */
    SIM_RULE_HIGH = 1 << 7,          /* where the fence is gone, `high` stands in */
    SIM_RULE_MARK = 1 << 10,         /* a lockd that another one keeps out leaves its mark */
    SIM_RULE_HINT = 1 << 11,         /* a release tells it that the lock is free */
    /* and of admission, which world.h has: */
    SIM_RULE_QUARANTINE = 1 << 8, /* a node that forgot sits out LOCK_TTL_MAX */
    SIM_RULE_FLOOR = 1 << 9,      /* and then grants nothing below what others have seen */
};

struct sim_resource {
    char name[RESOURCE_BYTES_MAX + 1];
    char value[VALUE_BYTES_MAX + 1];
    size_t value_bytes; /* 0: free */
    uint64_t until_us;
    uint64_t fence; /* 0: none */
    uint64_t fence_until_us;
    char mark[INSTANCE_BYTES + 1]; /* of the lockd that waits; empty: none */
    uint64_t mark_until_us;
};

struct sim_node {
    unsigned broken_rules;
    uint64_t fence_life_us;
    struct sim_resource resources[SIM_RESOURCES_MAX];
    unsigned resource_count;
    /* quorate:epoch */
    bool epoch;
    uint64_t epoch_run; /* which run of the server may vote */
    uint64_t high;
    uint64_t floor;
    bool told; /* the last order told who waits that its resource is free */
};

/* Executes one order at now_us. */
void sim_node_execute(struct sim_node *node, const struct order *order, uint64_t now_us,
                      struct vote *vote);

/* All data is gone. */
void sim_node_forget(struct sim_node *node);

/* The value that holds this resource; empty: none. */
struct span sim_node_value(struct sim_node *node, const char *resource, uint64_t now_us);
uint32_t sim_node_remaining_ms(struct sim_node *node, const char *resource, uint64_t now_us);
/* The lockd that waits for this resource; empty: none. */
struct span sim_node_mark(struct sim_node *node, const char *resource, uint64_t now_us);
uint64_t sim_node_bound(struct sim_node *node, const char *resource, uint64_t now_us);

#endif
