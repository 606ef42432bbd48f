/* A lease that is extended, and what becomes of it when that fails. */
#include "lockd/world_probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS     UINT64_C(1000)
#define SECOND UINT64_C(1000000)
#define NEVER  UINT64_MAX

static void F4_extend_without_answers_leaves_the_lease_standing(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe a = {.world = world, .resource = "r", .id = "a", .ttl_ms = 5000};
    uint64_t token = probe_hold(&a);
    uint64_t ends_us = a.answer.ends_us;
    for (unsigned i = 0; i < 3; i++)
        world_link_delay(world, 0, i, 0, NEVER);
    probe_extend(&a, token);
    world_run_us(world, 1 * SECOND);
    assert_int_equal(a.answers, 2);
    assert_int_equal(a.answer.reason, REASON_NO_QUORUM);

    struct probe b = {.world = world, .resource = "r", .id = "b", .wait_ms = 30000};
    probe_acquire(&b);
    struct probe again = {.world = world, .resource = "r", .id = "a"};
    probe_acquire(&again); /* still the same lease, with its old end */
    world_run_us(world, 1 * MS);
    assert_int_equal(again.answer.token, token);
    assert_int_equal(again.answer.ends_us, ends_us);
    for (unsigned i = 0; i < 3; i++)
        world_link_delay(world, 0, i, 0, 0);
    while (world_lockd_us(world, 0) + 1 * MS < ends_us) {
        world_run_us(world, 1 * MS);
        assert_int_equal(b.answers, 0);
    }
    world_run_us(world, 2 * SECOND);
    assert_int_equal(b.answer.reason, REASON_NONE);
    assert_true(b.answer.token > token);
    world_free(world);
}

static void F5_extend_after_the_end_is_lost(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe a = {.world = world, .resource = "r", .id = "a", .ttl_ms = 300};
    uint64_t token = probe_hold(&a);
    world_run_us(world, 400 * MS);
    struct probe b = {.world = world, .resource = "r", .id = "b", .ttl_ms = 300};
    uint64_t second = probe_hold(&b);
    assert_true(second > token);
    probe_release(&b, second);
    world_run_us(world, 5 * MS);
    probe_extend(&a, token);
    world_run_us(world, 100 * MS);
    assert_int_equal(a.answer.reason, REASON_LOST);
    assert_int_equal(world_keys(world, "r"), 0);
    world_free(world);
}

/* Keys that were missing are there again after an extend, but prove nothing that time. */
static void F5_keys_that_an_extend_recreates_do_not_count(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe a = {.world = world, .resource = "r", .id = "a", .ttl_ms = 10000};
    uint64_t token = probe_hold(&a);
    world_run_us(world, 10 * MS);
    for (unsigned i = 0; i < 3; i++)
        world_node(world, i)->resources[0].value_bytes = 0;
    uint64_t ends_us = a.answer.ends_us;
    world_run_us(world, 1 * SECOND);
    probe_extend(&a, token);
    world_run_us(world, 4 * MS);
    assert_int_equal(a.answers, 1); /* the first round has not convinced */
    assert_int_equal(world_keys(world, "r"), 5);
    world_run_us(world, 50 * MS);
    assert_int_equal(a.answers, 2);
    assert_int_equal(a.answer.reason, REASON_NONE);
    assert_true(a.answer.ends_us > ends_us);
    world_free(world);
}

static void F6_extend_answered_after_the_end_is_lost(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe a = {.world = world, .resource = "r", .id = "a", .ttl_ms = 100};
    uint64_t token = probe_hold(&a);
    uint64_t ends_us = a.answer.ends_us;
    world_run_us(world, ends_us - world_lockd_us(world, 0) - 10 * MS);
    for (unsigned i = 0; i < 5; i++)
        world_link_delay(world, 0, i, 0, 30 * MS);
    a.ttl_ms = 10000;
    probe_extend(&a, token);
    world_run_us(world, 40 * MS);
    assert_int_equal(a.answers, 2);
    assert_int_equal(a.answer.reason, REASON_LOST);
    assert_true(a.answered_us <= world_true_us(world, 0, ends_us));
    world_run_us(world, 100 * MS);
    assert_int_equal(world_keys(world, "r"), 0); /* nor did it stay on the nodes */
    world_free(world);
}

/* Paused over the end with the answers in the socket: whatever is looked at first, it is over. */
static void F6_extend_is_lost_when_lockd_slept_over_the_end(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world_options options = world_calm;
        options.seed = seed;
        struct world *world = world_new(&options);
        world_run_us(world, 10 * MS);
        struct probe a = {.world = world, .resource = "r", .id = "a", .ttl_ms = 100};
        uint64_t token = probe_hold(&a);
        a.ttl_ms = 60000;
        probe_extend(&a, token);
        world_lockd_pause(world, 0);
        world_run_us(world, 1 * SECOND);
        world_lockd_wake(world, 0);
        world_run_us(world, 10 * MS);
        assert_int_equal(a.answers, 2);
        assert_int_equal(a.answer.reason, REASON_LOST);
        assert_int_equal(world_keys(world, "r"), 0);
        world_free(world);
    }
}

static void F26_extend_that_lands_after_the_release_revives_nothing(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe a = {.world = world, .resource = "r", .id = "a"};
    uint64_t token = probe_hold(&a);
    world_run_us(world, 5 * MS);
    world_link_delay(world, 0, 4, 20 * MS, 0);
    probe_extend(&a, token);
    world_run_us(world, 3 * MS);
    assert_int_equal(a.answers, 2);
    world_link_break(world, 0, 4, 2 * SECOND);
    world_link_delay(world, 0, 4, 0, 0);
    world_run_us(world, 1 * SECOND);
    probe_release(&a, token);
    world_run_us(world, 5 * SECOND);
    assert_int_equal(world_orders(world, ORDER_EXTEND), 5);
    assert_int_equal(world_keys(world, "r"), 0);
    world_free(world);
}

static void F33_extend_at_another_lockd_is_lost(void **state)
{
    (void)state;
    struct world *world = probe_world(2);
    struct probe a = {.world = world, .lockd = 0, .resource = "r", .id = "a", .ttl_ms = 2000};
    struct probe b = {.world = world, .lockd = 0, .resource = "r", .id = "b"};
    uint64_t token = probe_hold(&a);
    probe_acquire(&b);
    struct probe elsewhere = a;
    elsewhere.lockd = 1;
    elsewhere.answers = 0;
    probe_extend(&elsewhere, token);
    probe_release(&a, token); /* the hand-off beside it */
    world_run_us(world, 100 * MS);
    assert_int_equal(elsewhere.answer.reason, REASON_LOST);
    assert_int_equal(world_orders(world, ORDER_EXTEND), 0);
    assert_true(probe_holds(&b));
    world_free(world);
}

/* An extend never leaves an old end standing over keys that go before it; lockd alone sees to that,
 * whatever the nodes would do. */
static void extend_never_shortens(void **state)
{
    (void)state;
    for (unsigned careless = 0; careless < 2; careless++) {
        struct world_options options = world_calm;
        options.broken_rules = careless == 1 ? SIM_RULE_NEVER_SHORTEN : 0;
        struct world *world = world_new(&options);
        world_run_us(world, 10 * MS);
        struct probe a = {.world = world, .resource = "r", .id = "a", .ttl_ms = 30000};
        uint64_t token = probe_hold(&a);
        uint64_t ends_us = a.answer.ends_us;
        world_run_us(world, 1 * SECOND);
        a.ttl_ms = 10;
        probe_extend(&a, token);
        world_run_us(world, 10 * MS);
        assert_int_equal(a.answer.reason, REASON_NONE);
        assert_true(a.answer.ends_us >= ends_us);
        for (unsigned i = 0; i < 5; i++) {
            uint32_t left_ms =
                sim_node_remaining_ms(world_node(world, i), "r", world_node_us(world, i));
            assert_true(world_lockd_us(world, 0) + left_ms * MS > a.answer.ends_us);
        }
        world_free(world);
    }
}

/* A grant for 300 ms is left in the socket of a dropped connection; the lease is extended on the
 * new one, counting that node; when the grant runs at last, it must not cut the key short. */
static void late_grant_does_not_shorten_an_extended_lease(void **state)
{
    (void)state;
    struct world_options options = world_calm;
    options.nodes = 3;
    options.lockds = 2;
    struct world *world = world_new(&options);
    world_run_us(world, 10 * MS);
    struct probe a = {.world = world, .lockd = 0, .resource = "r", .id = "a", .ttl_ms = 2000};
    world_link_delay(world, 0, 2, 20 * MS, 0);
    uint64_t token = probe_hold(&a); /* by nodes 0 and 1 */
    world_link_break(world, 0, 2, 1 * SECOND);
    world_link_delay(world, 0, 2, 0, 0);
    world_run_us(world, 500 * MS);
    world_node_crash(world, 1, WORLD_LOSS_NONE);
    a.ttl_ms = 30000;
    probe_extend(&a, token);
    world_run_us(world, 100 * MS);
    assert_int_equal(a.answer.reason, REASON_NONE); /* by nodes 0 and 2, which was healed */
    assert_int_equal(world_orders(world, ORDER_GRANT), 2);
    world_run_us(world, 5 * SECOND);
    assert_int_equal(world_orders(world, ORDER_GRANT), 3); /* the stray one has run */
    world_node_start(world, 1);
    world_run_us(world, 3 * SECOND);
    struct probe b = {.world = world, .lockd = 1, .resource = "r", .id = "b"};
    assert_int_equal(probe_hold(&b), 0);
    assert_true(probe_holds(&a));
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(F4_extend_without_answers_leaves_the_lease_standing),
        cmocka_unit_test(F5_extend_after_the_end_is_lost),
        cmocka_unit_test(F5_keys_that_an_extend_recreates_do_not_count),
        cmocka_unit_test(F6_extend_answered_after_the_end_is_lost),
        cmocka_unit_test(F6_extend_is_lost_when_lockd_slept_over_the_end),
        cmocka_unit_test(F26_extend_that_lands_after_the_release_revives_nothing),
        cmocka_unit_test(F33_extend_at_another_lockd_is_lost),
        cmocka_unit_test(extend_never_shortens),
        cmocka_unit_test(late_grant_does_not_shorten_an_extended_lease),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
