/* Admission, votes and kept releases of whole sets of nodes, on a fake network and fake clocks. */
#include "lockd/members.h"

#include "base/metrics.h"
#include "lockd/fake_net.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SECOND = 1000000, TTL_MAX_MS = 60000, QUARANTINE_MS = 61200 };

struct lockd {
    struct members *members;
    struct metrics *metrics;
    const struct transport *transport;
    const char *names[TRANSPORT_NODES_MAX];
};

struct world {
    struct fake_net net;
    struct lockd lockd;
};

struct answer {
    bool there;
    struct vote vote;
};

static const char *const plain_names[] = {"n:1", "n:2", "n:3", "n:4", "n:5",
                                          "n:6", "n:7", "n:8", "n:9"};

static void open_lockd(struct world *world, struct lockd *lockd, const char *const *names,
                       unsigned count, bool init_empty)
{
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

static void close_lockd(struct lockd *lockd)
{
    members_close(lockd->members);
    metrics_free(lockd->metrics);
}

/* A cluster whose nodes vote. */
static void setup(struct world *world, unsigned nodes)
{
    fake_net_init(&world->net, nodes);
    open_lockd(world, &world->lockd, plain_names, nodes, true);
    fake_net_run(&world->net, 10000);
    assert_int_equal(transport_voting(world->lockd.transport), nodes);
}

static void teardown(struct world *world)
{
    close_lockd(&world->lockd);
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

static bool post(struct lockd *lockd, unsigned node, enum order_kind kind, const char *value,
                 uint64_t token, struct answer *answer)
{
    struct order order = order_of(kind, value, token);
    *answer = (struct answer){.there = false};
    bool taken = lockd->transport->send(lockd->transport->arg, node, &order, on_vote, answer);
    assert_false(answer->there);
    return taken;
}

static struct vote ask(struct world *world, struct lockd *lockd, unsigned node,
                       enum order_kind kind, const char *value, uint64_t token)
{
    struct answer answer;
    assert_true(post(lockd, node, kind, value, token, &answer));
    fake_net_run(&world->net, 60000);
    assert_true(answer.there);
    return answer.vote;
}

/* How many nodes granted it. */
static unsigned grant_all(struct world *world, struct lockd *lockd, const char *value,
                          uint64_t token)
{
    struct answer answers[TRANSPORT_NODES_MAX] = {0};
    bool taken[TRANSPORT_NODES_MAX] = {false};
    unsigned yes = 0;
    for (unsigned i = 0; i < lockd->transport->nodes; i++)
        taken[i] = post(lockd, i, ORDER_GRANT, value, token, &answers[i]);
    fake_net_run(&world->net, 60000);
    for (unsigned i = 0; i < lockd->transport->nodes; i++) {
        assert_int_equal(taken[i], answers[i].there);
        yes += taken[i] && answers[i].vote.verdict == VERDICT_YES;
    }
    return yes;
}

static void release_all(struct world *world, struct lockd *lockd, const char *value, uint64_t token)
{
    struct answer answers[TRANSPORT_NODES_MAX] = {0};
    for (unsigned i = 0; i < lockd->transport->nodes; i++)
        assert_true(post(lockd, i, ORDER_RELEASE, value, token, &answers[i]));
    fake_net_run(&world->net, 60000);
    for (unsigned i = 0; i < lockd->transport->nodes; i++)
        assert_true(answers[i].there);
}

static uint64_t now_token(const struct world *world)
{
    return world->net.now_us + (uint64_t)world->net.wall_offset_us;
}

static enum members_state state_of(const struct lockd *lockd, unsigned node)
{
    return members_node(lockd->members, node).state;
}

static const char *why_of(const struct lockd *lockd, unsigned node)
{
    return members_node(lockd->members, node).why;
}

static void run_ms(struct world *world, uint64_t ms)
{
    fake_net_run(&world->net, ms * 1000);
}

static void restart(struct world *world, unsigned node, bool keep_data)
{
    fake_net_kill(&world->net, node);
    run_ms(world, 100);
    fake_net_start(&world->net, node, keep_data);
    run_ms(world, 100);
}

static void untouched_nodes_vote_at_once_if_that_is_allowed(void **state)
{
    (void)state;
    for (unsigned nodes = 1; nodes <= 7; nodes += 2) {
        struct world world;
        setup(&world, nodes);
        assert_int_equal(grant_all(&world, &world.lockd, "a l 1", now_token(&world)), nodes);
        teardown(&world);
    }
}

static void otherwise_untouched_nodes_sit_out_the_longest_lease(void **state)
{
    (void)state;
    for (unsigned nodes = 1; nodes <= 7; nodes += 2) {
        struct world world;
        fake_net_init(&world.net, nodes);
        open_lockd(&world, &world.lockd, plain_names, nodes, false);
        run_ms(&world, QUARANTINE_MS - 100);
        assert_int_equal(transport_voting(world.lockd.transport), 0);
        assert_int_equal(state_of(&world.lockd, 0), MEMBERS_QUARANTINE);
        assert_in_range(members_node(world.lockd.members, 0).quarantine_ms, 1, 101);
        uint64_t before = now_token(&world);
        run_ms(&world, 2200);
        assert_int_equal(transport_voting(world.lockd.transport), nodes);
        /* Everybody has forgotten: the wall clock stands in. */
        assert_int_equal(grant_all(&world, &world.lockd, "a l 1", before - 1), 0);
        assert_int_equal(grant_all(&world, &world.lockd, "a l 1", now_token(&world)), nodes);
        teardown(&world);
    }
}

static void two_lockds_may_declare_it_together(void **state)
{
    (void)state;
    struct world world;
    fake_net_init(&world.net, 5);
    struct lockd other;
    open_lockd(&world, &world.lockd, plain_names, 5, true);
    fake_net_run(&world.net, 250); /* the first has asked, and not yet written */
    open_lockd(&world, &other, plain_names, 5, true);
    while (transport_voting(world.lockd.transport) < 5)
        fake_net_run(&world.net, 10);
    struct answer answer;
    assert_true(post(&world.lockd, 0, ORDER_GRANT, "a l 1", now_token(&world), &answer));
    run_ms(&world, 3000);
    assert_int_equal(answer.vote.verdict, VERDICT_YES);
    assert_int_equal(transport_voting(other.transport), 5);
    close_lockd(&other);
    teardown(&world);
}

static void a_new_cluster_is_not_declared_without_all_of_its_nodes(void **state)
{
    (void)state;
    struct world world;
    fake_net_init(&world.net, 5);
    fake_net_kill(&world.net, 4);
    open_lockd(&world, &world.lockd, plain_names, 5, true);
    run_ms(&world, 10000);
    assert_int_equal(transport_voting(world.lockd.transport), 0);
    fake_net_start(&world.net, 4, false);
    run_ms(&world, 200);
    assert_int_equal(transport_voting(world.lockd.transport), 5);
    teardown(&world);
}

static void a_new_cluster_is_not_declared_by_who_has_seen_the_old_one(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 5);
    run_ms(&world, 70000);
    for (unsigned i = 0; i < 5; i++)
        restart(&world, i, false);
    run_ms(&world, 30000);
    assert_int_equal(transport_voting(world.lockd.transport), 0);
    teardown(&world);
}

static void F18_a_restarted_node_that_kept_its_data_votes_at_once(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 5);
    uint64_t token = now_token(&world);
    assert_int_equal(grant_all(&world, &world.lockd, "a l 1", token), 5);
    restart(&world, 0, true);
    assert_int_equal(state_of(&world.lockd, 0), MEMBERS_VOTING);
    struct vote vote = ask(&world, &world.lockd, 0, ORDER_GRANT, "b l 2", token + 1);
    assert_int_equal(vote.verdict, VERDICT_HELD);
    assert_string_equal(vote.holder, "a");
    assert_in_range(vote.remaining_ms, 9000, 10000);
    assert_int_equal(members_node(world.lockd.members, 0).incidents, 0);
    teardown(&world);
}

static void F18_nodes_that_restarted_empty_elect_no_second_holder(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 5);
    uint64_t token = now_token(&world);
    assert_int_equal(grant_all(&world, &world.lockd, "a l 1", token), 5);
    for (unsigned i = 0; i < 3; i++) {
        restart(&world, i, false);
        assert_int_equal(state_of(&world.lockd, i), MEMBERS_QUARANTINE);
        assert_string_equal(why_of(&world.lockd, i), "it remembers nothing");
        assert_int_equal(members_node(world.lockd.members, i).incidents, 1);
    }
    assert_int_equal(grant_all(&world, &world.lockd, "b l 2", token + 1), 0);
    /* Two voting nodes are fewer than the three that share one with every majority: all others
     * are asked, and the clock stands in for what they may have forgotten together. */
    run_ms(&world, QUARANTINE_MS + 2000);
    assert_int_equal(transport_voting(world.lockd.transport), 5);
    assert_int_equal(ask(&world, &world.lockd, 0, ORDER_GRANT, "b l 2", token + 1).verdict,
                     VERDICT_STALE);
    assert_int_equal(grant_all(&world, &world.lockd, "b l 2", now_token(&world)), 5);
    teardown(&world);
}

static void a_node_that_forgot_comes_back_above_every_token_of_the_others(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 5);
    uint64_t token = now_token(&world) + 3600 * (uint64_t)SECOND; /* of a lockd ahead of us */
    assert_int_equal(grant_all(&world, &world.lockd, "a l 1", token), 5);
    restart(&world, 0, false);
    run_ms(&world, QUARANTINE_MS + 1000);
    assert_int_equal(state_of(&world.lockd, 0), MEMBERS_VOTING);
    struct vote vote = ask(&world, &world.lockd, 0, ORDER_GRANT, "b l 2", token);
    assert_int_equal(vote.verdict, VERDICT_STALE);
    assert_int_equal(vote.bound, token);
    assert_int_equal(ask(&world, &world.lockd, 0, ORDER_GRANT, "b l 2", token + 1).verdict,
                     VERDICT_YES);
    teardown(&world);
}

static void no_floor_no_vote(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 5);
    fake_net_kill(&world.net, 4);
    restart(&world, 0, false);
    restart(&world, 1, false);
    run_ms(&world, QUARANTINE_MS + 5000); /* two vote, one is away: nobody knows the floor */
    assert_int_equal(state_of(&world.lockd, 0), MEMBERS_QUARANTINE);
    assert_string_equal(why_of(&world.lockd, 0), "it waits for the other nodes to say its floor");
    fake_net_start(&world.net, 4, true);
    run_ms(&world, 2000);
    assert_int_equal(transport_voting(world.lockd.transport), 5);
    teardown(&world);
}

static void everysec_may_have_lost_a_second(void **state)
{
    (void)state;
    struct world world;
    fake_net_init(&world.net, 5);
    for (unsigned i = 0; i < 5; i++)
        world.net.servers[i].redis.appendfsync = "everysec";
    open_lockd(&world, &world.lockd, plain_names, 5, true);
    run_ms(&world, 100);
    assert_int_equal(transport_voting(world.lockd.transport), 5);
    restart(&world, 0, true);
    assert_int_equal(state_of(&world.lockd, 0), MEMBERS_QUARANTINE);
    assert_string_equal(why_of(&world.lockd, 0), "it restarted and may have lost something");
    /* Nor does it help to switch to always now: what counts is both then and now. */
    world.net.servers[1].redis.appendfsync = "always";
    restart(&world, 1, true);
    assert_int_equal(state_of(&world.lockd, 1), MEMBERS_QUARANTINE);
    /* From the next minute's look on it does. */
    world.net.servers[2].redis.appendfsync = "always";
    run_ms(&world, 60000);
    restart(&world, 2, true);
    assert_int_equal(state_of(&world.lockd, 2), MEMBERS_VOTING);
    /* And it is taken back in the same way. */
    world.net.servers[2].redis.no_appendfsync_on_rewrite = "yes";
    run_ms(&world, 60000);
    world.net.servers[2].redis.no_appendfsync_on_rewrite = "no";
    restart(&world, 2, true);
    assert_int_equal(state_of(&world.lockd, 2), MEMBERS_QUARANTINE);
    teardown(&world);
}

static void a_quarantine_runs_to_its_end_whatever_reconnects(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 5);
    restart(&world, 0, false);
    for (unsigned i = 0; i < 6; i++) {
        run_ms(&world, 10000);
        fake_net_cut(&world.net, 0);
        run_ms(&world, 100);
        assert_int_equal(state_of(&world.lockd, 0), MEMBERS_QUARANTINE);
    }
    run_ms(&world, 2000);
    assert_int_equal(state_of(&world.lockd, 0), MEMBERS_VOTING);
    teardown(&world);
}

static void a_quarantine_starts_anew_with_another_loss(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 5);
    restart(&world, 0, false);
    run_ms(&world, 50000);
    restart(&world, 0, false);
    run_ms(&world, 50000);
    assert_int_equal(state_of(&world.lockd, 0), MEMBERS_QUARANTINE);
    /* Also when another lockd has admitted the node and it was emptied without a restart. */
    run_ms(&world, QUARANTINE_MS - 50000 - 5000);
    struct fake_redis *redis = &world.net.servers[0].redis;
    struct span epoch[] = {span_of("HSET"), span_of("quorate:epoch"), span_of("id"),
                           {NULL, 0},       span_of("run_id"),        span_of(redis->run_id)};
    char id[EPOCH_ID_BYTES + 1];
    members_epoch_id(&(struct conf_list){world.lockd.names, 5}, 0, TTL_MAX_MS, id);
    epoch[3] = span_of(id);
    freeReplyObject(fake_redis_command(redis, epoch, 6));
    fake_net_cut(&world.net, 0); /* seen at the next examination */
    run_ms(&world, 1000);
    freeReplyObject(fake_redis_command(redis, (struct span[]){span_of("FLUSHALL")}, 1));
    run_ms(&world, 10000);
    assert_int_equal(state_of(&world.lockd, 0), MEMBERS_QUARANTINE);
    run_ms(&world, QUARANTINE_MS);
    assert_int_equal(state_of(&world.lockd, 0), MEMBERS_VOTING);
    teardown(&world);
}

static void a_node_that_loses_its_epoch_stops_voting(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 5);
    run_ms(&world, 1000);
    freeReplyObject(
        fake_redis_command(&world.net.servers[0].redis, (struct span[]){span_of("FLUSHALL")}, 1));
    struct vote vote = ask(&world, &world.lockd, 0, ORDER_GRANT, "a l 1", now_token(&world));
    assert_int_equal(vote.verdict, VERDICT_EXCLUDED);
    assert_int_not_equal(state_of(&world.lockd, 0), MEMBERS_VOTING);
    /* Noticed without traffic too. */
    freeReplyObject(
        fake_redis_command(&world.net.servers[1].redis, (struct span[]){span_of("FLUSHALL")}, 1));
    run_ms(&world, 600);
    assert_int_not_equal(state_of(&world.lockd, 1), MEMBERS_VOTING);
    run_ms(&world, 2000);
    assert_int_equal(state_of(&world.lockd, 0), MEMBERS_QUARANTINE);
    assert_int_equal(state_of(&world.lockd, 1), MEMBERS_QUARANTINE);
    assert_int_equal(members_node(world.lockd.members, 1).incidents, 1);
    teardown(&world);
}

static void F27_a_stepped_clock_does_not_hide_an_empty_restart(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 5);
    fake_net_kill(&world.net, 0);
    world.net.servers[0].redis.wall_offset_us += 3600 * (int64_t)SECOND;
    fake_net_start(&world.net, 0, false);
    run_ms(&world, 500);
    assert_int_equal(state_of(&world.lockd, 0), MEMBERS_QUARANTINE);
    teardown(&world);
}

static void a_clock_that_jumps_is_proven_and_its_vote_does_not_count(void **state)
{
    (void)state;
    static const int64_t jumps_us[] = {3600 * (int64_t)SECOND, -3600 * (int64_t)SECOND, 50000};
    for (size_t i = 0; i < sizeof jumps_us / sizeof jumps_us[0]; i++) {
        struct world world;
        setup(&world, 5);
        struct lockd other;
        open_lockd(&world, &other, plain_names, 5, false);
        run_ms(&world, 1000);
        assert_int_equal(transport_voting(other.transport), 5);
        world.net.servers[0].redis.wall_offset_us += jumps_us[i];
        struct vote vote = ask(&world, &world.lockd, 0, ORDER_EXTEND, "a l 1", now_token(&world));
        assert_int_equal(vote.verdict, VERDICT_EXCLUDED);
        assert_int_equal(state_of(&world.lockd, 0), MEMBERS_QUARANTINE);
        assert_string_equal(why_of(&world.lockd, 0), "its clock has jumped");
        assert_int_equal(members_node(world.lockd.members, 0).incidents, 1);
        /* It is written down for every lockd to see. */
        assert_string_equal(
            fake_redis_hash_get(&world.net.servers[0].redis, "quorate:epoch", "run_id"), "");
        run_ms(&world, 3000);
        assert_int_equal(state_of(&other, 0), MEMBERS_QUARANTINE);
        run_ms(&world, QUARANTINE_MS + 3000);
        assert_int_equal(transport_voting(world.lockd.transport), 5);
        assert_int_equal(transport_voting(other.transport), 5);
        close_lockd(&other);
        teardown(&world);
    }
}

static void a_jump_is_found_across_a_reconnect(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 5);
    fake_net_cut(&world.net, 0);
    world.net.servers[0].redis.wall_offset_us += 60 * (int64_t)SECOND;
    run_ms(&world, 200);
    assert_int_equal(state_of(&world.lockd, 0), MEMBERS_QUARANTINE);
    teardown(&world);
}

static void a_clock_that_runs_half_a_percent_fast_is_no_jump(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 5);
    for (unsigned i = 0; i < 600; i++) {
        world.net.servers[0].redis.wall_offset_us += 500;
        world.net.servers[1].redis.wall_offset_us -= 500;
        run_ms(&world, 100);
    }
    assert_int_equal(transport_voting(world.lockd.transport), 5);
    teardown(&world);
}

static void F28_one_server_under_two_names_votes_once(void **state)
{
    (void)state;
    static const char *const names[] = {"n:1", "m:1", "n:2"};
    struct world world;
    fake_net_init(&world.net, 2);
    open_lockd(&world, &world.lockd, names, 3, true);
    run_ms(&world, QUARANTINE_MS + 5000);
    unsigned refused = 0;
    for (unsigned i = 0; i < 2; i++) {
        if (state_of(&world.lockd, i) != MEMBERS_REFUSED) continue;
        assert_string_equal(why_of(&world.lockd, i), i == 0 ? "it is the same server as m:1"
                                                            : "it is the same server as n:1");
        refused++;
    }
    assert_int_equal(refused, 1);
    assert_true(grant_all(&world, &world.lockd, "a l 1", now_token(&world)) <= 2);
    teardown(&world);
}

static void F30_a_lockd_with_another_node_list_gets_no_vote(void **state)
{
    (void)state;
    static const char *const three[] = {"n:1", "n:2", "n:3"};
    static const char *const swapped[] = {"n:2", "n:1", "n:3", "n:4", "n:5"};
    struct world world;
    setup(&world, 5);
    struct lockd fewer;
    struct lockd other_order;
    open_lockd(&world, &fewer, three, 3, true);
    open_lockd(&world, &other_order, swapped, 5, true);
    run_ms(&world, QUARANTINE_MS + 5000);
    assert_int_equal(transport_voting(fewer.transport), 0);
    assert_int_equal(transport_voting(other_order.transport), 0);
    assert_int_equal(strncmp(why_of(&fewer, 0), "WRONG_CLUSTER", 13), 0);
    assert_int_equal(grant_all(&world, &fewer, "a l 1", now_token(&world)), 0);
    assert_int_equal(transport_voting(world.lockd.transport), 5);
    close_lockd(&fewer);
    close_lockd(&other_order);
    teardown(&world);
}

static void G10_a_server_that_may_evict_keys_is_refused(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 5);
    static const char *const policies[] = {"allkeys-lru", "volatile-ttl"};
    for (unsigned i = 0; i < 2; i++) {
        world.net.servers[i].redis.maxmemory_policy = policies[i];
        fake_net_cut(&world.net, i);
        run_ms(&world, 200);
        assert_int_equal(state_of(&world.lockd, i), MEMBERS_REFUSED);
        assert_string_equal(why_of(&world.lockd, i),
                            "its eviction policy (maxmemory-policy) may drop locks");
    }
    /* Found by the minute's look too; and once it is mended it votes again. */
    world.net.servers[2].redis.maxmemory_policy = "allkeys-random";
    run_ms(&world, 61000);
    assert_int_equal(state_of(&world.lockd, 2), MEMBERS_REFUSED);
    world.net.servers[2].redis.maxmemory_policy = "noeviction";
    run_ms(&world, 6000);
    assert_int_equal(state_of(&world.lockd, 2), MEMBERS_VOTING);
    teardown(&world);
}

static void replicas_and_promoted_ones_are_refused(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 5);
    world.net.servers[0].redis.replica = true;
    fake_net_cut(&world.net, 0);
    run_ms(&world, 200);
    assert_string_equal(why_of(&world.lockd, 0), "it is a replica");
    world.net.servers[0].redis.replica = false;
    world.net.servers[0].redis.promoted = true;
    run_ms(&world, 6000);
    assert_string_equal(why_of(&world.lockd, 0),
                        "it was a replica and may lack what its master had");
    assert_int_equal(state_of(&world.lockd, 0), MEMBERS_REFUSED);
    /* A restart makes it look like a master that kept everything; its epoch is in doubt. */
    restart(&world, 0, true);
    assert_int_equal(state_of(&world.lockd, 0), MEMBERS_QUARANTINE);
    teardown(&world);
}

static void a_vote_counts_only_if_the_node_has_voted_since_it_was_asked(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 5);
    struct answer first;
    struct answer second;
    assert_true(post(&world.lockd, 0, ORDER_GRANT, "a l 1", now_token(&world), &first));
    world.net.servers[0].redis.wall_offset_us += 3600 * (int64_t)SECOND;
    assert_true(post(&world.lockd, 0, ORDER_GRANT, "a l 1", now_token(&world), &second));
    run_ms(&world, 60);
    assert_int_equal(first.vote.verdict, VERDICT_EXCLUDED);
    assert_int_equal(second.vote.verdict, VERDICT_EXCLUDED);
    assert_false(post(&world.lockd, 0, ORDER_GRANT, "a l 1", now_token(&world), &first));
    teardown(&world);
}

static void F9_releases_reach_nodes_that_were_away_before_they_vote(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 5);
    uint64_t token = now_token(&world);
    assert_int_equal(grant_all(&world, &world.lockd, "a l 1", token), 5);
    fake_net_kill(&world.net, 0);  /* away */
    fake_net_pause(&world.net, 1); /* silent */
    run_ms(&world, 10);
    release_all(&world, &world.lockd, "a l 1", token);
    assert_string_equal(fake_redis_get(&world.net.servers[2].redis, "lock:r"), "");
    assert_string_equal(fake_redis_get(&world.net.servers[0].redis, "lock:r"), "a l 1");
    fake_net_kill(&world.net, 1); /* and what was in its socket is lost */
    fake_net_start(&world.net, 0, true);
    fake_net_start(&world.net, 1, true);
    run_ms(&world, 200);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(state_of(&world.lockd, i), MEMBERS_VOTING);
        assert_string_equal(fake_redis_get(&world.net.servers[i].redis, "lock:r"), "");
        /* The tombstone too. */
        assert_int_equal(ask(&world, &world.lockd, i, ORDER_GRANT, "a l 1", token).verdict,
                         VERDICT_STALE);
    }
    teardown(&world);
}

static void kept_releases_end_with_their_lease(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 5);
    fake_net_kill(&world.net, 0);
    run_ms(&world, 10);
    release_all(&world, &world.lockd, "a l 1", 1000);
    run_ms(&world, 11000);
    uint64_t before = world.net.servers[0].redis.commands;
    fake_net_start(&world.net, 0, true);
    run_ms(&world, 100);
    assert_int_equal(state_of(&world.lockd, 0), MEMBERS_VOTING);
    assert_true(world.net.servers[0].redis.commands > before);
    assert_string_equal(fake_redis_get(&world.net.servers[0].redis, "fence:r"), "");
    teardown(&world);
}

static void F25_woken_nodes_hold_no_lock_that_nobody_owns(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 5);
    run_ms(&world, 1000);
    uint64_t token = now_token(&world);
    for (unsigned i = 0; i < 3; i++)
        fake_net_pause(&world.net, i);
    for (unsigned round = 0; round < 3; round++) {
        char value[16];
        snprintf(value, sizeof value, "a l %u", round);
        assert_int_equal(grant_all(&world, &world.lockd, value, token + 2 * round), 2);
        if (round < 2) release_all(&world, &world.lockd, value, token + 2 * round);
    }
    assert_int_equal(transport_voting(world.lockd.transport), 2); /* dropped */
    for (unsigned i = 0; i < 3; i++)
        fake_net_resume(&world.net, i);
    run_ms(&world, 10);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(fake_redis_keys(&world.net.servers[i].redis, "lock:"), 0);
    run_ms(&world, 200);
    assert_int_equal(transport_voting(world.lockd.transport), 5);
    teardown(&world);
}

static void a_lost_connection_leaves_the_outcome_unknown(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    struct answer answer;
    assert_true(post(&world.lockd, 0, ORDER_GRANT, "a l 1", now_token(&world), &answer));
    fake_net_cut(&world.net, 0);
    run_ms(&world, 1);
    assert_int_equal(answer.vote.verdict, VERDICT_UNKNOWN);
    assert_false(post(&world.lockd, 0, ORDER_GRANT, "a l 1", now_token(&world), &answer));
    assert_false(world.lockd.transport->votes(world.lockd.transport->arg, 0));
    teardown(&world);
}

static void closing_answers_what_is_open(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    struct answer answers[3];
    fake_net_kill(&world.net, 2);
    run_ms(&world, 1);
    assert_true(post(&world.lockd, 0, ORDER_GRANT, "a l 1", now_token(&world), &answers[0]));
    assert_true(post(&world.lockd, 1, ORDER_RELEASE, "a l 1", 1, &answers[1]));
    assert_true(post(&world.lockd, 2, ORDER_RELEASE, "a l 1", 1, &answers[2]));
    close_lockd(&world.lockd);
    for (unsigned i = 0; i < 3; i++)
        assert_true(answers[i].there && answers[i].vote.verdict == VERDICT_UNKNOWN);
    fake_net_fini(&world.net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(untouched_nodes_vote_at_once_if_that_is_allowed),
        cmocka_unit_test(otherwise_untouched_nodes_sit_out_the_longest_lease),
        cmocka_unit_test(two_lockds_may_declare_it_together),
        cmocka_unit_test(a_new_cluster_is_not_declared_without_all_of_its_nodes),
        cmocka_unit_test(a_new_cluster_is_not_declared_by_who_has_seen_the_old_one),
        cmocka_unit_test(F18_a_restarted_node_that_kept_its_data_votes_at_once),
        cmocka_unit_test(F18_nodes_that_restarted_empty_elect_no_second_holder),
        cmocka_unit_test(a_node_that_forgot_comes_back_above_every_token_of_the_others),
        cmocka_unit_test(no_floor_no_vote),
        cmocka_unit_test(everysec_may_have_lost_a_second),
        cmocka_unit_test(a_quarantine_runs_to_its_end_whatever_reconnects),
        cmocka_unit_test(a_quarantine_starts_anew_with_another_loss),
        cmocka_unit_test(a_node_that_loses_its_epoch_stops_voting),
        cmocka_unit_test(F27_a_stepped_clock_does_not_hide_an_empty_restart),
        cmocka_unit_test(a_clock_that_jumps_is_proven_and_its_vote_does_not_count),
        cmocka_unit_test(a_jump_is_found_across_a_reconnect),
        cmocka_unit_test(a_clock_that_runs_half_a_percent_fast_is_no_jump),
        cmocka_unit_test(F28_one_server_under_two_names_votes_once),
        cmocka_unit_test(F30_a_lockd_with_another_node_list_gets_no_vote),
        cmocka_unit_test(G10_a_server_that_may_evict_keys_is_refused),
        cmocka_unit_test(replicas_and_promoted_ones_are_refused),
        cmocka_unit_test(a_vote_counts_only_if_the_node_has_voted_since_it_was_asked),
        cmocka_unit_test(F9_releases_reach_nodes_that_were_away_before_they_vote),
        cmocka_unit_test(kept_releases_end_with_their_lease),
        cmocka_unit_test(F25_woken_nodes_hold_no_lock_that_nobody_owns),
        cmocka_unit_test(a_lost_connection_leaves_the_outcome_unknown),
        cmocka_unit_test(closing_answers_what_is_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
