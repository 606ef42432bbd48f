/* Values and tokens on nodes that were away, forgot, or execute what is long over. */
#include "lockd/world_probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS     UINT64_C(1000)
#define SECOND UINT64_C(1000000)
#define HOUR   (3600 * SECOND)
#define NEVER  UINT64_MAX

/* The grant of one node is under way until after the release: the tombstone is there first. */
static void F12_grant_that_lands_after_its_release_holds_nothing(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe a = {.world = world, .resource = "r", .id = "a"};
    world_link_delay(world, 0, 4, 20 * MS, 0);
    probe_acquire(&a);
    world_run_us(world, 3 * MS);
    assert_true(probe_holds(&a));
    world_link_break(world, 0, 4, 2 * SECOND); /* runs after the new connection's orders */
    world_link_delay(world, 0, 4, 0, 0);
    world_run_us(world, 1 * SECOND);
    assert_true(world_votes(world, 0, 4));
    probe_release(&a, a.answer.token);
    world_run_us(world, 5 * SECOND);
    assert_int_equal(world_orders(world, ORDER_GRANT), 5);
    assert_int_equal(world_keys(world, "r"), 0);
    world_free(world);
}

/* Three nodes sleep, and what they were asked is still in their sockets when the connections are
 * given up: when they wake they grant it to nobody for long. */
/* Three nodes forget, one after the other, while a lease runs: nobody else gets it. */
static void F18_nodes_that_forget_one_by_one_make_no_second_holder(void **state)
{
    (void)state;
    struct world *world = probe_world(2);
    struct probe a = {.world = world, .lockd = 0, .resource = "r", .id = "a", .ttl_ms = 60000};
    struct probe b = {.world = world, .lockd = 1, .resource = "r", .id = "b", .wait_ms = 59000};
    assert_true(probe_hold(&a) > 0);
    probe_acquire(&b);
    for (unsigned i = 0; i < 3; i++) {
        world_node_crash(world, i, WORLD_LOSS_ALL);
        world_run_us(world, 200 * MS);
        world_node_start(world, i);
        world_run_us(world, 2 * SECOND);
        assert_false(world_votes(world, 1, i));
    }
    world_run_us(world, 50 * SECOND);
    assert_true(probe_holds(&a));
    assert_int_equal(b.answers, 0);
    world_free(world);
}

/* A node that forgot, one that missed the last grant, and a lockd whose clock is an hour behind:
 * only the floor of the first keeps the token from falling. */
static void F18_node_that_forgot_grants_nothing_below_its_floor(void **state)
{
    (void)state;
    struct world_options options = world_calm;
    options.nodes = 3;
    options.lockds = 2;
    struct world *world = world_new(&options);
    world_run_us(world, 10 * MS);
    world_lockd_step_wall(world, 1, -(int64_t)HOUR);
    world_link_cut(world, 0, 2);
    struct probe a = {.world = world, .lockd = 0, .resource = "r", .id = "a", .ttl_ms = 10000};
    uint64_t token = probe_hold(&a);
    assert_true(token > 0);
    world_run_us(world, 5 * MS);
    world_link_break(world, 0, 2, NEVER);
    world_lockd_crash(world, 0); /* or its release would tell them */
    world_node_crash(world, 0, WORLD_LOSS_ALL);
    world_node_start(world, 0);
    world_run_us(world, 65 * SECOND); /* the lease is over, and so is the quarantine */
    assert_true(world_votes(world, 1, 0));
    world_link_cut(world, 1, 1);
    struct probe b = {.world = world, .lockd = 1, .resource = "r", .id = "b"};
    assert_true(probe_hold(&b) > token);
    world_free(world);
}

static void F25_backlog_of_woken_nodes_leaves_no_key(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    for (unsigned i = 0; i < 3; i++)
        world_node_pause(world, i);
    struct probe a = {.world = world, .resource = "r", .id = "a", .wait_ms = 120};
    struct probe b = {.world = world, .resource = "s", .id = "b", .wait_ms = 600};
    probe_acquire(&a);
    probe_acquire(&b);
    world_run_us(world, 1 * SECOND);
    assert_int_equal(a.answer.reason, REASON_NO_QUORUM);
    assert_int_equal(b.answer.reason, REASON_NO_QUORUM);
    for (unsigned i = 0; i < 3; i++) {
        assert_false(world_votes(world, 0, i));
        world_node_wake(world, i);
    }
    world_run_us(world, 2 * SECOND);
    assert_int_equal(world_keys(world, "r"), 0);
    assert_int_equal(world_keys(world, "s"), 0);
    assert_true(probe_hold(&(struct probe){.world = world, .resource = "r", .id = "c"}) > 0);
    world_free(world);
}

/* A lease that ended by itself leaves no key either, not even one that settles late. */
static void F25_late_grant_of_an_expired_lease_is_cleaned(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    world_link_delay(world, 0, 4, 700 * MS, 0);
    struct probe a = {.world = world, .resource = "r", .id = "a", .ttl_ms = 500};
    assert_true(probe_hold(&a) > 0);
    world_run_us(world, 800 * MS); /* over; node 4 was granted 200 ms after its end */
    world_run_us(world, 600 * MS);
    assert_int_equal(world_keys(world, "r"), 0);
    world_free(world);
}

/* Nor does one that was handed on, on the node that missed the hand-off. */
static void F25_ended_lease_is_cleaned_where_the_hand_off_missed(void **state)
{
    (void)state;
    for (unsigned silent = 0; silent < 2; silent++) {
        struct world *world = probe_world(1);
        struct probe a = {.world = world, .resource = "r", .id = "a", .ttl_ms = 60000};
        struct probe b = {.world = world, .resource = "r", .id = "b", .ttl_ms = 60000};
        assert_true(probe_hold(&a) > 0);
        world_run_us(world, 5 * MS);
        if (silent == 1) world_link_cut(world, 0, 4); /* asked, no answer: the grant is lost */
        if (silent == 0) world_link_break(world, 0, 4, NEVER); /* not asked at all */
        probe_acquire(&b);
        probe_release(&a, 0);
        world_run_us(world, 2 * MS);
        assert_true(probe_holds(&b));
        world_run_us(world, 60 * MS);
        if (silent == 1) world_link_break(world, 0, 4, NEVER);
        world_link_mend(world, 0, 4);
        world_run_us(world, 2 * SECOND);
        assert_true(world_votes(world, 0, 4));
        assert_int_equal(world_keys(world, "r"), 4);
        world_free(world);
    }
}

/* The resource has seen an hour more than the nodes remember: it says so, and sales go on. */
static void F31_resource_that_remembers_more_is_heard_by_min_token(void **state)
{
    (void)state;
    struct world *world = probe_world(2);
    world_lockd_step_wall(world, 1, (int64_t)HOUR);
    struct probe ahead = {.world = world, .lockd = 1, .resource = "r", .id = "ahead"};
    uint64_t seen = probe_hold(&ahead);
    assert_true(seen > 0);
    probe_release(&ahead, seen);
    world_run_us(world, 10 * MS);
    for (unsigned i = 0; i < 5; i++) { /* all nodes are lost and declared anew */
        sim_node_forget(world_node(world, i));
        world_node(world, i)->epoch = true;
        world_node(world, i)->epoch_run = 1;
    }
    struct probe a = {.world = world, .lockd = 0, .resource = "r", .id = "a"};
    uint64_t refused = probe_hold(&a);
    assert_true(refused > 0 && refused < seen); /* FENCED at the resource */
    probe_release(&a, refused);
    struct probe b = {.world = world, .lockd = 0, .resource = "r", .id = "b", .min_token = seen};
    assert_true(probe_hold(&b) > seen);
    probe_release(&b, 0);
    struct probe c = {.world = world, .lockd = 0, .resource = "r", .id = "c"};
    assert_true(probe_hold(&c) > b.answer.token); /* the others follow without knowing it */
    world_free(world);
}

/* A release of the first attempt, executed after the second was granted under the same request id,
 * deletes nothing of it. */
static void F32_late_release_of_an_earlier_attempt_spares_the_grant(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    for (unsigned i = 0; i < 3; i++) { /* too low there at first: released, and a new token */
        struct sim_node *node = world_node(world, i);
        (void)sim_node_bound(node, "r", world_node_us(world, i));
        node->resources[0].fence = 2000000000000000;
        node->resources[0].fence_until_us = NEVER;
    }
    struct probe a = {.world = world, .resource = "r", .id = "a"};
    probe_acquire(&a);
    world_run_us(world, 2 * MS + 1); /* STALE three times: the release is under way */
    assert_int_equal(leases_counts(world_leases(world, 0)).rounds_contended, 1);
    for (unsigned i = 0; i < 3; i++)
        world_link_break(world, 0, i, 2 * SECOND);
    world_run_us(world, 1 * SECOND);
    assert_true(probe_holds(&a)); /* over the new connections */
    assert_int_equal(world_keys(world, "r"), 5);
    uint64_t releases = world_orders(world, ORDER_RELEASE);
    world_run_us(world, 2 * SECOND);
    assert_int_equal(world_orders(world, ORDER_RELEASE), releases + 3); /* the strays */
    assert_int_equal(world_keys(world, "r"), 5);
    world_free(world);
}

static void F34_token_does_not_fall_when_a_fence_expires(void **state)
{
    (void)state;
    struct world_options options = world_calm;
    options.lockds = 2;
    options.fence_life_ms = 5000;
    struct world *world = world_new(&options);
    world_run_us(world, 10 * MS);
    world_lockd_step_wall(world, 1, -(int64_t)HOUR); /* it lags */
    struct probe a = {.world = world, .lockd = 0, .resource = "r", .id = "a"};
    uint64_t token = probe_hold(&a);
    probe_release(&a, token);
    world_run_us(world, 20 * SECOND); /* the fences are gone */
    struct probe b = {.world = world, .lockd = 1, .resource = "r", .id = "b"};
    assert_true(probe_hold(&b) > token);
    assert_int_equal(leases_counts(world_leases(world, 1)).rounds_contended, 1);
    struct probe c = {.world = world, .lockd = 1, .resource = "never seen", .id = "c"};
    c.resource = "s";
    assert_true(probe_hold(&c) > token); /* and knows for all others what it was told once */
    assert_int_equal(leases_counts(world_leases(world, 1)).rounds_contended, 1);
    world_free(world);
}

/* After a restart, what the old instance granted can be let go by request id, and who waits for it
 * at the new one need not wait for its end. */
static void release_of_a_lease_from_before_a_restart(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe a = {.world = world, .resource = "r", .id = "a", .ttl_ms = 60000};
    assert_true(probe_hold(&a) > 0);
    world_lockd_crash(world, 0);
    world_lockd_start(world, 0);
    world_run_us(world, 10 * MS);
    struct probe b = {.world = world, .resource = "r", .id = "b", .wait_ms = 50000};
    probe_acquire(&b);
    world_run_us(world, 1 * SECOND);
    assert_int_equal(b.answers, 0);
    probe_release(&a, a.answer.token);
    world_run_us(world, 10 * MS);
    assert_true(probe_holds(&b));
    assert_true(b.answer.token > a.answer.token);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(F12_grant_that_lands_after_its_release_holds_nothing),
        cmocka_unit_test(F18_nodes_that_forget_one_by_one_make_no_second_holder),
        cmocka_unit_test(F18_node_that_forgot_grants_nothing_below_its_floor),
        cmocka_unit_test(F25_backlog_of_woken_nodes_leaves_no_key),
        cmocka_unit_test(F25_late_grant_of_an_expired_lease_is_cleaned),
        cmocka_unit_test(F25_ended_lease_is_cleaned_where_the_hand_off_missed),
        cmocka_unit_test(F31_resource_that_remembers_more_is_heard_by_min_token),
        cmocka_unit_test(F32_late_release_of_an_earlier_attempt_spares_the_grant),
        cmocka_unit_test(F34_token_does_not_fall_when_a_fence_expires),
        cmocka_unit_test(release_of_a_lease_from_before_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
