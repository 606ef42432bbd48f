/* crowd.h - clients, faults, and the judge of a simulated world.
 *
 * Clients acquire, hold, extend, ask twice, give up, forget to release; faults befall nodes, lockds
 * and the ways between them; and after every answer the judge looks whether what lockd promises
 * still holds. A promise that is broken is counted and told, not fatal: a test that leaves out a
 * rule wants to see it.
 */
#ifndef QUORATE_LOCKD_CROWD_H
#define QUORATE_LOCKD_CROWD_H

#include "lockd/world.h"

struct crowd;

struct crowd_options {
    struct world_options world;
    unsigned clients;
    unsigned resources;
    uint64_t fault_us;     /* mean time between two faults; 0: none */
    unsigned link_percent; /* of all faults; the rest befalls lockds */
    unsigned node_percent;
};

struct crowd_report {
    uint64_t events, grants, handed_on, extends, touches, faults, refusals;
    uint64_t broken; /* promises */
    char first[256]; /* the first of them */
};

/* Runs a world with its crowd for run_us of its time, heals everything, waits until all nodes vote
 * again, and asks for everything once more: that has to succeed. */
void crowd_run(const struct crowd_options *options, uint64_t run_us, struct crowd_report *report);

#endif
