#include "lockd/world.h"

#include "base/metrics.h"
#include "lockd/world_inside.h"

#include <stdlib.h>
#include <utlist.h>

#define EPOCH_US UINT64_C(1700000000000000) /* wall clock of the beginning */
#define PPM      UINT64_C(1000000)
#define SYNC_US  UINT64_C(1000000)

const struct world_options world_calm = {
    .seed = 1,
    .nodes = 5,
    .lockds = 1,
    .ttl_max_ms = 60000,
    .delay_min_us = 1000,
    .delay_max_us = 1000,
    .fence_life_ms = 600000,
    .waiters_max = 1000,
    .resources_max = 1000,
};

/* ---- clocks and chance ---- */

static uint64_t world_random(struct world *world)
{
    world->random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = world->random;
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

uint64_t world_random_below(struct world *world, uint64_t limit)
{
    return limit == 0 ? 0 : world_random(world) % limit;
}

static uint64_t random_for_leases(void *arg)
{
    return world_random(arg);
}

uint64_t world_now_us(const struct world *world)
{
    return world->now_us;
}

struct timers *world_timers(struct world *world)
{
    return &world->timers;
}

uint64_t world_events(const struct world *world)
{
    return world->events;
}

static uint64_t true_time(void *arg)
{
    return ((struct world *)arg)->now_us;
}

static int64_t random_rate(struct world *world)
{
    int64_t ppm = (int64_t)world->options.drift_ppm;
    return ppm == 0 ? 0 : (int64_t)world_random_below(world, (uint64_t)(2 * ppm + 1)) - ppm;
}

static uint64_t scaled(uint64_t us, int64_t rate_ppm)
{
    return us + (uint64_t)((int64_t)us * rate_ppm / (int64_t)PPM);
}

uint64_t world_lockd_us(struct world *world, unsigned lockd)
{
    return scaled(world->now_us, world->lockds[lockd].rate_ppm);
}

/* The first true instant at which that clock shows it. */
uint64_t world_true_us(struct world *world, unsigned lockd, uint64_t lockd_us)
{
    int64_t rate_ppm = world->lockds[lockd].rate_ppm;
    if (lockd_us == TIMER_NEVER) return TIMER_NEVER;
    uint64_t low_us = (uint64_t)((double)lockd_us / (1.0 + (double)rate_ppm / (double)PPM));
    low_us = low_us > 2000 ? low_us - 2000 : 0;
    uint64_t high_us = low_us + 4000;
    while (low_us < high_us) {
        uint64_t middle_us = low_us + (high_us - low_us) / 2;
        if (scaled(middle_us, rate_ppm) >= lockd_us) {
            high_us = middle_us;
        } else {
            low_us = middle_us + 1;
        }
    }
    return low_us;
}

uint64_t world_node_us(const struct world *world, unsigned node)
{
    return scaled(world->now_us, world->nodes[node].rate_ppm);
}

uint64_t lockd_boot_us(void *arg)
{
    const struct lockd *lockd = arg;
    return world_lockd_us(lockd->world, lockd->index);
}

static uint64_t lockd_wall_us(void *arg)
{
    const struct lockd *lockd = arg;
    return EPOCH_US + (uint64_t)((int64_t)lockd_boot_us(arg) + lockd->wall_step_us);
}
/* ---- nodes ---- */

struct sim_node *world_node(struct world *world, unsigned node)
{
    return &world->nodes[node].sim;
}

bool world_node_runs(const struct world *world, unsigned node)
{
    return world->nodes[node].up && !world->nodes[node].paused;
}

static void sync_on_timer(void *arg)
{
    struct world *world = arg;
    for (unsigned i = 0; i < world->options.nodes; i++)
        world->nodes[i].on_disk = world->nodes[i].sim;
    timer_start(&world->sync, &world->timers, world->now_us + SYNC_US, sync_on_timer, world);
}

bool world_node_forgot(const struct world *world, unsigned node)
{
    return world->nodes[node].lost_data;
}

void world_node_crash(struct world *world, unsigned node, enum world_loss loss)
{
    struct node *victim = &world->nodes[node];
    victim->up = false;
    victim->paused = false;
    victim->run++;
    for (unsigned i = 0; i < world->options.lockds; i++) {
        struct link *link = &world->lockds[i].links[node];
        if (link->connected) link_drop(link);
    }
    while (victim->backlog != NULL) {
        struct parcel *parcel = victim->backlog;
        DL_DELETE(victim->backlog, parcel);
        parcel_free(parcel);
    }
    if (loss == WORLD_LOSS_LAST) victim->sim = victim->on_disk;
    if (loss == WORLD_LOSS_ALL) sim_node_forget(&victim->sim);
    if (loss != WORLD_LOSS_NONE) victim->lost_data = true;
}

void world_node_start(struct world *world, unsigned node)
{
    world->nodes[node].up = true;
}

void world_node_pause(struct world *world, unsigned node)
{
    world->nodes[node].paused = true;
}

/* Sockets are read in no particular order, each one in its own. */
void world_node_wake(struct world *world, unsigned node)
{
    struct node *sleeper = &world->nodes[node];
    sleeper->paused = false;
    while (sleeper->backlog != NULL) {
        unsigned waiting = 0;
        struct parcel *parcel;
        DL_COUNT(sleeper->backlog, parcel, waiting);
        uint64_t place = world_random_below(world, waiting);
        struct parcel *chosen = sleeper->backlog;
        while (place-- > 0)
            chosen = chosen->next;
        DL_FOREACH(sleeper->backlog, parcel)
        {
            if (parcel->lockd == chosen->lockd && parcel->connection == chosen->connection) break;
        }
        DL_DELETE(sleeper->backlog, parcel);
        parcel_execute(parcel);
    }
}

/* ---- lockds ---- */

/* The analyser takes utlist's deletions for uses of what was freed.
 * NOLINTBEGIN(clang-analyzer-unix.Malloc) */

struct leases *world_leases(struct world *world, unsigned lockd)
{
    return world->lockds[lockd].leases;
}

bool world_lockd_paused(const struct world *world, unsigned lockd)
{
    return world->lockds[lockd].paused;
}

void world_lockd_step_wall(struct world *world, unsigned lockd, int64_t step_us)
{
    world->lockds[lockd].wall_step_us += step_us;
}

void world_lockd_start(struct world *world, unsigned lockd)
{
    struct lockd *self = &world->lockds[lockd];
    CHECK(!self->up);
    self->up = true;
    self->metrics = metrics_new();
    timers_init(&self->timers, &self->clock);
    struct leases_options options = {
        .timers = &self->timers,
        .transport = &self->transport,
        .metrics = self->metrics,
        .random = random_for_leases,
        .random_arg = world,
        .instance = ++world->instances,
        .ttl_default_ms = world->options.ttl_max_ms < 10000 ? world->options.ttl_max_ms : 10000,
        .ttl_max_ms = world->options.ttl_max_ms,
        .wait_default_ms = 1000,
        .node_timeout_ms = 50,
        .waiters_max = world->options.waiters_max,
        .resources_max = world->options.resources_max,
        .dead_max = 100000,
    };
    self->leases = leases_new(&options);
    for (unsigned i = 0; i < world->options.nodes; i++) {
        struct link *link = &self->links[i];
        struct link fresh = {
            .world = world,
            .lockd = lockd,
            .node = i,
            .connection = link->connection + 1,
            .cut = link->cut,
            .held_orders = link->held_orders,
            .held_answers = link->held_answers,
        };
        *link = fresh;
        link_dial(link, world_delay_us(world));
    }
}

void world_lockd_crash(struct world *world, unsigned lockd)
{
    struct lockd *self = &world->lockds[lockd];
    CHECK(self->up);
    self->up = false; /* from here on it sends nothing */
    self->paused = false;
    leases_free(self->leases);
    self->leases = NULL;
    while (self->inbox != NULL) {
        struct parcel *parcel = self->inbox;
        DL_DELETE(self->inbox, parcel);
        parcel_free(parcel);
    }
    for (unsigned i = 0; i < world->options.nodes; i++) {
        struct link *link = &self->links[i];
        link->connected = false;
        link->votes = false;
        link->connection++;
        timer_stop(&link->dial);
        timer_stop(&link->quarantine);
        while (link->pending != NULL)
            pending_give_up(link->pending);
        while (link->kept != NULL) {
            struct kept *kept = link->kept;
            LL_DELETE(link->kept, kept);
            free(kept);
        }
    }
    CHECK(self->timers.count == 0);
    timers_fini(&self->timers);
    metrics_free(self->metrics);
}

void world_lockd_pause(struct world *world, unsigned lockd)
{
    world->lockds[lockd].paused = true;
}

void world_lockd_wake(struct world *world, unsigned lockd)
{
    struct lockd *self = &world->lockds[lockd];
    self->paused = false;
    bool timers_first = world_random_below(world, 2) == 0;
    if (timers_first) timers_run(&self->timers);
    while (self->inbox != NULL) {
        struct parcel *parcel = self->inbox;
        DL_DELETE(self->inbox, parcel);
        parcel_hear(parcel);
    }
    if (!timers_first) timers_run(&self->timers);
}

/* NOLINTEND(clang-analyzer-unix.Malloc) */

/* ---- the world ---- */

struct world *world_new(const struct world_options *options)
{
    CHECK(options->nodes > 0 && options->nodes <= TRANSPORT_NODES_MAX);
    CHECK(options->lockds > 0 && options->lockds <= LOCKDS_MAX);
    struct world *world = xcalloc(1, sizeof *world);
    world->options = *options;
    world->random = options->seed;
    world->now_us = 1000 * US_PER_MS;
    world->clock = (struct clock){true_time, true_time, world};
    timers_init(&world->timers, &world->clock);
    for (unsigned i = 0; i < options->nodes; i++) {
        world->nodes[i] = (struct node){.up = true, .run = 1, .rate_ppm = random_rate(world)};
        struct sim_node *sim = &world->nodes[i].sim;
        sim->broken_rules = options->broken_rules;
        sim->fence_life_us = options->fence_life_ms * US_PER_MS;
        sim->epoch = true;
        sim->epoch_run = 1;
    }
    for (unsigned i = 0; i < options->lockds; i++) {
        struct lockd *lockd = &world->lockds[i];
        lockd->world = world;
        lockd->index = i;
        lockd->rate_ppm = random_rate(world);
        lockd->clock = (struct clock){lockd_boot_us, lockd_wall_us, lockd};
        lockd->transport = (struct transport){
            .nodes = options->nodes,
            .send = link_send,
            .votes = link_votes,
            .arg = lockd,
        };
        world_lockd_start(world, i);
    }
    sync_on_timer(world);
    return world;
}

void world_free(struct world *world)
{
    for (unsigned i = 0; i < world->options.lockds; i++) {
        if (world->lockds[i].up) world_lockd_crash(world, i);
    }
    for (unsigned i = 0; i < world->options.nodes; i++) {
        for (unsigned j = 0; j < world->options.lockds; j++)
            world_link_mend(world, j, i);
        world_node_crash(world, i, WORLD_LOSS_NONE);
    }
    while (world->hints != NULL)
        hint_free(world->hints);
    while (world->parcels != NULL) {
        struct parcel *parcel = world->parcels;
        DL_DELETE(world->parcels, parcel);
        parcel_free(parcel);
    }
    timers_fini(&world->timers);
    free(world);
}

uint64_t world_orders(const struct world *world, enum order_kind kind)
{
    return world->orders[kind];
}

void world_run_us(struct world *world, uint64_t us)
{
    uint64_t end_us = world->now_us + us;
    for (;;) {
        uint64_t next_us = timers_next_us(&world->timers);
        struct lockd *next = NULL;
        for (unsigned i = 0; i < world->options.lockds; i++) {
            struct lockd *lockd = &world->lockds[i];
            if (!lockd->up || lockd->paused) continue;
            uint64_t due_us = world_true_us(world, i, timers_next_us(&lockd->timers));
            if (due_us >= next_us) continue;
            next_us = due_us;
            next = lockd;
        }
        if (next_us > end_us) break;
        if (next_us > world->now_us) world->now_us = next_us;
        world->events++;
        timers_run(next == NULL ? &world->timers : &next->timers);
    }
    world->now_us = end_us;
}
