#include "lockd/crowd.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define CLIENTS_MAX   64
#define RESOURCES_MAX 8
#define LOCKDS_MAX    4
#define MS            UINT64_C(1000)
#define SECOND        UINT64_C(1000000)
#define HOUR          (INT64_C(3600) * 1000000)
#define GRAIN_US      UINT64_C(1000) /* by which an answer may be late: turns of the loop */

enum doing { DOING_NOTHING, DOING_WAITS, DOING_HOLDS };

struct question {
    struct client *client;
    struct leases_call *call; /* NULL: none is open */
    uint64_t due_us;          /* lockd's clock */
};

struct client {
    struct crowd *crowd;
    struct timer timer;
    enum doing doing;
    unsigned lockd;
    uint64_t life; /* of the lockd, when it asked */
    unsigned resource;
    uint64_t arrival; /* order of the first acquire */
    bool no_wait;
    bool released;    /* it uses it no more */
    bool dead;        /* and its lockd has heard it */
    bool lost_answer; /* it was granted and does not know it */
    struct leases_acquire acquire;
    char id[24];
    uint64_t token;
    uint64_t ends_us; /* true time */
    struct question first, again, extend;
};

struct resource_truth {
    char name[16];
    uint64_t token;          /* of the last lease granted */
    uint64_t valid_until_us; /* true time; brought forward when the client releases */
    uint64_t seen;           /* what the resource itself remembers */
};

struct crowd {
    struct crowd_options options;
    struct world *world;
    struct crowd_report *report;
    struct resource_truth resources[RESOURCES_MAX];
    struct client clients[CLIENTS_MAX];
    struct timer fault, sweep;
    struct timer repair[32];
    struct repair_order {
        struct crowd *crowd;
        unsigned what, lockd, node;
    } repairs[32];
    uint64_t lives[LOCKDS_MAX];
    uint64_t woke_us[LOCKDS_MAX]; /* lockd's clock */
    uint64_t arrivals;
    uint64_t ids;
    bool ending;
};

static uint64_t below(struct crowd *crowd, uint64_t limit)
{
    return world_random_below(crowd->world, limit);
}

static bool chance(struct crowd *crowd, unsigned percent)
{
    return below(crowd, 100) < percent;
}

__attribute__((format(printf, 2, 3))) static void broken(struct crowd *crowd, const char *format,
                                                         ...)
{
    struct crowd_report *report = crowd->report;
    if (report->broken++ > 0) return;
    va_list args;
    va_start(args, format);
    int bytes = snprintf(report->first, sizeof report->first,
                         "seed %" PRIu64 " at %" PRIu64 " us: ", crowd->options.world.seed,
                         world_now_us(crowd->world));
    (void)vsnprintf(report->first + bytes, sizeof report->first - (size_t)bytes, format, args);
    va_end(args);
}

/* ---- the judge ---- */

static bool asked_here(const struct client *client)
{
    return client->life == client->crowd->lives[client->lockd];
}

static void judge_in_time(struct crowd *crowd, const struct question *question)
{
    unsigned lockd = question->client->lockd;
    uint64_t now_us = world_lockd_us(crowd->world, lockd);
    uint64_t from_us = question->due_us;
    if (crowd->woke_us[lockd] > from_us) from_us = crowd->woke_us[lockd];
    if (now_us > from_us + GRAIN_US) {
        broken(crowd, "%s was answered %" PRIu64 " us late", question->client->id,
               now_us - from_us);
    }
}

static void judge_order(struct crowd *crowd, const struct client *granted)
{
    uint64_t now_us = world_lockd_us(crowd->world, granted->lockd);
    for (unsigned i = 0; i < crowd->options.clients; i++) {
        const struct client *other = &crowd->clients[i];
        if (other->doing != DOING_WAITS || other->lockd != granted->lockd || !asked_here(other) ||
            other->resource != granted->resource || other->no_wait || other->dead ||
            other->arrival >= granted->arrival) {
            continue;
        }
        bool due = (other->first.call == NULL || other->first.due_us <= now_us) &&
                   (other->again.call == NULL || other->again.due_us <= now_us);
        if (!due) broken(crowd, "%s was granted before %s", granted->id, other->id);
    }
}

static void judge_grant(struct crowd *crowd, struct client *client,
                        const struct leases_answer *answer)
{
    struct resource_truth *truth = &crowd->resources[client->resource];
    uint64_t now_us = world_now_us(crowd->world);
    uint64_t ends_us = world_true_us(crowd->world, client->lockd, answer->ends_us);
    if (ends_us <= now_us) broken(crowd, "%s was granted what is over", client->id);
    if (client->dead) broken(crowd, "%s was granted after its release", client->id);
    if (answer->token <= client->acquire.min_token) broken(crowd, "min_token was not heard");
    uint64_t before = client->token;
    client->token = answer->token;
    client->ends_us = ends_us;
    if (client->released) return; /* at another lockd, which made the nodes forget it: no lease */
    if (answer->token == truth->token) { /* the same lease again */
        if (before != 0 && before != answer->token) {
            broken(crowd, "%s got another's lease", client->id);
        }
    } else {
        if (now_us < truth->valid_until_us) {
            broken(crowd, "%s was granted %s while token %" PRIu64 " is valid for %" PRIu64 " us",
                   client->id, truth->name, truth->token, truth->valid_until_us - now_us);
        }
        if (answer->token < truth->token) {
            broken(crowd, "%s was granted token %" PRIu64 " after %" PRIu64, client->id,
                   answer->token, truth->token);
        }
        judge_order(crowd, client);
        truth->valid_until_us = 0;
        crowd->report->grants++;
    }
    truth->token = answer->token;
    if (ends_us > truth->valid_until_us) truth->valid_until_us = ends_us;
}

static void judge_extend(struct crowd *crowd, struct client *client,
                         const struct leases_answer *answer)
{
    struct resource_truth *truth = &crowd->resources[client->resource];
    uint64_t ends_us = world_true_us(crowd->world, client->lockd, answer->ends_us);
    if (client->dead || (truth->token != client->token && !client->released)) {
        broken(crowd, "%s extended what it has no more", client->id);
        return;
    }
    if (ends_us < client->ends_us) broken(crowd, "%s was shortened", client->id);
    if (!client->released) truth->valid_until_us = ends_us;
    client->ends_us = ends_us;
    crowd->report->extends++;
}

/* The holder uses what it holds, and the resource looks at its token. */
static void touch(struct crowd *crowd, struct client *client)
{
    struct resource_truth *truth = &crowd->resources[client->resource];
    if (client->released || world_now_us(crowd->world) >= client->ends_us) return;
    if (client->token < truth->seen) broken(crowd, "%s was refused by its resource", client->id);
    if (client->token > truth->seen) truth->seen = client->token;
    crowd->report->touches++;
}

static void sweep_on_timer(void *arg)
{
    struct crowd *crowd = arg;
    for (unsigned i = 0; i < crowd->options.clients; i++) {
        struct client *client = &crowd->clients[i];
        if (!asked_here(client) || world_lockd_paused(crowd->world, client->lockd)) continue;
        if (client->first.call != NULL) judge_in_time(crowd, &client->first);
        if (client->again.call != NULL) judge_in_time(crowd, &client->again);
        if (client->extend.call != NULL) judge_in_time(crowd, &client->extend);
    }
    timer_start(&crowd->sweep, world_timers(crowd->world), world_now_us(crowd->world) + 20 * MS,
                sweep_on_timer, crowd);
}

/* ---- clients ---- */

static void client_on_timer(void *arg);

static void next_in(struct client *client, uint64_t us)
{
    struct world *world = client->crowd->world;
    timer_start(&client->timer, world_timers(world), world_now_us(world) + us + 1, client_on_timer,
                client);
}

static void rest(struct client *client)
{
    struct crowd *crowd = client->crowd;
    client->doing = DOING_NOTHING;
    next_in(client, below(crowd, chance(crowd, 70) ? 5 * MS : 100 * MS));
}

static void on_acquired(void *arg, const struct leases_answer *answer)
{
    struct question *question = arg;
    struct client *client = question->client;
    struct crowd *crowd = client->crowd;
    question->call = NULL;
    if (answer->reason == REASON_DOWN) { /* killed: there is no answer, in truth */
        if (client->doing == DOING_WAITS) rest(client);
        return;
    }
    judge_in_time(crowd, question);
    if (answer->reason != REASON_NONE) {
        crowd->report->refusals++;
        bool other_open = client->first.call != NULL || client->again.call != NULL;
        if (client->doing == DOING_WAITS && !other_open) {
            rest(client);
            if (answer->reason == REASON_OVERLOADED) next_in(client, 200 * MS);
        }
        return;
    }
    judge_grant(crowd, client, answer);
    if (client->doing == DOING_HOLDS) return;
    client->doing = DOING_HOLDS;
    client->lost_answer = chance(crowd, 5);
    next_in(client, below(crowd, 3 * MS)); /* on its way to the client */
}

static void on_extended(void *arg, const struct leases_answer *answer)
{
    struct question *question = arg;
    question->call = NULL;
    if (answer->reason == REASON_DOWN) return;
    judge_in_time(question->client->crowd, question);
    if (answer->reason == REASON_NONE) {
        judge_extend(question->client->crowd, question->client, answer);
    }
}

static void release(struct client *client)
{
    struct crowd *crowd = client->crowd;
    struct resource_truth *truth = &crowd->resources[client->resource];
    unsigned lockd = client->lockd;
    if (!asked_here(client) || chance(crowd, 2)) { /* it is gone: any will do */
        lockd = (unsigned)below(crowd, crowd->options.world.lockds);
    }
    client->released = true;
    if (truth->token == client->token) truth->valid_until_us = world_now_us(crowd->world);
    struct leases *leases = world_leases(crowd->world, lockd);
    if (leases == NULL || world_lockd_paused(crowd->world, lockd)) return; /* lost on its way */
    if (lockd == client->lockd && asked_here(client)) client->dead = true;
    bool knows = !client->lost_answer && chance(crowd, 80);
    enum reason reason = leases_release(leases, client->acquire.resource,
                                        client->acquire.request_id, knows ? client->token : 0);
    CHECK(reason == REASON_NONE);
}

static void ask(struct client *client, struct question *question)
{
    struct crowd *crowd = client->crowd;
    struct leases *leases = world_leases(crowd->world, client->lockd);
    uint64_t now_us = world_lockd_us(crowd->world, client->lockd);
    client->acquire.wait_ms = (uint32_t)(1 + below(crowd, chance(crowd, 50) ? 200 : 5000));
    client->acquire.deadline_us = TIMER_NEVER;
    if (chance(crowd, 30)) client->acquire.deadline_us = now_us + 1 + below(crowd, 1 * SECOND);
    question->due_us = now_us + client->acquire.wait_ms * MS;
    if (client->no_wait) question->due_us = now_us + 100 * MS;
    if (client->acquire.deadline_us < question->due_us) {
        question->due_us = client->acquire.deadline_us;
    }
    question->call = leases_acquire(leases, &client->acquire, on_acquired, question);
}

static void start(struct client *client)
{
    static const uint32_t ttls_ms[] = {10, 30, 30, 100, 100, 300, 1000, 3000};
    struct crowd *crowd = client->crowd;
    unsigned lockd = (unsigned)below(crowd, crowd->options.world.lockds);
    bool open =
        client->first.call != NULL || client->again.call != NULL || client->extend.call != NULL;
    if (open || world_leases(crowd->world, lockd) == NULL ||
        world_lockd_paused(crowd->world, lockd) || crowd->ending) {
        rest(client);
        return;
    }
    client->lockd = lockd;
    client->life = crowd->lives[client->lockd];
    client->resource = (unsigned)below(crowd, crowd->options.resources);
    client->arrival = ++crowd->arrivals;
    client->released = false;
    client->dead = false;
    client->lost_answer = false;
    client->token = 0;
    client->no_wait = chance(crowd, 5);
    (void)snprintf(client->id, sizeof client->id, "id-%" PRIu64, ++crowd->ids);
    struct resource_truth *truth = &crowd->resources[client->resource];
    client->acquire = (struct leases_acquire){
        .resource = span_of(truth->name),
        .request_id = span_of(client->id),
        .ttl_ms = ttls_ms[below(crowd, sizeof ttls_ms / sizeof *ttls_ms)],
        .no_wait = client->no_wait,
        .min_token = chance(crowd, 5) ? truth->seen : 0,
    };
    client->doing = DOING_WAITS;
    next_in(client, below(crowd, chance(crowd, 80) ? 6 * SECOND : 5 * MS));
    ask(client, &client->first);
}

/* It has waited a while: asks again, gives up, or goes on waiting. */
static void wait_on(struct client *client)
{
    struct crowd *crowd = client->crowd;
    bool reachable = asked_here(client) && !world_lockd_paused(crowd->world, client->lockd);
    next_in(client, below(crowd, 1 * SECOND));
    if (!reachable) {
        if (!asked_here(client)) rest(client);
        return;
    }
    struct leases *leases = world_leases(crowd->world, client->lockd);
    uint64_t choice = below(crowd, 4);
    if (choice == 0 && client->again.call == NULL) ask(client, &client->again);
    if (choice == 1 && client->first.call != NULL && client->again.call == NULL) {
        leases_withdraw(leases, client->first.call);
        client->first.call = NULL;
        rest(client);
    }
    if (choice == 2) release(client);
}

static void hold_on(struct client *client)
{
    struct crowd *crowd = client->crowd;
    bool over = world_now_us(crowd->world) >= client->ends_us;
    if (!client->lost_answer) touch(crowd, client);
    bool reachable = asked_here(client) && !world_lockd_paused(crowd->world, client->lockd);
    uint64_t choice = below(crowd, 10);
    if (over || choice < 5 || crowd->ending) {
        if (!chance(crowd, 3)) release(client); /* some never do */
        rest(client);
        return;
    }
    next_in(client, below(crowd, chance(crowd, 50) ? 5 * MS : 300 * MS));
    if (!reachable) return;
    struct leases *leases = world_leases(crowd->world, client->lockd);
    uint64_t now_us = world_lockd_us(crowd->world, client->lockd);
    if (choice < 8 && client->extend.call == NULL && !client->lost_answer) {
        struct leases_extend extend = {
            .resource = client->acquire.resource,
            .request_id = client->acquire.request_id,
            .token = client->token,
            .deadline_us = chance(crowd, 50) ? TIMER_NEVER : now_us + 1 + below(crowd, 500 * MS),
            .ttl_ms = (uint32_t)(10 + below(crowd, 2991)),
        };
        client->extend.due_us = now_us + 1 * SECOND;
        if (extend.deadline_us < client->extend.due_us) client->extend.due_us = extend.deadline_us;
        client->extend.call = leases_extend(leases, &extend, on_extended, &client->extend);
    } else if (choice == 8 && client->again.call == NULL) {
        ask(client, &client->again); /* the same lease, as long as it lives */
    } else if (choice == 9 && client->extend.call != NULL) {
        leases_withdraw(leases, client->extend.call);
        client->extend.call = NULL;
    }
}

static void client_on_timer(void *arg)
{
    struct client *client = arg;
    switch (client->doing) {
    case DOING_NOTHING:
        start(client);
        return;
    case DOING_WAITS:
        wait_on(client);
        return;
    case DOING_HOLDS:
        hold_on(client);
        return;
    }
}

/* ---- faults ---- */

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
    uint64_t choice = below(crowd, 3);
    if (choice == 0) {
        uint64_t stray_us = chance(crowd, 30) ? UINT64_MAX : 100 * MS + below(crowd, 2 * SECOND);
        bool all = chance(crowd, 20);
        for (unsigned i = 0; i < crowd->options.world.nodes; i++) {
            if (all || i == node) world_link_break(world, lockd, i, stray_us);
        }
    } else if (choice == 1) {
        struct repair_order mend = {.what = REPAIR_LINK, .lockd = lockd, .node = node};
        if (in_repair(crowd, REPAIR_LINK, lockd, node)) return;
        if (!repair_in(crowd, mend, below(crowd, chance(crowd, 90) ? 100 * MS : 3 * SECOND))) {
            return;
        }
        world_link_cut(world, lockd, node);
    } else {
        struct repair_order calm = {.what = REPAIR_DELAY, .lockd = lockd, .node = node};
        if (in_repair(crowd, REPAIR_DELAY, lockd, node)) return;
        if (!repair_in(crowd, calm, below(crowd, 300 * MS))) return;
        uint64_t replies_us = chance(crowd, 30) ? UINT64_MAX : below(crowd, 40 * MS);
        world_link_delay(world, lockd, node, below(crowd, 40 * MS), replies_us);
    }
}

static void fault_on_node(struct crowd *crowd, unsigned node)
{
    struct world *world = crowd->world;
    if (!world_node_runs(world, node)) return;
    unsigned forgot = 0;
    for (unsigned i = 0; i < crowd->options.world.nodes; i++)
        forgot += world_node_forgot(world, i);
    bool pause = chance(crowd, 50);
    struct repair_order order = {.what = pause ? REPAIR_WAKE : REPAIR_NODE, .node = node};
    if (!repair_in(crowd, order, below(crowd, chance(crowd, 90) ? 200 * MS : 4 * SECOND))) return;
    if (pause) {
        world_node_pause(world, node);
        return;
    }
    unsigned nodes = crowd->options.world.nodes;
    bool may_forget = world_node_forgot(world, node) || forgot < nodes - (nodes / 2 + 1);
    enum world_loss loss = WORLD_LOSS_NONE;
    if (may_forget && chance(crowd, 5)) loss = WORLD_LOSS_LAST;
    if (may_forget && chance(crowd, 10)) loss = WORLD_LOSS_ALL;
    world_node_crash(world, node, loss);
}

static void fault_on_lockd(struct crowd *crowd, unsigned lockd)
{
    struct world *world = crowd->world;
    if (world_leases(world, lockd) == NULL || world_lockd_paused(world, lockd)) return;
    uint64_t choice = below(crowd, 4);
    if (choice <= 1) {
        struct repair_order wake = {.what = REPAIR_PAUSE, .lockd = lockd};
        if (!repair_in(crowd, wake, below(crowd, chance(crowd, 90) ? 50 * MS : 4 * SECOND))) {
            return;
        }
        world_lockd_pause(world, lockd);
    } else if (choice == 2) {
        world_lockd_step_wall(world, lockd, (int64_t)below(crowd, 2 * HOUR) - HOUR);
    } else {
        struct repair_order start_again = {.what = REPAIR_LOCKD, .lockd = lockd};
        if (!repair_in(crowd, start_again, below(crowd, 300 * MS))) return;
        crowd->lives[lockd]++;
        world_lockd_crash(world, lockd);
    }
}

static void fault_on_timer(void *arg)
{
    struct crowd *crowd = arg;
    unsigned lockd = (unsigned)below(crowd, crowd->options.world.lockds);
    unsigned node = (unsigned)below(crowd, crowd->options.world.nodes);
    crowd->report->faults++;
    timer_start(&crowd->fault, world_timers(crowd->world),
                world_now_us(crowd->world) + 1 + below(crowd, 2 * crowd->options.fault_us),
                fault_on_timer, crowd);
    uint64_t choice = below(crowd, 100);
    if (choice < crowd->options.link_percent) {
        fault_on_link(crowd, lockd, node);
    } else if (choice < crowd->options.link_percent + crowd->options.node_percent) {
        fault_on_node(crowd, node);
    } else {
        fault_on_lockd(crowd, lockd);
    }
}

/* ---- the run ---- */

static void heal(struct crowd *crowd)
{
    timer_stop(&crowd->fault);
    crowd->ending = true;
    for (unsigned i = 0; i < sizeof crowd->repair / sizeof *crowd->repair; i++) {
        if (!timer_running(&crowd->repair[i])) continue;
        timer_stop(&crowd->repair[i]);
        repair_one(crowd, &crowd->repairs[i]);
    }
}

static void on_last(void *arg, const struct leases_answer *answer)
{
    struct question *question = arg;
    struct client *client = question->client;
    question->call = NULL;
    if (answer->reason != REASON_NONE) {
        broken(client->crowd, "%s hears %s though all is well", client->id,
               reason_name(answer->reason));
        return;
    }
    judge_grant(client->crowd, client, answer);
    release(client);
}

/* Every lockd asks for every resource, all at once. */
static void ask_for_all(struct crowd *crowd)
{
    unsigned next = 0;
    for (unsigned lockd = 0; lockd < crowd->options.world.lockds; lockd++) {
        for (unsigned i = 0; i < crowd->options.resources; i++) {
            struct client *client = &crowd->clients[next++];
            CHECK(next <= CLIENTS_MAX);
            *client = (struct client){.crowd = crowd, .lockd = lockd, .resource = i};
            client->life = crowd->lives[lockd];
            client->arrival = ++crowd->arrivals;
            client->first.client = client;
            (void)snprintf(client->id, sizeof client->id, "last-%u", next);
            client->acquire = (struct leases_acquire){
                .resource = span_of(crowd->resources[i].name),
                .request_id = span_of(client->id),
                .deadline_us = TIMER_NEVER,
                .wait_ms = 60000,
            };
            client->first.due_us = world_lockd_us(crowd->world, lockd) + 60 * SECOND;
            client->first.call = leases_acquire(world_leases(crowd->world, lockd), &client->acquire,
                                                on_last, &client->first);
        }
    }
    world_run_us(crowd->world, 61 * SECOND);
    for (unsigned i = 0; i < next; i++) {
        if (crowd->clients[i].first.call != NULL) {
            broken(crowd, "%s hears nothing", crowd->clients[i].id);
        }
    }
}

void crowd_run(const struct crowd_options *options, uint64_t run_us, struct crowd_report *report)
{
    CHECK(options->clients <= CLIENTS_MAX && options->resources <= RESOURCES_MAX);
    struct crowd *crowd = xcalloc(1, sizeof *crowd);
    crowd->options = *options;
    crowd->report = report;
    crowd->world = world_new(&options->world);
    for (unsigned i = 0; i < options->resources; i++) {
        (void)snprintf(crowd->resources[i].name, sizeof crowd->resources[i].name, "r%u", i);
    }
    for (unsigned i = 0; i < options->clients; i++) {
        struct client *client = &crowd->clients[i];
        client->crowd = crowd;
        client->first.client = client->again.client = client->extend.client = client;
        rest(client);
    }
    sweep_on_timer(crowd);
    if (options->fault_us > 0) fault_on_timer(crowd);
    world_run_us(crowd->world, run_us);

    heal(crowd);
    uint64_t quiet_us = 2 * options->world.ttl_max_ms * MS + 10 * SECOND;
    world_run_us(crowd->world, quiet_us);
    for (unsigned i = 0; i < options->clients; i++)
        timer_stop(&crowd->clients[i].timer);
    for (unsigned i = 0; i < options->world.lockds; i++) {
        for (unsigned node = 0; node < options->world.nodes; node++) {
            if (!world_votes(crowd->world, i, node)) broken(crowd, "a node does not come back");
        }
        struct leases_counts counts = leases_counts(world_leases(crowd->world, i));
        if (counts.resources > 0) broken(crowd, "a resource is kept that nobody needs");
    }
    ask_for_all(crowd);
    timer_stop(&crowd->sweep);
    report->events += world_events(crowd->world);
    for (unsigned i = 0; i < options->clients; i++)
        timer_stop(&crowd->clients[i].timer);
    world_free(crowd->world);
    free(crowd);
}
