/* Who is refused, what a vote is worth, and releases that are kept for a node. */
#include "lockd/members_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void F28_one_server_under_two_names_votes_once(void **state)
{
    (void)state;
    static const char *const names[] = {"n:1", "m:1", "n:2"};
    struct world world;
    fake_net_init(&world.net, 2);
    lockd_open(&world, &world.lockd, names, 3, true);
    world_run_ms(&world, QUARANTINE_MS + 5000);
    unsigned refused = 0;
    for (unsigned i = 0; i < 2; i++) {
        if (lockd_state(&world.lockd, i) != MEMBERS_REFUSED) continue;
        assert_string_equal(lockd_why(&world.lockd, i), i == 0 ? "it is the same server as m:1"
                                                               : "it is the same server as n:1");
        refused++;
    }
    assert_int_equal(refused, 1);
    assert_true(lockd_grant(&world.lockd, "a l 1", world_token(&world)) <= 2);
    world_close(&world);
}

static void F30_a_lockd_with_another_node_list_gets_no_vote(void **state)
{
    (void)state;
    static const char *const three[] = {"n:1", "n:2", "n:3"};
    static const char *const swapped[] = {"n:2", "n:1", "n:3", "n:4", "n:5"};
    struct world world;
    world_open(&world, 5);
    struct lockd fewer;
    struct lockd other_order;
    lockd_open(&world, &fewer, three, 3, true);
    lockd_open(&world, &other_order, swapped, 5, true);
    world_run_ms(&world, QUARANTINE_MS + 5000);
    assert_int_equal(transport_voting(fewer.transport), 0);
    assert_int_equal(transport_voting(other_order.transport), 0);
    assert_int_equal(strncmp(lockd_why(&fewer, 0), "WRONG_CLUSTER", 13), 0);
    assert_int_equal(lockd_grant(&fewer, "a l 1", world_token(&world)), 0);
    assert_int_equal(transport_voting(world.lockd.transport), 5);
    lockd_close(&fewer);
    lockd_close(&other_order);
    world_close(&world);
}

static void G10_a_server_that_may_evict_keys_is_refused(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 5);
    static const char *const policies[] = {"allkeys-lru", "volatile-ttl"};
    for (unsigned i = 0; i < 2; i++) {
        world.net.servers[i].redis.maxmemory_policy = policies[i];
        fake_net_cut(&world.net, i);
        world_run_ms(&world, 200);
        assert_int_equal(lockd_state(&world.lockd, i), MEMBERS_REFUSED);
        assert_string_equal(lockd_why(&world.lockd, i),
                            "its eviction policy (maxmemory-policy) may drop locks");
    }
    /* Found by the minute's look too; and once it is mended it votes again. */
    world.net.servers[2].redis.maxmemory_policy = "allkeys-random";
    world_run_ms(&world, 61000);
    assert_int_equal(lockd_state(&world.lockd, 2), MEMBERS_REFUSED);
    world.net.servers[2].redis.maxmemory_policy = "noeviction";
    world_run_ms(&world, 6000);
    assert_int_equal(lockd_state(&world.lockd, 2), MEMBERS_VOTING);
    world_close(&world);
}

static void replicas_and_promoted_ones_are_refused(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 5);
    world.net.servers[0].redis.replica = true;
    fake_net_cut(&world.net, 0);
    world_run_ms(&world, 200);
    assert_string_equal(lockd_why(&world.lockd, 0), "it is a replica");
    world.net.servers[0].redis.replica = false;
    world.net.servers[0].redis.promoted = true;
    world_run_ms(&world, 6000);
    assert_string_equal(lockd_why(&world.lockd, 0),
                        "it was a replica and may lack what its master had");
    assert_int_equal(lockd_state(&world.lockd, 0), MEMBERS_REFUSED);
    /* A restart makes it look like a master that kept everything; its epoch is in doubt. */
    world_restart(&world, 0, true);
    assert_int_equal(lockd_state(&world.lockd, 0), MEMBERS_QUARANTINE);
    world_close(&world);
}

static void a_vote_counts_only_if_the_node_has_voted_since_it_was_asked(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 5);
    struct answer first;
    struct answer second;
    assert_true(lockd_post(&world.lockd, 0, ORDER_GRANT, "a l 1", world_token(&world), &first));
    world.net.servers[0].redis.wall_offset_us += 3600 * (int64_t)SECOND;
    assert_true(lockd_post(&world.lockd, 0, ORDER_GRANT, "a l 1", world_token(&world), &second));
    world_run_ms(&world, 60);
    assert_int_equal(first.vote.verdict, VERDICT_EXCLUDED);
    assert_int_equal(second.vote.verdict, VERDICT_EXCLUDED);
    assert_false(lockd_post(&world.lockd, 0, ORDER_GRANT, "a l 1", world_token(&world), &first));
    world_close(&world);
}

static void F9_releases_reach_nodes_that_were_away_before_they_vote(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 5);
    uint64_t token = world_token(&world);
    assert_int_equal(lockd_grant(&world.lockd, "a l 1", token), 5);
    fake_net_kill(&world.net, 0);  /* away */
    fake_net_pause(&world.net, 1); /* silent */
    world_run_ms(&world, 10);
    lockd_release(&world.lockd, "a l 1", token);
    assert_string_equal(fake_redis_get(&world.net.servers[2].redis, "lock:r"), "");
    assert_string_equal(fake_redis_get(&world.net.servers[0].redis, "lock:r"), "a l 1");
    fake_net_kill(&world.net, 1); /* and what was in its socket is lost */
    fake_net_start(&world.net, 0, true);
    fake_net_start(&world.net, 1, true);
    world_run_ms(&world, 200);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(lockd_state(&world.lockd, i), MEMBERS_VOTING);
        assert_string_equal(fake_redis_get(&world.net.servers[i].redis, "lock:r"), "");
        /* The tombstone too. */
        assert_int_equal(lockd_ask(&world.lockd, i, ORDER_GRANT, "a l 1", token).verdict,
                         VERDICT_STALE);
    }
    world_close(&world);
}

static void kept_releases_end_with_their_lease(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 5);
    fake_net_kill(&world.net, 0);
    world_run_ms(&world, 10);
    lockd_release(&world.lockd, "a l 1", 1000);
    world_run_ms(&world, 11000);
    uint64_t before = world.net.servers[0].redis.commands;
    fake_net_start(&world.net, 0, true);
    world_run_ms(&world, 100);
    assert_int_equal(lockd_state(&world.lockd, 0), MEMBERS_VOTING);
    assert_true(world.net.servers[0].redis.commands > before);
    assert_string_equal(fake_redis_get(&world.net.servers[0].redis, "fence:r"), "");
    world_close(&world);
}

static void F25_woken_nodes_hold_no_lock_that_nobody_owns(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 5);
    world_run_ms(&world, 1000);
    uint64_t token = world_token(&world);
    for (unsigned i = 0; i < 3; i++)
        fake_net_pause(&world.net, i);
    for (unsigned round = 0; round < 3; round++) {
        char value[16];
        snprintf(value, sizeof value, "a l %u", round);
        assert_int_equal(lockd_grant(&world.lockd, value, token + 2 * round), 2);
        if (round < 2) lockd_release(&world.lockd, value, token + 2 * round);
    }
    assert_int_equal(transport_voting(world.lockd.transport), 2); /* dropped */
    for (unsigned i = 0; i < 3; i++)
        fake_net_resume(&world.net, i);
    world_run_ms(&world, 10);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(fake_redis_keys(&world.net.servers[i].redis, "lock:"), 0);
    world_run_ms(&world, 200);
    assert_int_equal(transport_voting(world.lockd.transport), 5);
    world_close(&world);
}

static void a_lost_connection_leaves_the_outcome_unknown(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 3);
    struct answer answer;
    assert_true(lockd_post(&world.lockd, 0, ORDER_GRANT, "a l 1", world_token(&world), &answer));
    fake_net_cut(&world.net, 0);
    world_run_ms(&world, 1);
    assert_int_equal(answer.vote.verdict, VERDICT_UNKNOWN);
    assert_false(lockd_post(&world.lockd, 0, ORDER_GRANT, "a l 1", world_token(&world), &answer));
    assert_false(world.lockd.transport->votes(world.lockd.transport->arg, 0));
    world_close(&world);
}

static void closing_answers_what_is_open(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 3);
    struct answer answers[3];
    fake_net_kill(&world.net, 2);
    world_run_ms(&world, 1);
    assert_true(
        lockd_post(&world.lockd, 0, ORDER_GRANT, "a l 1", world_token(&world), &answers[0]));
    assert_true(lockd_post(&world.lockd, 1, ORDER_RELEASE, "a l 1", 1, &answers[1]));
    assert_true(lockd_post(&world.lockd, 2, ORDER_RELEASE, "a l 1", 1, &answers[2]));
    lockd_close(&world.lockd);
    for (unsigned i = 0; i < 3; i++)
        assert_true(answers[i].there && answers[i].vote.verdict == VERDICT_UNKNOWN);
    fake_net_fini(&world.net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
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
