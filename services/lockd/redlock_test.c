/* Rounds that grant: counting, time, ties. */
#include "lockd/world_probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS     UINT64_C(1000)
#define SECOND UINT64_C(1000000)
#define HOUR   (3600 * SECOND)
#define NEVER  UINT64_MAX

static void a_grant_takes_one_round_trip_and_ends_honestly(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe a = {.world = world, .resource = "r", .id = "a", .ttl_ms = 10000};
    uint64_t before_us = world_now_us(world);
    probe_acquire(&a);
    world_run_us(world, 2 * MS);
    assert_int_equal(a.answers, 1);
    assert_int_equal(a.answer.reason, REASON_NONE);
    assert_int_equal(a.answered_us - before_us, 2 * MS);
    assert_int_equal(a.answer.ends_us, before_us + 10 * SECOND - 100 * MS - 2 * MS);
    assert_int_equal(a.answer.voting, 5);
    assert_false(a.answer.waiters);
    assert_int_equal(world_keys(world, "r"), 5);
    assert_int_equal(world_orders(world, ORDER_GRANT), 5);
    probe_release(&a, a.answer.token);
    world_run_us(world, 2 * MS);
    assert_int_equal(world_keys(world, "r"), 0);
    assert_int_equal(leases_counts(world_leases(world, 0)).resources, 0);
    world_free(world);
}

/* Answers that take the TTL make no lease: the validity counts from before the first send. */
static void F1_quorum_that_answers_after_the_ttl_is_no_lease(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe a = {.world = world, .resource = "r", .id = "a", .ttl_ms = 40, .wait_ms = 500};
    for (unsigned i = 0; i < 5; i++)
        world_link_delay(world, 0, i, 19 * MS, 19 * MS);
    probe_acquire(&a);
    world_run_us(world, 501 * MS);
    assert_int_equal(a.answers, 1);
    assert_int_equal(a.answer.reason, REASON_NO_QUORUM);
    world_run_us(world, 20 * MS);
    assert_int_equal(world_keys(world, "r"), 0);
    assert_int_equal(leases_counts(world_leases(world, 0)).rounds_won, 0);
    assert_true(leases_counts(world_leases(world, 0)).rounds_short > 0);
    world_free(world);
}

/* Both ask four nodes at the same instant and find two each: someone wins, soon. */
static void F2_tie_on_four_nodes_is_settled(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct world_options options = world_calm;
        options.seed = seed;
        options.nodes = 4;
        options.lockds = 2;
        struct world *world = world_new(&options);
        world_run_us(world, 10 * MS);
        for (unsigned i = 0; i < 4; i++) {
            world_link_delay(world, 0, i, i < 2 ? 0 : 1 * MS, 0);
            world_link_delay(world, 1, i, i < 2 ? 1 * MS : 0, 0);
        }
        struct probe a = {.world = world, .lockd = 0, .resource = "r", .id = "a"};
        struct probe b = {.world = world, .lockd = 1, .resource = "r", .id = "b"};
        probe_acquire(&a);
        probe_acquire(&b);
        world_run_us(world, 2 * MS);
        assert_int_equal(world_keys(world, "r"), 4); /* two each: the tie is there */
        world_run_us(world, 498 * MS);
        assert_int_equal(probe_holds(&a) + probe_holds(&b), 1);
        world_run_us(world, 600 * MS);
        assert_int_equal(a.answers + b.answers, 2);
        world_free(world);
    }
}

/* One's own partial keys neither block nor last: after a 2-2-1 split somebody wins within three
 * rounds each (mostly the second), and the losers leave nothing behind. */
static void F3_split_of_three_is_won_within_three_rounds(void **state)
{
    (void)state;
    const unsigned first[5] = {0, 0, 1, 1, 2}; /* which lockd reaches this node first */
    unsigned within_three = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct world_options options = world_calm;
        options.seed = seed;
        options.lockds = 3;
        struct world *world = world_new(&options);
        world_run_us(world, 10 * MS);
        struct probe probes[3];
        for (unsigned l = 0; l < 3; l++) {
            for (unsigned i = 0; i < 5; i++)
                world_link_delay(world, l, i, first[i] == l ? 0 : 1 * MS, 0);
            probes[l] = (struct probe){.world = world,
                                       .lockd = l,
                                       .resource = "r",
                                       .id = l == 0   ? "a"
                                             : l == 1 ? "b"
                                                      : "c"};
            probe_acquire(&probes[l]);
        }
        unsigned holders = 0;
        for (unsigned ms = 0; ms < 1000 && holders == 0; ms++) {
            world_run_us(world, 1 * MS);
            for (unsigned l = 0; l < 3; l++)
                holders += probe_holds(&probes[l]);
        }
        assert_int_equal(holders, 1);
        uint64_t rounds = 0;
        for (unsigned l = 0; l < 3; l++) {
            struct leases_counts counts = leases_counts(world_leases(world, l));
            uint64_t of_this = counts.rounds_won + counts.rounds_contended + counts.rounds_short;
            if (of_this > rounds) rounds = of_this;
        }
        within_three += rounds <= 3;
        world_run_us(world, 1200 * MS);
        unsigned winner = probe_holds(&probes[0]) ? 0 : probe_holds(&probes[1]) ? 1 : 2;
        assert_true(world_keys(world, "r") >= 3);
        for (unsigned i = 0; i < 5; i++) {
            struct span value = sim_node_value(world_node(world, i), "r", world_node_us(world, i));
            assert_true(value.bytes == 0 || value.at[0] == probes[winner].id[0]);
        }
        world_free(world);
    }
    assert_true(within_three >= 45);
}

static void F7_quorum_that_came_too_late_is_released_at_once(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe a = {.world = world, .resource = "r", .id = "a", .ttl_ms = 60000, .no_wait = true};
    for (unsigned i = 0; i < 5; i++)
        world_link_delay(world, 0, i, 0, 60 * MS); /* beyond the node timeout */
    probe_acquire(&a);
    world_run_us(world, 50 * MS);
    assert_int_equal(a.answers, 1);
    assert_int_equal(a.answer.reason, REASON_NO_QUORUM);
    world_run_us(world, 2 * MS);
    assert_int_equal(world_keys(world, "r"), 0);
    world_free(world);
}

/* Nothing is left where the answer was lost, nor where there was none. */
static void F9_release_goes_to_all_nodes(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe a = {.world = world, .resource = "r", .id = "a"};
    world_link_delay(world, 0, 3, 0, NEVER);
    world_link_delay(world, 0, 4, 20 * MS, NEVER); /* granted, and asked last, after the win */
    uint64_t token = probe_hold(&a);
    assert_true(token > 0);
    probe_release(&a, token);
    world_run_us(world, 100 * MS);
    assert_int_equal(world_keys(world, "r"), 0);
    world_free(world);
}

static void F9_quorum_is_a_majority(void **state)
{
    (void)state;
    for (unsigned nodes = 1; nodes <= TRANSPORT_NODES_MAX; nodes++) {
        struct transport transport = {.nodes = nodes};
        assert_true(2 * transport_quorum(&transport) > nodes);
        assert_true(2 * (transport_quorum(&transport) - 1) <= nodes);
    }
    struct world *world = probe_world(1);
    for (unsigned i = 0; i < 3; i++)
        world_node_crash(world, i, WORLD_LOSS_NONE);
    struct probe a = {.world = world, .resource = "r", .id = "a"};
    assert_int_equal(probe_hold(&a), 0);
    assert_int_equal(a.answer.reason, REASON_NO_QUORUM);
    assert_int_equal(a.answer.voting, 2);
    assert_int_equal(world_orders(world, ORDER_GRANT), 0); /* nothing is sent in vain */
    world_node_start(world, 0);
    world_run_us(world, 2 * SECOND);
    assert_true(probe_hold(&a) > 0);
    world_free(world);
}

static void F10_ttl_on_nodes_is_what_was_asked_also_after_retries(void **state)
{
    (void)state;
    struct world *world = probe_world(2);
    struct probe a = {.world = world, .lockd = 0, .resource = "r", .id = "a", .ttl_ms = 200};
    struct probe b = {
        .world = world, .lockd = 1, .resource = "r", .id = "b", .ttl_ms = 700, .wait_ms = 5000};
    assert_true(probe_hold(&a) > 0);
    assert_true(probe_hold(&b) > 0); /* after a's end, by its second round */
    for (unsigned i = 0; i < 5; i++) {
        uint32_t left_ms =
            sim_node_remaining_ms(world_node(world, i), "r", world_node_us(world, i));
        assert_in_range(left_ms, 600, 700);
    }
    world_free(world);
}

/* A node that swallows everything costs nobody anything. */
static void F13_black_holed_node_does_not_slow_the_others(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    world_link_cut(world, 0, 2);
    for (unsigned i = 0; i < 200; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "a%u", i);
        struct probe a = {.world = world, .resource = "r", .id = id};
        probe_acquire(&a);
        world_run_us(world, 2 * MS); /* one round trip, as if it were well */
        assert_int_equal(a.answers, 1);
        assert_int_equal(a.answer.reason, REASON_NONE);
        probe_extend(&a, a.answer.token);
        world_run_us(world, 2 * MS);
        assert_int_equal(a.answers, 2);
        assert_int_equal(a.answer.reason, REASON_NONE);
        probe_release(&a, 0);
        world_run_us(world, 1 * MS);
    }
    world_free(world);
}

/* No round is longer than the lease it is about. */
static void F13_silent_nodes_cost_a_short_lease_no_more_than_its_ttl(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    for (unsigned i = 0; i < 5; i++)
        world_link_cut(world, 0, i);
    struct probe a = {.world = world, .resource = "r", .id = "a", .ttl_ms = 20, .no_wait = true};
    probe_acquire(&a);
    world_run_us(world, 20 * MS);
    assert_int_equal(a.answers, 1);
    assert_int_equal(a.answer.reason, REASON_NO_QUORUM);
    world_free(world);
}

static void F14_wall_clock_steps_change_no_deadline(void **state)
{
    (void)state;
    const int64_t steps_us[] = {(int64_t)HOUR, -(int64_t)HOUR};
    for (unsigned i = 0; i < 2; i++) {
        struct world *world = probe_world(1);
        struct probe a = {.world = world, .resource = "r", .id = "a", .ttl_ms = 2000};
        struct probe b = {.world = world, .resource = "r", .id = "b", .wait_ms = 60000};
        uint64_t token = probe_hold(&a);
        probe_acquire(&b);
        world_lockd_step_wall(world, 0, steps_us[i]);
        world_run_us(world, 1900 * MS);
        assert_true(probe_holds(&a));
        assert_int_equal(b.answers, 0);
        world_run_us(world, 100 * MS);
        assert_false(probe_holds(&a));
        assert_int_equal(b.answers, 1);
        assert_true(b.answer.token > token); /* nor do tokens fall */
        assert_int_equal(leases_counts(world_leases(world, 0)).rounds_contended, 0);
        world_free(world);
    }
}

static void set_fences(struct world *world, const char *resource, uint64_t fence)
{
    for (unsigned i = 0; i < 5; i++) {
        struct sim_node *node = world_node(world, i);
        (void)sim_node_bound(node, resource, world_node_us(world, i)); /* it is there now */
        struct sim_resource *last = &node->resources[node->resource_count - 1];
        last->fence = fence;
        last->fence_until_us = NEVER;
    }
}

/* As uint64 here and as decimal text on the nodes, up to the last one below 2^53. */
static void F16_tokens_near_2_to_the_53rd_compare_exactly(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    set_fences(world, "spoilt", TOKEN_MAX);
    struct probe a = {.world = world, .resource = "spoilt", .id = "a"};
    assert_int_equal(probe_hold(&a), 0); /* no token is left: refused, not wrapped around */
    assert_int_equal(a.answer.reason, REASON_NO_QUORUM);
    struct probe b = {.world = world, .resource = "other", .id = "b"};
    assert_in_range(probe_hold(&b), 1, TOKEN_MAX / 2); /* and nobody else suffers */

    set_fences(world, "r", TOKEN_MAX - 4);
    struct probe c = {.world = world, .resource = "r", .id = "c"};
    assert_int_equal(probe_hold(&c), TOKEN_MAX - 3);
    assert_non_null(strstr(sim_node_value(world_node(world, 0), "r", world_node_us(world, 0)).at,
                           " 9007199254740988"));
    probe_release(&c, 0); /* the tombstone takes one */
    struct probe d = {.world = world, .resource = "r", .id = "d"};
    assert_int_equal(probe_hold(&d), TOKEN_MAX - 1);
    world_free(world);
}

/* However long the answer took, the end is where it was when the nodes were asked. */
static void F17_end_counts_from_before_the_first_send(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    for (unsigned i = 0; i < 5; i++)
        world_link_delay(world, 0, i, 0, 40 * MS);
    struct probe a = {.world = world, .resource = "r", .id = "a", .ttl_ms = 1000};
    uint64_t sent_us = world_lockd_us(world, 0);
    probe_acquire(&a);
    world_run_us(world, 45 * MS);
    assert_int_equal(a.answer.reason, REASON_NONE);
    assert_int_equal(a.answer.ends_us, sent_us + 1000 * MS - 12 * MS);
    for (unsigned i = 0; i < 5; i++) { /* and no key goes before it */
        uint32_t left_ms =
            sim_node_remaining_ms(world_node(world, i), "r", world_node_us(world, i));
        assert_true(world_lockd_us(world, 0) + left_ms * MS > a.answer.ends_us);
    }
    world_free(world);
}

/* A held resource is asked for again when it is free, not every few milliseconds. */
static void waits_for_the_end_of_another_owner_without_polling(void **state)
{
    (void)state;
    struct world *world = probe_world(2);
    struct probe a = {.world = world, .lockd = 0, .resource = "r", .id = "a", .ttl_ms = 5000};
    struct probe b = {.world = world, .lockd = 1, .resource = "r", .id = "b", .wait_ms = 20000};
    assert_true(probe_hold(&a) > 0);
    uint64_t grants = world_orders(world, ORDER_GRANT);
    probe_acquire(&b);
    world_run_us(world, 4900 * MS);
    assert_int_equal(world_orders(world, ORDER_GRANT), grants + 5);
    world_run_us(world, 120 * MS);
    assert_true(probe_holds(&b));
    assert_int_equal(world_orders(world, ORDER_GRANT), grants + 10);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grant_takes_one_round_trip_and_ends_honestly),
        cmocka_unit_test(F1_quorum_that_answers_after_the_ttl_is_no_lease),
        cmocka_unit_test(F2_tie_on_four_nodes_is_settled),
        cmocka_unit_test(F3_split_of_three_is_won_within_three_rounds),
        cmocka_unit_test(F7_quorum_that_came_too_late_is_released_at_once),
        cmocka_unit_test(F9_release_goes_to_all_nodes),
        cmocka_unit_test(F9_quorum_is_a_majority),
        cmocka_unit_test(F10_ttl_on_nodes_is_what_was_asked_also_after_retries),
        cmocka_unit_test(F13_black_holed_node_does_not_slow_the_others),
        cmocka_unit_test(F13_silent_nodes_cost_a_short_lease_no_more_than_its_ttl),
        cmocka_unit_test(F14_wall_clock_steps_change_no_deadline),
        cmocka_unit_test(F16_tokens_near_2_to_the_53rd_compare_exactly),
        cmocka_unit_test(F17_end_counts_from_before_the_first_send),
        cmocka_unit_test(waits_for_the_end_of_another_owner_without_polling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
