/* What goes wrong, and how it comes right again. */
#include "lockd/crowd_inside.h"

#define HOUR (INT64_C(3600) * 1000000)

enum repair { REPAIR_LINK, REPAIR_DELAY, REPAIR_NODE, REPAIR_WAKE, REPAIR_LOCKD, REPAIR_PAUSE };

static void repair_one(struct crowd *crowd, const struct repair_order *order)
{
    struct world *world = crowd->world;
    switch ((enum repair)order->what) {
    case REPAIR_LINK:
        world_link_mend(world, order->lockd, order->node);
        return;
    case REPAIR_DELAY:
        world_link_delay(world, order->lockd, order->node, 0, 0);
        return;
    case REPAIR_NODE:
        world_node_start(world, order->node);
        return;
    case REPAIR_WAKE:
        world_node_wake(world, order->node);
        return;
    case REPAIR_LOCKD:
        world_lockd_start(world, order->lockd);
        return;
    case REPAIR_PAUSE:
        crowd->woke_us[order->lockd] = world_lockd_us(world, order->lockd);
        world_lockd_wake(world, order->lockd);
        return;
    }
}

static void repair_on_timer(void *arg)
{
    const struct repair_order *order = arg;
    repair_one(order->crowd, order);
}

/* False: too much is broken already. */
static bool repair_in(struct crowd *crowd, struct repair_order order, uint64_t us)
{
    for (unsigned i = 0; i < sizeof crowd->repair / sizeof *crowd->repair; i++) {
        if (timer_running(&crowd->repair[i])) continue;
        order.crowd = crowd;
        crowd->repairs[i] = order;
        timer_start(&crowd->repair[i], world_timers(crowd->world),
                    world_now_us(crowd->world) + 1 + us, repair_on_timer, &crowd->repairs[i]);
        return true;
    }
    return false;
}

static bool in_repair(const struct crowd *crowd, unsigned what, unsigned lockd, unsigned node)
{
    for (unsigned i = 0; i < sizeof crowd->repair / sizeof *crowd->repair; i++) {
        const struct repair_order *order = &crowd->repairs[i];
        if (timer_running(&crowd->repair[i]) && order->what == what && order->lockd == lockd &&
            order->node == node) {
            return true;
        }
    }
    return false;
}

static void fault_on_link(struct crowd *crowd, unsigned lockd, unsigned node)
{
    struct world *world = crowd->world;
    uint64_t choice = crowd_below(crowd, 3);
    if (choice == 0) {
        uint64_t stray_us =
            crowd_chance(crowd, 30) ? UINT64_MAX : 100 * MS + crowd_below(crowd, 2 * SECOND);
        bool all = crowd_chance(crowd, 20);
        for (unsigned i = 0; i < crowd->options.world.nodes; i++) {
            if (all || i == node) world_link_break(world, lockd, i, stray_us);
        }
    } else if (choice == 1) {
        struct repair_order mend = {.what = REPAIR_LINK, .lockd = lockd, .node = node};
        if (in_repair(crowd, REPAIR_LINK, lockd, node)) return;
        if (!repair_in(crowd, mend,
                       crowd_below(crowd, crowd_chance(crowd, 90) ? 100 * MS : 3 * SECOND))) {
            return;
        }
        world_link_cut(world, lockd, node);
    } else {
        struct repair_order calm = {.what = REPAIR_DELAY, .lockd = lockd, .node = node};
        if (in_repair(crowd, REPAIR_DELAY, lockd, node)) return;
        if (!repair_in(crowd, calm, crowd_below(crowd, 300 * MS))) return;
        uint64_t replies_us = crowd_chance(crowd, 30) ? UINT64_MAX : crowd_below(crowd, 40 * MS);
        world_link_delay(world, lockd, node, crowd_below(crowd, 40 * MS), replies_us);
    }
}

static void fault_on_node(struct crowd *crowd, unsigned node)
{
    struct world *world = crowd->world;
    if (!world_node_runs(world, node)) return;
    unsigned forgot = 0;
    for (unsigned i = 0; i < crowd->options.world.nodes; i++)
        forgot += world_node_forgot(world, i);
    bool pause = crowd_chance(crowd, 50);
    struct repair_order order = {.what = pause ? REPAIR_WAKE : REPAIR_NODE, .node = node};
    if (!repair_in(crowd, order,
                   crowd_below(crowd, crowd_chance(crowd, 90) ? 200 * MS : 4 * SECOND)))
        return;
    if (pause) {
        world_node_pause(world, node);
        return;
    }
    unsigned nodes = crowd->options.world.nodes;
    bool may_forget = world_node_forgot(world, node) || forgot < nodes - (nodes / 2 + 1);
    enum world_loss loss = WORLD_LOSS_NONE;
    if (may_forget && crowd_chance(crowd, 5)) loss = WORLD_LOSS_LAST;
    if (may_forget && crowd_chance(crowd, 10)) loss = WORLD_LOSS_ALL;
    world_node_crash(world, node, loss);
}

static void fault_on_lockd(struct crowd *crowd, unsigned lockd)
{
    struct world *world = crowd->world;
    if (world_leases(world, lockd) == NULL || world_lockd_paused(world, lockd)) return;
    uint64_t choice = crowd_below(crowd, 4);
    if (choice <= 1) {
        struct repair_order wake = {.what = REPAIR_PAUSE, .lockd = lockd};
        if (!repair_in(crowd, wake,
                       crowd_below(crowd, crowd_chance(crowd, 90) ? 50 * MS : 4 * SECOND))) {
            return;
        }
        world_lockd_pause(world, lockd);
    } else if (choice == 2) {
        world_lockd_step_wall(world, lockd, (int64_t)crowd_below(crowd, 2 * HOUR) - HOUR);
    } else {
        struct repair_order start_again = {.what = REPAIR_LOCKD, .lockd = lockd};
        if (!repair_in(crowd, start_again, crowd_below(crowd, 300 * MS))) return;
        crowd->lives[lockd]++;
        world_lockd_crash(world, lockd);
    }
}

void fault_on_timer(void *arg)
{
    struct crowd *crowd = arg;
    unsigned lockd = (unsigned)crowd_below(crowd, crowd->options.world.lockds);
    unsigned node = (unsigned)crowd_below(crowd, crowd->options.world.nodes);
    crowd->report->faults++;
    timer_start(&crowd->fault, world_timers(crowd->world),
                world_now_us(crowd->world) + 1 + crowd_below(crowd, 2 * crowd->options.fault_us),
                fault_on_timer, crowd);
    uint64_t choice = crowd_below(crowd, 100);
    if (choice < crowd->options.link_percent) {
        fault_on_link(crowd, lockd, node);
    } else if (choice < crowd->options.link_percent + crowd->options.node_percent) {
        fault_on_node(crowd, node);
    } else {
        fault_on_lockd(crowd, lockd);
    }
}

void faults_heal(struct crowd *crowd)
{
    timer_stop(&crowd->fault);
    crowd->ending = true;
    for (unsigned i = 0; i < sizeof crowd->repair / sizeof *crowd->repair; i++) {
        if (!timer_running(&crowd->repair[i])) continue;
        timer_stop(&crowd->repair[i]);
        repair_one(crowd, &crowd->repairs[i]);
    }
}
