#include "lockd/members_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

const char *const plain_names[TRANSPORT_NODES_MAX] = {"n:1", "n:2", "n:3", "n:4", "n:5",
                                                      "n:6", "n:7", "n:8", "n:9"};

void lockd_open(struct world *world, struct lockd *lockd, const char *const *names, unsigned count,
                bool init_empty)
{
    lockd->world = world;
    lockd->metrics = metrics_new();
    memcpy(lockd->names, names, count * sizeof *names);
    struct members_options options = {.timers = &world->net.timers,
                                      .names = {lockd->names, count},
                                      .metrics = lockd->metrics,
                                      .node_timeout_ms = 50,
                                      .ttl_max_ms = TTL_MAX_MS,
                                      .init_empty = init_empty};
    lockd->members = members_open(&options);
    lockd->transport = members_transport(lockd->members);
}

void lockd_close(struct lockd *lockd)
{
    members_close(lockd->members);
    metrics_free(lockd->metrics);
}

void world_open(struct world *world, unsigned nodes)
{
    fake_net_init(&world->net, nodes);
    lockd_open(world, &world->lockd, plain_names, nodes, true);
    fake_net_run(&world->net, 10000);
    assert_int_equal(transport_voting(world->lockd.transport), nodes);
}

void world_close(struct world *world)
{
    lockd_close(&world->lockd);
    fake_net_fini(&world->net);
}

static void on_vote(void *arg, const struct vote *vote)
{
    struct answer *answer = arg;
    assert_false(answer->there);
    *answer = (struct answer){true, *vote};
}

static struct order order_of(enum order_kind kind, const char *value, uint64_t token)
{
    return (struct order){.kind = kind,
                          .resource = span_of("r"),
                          .value = span_of(value),
                          .token = token,
                          .ttl_ms = 10000};
}

bool lockd_post(struct lockd *lockd, unsigned node, enum order_kind kind, const char *value,
                uint64_t token, struct answer *answer)
{
    struct order order = order_of(kind, value, token);
    *answer = (struct answer){.there = false};
    bool taken = lockd->transport->send(lockd->transport->arg, node, &order, on_vote, answer);
    assert_false(answer->there);
    return taken;
}

struct vote lockd_ask(struct lockd *lockd, unsigned node, enum order_kind kind, const char *value,
                      uint64_t token)
{
    struct answer answer;
    assert_true(lockd_post(lockd, node, kind, value, token, &answer));
    fake_net_run(&lockd->world->net, 60000);
    assert_true(answer.there);
    return answer.vote;
}

unsigned lockd_grant(struct lockd *lockd, const char *value, uint64_t token)
{
    struct answer answers[TRANSPORT_NODES_MAX] = {0};
    bool taken[TRANSPORT_NODES_MAX] = {false};
    unsigned yes = 0;
    for (unsigned i = 0; i < lockd->transport->nodes; i++)
        taken[i] = lockd_post(lockd, i, ORDER_GRANT, value, token, &answers[i]);
    fake_net_run(&lockd->world->net, 60000);
    for (unsigned i = 0; i < lockd->transport->nodes; i++) {
        assert_int_equal(taken[i], answers[i].there);
        yes += taken[i] && answers[i].vote.verdict == VERDICT_YES;
    }
    return yes;
}

void lockd_release(struct lockd *lockd, const char *value, uint64_t token)
{
    struct answer answers[TRANSPORT_NODES_MAX] = {0};
    for (unsigned i = 0; i < lockd->transport->nodes; i++)
        assert_true(lockd_post(lockd, i, ORDER_RELEASE, value, token, &answers[i]));
    fake_net_run(&lockd->world->net, 60000);
    for (unsigned i = 0; i < lockd->transport->nodes; i++)
        assert_true(answers[i].there);
}

uint64_t world_token(const struct world *world)
{
    return world->net.now_us + (uint64_t)world->net.wall_offset_us;
}

enum members_state lockd_state(const struct lockd *lockd, unsigned node)
{
    return members_node(lockd->members, node).state;
}

const char *lockd_why(const struct lockd *lockd, unsigned node)
{
    return members_node(lockd->members, node).why;
}

void world_run_ms(struct world *world, uint64_t ms)
{
    fake_net_run(&world->net, ms * 1000);
}

void world_restart(struct world *world, unsigned node, bool keep_data)
{
    fake_net_kill(&world->net, node);
    world_run_ms(world, 100);
    fake_net_start(&world->net, node, keep_data);
    world_run_ms(world, 100);
}
