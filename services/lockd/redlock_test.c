/* The protocol against nodes that are slow, silent, dead, forgetful or late. */
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

static struct world *calm(void)
{
    struct world *world = world_new(&world_calm);
    world_run_us(world, 10 * MS); /* everybody is admitted */
    return world;
}

static struct world *several(unsigned lockds)
{
    struct world_options options = world_calm;
    options.lockds = lockds;
    struct world *world = world_new(&options);
    world_run_us(world, 10 * MS);
    return world;
}

static void a_grant_takes_one_round_trip_and_ends_honestly(void **state)
{
    (void)state;
    struct world *world = calm();
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
    struct world *world = calm();
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

static void F4_extend_without_answers_leaves_the_lease_standing(void **state)
{
    (void)state;
    struct world *world = calm();
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
    struct world *world = calm();
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
    struct world *world = calm();
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
    struct world *world = calm();
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

static void F7_quorum_that_came_too_late_is_released_at_once(void **state)
{
    (void)state;
    struct world *world = calm();
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
    struct world *world = calm();
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
    struct world *world = calm();
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
    struct world *world = several(2);
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

/* The grant of one node is under way until after the release: the tombstone is there first. */
static void F12_grant_that_lands_after_its_release_holds_nothing(void **state)
{
    (void)state;
    struct world *world = calm();
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

/* A node that swallows everything costs nobody anything. */
static void F13_black_holed_node_does_not_slow_the_others(void **state)
{
    (void)state;
    struct world *world = calm();
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
    struct world *world = calm();
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
        struct world *world = calm();
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
    struct world *world = calm();
    set_fences(world, "spoilt", TOKEN_MAX);
    struct probe a = {.world = world, .resource = "spoilt", .id = "a"};
    assert_int_equal(probe_hold(&a), 0); /* no token is left: refused, not wrapped around */
    assert_int_equal(a.answer.reason, REASON_NO_QUORUM);
    struct probe b = {.world = world, .resource = "other", .id = "b"};
    assert_in_range(probe_hold(&b), 1, TOKEN_MAX / 2); /* and nobody else suffers */

    set_fences(world, "r", TOKEN_MAX - 3);
    struct probe c = {.world = world, .resource = "r", .id = "c"};
    assert_int_equal(probe_hold(&c), TOKEN_MAX - 2);
    assert_non_null(strstr(sim_node_value(world_node(world, 0), "r", world_node_us(world, 0)).at,
                           " 9007199254740989"));
    probe_release(&c, 0); /* the tombstone takes one */
    struct probe d = {.world = world, .resource = "r", .id = "d"};
    assert_int_equal(probe_hold(&d), TOKEN_MAX);
    world_free(world);
}

/* However long the answer took, the end is where it was when the nodes were asked. */
static void F17_end_counts_from_before_the_first_send(void **state)
{
    (void)state;
    struct world *world = calm();
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

/* Three nodes sleep, and what they were asked is still in their sockets when the connections are
 * given up: when they wake they grant it to nobody for long. */
/* Three nodes forget, one after the other, while a lease runs: nobody else gets it. */
static void F18_nodes_that_forget_one_by_one_make_no_second_holder(void **state)
{
    (void)state;
    struct world *world = several(2);
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
    struct world *world = calm();
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
    struct world *world = calm();
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
        struct world *world = calm();
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

static void F26_extend_that_lands_after_the_release_revives_nothing(void **state)
{
    (void)state;
    struct world *world = calm();
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

/* The resource has seen an hour more than the nodes remember: it says so, and sales go on. */
static void F31_resource_that_remembers_more_is_heard_by_min_token(void **state)
{
    (void)state;
    struct world *world = several(2);
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
    struct world *world = calm();
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

static void F33_extend_at_another_lockd_is_lost(void **state)
{
    (void)state;
    struct world *world = several(2);
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

/* A held resource is asked for again when it is free, not every few milliseconds. */
static void waits_for_the_end_of_another_owner_without_polling(void **state)
{
    (void)state;
    struct world *world = several(2);
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

/* After a restart, what the old instance granted can be let go by request id, and who waits for it
 * at the new one need not wait for its end. */
static void release_of_a_lease_from_before_a_restart(void **state)
{
    (void)state;
    struct world *world = calm();
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
        cmocka_unit_test(a_grant_takes_one_round_trip_and_ends_honestly),
        cmocka_unit_test(F1_quorum_that_answers_after_the_ttl_is_no_lease),
        cmocka_unit_test(F2_tie_on_four_nodes_is_settled),
        cmocka_unit_test(F3_split_of_three_is_won_within_three_rounds),
        cmocka_unit_test(F4_extend_without_answers_leaves_the_lease_standing),
        cmocka_unit_test(F5_extend_after_the_end_is_lost),
        cmocka_unit_test(F5_keys_that_an_extend_recreates_do_not_count),
        cmocka_unit_test(F6_extend_answered_after_the_end_is_lost),
        cmocka_unit_test(F6_extend_is_lost_when_lockd_slept_over_the_end),
        cmocka_unit_test(F7_quorum_that_came_too_late_is_released_at_once),
        cmocka_unit_test(F9_release_goes_to_all_nodes),
        cmocka_unit_test(F9_quorum_is_a_majority),
        cmocka_unit_test(F10_ttl_on_nodes_is_what_was_asked_also_after_retries),
        cmocka_unit_test(F12_grant_that_lands_after_its_release_holds_nothing),
        cmocka_unit_test(F13_black_holed_node_does_not_slow_the_others),
        cmocka_unit_test(F13_silent_nodes_cost_a_short_lease_no_more_than_its_ttl),
        cmocka_unit_test(F14_wall_clock_steps_change_no_deadline),
        cmocka_unit_test(F16_tokens_near_2_to_the_53rd_compare_exactly),
        cmocka_unit_test(F17_end_counts_from_before_the_first_send),
        cmocka_unit_test(F18_nodes_that_forget_one_by_one_make_no_second_holder),
        cmocka_unit_test(F18_node_that_forgot_grants_nothing_below_its_floor),
        cmocka_unit_test(F25_backlog_of_woken_nodes_leaves_no_key),
        cmocka_unit_test(F25_late_grant_of_an_expired_lease_is_cleaned),
        cmocka_unit_test(F25_ended_lease_is_cleaned_where_the_hand_off_missed),
        cmocka_unit_test(F26_extend_that_lands_after_the_release_revives_nothing),
        cmocka_unit_test(F31_resource_that_remembers_more_is_heard_by_min_token),
        cmocka_unit_test(F32_late_release_of_an_earlier_attempt_spares_the_grant),
        cmocka_unit_test(F33_extend_at_another_lockd_is_lost),
        cmocka_unit_test(F34_token_does_not_fall_when_a_fence_expires),
        cmocka_unit_test(extend_never_shortens),
        cmocka_unit_test(late_grant_does_not_shorten_an_extended_lease),
        cmocka_unit_test(waits_for_the_end_of_another_owner_without_polling),
        cmocka_unit_test(release_of_a_lease_from_before_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
