#include "lockd/world.h"

#include "base/check.h"
#include "base/metrics.h"

#include <stdlib.h>
#include <utlist.h>

#define LOCKDS_MAX    4
#define US_PER_MS     UINT64_C(1000)
#define EPOCH_US      UINT64_C(1700000000000000) /* wall clock of the beginning */
#define PPM           UINT64_C(1000000)
#define SYNC_US       UINT64_C(1000000)
#define LATE_MAX      3 /* timeouts in a row until a connection is given up */
#define REDIAL_MIN_US (50 * US_PER_MS)

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
    struct timer sync;      /* of the nodes' disks */
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

static uint64_t lockd_boot_us(void *arg)
{
    const struct lockd *lockd = arg;
    return world_lockd_us(lockd->world, lockd->index);
}

static uint64_t lockd_wall_us(void *arg)
{
    const struct lockd *lockd = arg;
    return EPOCH_US + (uint64_t)((int64_t)lockd_boot_us(arg) + lockd->wall_step_us);
}

static uint64_t delay_us(struct world *world)
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

static void pending_on_lost(void *arg)
{
    give_vote(arg, &no_vote);
}

static void link_drop(struct link *link);

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

static void parcel_free(struct parcel *parcel)
{
    timer_stop(&parcel->timer);
    if (parcel->pending != NULL) parcel->pending->parcel = NULL;
    free(parcel);
}

static void answer_arrive(struct parcel *parcel)
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
        answer_arrive(parcel);
    }
}

/* ---- orders, at the node ---- */

static void parcel_execute(struct parcel *parcel)
{
    struct world *world = parcel->world;
    struct link *link = &world->lockds[parcel->lockd].links[parcel->node];
    struct node *node = &world->nodes[parcel->node];
    world->orders[parcel->order.kind]++;
    sim_node_execute(&node->sim, &parcel->order, world_node_us(world, parcel->node), &parcel->vote);
    if (link->replies_delay_us == UINT64_MAX) {
        parcel_free(parcel);
        return;
    }
    uint64_t arrives_us = world->now_us + delay_us(world) + link->replies_delay_us;
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

static bool transport_send(void *arg, unsigned node, const struct order *order, vote_fn *on_vote,
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
    uint64_t arrives_us = world->now_us + delay_us(world) + link->orders_delay_us;
    if (arrives_us <= link->order_arrives_us) arrives_us = link->order_arrives_us + 1;
    link->order_arrives_us = arrives_us;
    DL_APPEND(world->parcels, parcel);
    timer_start(&parcel->timer, &world->timers, arrives_us, order_on_arrival, parcel);
    return true;
}

static bool transport_votes(void *arg, unsigned node)
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

static void link_dial(struct link *link, uint64_t in_us)
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

static void link_drop(struct link *link)
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

static void link_admit(struct link *link)
{
    struct world *world = link->world;
    struct lockd *lockd = &world->lockds[link->lockd];
    struct node *node = &world->nodes[link->node];
    uint64_t now_us = lockd_boot_us(lockd);
    if (link->quarantine_until_us > now_us) {
        timer_start(&link->quarantine, &lockd->timers, link->quarantine_until_us,
                    link_on_quarantine_end, link);
    } else if (node->sim.epoch && node->sim.epoch_run == node->run) {
        link->votes = true;
    } else if (node->sim.epoch && !node->lost_data) {
        node->sim.epoch_run = node->run;
        link->votes = true;
    } else {
        uint64_t length_us = world->options.ttl_max_ms * US_PER_MS;
        link->quarantine_until_us = now_us + length_us + length_us / 50;
        timer_start(&link->quarantine, &lockd->timers, link->quarantine_until_us,
                    link_on_quarantine_end, link);
    }
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
            answer_arrive(parcel);
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
        link_dial(link, delay_us(world));
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
            give_vote(link->pending, &no_vote);
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
        answer_arrive(parcel);
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
            .send = transport_send,
            .votes = transport_votes,
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
