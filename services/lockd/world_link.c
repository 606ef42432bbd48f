/* The way between a lockd and a node: parcels, connections, and admission as far as the protocol
 * relies on it. */
#include "lockd/world_inside.h"

#include <stdlib.h>
#include <utlist.h>

#define LATE_MAX      3 /* timeouts in a row until a connection is given up */
#define REDIAL_MIN_US (50 * US_PER_MS)

uint64_t world_delay_us(struct world *world)
{
    uint32_t spread = world->options.delay_max_us - world->options.delay_min_us;
    return world->options.delay_min_us + world_random_below(world, spread + 1);
}

/* ---- answers, at the lockd ---- */

static void give_vote(struct pending *pending, const struct vote *vote)
{
    struct link *link = pending->link;
    vote_fn *on_vote = pending->on_vote;
    void *arg = pending->arg;
    DL_DELETE(link->pending, pending);
    timer_stop(&pending->timer);
    if (pending->parcel != NULL) pending->parcel->pending = NULL;
    free(pending);
    on_vote(arg, vote);
}

static const struct vote no_vote = {.verdict = VERDICT_UNKNOWN};

void pending_give_up(struct pending *pending)
{
    give_vote(pending, &no_vote);
}

static void pending_on_lost(void *arg)
{
    pending_give_up(arg);
}

static void pending_on_late(void *arg)
{
    struct pending *pending = arg;
    struct link *link = pending->link;
    if (++link->late >= LATE_MAX && link->connected) link_drop(link);
    give_vote(pending, &no_vote);
}

static struct pending *pending_new(struct link *link, vote_fn *on_vote, void *arg)
{
    struct pending *pending = xcalloc(1, sizeof *pending);
    pending->link = link;
    pending->on_vote = on_vote;
    pending->arg = arg;
    DL_APPEND(link->pending, pending);
    return pending;
}

void parcel_free(struct parcel *parcel)
{
    timer_stop(&parcel->timer);
    if (parcel->pending != NULL) parcel->pending->parcel = NULL;
    free(parcel);
}

void parcel_hear(struct parcel *parcel)
{
    struct link *link = &parcel->world->lockds[parcel->lockd].links[parcel->node];
    struct pending *pending = parcel->pending;
    struct vote vote = parcel->vote;
    bool current = link->connected && link->connection == parcel->connection;
    parcel_free(parcel);
    if (current) link->late = 0;
    if (pending == NULL) return;
    give_vote(pending, current ? &vote : &no_vote);
}

static void answer_on_arrival(void *arg)
{
    struct parcel *parcel = arg;
    struct world *world = parcel->world;
    struct lockd *lockd = &world->lockds[parcel->lockd];
    struct link *link = &lockd->links[parcel->node];
    DL_DELETE(world->parcels, parcel);
    world->events++;
    if (lockd->paused) {
        DL_APPEND(lockd->inbox, parcel);
    } else if (link->cut) {
        DL_APPEND(link->held_answers, parcel);
    } else {
        parcel_hear(parcel);
    }
}

/* ---- hints, to every lockd; what is not there is not told ---- */

void hint_free(struct hint *hint)
{
    timer_stop(&hint->timer);
    DL_DELETE(hint->world->hints, hint);
    free(hint);
}

static void hint_on_arrival(void *arg)
{
    struct hint *hint = arg;
    struct lockd *lockd = &hint->world->lockds[hint->lockd];
    const struct link *link = &lockd->links[hint->node];
    if (lockd->up && !lockd->paused && link->connected && !link->cut)
        leases_hint(lockd->leases, hint->node, span_of(hint->resource));
    hint_free(hint);
}

static void publish(struct world *world, unsigned node, struct span resource)
{
    for (unsigned i = 0; i < world->options.lockds; i++) {
        struct hint *hint = xcalloc(1, sizeof *hint);
        *hint = (struct hint){.world = world, .lockd = i, .node = node};
        memcpy(hint->resource, resource.at, resource.bytes);
        DL_APPEND(world->hints, hint);
        timer_start(&hint->timer, &world->timers, world->now_us + world_delay_us(world),
                    hint_on_arrival, hint);
    }
}

/* ---- orders, at the node ---- */

void parcel_execute(struct parcel *parcel)
{
    struct world *world = parcel->world;
    struct link *link = &world->lockds[parcel->lockd].links[parcel->node];
    struct node *node = &world->nodes[parcel->node];
    world->orders[parcel->order.kind]++;
    sim_node_execute(&node->sim, &parcel->order, world_node_us(world, parcel->node), &parcel->vote);
    if (node->sim.told) publish(world, parcel->node, parcel->order.resource);
    if (link->replies_delay_us == UINT64_MAX) {
        parcel_free(parcel);
        return;
    }
    uint64_t arrives_us = world->now_us + world_delay_us(world) + link->replies_delay_us;
    if (arrives_us <= link->reply_arrives_us) arrives_us = link->reply_arrives_us + 1;
    if (parcel->connection == link->connection) link->reply_arrives_us = arrives_us;
    DL_APPEND(world->parcels, parcel);
    timer_start(&parcel->timer, &world->timers, arrives_us, answer_on_arrival, parcel);
}

static void order_arrive(struct parcel *parcel)
{
    struct node *node = &parcel->world->nodes[parcel->node];
    if (!node->up || parcel->run != node->run) { /* its connection died with the server */
        parcel_free(parcel);
    } else if (node->paused) {
        DL_APPEND(node->backlog, parcel);
    } else {
        parcel_execute(parcel);
    }
}

static void order_on_arrival(void *arg)
{
    struct parcel *parcel = arg;
    struct world *world = parcel->world;
    struct link *link = &world->lockds[parcel->lockd].links[parcel->node];
    DL_DELETE(world->parcels, parcel);
    world->events++;
    if (link->cut) {
        DL_APPEND(link->held_orders, parcel);
    } else {
        order_arrive(parcel);
    }
}

static void copy_order(struct order *to, char *texts, const struct order *from)
{
    *to = *from;
    memcpy(texts, from->resource.at, from->resource.bytes);
    to->resource.at = texts;
    texts += from->resource.bytes;
    memcpy(texts, from->value.at, from->value.bytes);
    to->value.at = texts;
    texts += from->value.bytes;
    if (from->from.bytes > 0) memcpy(texts, from->from.at, from->from.bytes);
    to->from.at = texts;
}

/* ---- transport ---- */

static void keep(struct link *link, const struct order *order)
{
    struct kept *kept = xcalloc(1, sizeof *kept);
    copy_order(&kept->order, kept->texts, order);
    kept->until_us = world_lockd_us(link->world, link->lockd) + order->ttl_ms * US_PER_MS;
    LL_APPEND(link->kept, kept);
}

bool link_send(void *arg, unsigned node, const struct order *order, vote_fn *on_vote,
               void *vote_arg)
{
    struct lockd *lockd = arg;
    struct world *world = lockd->world;
    struct link *link = &lockd->links[node];
    bool cleaning = order->kind == ORDER_RELEASE || order->kind == ORDER_FORGET;
    CHECK(order->resource.bytes > 0 && order->value.bytes > 0 && order->token <= TOKEN_MAX);
    if (!lockd->up || (!cleaning && !link->votes)) return false;
    struct pending *pending = pending_new(link, on_vote, vote_arg);
    if (!link->connected) {
        keep(link, order);
        timer_start(&pending->timer, &lockd->timers, lockd_boot_us(lockd), pending_on_lost,
                    pending);
        return true;
    }
    timer_start(&pending->timer, &lockd->timers, lockd_boot_us(lockd) + 50 * US_PER_MS,
                pending_on_late, pending);
    struct parcel *parcel = xcalloc(1, sizeof *parcel);
    parcel->world = world;
    parcel->lockd = lockd->index;
    parcel->node = node;
    parcel->connection = link->connection;
    parcel->run = link->run;
    parcel->pending = pending;
    pending->parcel = parcel;
    copy_order(&parcel->order, parcel->texts, order);
    uint64_t arrives_us = world->now_us + world_delay_us(world) + link->orders_delay_us;
    if (arrives_us <= link->order_arrives_us) arrives_us = link->order_arrives_us + 1;
    link->order_arrives_us = arrives_us;
    DL_APPEND(world->parcels, parcel);
    timer_start(&parcel->timer, &world->timers, arrives_us, order_on_arrival, parcel);
    return true;
}

bool link_votes(void *arg, unsigned node)
{
    const struct lockd *lockd = arg;
    return lockd->links[node].votes;
}

bool world_votes(const struct world *world, unsigned lockd, unsigned node)
{
    return world->lockds[lockd].links[node].votes;
}

/* ---- connections and admission ---- */

static void link_on_dial(void *arg);
static void link_on_quarantine_end(void *arg);

void link_dial(struct link *link, uint64_t in_us)
{
    struct world *world = link->world;
    timer_start(&link->dial, &world->timers, world->now_us + in_us, link_on_dial, link);
}

/* A release whose answer was not heard may have been missed. */
static void keep_unanswered(struct link *link, const struct parcel *parcels)
{
    const struct parcel *parcel;
    DL_FOREACH(parcels, parcel)
    {
        bool cleaning = parcel->order.kind == ORDER_RELEASE || parcel->order.kind == ORDER_FORGET;
        if (cleaning && parcel->lockd == link->lockd && parcel->node == link->node &&
            parcel->connection == link->connection) {
            keep(link, &parcel->order);
        }
    }
}

void link_drop(struct link *link)
{
    struct world *world = link->world;
    struct lockd *lockd = &world->lockds[link->lockd];
    keep_unanswered(link, world->parcels);
    keep_unanswered(link, link->held_orders);
    keep_unanswered(link, link->held_answers);
    keep_unanswered(link, world->nodes[link->node].backlog);
    link->connected = false;
    link->votes = false;
    link->connection++;
    link->late = 0;
    link->order_arrives_us = 0;
    link->reply_arrives_us = 0;
    struct pending *pending;
    DL_FOREACH(link->pending, pending)
    {
        timer_start(&pending->timer, &lockd->timers, lockd_boot_us(lockd), pending_on_lost,
                    pending);
    }
    link_dial(link, REDIAL_MIN_US + world_random_below(world, 2 * REDIAL_MIN_US));
}

/* A quarantine runs to its end whatever reconnects; if the node has restarted meanwhile, it may
 * have been admitted elsewhere and have forgotten again, so it begins anew. */
static void link_admit(struct link *link)
{
    struct world *world = link->world;
    struct lockd *lockd = &world->lockds[link->lockd];
    struct node *node = &world->nodes[link->node];
    uint64_t now_us = lockd_boot_us(lockd);
    bool current = node->sim.epoch && node->sim.epoch_run == node->run;
    bool kept = node->sim.epoch && !node->lost_data;
    bool sat = link->quarantine_until_us != 0 && link->quarantine_run == node->run;
    if (!current && !kept && !sat) {
        uint64_t length_us = world->options.ttl_max_ms * US_PER_MS;
        if ((world->options.broken_rules & SIM_RULE_QUARANTINE) != 0) length_us = 0;
        link->quarantine_until_us = now_us + length_us + length_us / 50;
        link->quarantine_run = node->run;
    }
    if (link->quarantine_until_us != 0) {
        timer_start(&link->quarantine, &lockd->timers, link->quarantine_until_us,
                    link_on_quarantine_end, link);
        return;
    }
    node->sim.epoch_run = node->run;
    link->votes = true;
}

/* The floor of a node that has forgotten is the highest `high` of so many that one of them took
 * part in every grant. */
static void link_on_quarantine_end(void *arg)
{
    struct link *link = arg;
    struct world *world = link->world;
    struct lockd *lockd = &world->lockds[link->lockd];
    struct node *node = &world->nodes[link->node];
    if (!link->connected) return; /* the next greeting goes on */
    bool current = node->sim.epoch && node->sim.epoch_run == node->run;
    unsigned asked = 0;
    uint64_t high = 0;
    for (unsigned i = 0; i < world->options.nodes; i++) {
        const struct link *other = &lockd->links[i];
        if (!other->votes || other->cut || !world_node_runs(world, i)) continue;
        asked++;
        if (world->nodes[i].sim.high > high) high = world->nodes[i].sim.high;
    }
    bool reachable = world_node_runs(world, link->node) && !link->cut;
    unsigned needed = world->options.nodes - (world->options.nodes / 2 + 1) + 1;
    if (!reachable || (!current && asked < needed)) {
        timer_start(&link->quarantine, &lockd->timers, lockd_boot_us(lockd) + 200 * US_PER_MS,
                    link_on_quarantine_end, link);
        return;
    }
    if (!current) {
        if ((world->options.broken_rules & SIM_RULE_FLOOR) != 0) high = 0;
        if (high > node->sim.high) node->sim.high = high;
        if (high > node->sim.floor) node->sim.floor = high;
        node->sim.epoch = true;
        node->sim.epoch_run = node->run;
        node->lost_data = false;
    }
    link->quarantine_until_us = 0;
    link->votes = true;
}

static void link_on_dial(void *arg)
{
    struct link *link = arg;
    struct world *world = link->world;
    struct lockd *lockd = &world->lockds[link->lockd];
    world->events++;
    if (!lockd->up) return;
    if (lockd->paused || link->cut || !world_node_runs(world, link->node)) {
        link_dial(link, REDIAL_MIN_US + world_random_below(world, 4 * REDIAL_MIN_US));
        return;
    }
    link->connected = true;
    link->run = world->nodes[link->node].run;
    while (link->kept != NULL) {
        struct kept *kept = link->kept;
        LL_DELETE(link->kept, kept);
        struct vote vote;
        if (kept->until_us > lockd_boot_us(lockd)) {
            sim_node_execute(&world->nodes[link->node].sim, &kept->order,
                             world_node_us(world, link->node), &vote);
            world->orders[kept->order.kind]++;
        }
        free(kept);
    }
    link_admit(link);
}

void world_link_cut(struct world *world, unsigned lockd, unsigned node)
{
    world->lockds[lockd].links[node].cut = true;
}

void world_link_mend(struct world *world, unsigned lockd, unsigned node)
{
    struct link *link = &world->lockds[lockd].links[node];
    link->cut = false;
    while (link->held_orders != NULL) {
        struct parcel *parcel = link->held_orders;
        DL_DELETE(link->held_orders, parcel);
        order_arrive(parcel);
    }
    while (link->held_answers != NULL) {
        struct parcel *parcel = link->held_answers;
        DL_DELETE(link->held_answers, parcel);
        if (world->lockds[lockd].paused) {
            DL_APPEND(world->lockds[lockd].inbox, parcel);
        } else {
            parcel_hear(parcel);
        }
    }
}

void world_link_delay(struct world *world, unsigned lockd, unsigned node, uint64_t orders_us,
                      uint64_t replies_us)
{
    world->lockds[lockd].links[node].orders_delay_us = orders_us;
    world->lockds[lockd].links[node].replies_delay_us = replies_us;
}

static void stray(struct world *world, unsigned lockd, unsigned node, uint64_t stray_us)
{
    struct parcel *parcel;
    struct parcel *next;
    DL_FOREACH_SAFE(world->parcels, parcel, next)
    {
        if (parcel->lockd != lockd || parcel->node != node ||
            parcel->timer.on_due != order_on_arrival) {
            continue;
        }
        if (stray_us == UINT64_MAX) {
            DL_DELETE(world->parcels, parcel);
            parcel_free(parcel);
        } else {
            timer_start(&parcel->timer, &world->timers, parcel->timer.due_us + stray_us,
                        order_on_arrival, parcel);
        }
    }
}

void world_link_break(struct world *world, unsigned lockd, unsigned node, uint64_t stray_us)
{
    struct link *link = &world->lockds[lockd].links[node];
    if (link->connected) link_drop(link);
    stray(world, lockd, node, stray_us);
    while (stray_us == UINT64_MAX && link->held_orders != NULL) {
        struct parcel *parcel = link->held_orders;
        DL_DELETE(link->held_orders, parcel);
        parcel_free(parcel);
    }
}
