/* When a node votes that is new, has restarted or forgotten, or whose clock has jumped. */
#include "lockd/members_world.h"

#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void untouched_nodes_vote_at_once_if_that_is_allowed(void **state)
{
    (void)state;
    for (unsigned nodes = 1; nodes <= 7; nodes += 2) {
        struct world world;
        world_open(&world, nodes);
        assert_int_equal(lockd_grant(&world.lockd, "a l 1", world_token(&world)), nodes);
        world_close(&world);
    }
}

static void otherwise_untouched_nodes_sit_out_the_longest_lease(void **state)
{
    (void)state;
    for (unsigned nodes = 1; nodes <= 7; nodes += 2) {
        struct world world;
        fake_net_init(&world.net, nodes);
        lockd_open(&world, &world.lockd, plain_names, nodes, false);
        world_run_ms(&world, QUARANTINE_MS - 100);
        assert_int_equal(transport_voting(world.lockd.transport), 0);
        assert_int_equal(lockd_state(&world.lockd, 0), MEMBERS_QUARANTINE);
        assert_in_range(members_node(world.lockd.members, 0).quarantine_ms, 1, 101);
        uint64_t before = world_token(&world);
        world_run_ms(&world, 2200);
        assert_int_equal(transport_voting(world.lockd.transport), nodes);
        /* Everybody has forgotten: the wall clock stands in. */
        assert_int_equal(lockd_grant(&world.lockd, "a l 1", before - 1), 0);
        assert_int_equal(lockd_grant(&world.lockd, "a l 1", world_token(&world)), nodes);
        world_close(&world);
    }
}

static void two_lockds_may_declare_it_together(void **state)
{
    (void)state;
    struct world world;
    fake_net_init(&world.net, 5);
    struct lockd other;
    lockd_open(&world, &world.lockd, plain_names, 5, true);
    fake_net_run(&world.net, 250); /* the first has asked, and not yet written */
    lockd_open(&world, &other, plain_names, 5, true);
    while (transport_voting(world.lockd.transport) < 5)
        fake_net_run(&world.net, 10);
    struct answer answer;
    assert_true(lockd_post(&world.lockd, 0, ORDER_GRANT, "a l 1", world_token(&world), &answer));
    world_run_ms(&world, 3000);
    assert_int_equal(answer.vote.verdict, VERDICT_YES);
    assert_int_equal(transport_voting(other.transport), 5);
    lockd_close(&other);
    world_close(&world);
}

/* Some nodes it has seen empty, others with the epoch that the first has just written. */
static void a_lockd_that_comes_amid_the_declaration_need_not_wait(void **state)
{
    (void)state;
    for (uint64_t later_us = 0; later_us < 3000; later_us += 50) {
        struct world world;
        fake_net_init(&world.net, 5);
        for (unsigned i = 0; i < 5; i++)
            world.net.servers[i].redis.wall_offset_us += i; /* nothing, but not all the same */
        struct lockd other;
        lockd_open(&world, &world.lockd, plain_names, 5, true);
        fake_net_run(&world.net, later_us);
        lockd_open(&world, &other, plain_names, 5, true);
        fake_net_run(&world.net, 250);
        fake_net_cut(&world.net, (unsigned)(later_us / 50 % 5)); /* it examines this one later */
        world_run_ms(&world, 4000);
        assert_int_equal(transport_voting(world.lockd.transport), 5);
        assert_int_equal(transport_voting(other.transport), 5);
        lockd_close(&other);
        world_close(&world);
    }
}

static void a_new_cluster_is_not_declared_without_all_of_its_nodes(void **state)
{
    (void)state;
    struct world world;
    fake_net_init(&world.net, 5);
    fake_net_kill(&world.net, 4);
    lockd_open(&world, &world.lockd, plain_names, 5, true);
    world_run_ms(&world, 10000);
    assert_int_equal(transport_voting(world.lockd.transport), 0);
    fake_net_start(&world.net, 4, false);
    world_run_ms(&world, 200);
    assert_int_equal(transport_voting(world.lockd.transport), 5);
    world_close(&world);
}

static void a_new_cluster_is_not_declared_by_who_has_seen_the_old_one(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 5);
    world_run_ms(&world, 70000);
    for (unsigned i = 0; i < 5; i++)
        world_restart(&world, i, false);
    world_run_ms(&world, 30000);
    assert_int_equal(transport_voting(world.lockd.transport), 0);
    world_close(&world);
}

/* Leases that it knows of may still run, whatever another lockd believes. */
static void who_has_seen_the_old_cluster_waits_although_another_declares_a_new_one(void **state)
{
    (void)state;
    struct world world;
    fake_net_init(&world.net, 5);
    lockd_open(&world, &world.lockd, plain_names, 5, true);
    world_run_ms(&world, 1000);
    assert_int_equal(transport_voting(world.lockd.transport), 5);
    for (unsigned i = 0; i < 5; i++)
        world_restart(&world, i, false);
    struct lockd other;
    lockd_open(&world, &other, plain_names, 5, true);
    world_run_ms(&world, 10000);
    assert_int_equal(transport_voting(other.transport), 5);
    assert_int_equal(transport_voting(world.lockd.transport), 0);
    world_run_ms(&world, QUARANTINE_MS);
    assert_int_equal(transport_voting(world.lockd.transport), 5);
    lockd_close(&other);
    world_close(&world);
}

static void F18_a_restarted_node_that_kept_its_data_votes_at_once(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 5);
    uint64_t token = world_token(&world);
    assert_int_equal(lockd_grant(&world.lockd, "a l 1", token), 5);
    world_restart(&world, 0, true);
    assert_int_equal(lockd_state(&world.lockd, 0), MEMBERS_VOTING);
    struct vote vote = lockd_ask(&world.lockd, 0, ORDER_GRANT, "b l 2", token + 1);
    assert_int_equal(vote.verdict, VERDICT_HELD);
    assert_string_equal(vote.holder, "a");
    assert_in_range(vote.remaining_ms, 9000, 10000);
    assert_int_equal(members_node(world.lockd.members, 0).incidents, 0);
    world_close(&world);
}

static void F18_nodes_that_restarted_empty_elect_no_second_holder(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 5);
    uint64_t token = world_token(&world);
    assert_int_equal(lockd_grant(&world.lockd, "a l 1", token), 5);
    for (unsigned i = 0; i < 3; i++) {
        world_restart(&world, i, false);
        assert_int_equal(lockd_state(&world.lockd, i), MEMBERS_QUARANTINE);
        assert_string_equal(lockd_why(&world.lockd, i), "it remembers nothing");
        assert_int_equal(members_node(world.lockd.members, i).incidents, 1);
    }
    assert_int_equal(lockd_grant(&world.lockd, "b l 2", token + 1), 0);
    /* Two voting nodes are fewer than the three that share one with every majority: all others
     * are asked, and the clock stands in for what they may have forgotten together. */
    world_run_ms(&world, QUARANTINE_MS + 2000);
    assert_int_equal(transport_voting(world.lockd.transport), 5);
    assert_int_equal(lockd_ask(&world.lockd, 0, ORDER_GRANT, "b l 2", token + 1).verdict,
                     VERDICT_STALE);
    assert_int_equal(lockd_grant(&world.lockd, "b l 2", world_token(&world)), 5);
    world_close(&world);
}

static void a_node_that_forgot_comes_back_above_every_token_of_the_others(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 5);
    uint64_t token = world_token(&world) + 3600 * (uint64_t)SECOND; /* of a lockd ahead of us */
    assert_int_equal(lockd_grant(&world.lockd, "a l 1", token), 5);
    world_restart(&world, 0, false);
    world_run_ms(&world, QUARANTINE_MS + 1000);
    assert_int_equal(lockd_state(&world.lockd, 0), MEMBERS_VOTING);
    struct vote vote = lockd_ask(&world.lockd, 0, ORDER_GRANT, "b l 2", token);
    assert_int_equal(vote.verdict, VERDICT_STALE);
    assert_int_equal(vote.bound, token);
    assert_int_equal(lockd_ask(&world.lockd, 0, ORDER_GRANT, "b l 2", token + 1).verdict,
                     VERDICT_YES);
    world_close(&world);
}

static void no_floor_no_vote(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 5);
    fake_net_kill(&world.net, 4);
    world_restart(&world, 0, false);
    world_restart(&world, 1, false);
    world_run_ms(&world, QUARANTINE_MS + 5000); /* two vote, one is away: nobody knows the floor */
    assert_int_equal(lockd_state(&world.lockd, 0), MEMBERS_QUARANTINE);
    assert_string_equal(lockd_why(&world.lockd, 0),
                        "it waits for the other nodes to say its floor");
    fake_net_start(&world.net, 4, true);
    world_run_ms(&world, 2000);
    assert_int_equal(transport_voting(world.lockd.transport), 5);
    world_close(&world);
}

static void everysec_may_have_lost_a_second(void **state)
{
    (void)state;
    struct world world;
    fake_net_init(&world.net, 5);
    for (unsigned i = 0; i < 5; i++)
        world.net.servers[i].redis.appendfsync = "everysec";
    lockd_open(&world, &world.lockd, plain_names, 5, true);
    world_run_ms(&world, 100);
    assert_int_equal(transport_voting(world.lockd.transport), 5);
    world_restart(&world, 0, true);
    assert_int_equal(lockd_state(&world.lockd, 0), MEMBERS_QUARANTINE);
    assert_string_equal(lockd_why(&world.lockd, 0), "it restarted and may have lost something");
    /* Nor does it help to switch to always now: what counts is both then and now. */
    world.net.servers[1].redis.appendfsync = "always";
    world_restart(&world, 1, true);
    assert_int_equal(lockd_state(&world.lockd, 1), MEMBERS_QUARANTINE);
    /* From the next minute's look on it does. */
    world.net.servers[2].redis.appendfsync = "always";
    world_run_ms(&world, 60000);
    world_restart(&world, 2, true);
    assert_int_equal(lockd_state(&world.lockd, 2), MEMBERS_VOTING);
    /* And it is taken back in the same way. */
    world.net.servers[2].redis.no_appendfsync_on_rewrite = "yes";
    world_run_ms(&world, 60000);
    world.net.servers[2].redis.no_appendfsync_on_rewrite = "no";
    world_restart(&world, 2, true);
    assert_int_equal(lockd_state(&world.lockd, 2), MEMBERS_QUARANTINE);
    world_close(&world);
}

static void a_quarantine_runs_to_its_end_whatever_reconnects(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 5);
    world_restart(&world, 0, false);
    for (unsigned i = 0; i < 6; i++) {
        world_run_ms(&world, 10000);
        fake_net_cut(&world.net, 0);
        world_run_ms(&world, 100);
        assert_int_equal(lockd_state(&world.lockd, 0), MEMBERS_QUARANTINE);
    }
    world_run_ms(&world, 2000);
    assert_int_equal(lockd_state(&world.lockd, 0), MEMBERS_VOTING);
    world_close(&world);
}

static void a_quarantine_starts_anew_with_another_loss(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 5);
    world_restart(&world, 0, false);
    world_run_ms(&world, 50000);
    world_restart(&world, 0, false);
    world_run_ms(&world, 50000);
    assert_int_equal(lockd_state(&world.lockd, 0), MEMBERS_QUARANTINE);
    /* Also when another lockd has admitted the node and it was emptied without a restart. */
    world_run_ms(&world, QUARANTINE_MS - 50000 - 5000);
    struct fake_redis *redis = &world.net.servers[0].redis;
    struct span epoch[] = {span_of("HSET"), span_of("quorate:epoch"), span_of("id"),
                           {NULL, 0},       span_of("run_id"),        span_of(redis->run_id)};
    char id[EPOCH_ID_BYTES + 1];
    members_epoch_id(&(struct conf_list){world.lockd.names, 5}, 0, TTL_MAX_MS, id);
    epoch[3] = span_of(id);
    freeReplyObject(fake_redis_command(redis, epoch, 6));
    fake_net_cut(&world.net, 0); /* seen at the next examination */
    world_run_ms(&world, 1000);
    freeReplyObject(fake_redis_command(redis, (struct span[]){span_of("FLUSHALL")}, 1));
    world_run_ms(&world, 10000);
    assert_int_equal(lockd_state(&world.lockd, 0), MEMBERS_QUARANTINE);
    world_run_ms(&world, QUARANTINE_MS);
    assert_int_equal(lockd_state(&world.lockd, 0), MEMBERS_VOTING);
    world_close(&world);
}

static void a_node_that_loses_its_epoch_stops_voting(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 5);
    world_run_ms(&world, 1000);
    freeReplyObject(
        fake_redis_command(&world.net.servers[0].redis, (struct span[]){span_of("FLUSHALL")}, 1));
    struct vote vote = lockd_ask(&world.lockd, 0, ORDER_GRANT, "a l 1", world_token(&world));
    assert_int_equal(vote.verdict, VERDICT_EXCLUDED);
    assert_int_not_equal(lockd_state(&world.lockd, 0), MEMBERS_VOTING);
    /* Noticed without traffic too. */
    freeReplyObject(
        fake_redis_command(&world.net.servers[1].redis, (struct span[]){span_of("FLUSHALL")}, 1));
    world_run_ms(&world, 600);
    assert_int_not_equal(lockd_state(&world.lockd, 1), MEMBERS_VOTING);
    world_run_ms(&world, 2000);
    assert_int_equal(lockd_state(&world.lockd, 0), MEMBERS_QUARANTINE);
    assert_int_equal(lockd_state(&world.lockd, 1), MEMBERS_QUARANTINE);
    assert_int_equal(members_node(world.lockd.members, 1).incidents, 1);
    world_close(&world);
}

static void F27_a_stepped_clock_does_not_hide_an_empty_restart(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 5);
    fake_net_kill(&world.net, 0);
    world.net.servers[0].redis.wall_offset_us += 3600 * (int64_t)SECOND;
    fake_net_start(&world.net, 0, false);
    world_run_ms(&world, 500);
    assert_int_equal(lockd_state(&world.lockd, 0), MEMBERS_QUARANTINE);
    world_close(&world);
}

static void a_clock_that_jumps_is_proven_and_its_vote_does_not_count(void **state)
{
    (void)state;
    static const int64_t jumps_us[] = {3600 * (int64_t)SECOND, -3600 * (int64_t)SECOND, 50000};
    for (size_t i = 0; i < sizeof jumps_us / sizeof jumps_us[0]; i++) {
        struct world world;
        world_open(&world, 5);
        struct lockd other;
        lockd_open(&world, &other, plain_names, 5, false);
        world_run_ms(&world, 1000);
        assert_int_equal(transport_voting(other.transport), 5);
        world.net.servers[0].redis.wall_offset_us += jumps_us[i];
        struct vote vote = lockd_ask(&world.lockd, 0, ORDER_EXTEND, "a l 1", world_token(&world));
        assert_int_equal(vote.verdict, VERDICT_EXCLUDED);
        assert_int_equal(lockd_state(&world.lockd, 0), MEMBERS_QUARANTINE);
        assert_string_equal(lockd_why(&world.lockd, 0), "its clock has jumped");
        assert_int_equal(members_node(world.lockd.members, 0).incidents, 1);
        /* It is written down for every lockd to see. */
        assert_string_equal(
            fake_redis_hash_get(&world.net.servers[0].redis, "quorate:epoch", "run_id"), "");
        world_run_ms(&world, 3000);
        assert_int_equal(lockd_state(&other, 0), MEMBERS_QUARANTINE);
        world_run_ms(&world, QUARANTINE_MS + 3000);
        assert_int_equal(transport_voting(world.lockd.transport), 5);
        assert_int_equal(transport_voting(other.transport), 5);
        lockd_close(&other);
        world_close(&world);
    }
}

static void a_jump_is_found_across_a_reconnect(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 5);
    fake_net_cut(&world.net, 0);
    world.net.servers[0].redis.wall_offset_us += 60 * (int64_t)SECOND;
    world_run_ms(&world, 200);
    assert_int_equal(lockd_state(&world.lockd, 0), MEMBERS_QUARANTINE);
    world_close(&world);
}

static void a_clock_that_runs_half_a_percent_fast_is_no_jump(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 5);
    for (unsigned i = 0; i < 600; i++) {
        world.net.servers[0].redis.wall_offset_us += 500;
        world.net.servers[1].redis.wall_offset_us -= 500;
        world_run_ms(&world, 100);
    }
    assert_int_equal(transport_voting(world.lockd.transport), 5);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(untouched_nodes_vote_at_once_if_that_is_allowed),
        cmocka_unit_test(otherwise_untouched_nodes_sit_out_the_longest_lease),
        cmocka_unit_test(two_lockds_may_declare_it_together),
        cmocka_unit_test(a_lockd_that_comes_amid_the_declaration_need_not_wait),
        cmocka_unit_test(a_new_cluster_is_not_declared_without_all_of_its_nodes),
        cmocka_unit_test(a_new_cluster_is_not_declared_by_who_has_seen_the_old_one),
        cmocka_unit_test(who_has_seen_the_old_cluster_waits_although_another_declares_a_new_one),
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
