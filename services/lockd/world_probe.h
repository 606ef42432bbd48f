/* world_probe.h - what a test asks the leases of a simulated world, and what it heard.
 *
 * A probe is one client: it asks with its own name as request id and remembers the answer. Borrows
 * its texts for its life.
 */
#ifndef QUORATE_LOCKD_WORLD_PROBE_H
#define QUORATE_LOCKD_WORLD_PROBE_H

#include "lockd/world.h"

struct probe {
    struct world *world;
    unsigned lockd;
    const char *resource;
    const char *id;
    /* Of the next question; 0: the default. */
    uint32_t ttl_ms;
    uint32_t wait_ms;
    uint64_t min_token;
    uint64_t deadline_us; /* the lockd's clock; 0: none */
    bool no_wait;

    struct leases_call *call; /* open */
    unsigned answers;
    struct leases_answer answer; /* the last one */
    uint64_t answered_us;        /* true time */
    unsigned *turn;              /* counts answers of several probes; may be NULL */
    unsigned place;
    bool release_at_once; /* from inside the answer */
};

/* The calm world with so many lockds, everybody admitted. */
struct world *probe_world(unsigned lockds);

void probe_acquire(struct probe *probe);
void probe_extend(struct probe *probe, uint64_t token);
void probe_release(struct probe *probe, uint64_t token);
void probe_withdraw(struct probe *probe);

/* Acquires, runs until the answer is there, and returns its token; 0: refused. */
uint64_t probe_hold(struct probe *probe);

/* Granted, and its end has not come. */
bool probe_holds(const struct probe *probe);

/* Nodes on which something holds the resource. */
unsigned world_keys(struct world *world, const char *resource);

#endif
