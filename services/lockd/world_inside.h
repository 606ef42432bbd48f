/* world_inside.h - the inside of world.c and world_link.c; nobody else includes it. */
#ifndef QUORATE_LOCKD_WORLD_INSIDE_H
#define QUORATE_LOCKD_WORLD_INSIDE_H

#include "base/check.h"
#include "lockd/world.h"

#define LOCKDS_MAX 4
#define US_PER_MS  UINT64_C(1000)

/* An order on its way, owned by the world. It outlives the connection it was sent on. */
struct parcel {
    struct world *world;
    unsigned lockd, node;
    uint64_t connection; /* of the link, when it was sent */
    uint64_t run;        /* of the node, when the connection was made */
    struct timer timer;  /* its arrival at the node, or its answer's at the lockd */
    struct order order;
    char texts[RESOURCE_BYTES_MAX + 2 * VALUE_BYTES_MAX];
    struct vote vote;
    struct pending *pending; /* NULL: nobody waits for the answer any more */
    struct parcel *prev, *next;
};

/* What a node tells a lockd that waits: that a resource is free. */
struct hint {
    struct world *world;
    unsigned lockd, node;
    struct timer timer;
    char resource[RESOURCE_BYTES_MAX + 1];
    struct hint *prev, *next;
};

/* What a lockd waits for; on its own timers. */
struct pending {
    struct link *link;
    struct parcel *parcel; /* NULL: there is none (any more) */
    struct timer timer;
    vote_fn *on_vote;
    void *arg;
    struct pending *prev, *next;
};

/* A release that the node missed. */
struct kept {
    struct order order;
    char texts[RESOURCE_BYTES_MAX + VALUE_BYTES_MAX];
    uint64_t until_us; /* lockd's clock */
    struct kept *next;
};

struct link {
    struct world *world;
    unsigned lockd, node;
    bool connected, votes, cut;
    uint64_t connection;
    uint64_t run; /* of the node at the other end */
    unsigned late;
    uint64_t orders_delay_us, replies_delay_us;
    uint64_t order_arrives_us, reply_arrives_us; /* the last one: nothing overtakes it */
    uint64_t quarantine_until_us;                /* lockd's clock; 0: none */
    uint64_t quarantine_run;
    struct timer dial;       /* true time: next attempt, or the greeting's arrival at the node */
    struct timer quarantine; /* lockd's clock */
    struct pending *pending;
    struct kept *kept;
    struct parcel *held_orders, *held_answers; /* while the way is cut, in order */
};

struct lockd {
    struct world *world;
    unsigned index;
    bool up, paused;
    int64_t rate_ppm;
    int64_t wall_step_us;
    struct clock clock;
    struct timers timers;
    struct transport transport;
    struct metrics *metrics;
    struct leases *leases;
    struct link links[TRANSPORT_NODES_MAX];
    struct parcel *inbox; /* answers that came while it was paused */
};

struct node {
    struct sim_node sim;
    struct sim_node on_disk; /* as it was up to a second ago */
    bool up, paused;
    bool lost_data; /* since the last run that could vote */
    uint64_t run;
    int64_t rate_ppm;
    struct parcel *backlog;
};

struct world {
    struct world_options options;
    uint64_t now_us;
    uint64_t random;
    uint64_t instances;
    uint64_t events;
    uint64_t orders[ORDER_FORGET + 1];
    struct clock clock;
    struct timers timers;
    struct lockd lockds[LOCKDS_MAX];
    struct node nodes[TRANSPORT_NODES_MAX];
    struct parcel *parcels; /* all that are on their way */
    struct hint *hints;
    struct timer sync; /* of the nodes' disks */
};

/* Its boot clock; `arg` is a struct lockd. */
uint64_t lockd_boot_us(void *arg);

/* How long this message takes. */
uint64_t world_delay_us(struct world *world);

void parcel_free(struct parcel *parcel);
void hint_free(struct hint *hint);

/* What reached its end: runs at the node, is heard by the lockd. */
void parcel_execute(struct parcel *parcel);
void parcel_hear(struct parcel *parcel);

/* Nobody will answer any more: UNKNOWN. */
void pending_give_up(struct pending *pending);

void link_dial(struct link *link, uint64_t in_us);
void link_drop(struct link *link);

/* The transport of a lockd, which is its `arg`. */
bool link_send(void *arg, unsigned node, const struct order *order, vote_fn *on_vote,
               void *vote_arg);
bool link_votes(void *arg, unsigned node);

#endif
