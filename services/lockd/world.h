/* world.h - a simulated world: nodes, lockds, and a network that does what networks do.
 *
 * The leases under test run on it unchanged: it gives each lockd a clock, timers and a transport. A
 * node runs its orders one after the other; a connection keeps its order, but what was left in a
 * dropped one may still be executed, later, beside the orders of the next. Admission and breaker
 * are there as far as the protocol relies on them: a node votes after it was admitted, one that has
 * forgotten sits out its quarantine, releases that a node missed come first when it is back.
 *
 * Everything follows from the seed. Time is true time in microseconds; each clock has its rate.
 */
#ifndef QUORATE_LOCKD_WORLD_H
#define QUORATE_LOCKD_WORLD_H

#include "lockd/leases.h"
#include "lockd/sim_node.h"

struct world;

struct world_options {
    uint64_t seed;
    unsigned nodes;
    unsigned lockds;
    unsigned broken_rules; /* of enum sim_rule */
    uint32_t ttl_max_ms;
    uint32_t delay_min_us; /* one way */
    uint32_t delay_max_us;
    uint32_t drift_ppm; /* clocks run at most this much too fast or too slow */
    uint64_t fence_life_ms;
    uint32_t waiters_max;
    uint32_t resources_max;
};

/* Five nodes, one lockd, 1 ms each way, LOCK_TTL_MAX 60 s, exact clocks. */
extern const struct world_options world_calm;

struct world *world_new(const struct world_options *options);
void world_free(struct world *world);

uint64_t world_now_us(const struct world *world);
uint64_t world_random_below(struct world *world, uint64_t limit);
struct timers *world_timers(struct world *world); /* on true time, for the test's own doings */
uint64_t world_events(const struct world *world);

/* Runs what is due until `us` later. */
void world_run_us(struct world *world, uint64_t us);

/* ---- lockds ---- */

struct leases *world_leases(struct world *world, unsigned lockd);               /* NULL: crashed */
uint64_t world_lockd_us(struct world *world, unsigned lockd);                   /* its boot clock */
uint64_t world_true_us(struct world *world, unsigned lockd, uint64_t lockd_us); /* the reverse */

/* Ends like a killed process: nothing is answered, nothing sent any more. */
void world_lockd_crash(struct world *world, unsigned lockd);
void world_lockd_start(struct world *world, unsigned lockd);

/* Stopped and continued, as by SIGSTOP: what came meanwhile is handled in any order. */
void world_lockd_pause(struct world *world, unsigned lockd);
void world_lockd_wake(struct world *world, unsigned lockd);
bool world_lockd_paused(const struct world *world, unsigned lockd);
void world_lockd_step_wall(struct world *world, unsigned lockd, int64_t step_us);

/* ---- nodes ---- */

struct sim_node *world_node(struct world *world, unsigned node);
uint64_t world_node_us(const struct world *world, unsigned node); /* its clock */

enum world_loss {
    WORLD_LOSS_NONE, /* every write was on disk before its answer */
    WORLD_LOSS_LAST, /* the last second or so */
    WORLD_LOSS_ALL,
};
void world_node_crash(struct world *world, unsigned node, enum world_loss loss);
bool world_node_forgot(const struct world *world, unsigned node); /* and has not been readmitted */
void world_node_start(struct world *world, unsigned node);
void world_node_pause(struct world *world, unsigned node);
void world_node_wake(struct world *world, unsigned node);
bool world_node_runs(const struct world *world, unsigned node); /* neither crashed nor paused */

/* ---- the way between them ---- */

bool world_votes(const struct world *world, unsigned lockd, unsigned node);

/* What is sent from now on, in either direction, arrives after it is mended; a connection may be
 * given up meanwhile. */
void world_link_cut(struct world *world, unsigned lockd, unsigned node);
void world_link_mend(struct world *world, unsigned lockd, unsigned node);

/* Extra time each way; UINT64_MAX for replies: they are lost. */
void world_link_delay(struct world *world, unsigned lockd, unsigned node, uint64_t orders_us,
                      uint64_t replies_us);

/* The connection breaks. Orders under way are executed stray_us later all the same (or lost:
 * UINT64_MAX); their answers are not heard. */
void world_link_break(struct world *world, unsigned lockd, unsigned node, uint64_t stray_us);

/* Orders that nodes have executed, by kind. */
uint64_t world_orders(const struct world *world, enum order_kind kind);

#endif
