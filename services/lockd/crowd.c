#include "lockd/crowd.h"

#include "base/reason.h"
#include "lockd/crowd_inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

uint64_t crowd_below(struct crowd *crowd, uint64_t limit)
{
    return world_random_below(crowd->world, limit);
}

bool crowd_chance(struct crowd *crowd, unsigned percent)
{
    return crowd_below(crowd, 100) < percent;
}

bool client_asked_here(const struct client *client)
{
    return client->life == client->crowd->lives[client->lockd];
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
    next_in(client, crowd_below(crowd, crowd_chance(crowd, 70) ? 5 * MS : 100 * MS));
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
    client->lost_answer = crowd_chance(crowd, 5);
    next_in(client, crowd_below(crowd, 3 * MS)); /* on its way to the client */
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
    if (!client_asked_here(client) || crowd_chance(crowd, 2)) { /* it is gone: any will do */
        lockd = (unsigned)crowd_below(crowd, crowd->options.world.lockds);
    }
    client->released = true;
    if (truth->token == client->token) truth->valid_until_us = world_now_us(crowd->world);
    struct leases *leases = world_leases(crowd->world, lockd);
    if (leases == NULL || world_lockd_paused(crowd->world, lockd)) return; /* lost on its way */
    if (lockd == client->lockd && client_asked_here(client)) client->dead = true;
    bool knows = !client->lost_answer && crowd_chance(crowd, 80);
    enum reason reason = leases_release(leases, client->acquire.resource,
                                        client->acquire.request_id, knows ? client->token : 0);
    CHECK(reason == REASON_NONE);
}

static void ask(struct client *client, struct question *question)
{
    struct crowd *crowd = client->crowd;
    struct leases *leases = world_leases(crowd->world, client->lockd);
    uint64_t now_us = world_lockd_us(crowd->world, client->lockd);
    client->acquire.wait_ms =
        (uint32_t)(1 + crowd_below(crowd, crowd_chance(crowd, 50) ? 200 : 5000));
    client->acquire.deadline_us = TIMER_NEVER;
    if (crowd_chance(crowd, 30))
        client->acquire.deadline_us = now_us + 1 + crowd_below(crowd, 1 * SECOND);
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
    unsigned lockd = (unsigned)crowd_below(crowd, crowd->options.world.lockds);
    bool open =
        client->first.call != NULL || client->again.call != NULL || client->extend.call != NULL;
    if (open || world_leases(crowd->world, lockd) == NULL ||
        world_lockd_paused(crowd->world, lockd) || crowd->ending) {
        rest(client);
        return;
    }
    client->lockd = lockd;
    client->life = crowd->lives[client->lockd];
    client->resource = (unsigned)crowd_below(crowd, crowd->options.resources);
    client->arrival = ++crowd->arrivals;
    client->released = false;
    client->dead = false;
    client->lost_answer = false;
    client->token = 0;
    client->no_wait = crowd_chance(crowd, 5);
    (void)snprintf(client->id, sizeof client->id, "id-%" PRIu64, ++crowd->ids);
    struct resource_truth *truth = &crowd->resources[client->resource];
    client->acquire = (struct leases_acquire){
        .resource = span_of(truth->name),
        .request_id = span_of(client->id),
        .ttl_ms = ttls_ms[crowd_below(crowd, sizeof ttls_ms / sizeof *ttls_ms)],
        .no_wait = client->no_wait,
        .min_token = crowd_chance(crowd, 5) ? truth->seen : 0,
    };
    client->doing = DOING_WAITS;
    next_in(client, crowd_below(crowd, crowd_chance(crowd, 80) ? 6 * SECOND : 5 * MS));
    ask(client, &client->first);
}

/* It has waited a while: asks again, gives up, or goes on waiting. */
static void wait_on(struct client *client)
{
    struct crowd *crowd = client->crowd;
    bool reachable = client_asked_here(client) && !world_lockd_paused(crowd->world, client->lockd);
    next_in(client, crowd_below(crowd, 1 * SECOND));
    if (!reachable) {
        if (!client_asked_here(client)) rest(client);
        return;
    }
    struct leases *leases = world_leases(crowd->world, client->lockd);
    uint64_t choice = crowd_below(crowd, 4);
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
    if (!client->lost_answer) judge_touch(crowd, client);
    bool reachable = client_asked_here(client) && !world_lockd_paused(crowd->world, client->lockd);
    uint64_t choice = crowd_below(crowd, 10);
    if (over || choice < 5 || crowd->ending) {
        if (!crowd_chance(crowd, 3)) release(client); /* some never do */
        rest(client);
        return;
    }
    next_in(client, crowd_below(crowd, crowd_chance(crowd, 50) ? 5 * MS : 300 * MS));
    if (!reachable) return;
    struct leases *leases = world_leases(crowd->world, client->lockd);
    uint64_t now_us = world_lockd_us(crowd->world, client->lockd);
    if (choice < 8 && client->extend.call == NULL && !client->lost_answer) {
        struct leases_extend extend = {
            .resource = client->acquire.resource,
            .request_id = client->acquire.request_id,
            .token = client->token,
            .deadline_us =
                crowd_chance(crowd, 50) ? TIMER_NEVER : now_us + 1 + crowd_below(crowd, 500 * MS),
            .ttl_ms = (uint32_t)(10 + crowd_below(crowd, 2991)),
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

/* ---- the run ---- */

static void on_last(void *arg, const struct leases_answer *answer)
{
    struct question *question = arg;
    struct client *client = question->client;
    question->call = NULL;
    if (answer->reason != REASON_NONE) {
        judge_broken(client->crowd, "%s hears %s though all is well", client->id,
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
            judge_broken(crowd, "%s hears nothing", crowd->clients[i].id);
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
    judge_sweep(crowd);
    if (options->fault_us > 0) fault_on_timer(crowd);
    world_run_us(crowd->world, run_us);

    faults_heal(crowd);
    uint64_t quiet_us = 2 * options->world.ttl_max_ms * MS + 10 * SECOND;
    world_run_us(crowd->world, quiet_us);
    for (unsigned i = 0; i < options->clients; i++)
        timer_stop(&crowd->clients[i].timer);
    for (unsigned i = 0; i < options->world.lockds; i++) {
        for (unsigned node = 0; node < options->world.nodes; node++) {
            if (!world_votes(crowd->world, i, node))
                judge_broken(crowd, "a node does not come back");
        }
        struct leases_counts counts = leases_counts(world_leases(crowd->world, i));
        if (counts.resources > 0) judge_broken(crowd, "a resource is kept that nobody needs");
    }
    ask_for_all(crowd);
    timer_stop(&crowd->sweep);
    report->events += world_events(crowd->world);
    for (unsigned i = 0; i < options->clients; i++)
        timer_stop(&crowd->clients[i].timer);
    world_free(crowd->world);
    free(crowd);
}
