/* The whole of lockd below its RPC, leases over members over the real scripts, in a world of random
 * faults: servers die with and without their data, pause, lose connections, jump in time; lockds
 * restart and forget which nodes were in quarantine, and one's wall clock is behind. No two leases
 * of a resource may ever be valid at once, tokens only grow, every call is answered in time, and
 * when the faults end, all goes on.
 *
 * SEED=n runs that one world, WORLDS=n as many. */
#include "base/metrics.h"
#include "lockd/fake_net.h"
#include "lockd/leases.h"
#include "lockd/members.h"

#include "base/check.h"
#include "base/log.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    NODES = 5,
    LOCKDS = 2,
    RESOURCES = 2,
    CLIENTS = 10,
    SECOND = 1000000,
    TTL_MAX_MS = 20000,
    QUARANTINE_S = 21,
    FAULTY_S = 200,
    CALM_S = 90,
};

struct lockd {
    struct sim *sim;
    struct clock clock;
    int64_t behind_us; /* its wall clock */
    struct members *members;
    struct leases *leases;
    struct metrics *metrics;
    unsigned lives;
};

struct resource {
    char name[16];
    uint64_t last_token;
    const struct client *holder; /* with a lease that was not released */
    uint64_t ends_us;
};

enum client_state { CLIENT_IDLE, CLIENT_WAITING, CLIENT_HOLDING, CLIENT_EXTENDING };

struct client {
    struct sim *sim;
    unsigned number;
    unsigned attempts;
    enum client_state state;
    struct resource *resource;
    unsigned lockd;
    unsigned life; /* of the lockd that granted */
    char id[32];
    uint64_t token;
    uint64_t answer_by_us;
    struct timer next;
};

struct sim {
    uint64_t random;
    struct fake_net net;
    struct lockd lockds[LOCKDS];
    struct timers timers[LOCKDS];
    struct resource resources[RESOURCES];
    struct client clients[CLIENTS];
    struct timer fault;
    bool faulty;
    bool away[NODES];       /* down or paused */
    uint64_t jump_after_us; /* one node's clock at a time */
    unsigned grants;
    unsigned extends;
    unsigned refusals;
    unsigned faults;
};

/* Tokens only grow while fewer than three nodes have forgotten. Past that, a lockd that is behind
 * may be all that is left to say how far they were; the resource's own check is for that. */
static void count_forgotten(struct sim *sim)
{
    unsigned forgotten = 0;
    for (unsigned i = 0; i < NODES; i++) {
        struct fake_redis *redis = &sim->net.servers[i].redis;
        forgotten +=
            strcmp(fake_redis_hash_get(redis, "quorate:epoch", "run_id"), redis->run_id) != 0;
    }
    for (unsigned i = 0; i < RESOURCES && forgotten >= 3; i++)
        sim->resources[i].last_token = 0;
}

static const char *const names[NODES] = {"n:1", "n:2", "n:3", "n:4", "n:5"};

static uint64_t draw(void *arg)
{
    struct sim *sim = arg;
    sim->random ^= sim->random << 13;
    sim->random ^= sim->random >> 7;
    sim->random ^= sim->random << 17;
    return sim->random;
}

static uint64_t below(struct sim *sim, uint64_t limit)
{
    return (draw(sim) >> 16) % limit;
}

static void after(struct sim *sim, struct timer *timer, uint64_t us, timer_due_fn *on_due,
                  void *arg)
{
    timer_start(timer, &sim->net.timers, sim->net.now_us + us, on_due, arg);
}

/* Lockds. */

static uint64_t boot_us(void *arg)
{
    return ((struct lockd *)arg)->sim->net.now_us;
}

static uint64_t wall_us(void *arg)
{
    struct lockd *lockd = arg;
    return clock_wall_us(&lockd->sim->net.clock) - (uint64_t)lockd->behind_us;
}

static void start_lockd(struct sim *sim, struct lockd *lockd)
{
    struct timers *timers = &sim->timers[lockd - sim->lockds];
    lockd->metrics = metrics_new();
    struct members_options members = {.timers = timers,
                                      .names = {names, NODES},
                                      .metrics = lockd->metrics,
                                      .node_timeout_ms = 50,
                                      .ttl_max_ms = TTL_MAX_MS,
                                      .fence_ms = 15000, /* short, so that fences do expire */
                                      .init_empty = lockd->lives == 0};
    lockd->members = members_open(&members);
    struct leases_options leases = {.timers = timers,
                                    .transport = members_transport(lockd->members),
                                    .metrics = lockd->metrics,
                                    .random = draw,
                                    .random_arg = sim,
                                    .instance = draw(sim) | 1,
                                    .ttl_default_ms = 10000,
                                    .ttl_max_ms = TTL_MAX_MS,
                                    .wait_default_ms = 1000,
                                    .node_timeout_ms = 50,
                                    .waiters_max = 100,
                                    .resources_max = 100,
                                    .dead_max = 1000};
    lockd->leases = leases_new(&leases);
    lockd->lives++;
}

static void end_lockd(struct lockd *lockd)
{
    leases_free(lockd->leases);
    members_close(lockd->members);
    metrics_free(lockd->metrics);
}

/* Clients. */

static void client_begin(void *arg);

/* Mostly short, sometimes up to the longest. */
static uint32_t some_ttl_ms(struct sim *sim)
{
    return 100 + (uint32_t)below(sim, below(sim, 4) == 0 ? TTL_MAX_MS - 100 : 2000);
}

static void client_rest(struct client *client)
{
    client->state = CLIENT_IDLE;
    after(client->sim, &client->next, below(client->sim, SECOND), client_begin, client);
}

static void client_let_go(void *arg)
{
    struct client *client = arg;
    struct sim *sim = client->sim;
    if (client->resource->holder == client) client->resource->holder = NULL;
    struct lockd *lockd = &sim->lockds[client->lockd];
    uint64_t fate = below(sim, 10);
    if (fate == 0) {
        /* gone without a word: its lease runs to its end */
    } else {
        bool knows_token = lockd->lives == client->life && fate < 8;
        assert_int_equal(leases_release(lockd->leases, span_of(client->resource->name),
                                        span_of(client->id), knows_token ? client->token : 0),
                         REASON_NONE);
    }
    client_rest(client);
}

static void on_extended(void *arg, const struct leases_answer *answer)
{
    struct client *client = arg;
    struct resource *resource = client->resource;
    assert_true(client->sim->net.now_us <= client->answer_by_us);
    client->state = CLIENT_HOLDING;
    if (answer->reason == REASON_NONE) {
        assert_ptr_equal(resource->holder, client);
        assert_true(resource->ends_us > client->sim->net.now_us); /* extended while it ran */
        if (answer->ends_us > resource->ends_us) resource->ends_us = answer->ends_us;
        client->sim->extends++;
    }
    after(client->sim, &client->next, below(client->sim, 3 * SECOND), client_let_go, client);
}

static void client_extend(void *arg)
{
    struct client *client = arg;
    struct lockd *lockd = &client->sim->lockds[client->lockd];
    if (lockd->lives != client->life) {
        client_let_go(client);
        return;
    }
    client->state = CLIENT_EXTENDING;
    client->answer_by_us = client->sim->net.now_us + 2 * SECOND;
    struct leases_extend extend = {.resource = span_of(client->resource->name),
                                   .request_id = span_of(client->id),
                                   .token = client->token,
                                   .deadline_us = client->answer_by_us,
                                   .ttl_ms = some_ttl_ms(client->sim)};
    leases_extend(lockd->leases, &extend, on_extended, client);
}

static void on_acquired(void *arg, const struct leases_answer *answer)
{
    struct client *client = arg;
    struct sim *sim = client->sim;
    struct resource *resource = client->resource;
    uint64_t now_us = sim->net.now_us;
    assert_true(now_us <= client->answer_by_us);
    if (answer->reason != REASON_NONE) {
        sim->refusals++;
        client_rest(client);
        return;
    }
    /* The one thing that all of this is for. */
    if (resource->holder != NULL && resource->ends_us > now_us && answer->ends_us > now_us) {
        fail_msg("overlap: %s holds %s until %" PRIu64 ", %s got it at %" PRIu64,
                 resource->holder->id, resource->name, resource->ends_us, client->id, now_us);
    }
    if (answer->token <= resource->last_token)
        fail_msg("token %" PRIu64 " after %" PRIu64, answer->token, resource->last_token);
    sim->grants++;
    resource->last_token = answer->token;
    resource->holder = client;
    resource->ends_us = answer->ends_us;
    client->token = answer->token;
    client->state = CLIENT_HOLDING;
    switch (below(sim, 4)) {
    case 0:
        after(sim, &client->next, below(sim, 2 * SECOND), client_extend, client);
        return;
    case 1: /* to the very end */
        after(sim, &client->next, answer->ends_us - now_us, client_let_go, client);
        return;
    default:
        after(sim, &client->next, below(sim, SECOND / 2), client_let_go, client);
        return;
    }
}

static void client_begin(void *arg)
{
    struct client *client = arg;
    struct sim *sim = client->sim;
    client->resource = &sim->resources[below(sim, RESOURCES)];
    client->lockd = (unsigned)below(sim, LOCKDS);
    client->life = sim->lockds[client->lockd].lives;
    client->state = CLIENT_WAITING;
    snprintf(client->id, sizeof client->id, "c%u-%u", client->number, ++client->attempts);
    client->answer_by_us = sim->net.now_us + SECOND + below(sim, 5 * SECOND);
    struct leases_acquire acquire = {.resource = span_of(client->resource->name),
                                     .request_id = span_of(client->id),
                                     .deadline_us = client->answer_by_us,
                                     .ttl_ms = some_ttl_ms(sim),
                                     .wait_ms = 1 + (uint32_t)below(sim, 6000)};
    leases_acquire(sim->lockds[client->lockd].leases, &acquire, on_acquired, client);
}

/* Faults. */

static void bring_back(struct sim *sim, unsigned node)
{
    if (!sim->net.servers[node].down) {
        fake_net_resume(&sim->net, node);
    } else {
        fake_net_start(&sim->net, node, below(sim, 3) > 0);
    }
    sim->away[node] = false;
    count_forgotten(sim);
}

static void restart_lockd(struct sim *sim)
{
    struct lockd *lockd = &sim->lockds[below(sim, LOCKDS)];
    end_lockd(lockd); /* clients hear DOWN */
    start_lockd(sim, lockd);
}

static void jump(struct sim *sim, unsigned node)
{
    if (sim->net.now_us < sim->jump_after_us) return;
    static const int64_t steps_us[] = {-3600 * (int64_t)SECOND, -2 * SECOND, 2 * SECOND,
                                       3600 * (int64_t)SECOND};
    sim->net.servers[node].redis.wall_offset_us += steps_us[below(sim, 4)];
    sim->jump_after_us = sim->net.now_us + 3 * QUARANTINE_S * (uint64_t)SECOND;
}

static void on_fault(void *arg)
{
    struct sim *sim = arg;
    if (!sim->faulty) return;
    after(sim, &sim->fault, below(sim, SECOND), on_fault, sim);
    sim->faults++;
    count_forgotten(sim);
    unsigned node = (unsigned)below(sim, NODES);
    if (sim->away[node]) {
        bring_back(sim, node);
        return;
    }
    switch (below(sim, 40)) {
    case 9: /* several at once */
        for (unsigned i = 0; i < 3; i++) {
            node = (unsigned)below(sim, NODES);
            fake_net_kill(&sim->net, node);
            fake_net_start(&sim->net, node, below(sim, 3) == 0);
            sim->away[node] = false;
        }
        count_forgotten(sim);
        return;
    case 0:
        fake_net_kill(&sim->net, node);
        sim->away[node] = true;
        return;
    case 1:
    case 2:
        fake_net_pause(&sim->net, node);
        sim->away[node] = true;
        return;
    case 3:
    case 4:
        fake_net_cut(&sim->net, node);
        return;
    case 5:
        jump(sim, node);
        return;
    case 6:
        restart_lockd(sim);
        return;
    case 7:
        sim->net.servers[node].redis.appendfsync = below(sim, 2) == 0 ? "always" : "everysec";
        return;
    case 8:
        sim->net.latency_us = 50 + (uint32_t)below(sim, 30000);
        return;
    case 10:
    case 11:
        sim->net.latency_us = 100;
        return;
    default: /* some peace */
        return;
    }
}

static void run_world(uint64_t seed)
{
    struct sim *sim = xcalloc(1, sizeof *sim);
    sim->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    fake_net_init(&sim->net, NODES);
    sim->net.others = sim->timers;
    sim->net.other_count = LOCKDS;
    for (unsigned i = 0; i < LOCKDS; i++) {
        struct lockd *lockd = &sim->lockds[i];
        lockd->sim = sim;
        lockd->clock = (struct clock){boot_us, wall_us, lockd};
        lockd->behind_us = i * 3600 * (int64_t)SECOND;
        timers_init(&sim->timers[i], &lockd->clock);
        start_lockd(sim, lockd);
    }
    for (unsigned i = 0; i < RESOURCES; i++)
        snprintf(sim->resources[i].name, sizeof sim->resources[i].name, "stock:%u", i);
    fake_net_run(&sim->net, SECOND);
    for (unsigned i = 0; i < CLIENTS; i++) {
        sim->clients[i].sim = sim;
        sim->clients[i].number = i;
        client_rest(&sim->clients[i]);
    }
    sim->faulty = true;
    after(sim, &sim->fault, SECOND, on_fault, sim);
    fake_net_run(&sim->net, FAULTY_S * (uint64_t)SECOND);

    sim->faulty = false;
    sim->net.latency_us = 100;
    for (unsigned i = 0; i < NODES; i++) {
        if (sim->away[i]) bring_back(sim, i);
    }
    unsigned faulty_grants = sim->grants;
    fake_net_run(&sim->net, CALM_S * (uint64_t)SECOND);
    for (unsigned i = 0; i < LOCKDS; i++)
        assert_int_equal(transport_voting(members_transport(sim->lockds[i].members)), NODES);
    assert_true(sim->grants >= faulty_grants + 30);
    print_message("seed %" PRIu64 ": %u faults, %u+%u grants, %u extends, %u refusals\n", seed,
                  sim->faults, faulty_grants, sim->grants - faulty_grants, sim->extends,
                  sim->refusals);
    for (unsigned i = 0; i < CLIENTS; i++)
        timer_stop(&sim->clients[i].next);
    for (unsigned i = 0; i < LOCKDS; i++)
        end_lockd(&sim->lockds[i]);
    for (unsigned i = 0; i < LOCKDS; i++)
        timers_fini(&sim->timers[i]);
    fake_net_fini(&sim->net);
    free(sim);
}

static uint64_t setting(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    return text == NULL ? fallback : strtoull(text, NULL, 10);
}

static void F18_F25_F27_F34_no_two_leases_are_ever_valid_at_once(void **state)
{
    (void)state;
    log_set_level((enum log_level)setting("LEVEL", LOG_LEVEL_ERROR));
    uint64_t seed = setting("SEED", 0);
    if (seed != 0) {
        run_world(seed);
        return;
    }
    for (uint64_t world = 1; world <= setting("WORLDS", 2); world++)
        run_world(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(F18_F25_F27_F34_no_two_leases_are_ever_valid_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
