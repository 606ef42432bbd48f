#include "lockd/world_probe.h"

#include "base/check.h"

struct world *probe_world(unsigned lockds)
{
    struct world_options options = world_calm;
    options.lockds = lockds;
    struct world *world = world_new(&options);
    world_run_us(world, 10000);
    return world;
}

static void probe_on_answer(void *arg, const struct leases_answer *answer)
{
    struct probe *probe = arg;
    probe->call = NULL;
    probe->answers++;
    probe->answer = *answer;
    probe->answered_us = world_now_us(probe->world);
    if (probe->turn != NULL) probe->place = (*probe->turn)++;
    if (probe->release_at_once && answer->reason == REASON_NONE) {
        probe_release(probe, answer->token);
    }
}

void probe_acquire(struct probe *probe)
{
    struct leases_acquire acquire = {
        .resource = span_of(probe->resource),
        .request_id = span_of(probe->id),
        .min_token = probe->min_token,
        .deadline_us = probe->deadline_us == 0 ? TIMER_NEVER : probe->deadline_us,
        .ttl_ms = probe->ttl_ms,
        .wait_ms = probe->wait_ms,
        .no_wait = probe->no_wait,
    };
    unsigned before = probe->answers;
    probe->call =
        leases_acquire(world_leases(probe->world, probe->lockd), &acquire, probe_on_answer, probe);
    CHECK(probe->answers == before); /* never before the call has returned */
}

void probe_extend(struct probe *probe, uint64_t token)
{
    struct leases_extend extend = {
        .resource = span_of(probe->resource),
        .request_id = span_of(probe->id),
        .token = token,
        .deadline_us = probe->deadline_us == 0 ? TIMER_NEVER : probe->deadline_us,
        .ttl_ms = probe->ttl_ms,
    };
    unsigned before = probe->answers;
    probe->call =
        leases_extend(world_leases(probe->world, probe->lockd), &extend, probe_on_answer, probe);
    CHECK(probe->answers == before);
}

void probe_release(struct probe *probe, uint64_t token)
{
    enum reason reason = leases_release(world_leases(probe->world, probe->lockd),
                                        span_of(probe->resource), span_of(probe->id), token);
    CHECK(reason == REASON_NONE);
}

void probe_withdraw(struct probe *probe)
{
    CHECK(probe->call != NULL);
    leases_withdraw(world_leases(probe->world, probe->lockd), probe->call);
    probe->call = NULL;
}

uint64_t probe_hold(struct probe *probe)
{
    unsigned before = probe->answers;
    probe_acquire(probe);
    for (unsigned ms = 0; probe->answers == before && ms < 120000; ms++)
        world_run_us(probe->world, 1000);
    CHECK(probe->answers == before + 1);
    return probe->answer.reason == REASON_NONE ? probe->answer.token : 0;
}

bool probe_holds(const struct probe *probe)
{
    return probe->answers > 0 && probe->answer.reason == REASON_NONE &&
           world_lockd_us(probe->world, probe->lockd) < probe->answer.ends_us;
}

unsigned world_keys(struct world *world, const char *resource)
{
    unsigned keys = 0;
    for (unsigned i = 0; i < TRANSPORT_NODES_MAX; i++) {
        keys += sim_node_value(world_node(world, i), resource, world_node_us(world, i)).bytes > 0;
    }
    return keys;
}
