/* No quorum, no lock, no database, no time left: what orders hear, and that lanes go on by
 * themselves. */
#include "inventory/lane_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void below_the_quorum_nothing_is_sold_and_sales_resume_by_themselves(void **state)
{
    struct world *world = *state;
    struct buyer before;
    buyer_buy(world, &before, 1, 1, "k");
    world_settle(world);
    world->voting = 2;
    world_pass(world, 1100000);
    struct buyer during;
    buyer_buy(world, &during, 2, 1, "k");
    world_settle(world);
    assert_answer(&during, REASON_NO_QUORUM);
    assert_int_equal(world_sold(world, 1), 1);
    struct buyer soon;
    buyer_buy(world, &soon, 3, 1, "k"); /* the fresh knowledge answers, no question */
    unsigned asks = world->asks;
    world_settle(world);
    assert_answer(&soon, REASON_NO_QUORUM);
    assert_int_equal(world->asks, asks);
    assert_non_null(strstr(soon.message, "2 of 5"));
    world->voting = 3;
    world_pass(world, 300000);
    struct buyer after;
    buyer_buy(world, &after, 4, 1, "k");
    world_settle(world);
    assert_answer(&after, REASON_NONE);
}

static void a_busy_lane_asks_each_second_and_stops_without_a_quorum(void **state)
{
    struct world *world = *state;
    struct lanes_options options = world_options();
    options.batch_max = 1;
    options.batch_max = 2;
    world_reopen(world, &options);
    world->auto_store = false;
    struct buyer buyers[8];
    for (int i = 0; i < 8; i++)
        buyer_buy(world, &buyers[i], i + 1, 1, "k");
    world_settle(world);
    world_complete(world, world_look_open(world));
    world_complete(world, world_sell_open(world));
    assert_int_equal(world->asks, 0);
    world->voting = 2;
    world_pass(world, 1100000);
    world_complete(world, world_sell_open(world)); /* was handed over before: is sold */
    assert_int_equal(world->asks, 1);
    for (int i = 0; i < 4; i++)
        assert_answer(&buyers[i], REASON_NONE);
    for (int i = 4; i < 8; i++)
        assert_answer(&buyers[i], REASON_NO_QUORUM);
    assert_int_equal(world->open_leases, 0);
}

static void sold_out_needs_a_quorum_too(void **state)
{
    struct world *world = *state;
    world_sell_down_to(world, 0);
    world->voting = 2;
    world_pass(world, 1100000);
    struct buyer one;
    buyer_buy(world, &one, 1, 1, "k");
    world_settle(world);
    assert_answer(&one, REASON_NO_QUORUM);
    world->voting = 3;
    world_pass(world, 300000);
    struct buyer two;
    buyer_buy(world, &two, 1, 1, "k");
    world_settle(world);
    assert_answer(&two, REASON_INSUFFICIENT);
}

static void who_waited_for_the_whole_wait_hears_busy(void **state)
{
    struct world *world = *state;
    world->auto_locks = false;
    struct buyer early;
    struct buyer late;
    buyer_buy(world, &early, 1, 1, "k");
    world_settle(world);
    world_pass(world, 500000);
    buyer_buy(world, &late, 2, 1, "k");
    world_pass(world, 500000);
    world_refuse(world, world_acquire_open(world), LANE_LOCK_BUSY);
    assert_answer(&early, REASON_BUSY);
    assert_non_null(strstr(early.message, "Failed to acquire lock for resource: stock:1"));
    assert_int_equal(late.answers, 0);
    world_grant(world, world_acquire_open(world));
    assert_answer(&late, REASON_NONE);
}

static void what_is_down_is_tried_again_until_patience_ends(void **state)
{
    struct world *world = *state;
    struct buyer one;
    struct buyer two;
    for (int store = 0; store < 2; store++) {
        world->lockd_down = !store;
        world->store_down = store;
        buyer_buy(world, &one, 1, 1, store ? "a" : "b");
        world_pass(world, 900000);
        assert_int_equal(one.answers, 0);
        world->lockd_down = world->store_down = false;
        world_pass(world, 60000);
        assert_answer(&one, REASON_NONE);
        world->lockd_down = !store;
        world->store_down = store;
        buyer_buy(world, &two, 2, 1, store ? "a" : "b");
        world_pass(world, 1100000);
        assert_answer(&two, REASON_DOWN);
        assert_string_equal(two.message, store ? "no connection" : "no lock");
        world->lockd_down = world->store_down = false;
        world_pass(world, 100000);
    }
}

static void a_deadline_in_the_queue_is_expired_and_nothing_is_sold(void **state)
{
    struct world *world = *state;
    world->auto_locks = false;
    struct buyer one;
    struct buyer look;
    struct world_buy order = {.user_id = 1, .key = "k", .within_us = 300000};
    assert_true(world_buy(world, &one, &order));
    world_settle(world);
    world_pass(world, 400000);
    assert_answer(&one, REASON_EXPIRED);
    assert_true(one.answered_us <= world->now_us - 90000);
    world_grant(world, world_acquire_open(world)); /* for nobody any more */
    assert_int_equal(world->open_leases, 0);
    assert_int_equal(world->sells, 0);
    world->auto_locks = true;
    world_sell_down_to(world, 0);
    world->auto_store = false;
    assert_true(world_buy(world, &look, &order));
    world_pass(world, 400000);
    assert_answer(&look, REASON_EXPIRED); /* a look changes nothing */
    world_complete(world, world_look_open(world));
}

static void G7_each_cause_is_told_rightly(void **state)
{
    struct world *world = *state;
    struct buyer one;
    world->auto_locks = false;
    static const struct {
        enum lane_lock_outcome outcome;
        enum reason reason;
    } causes[] = {{LANE_LOCK_BUSY, REASON_BUSY},
                  {LANE_LOCK_NO_QUORUM, REASON_NO_QUORUM},
                  {LANE_LOCK_OVERLOADED, REASON_OVERLOADED}};
    for (size_t i = 0; i < sizeof causes / sizeof causes[0]; i++) {
        buyer_buy(world, &one, 1, 1, "k");
        world_settle(world);
        world_refuse(world, world_acquire_open(world), causes[i].outcome);
        assert_answer(&one, causes[i].reason);
    }
    world->auto_locks = true;
    buyer_buy(world, &one, 1, 101, "k");
    world_settle(world);
    assert_answer(&one, REASON_INSUFFICIENT);
    world_sell_down_to(world, 0);
    world->lockd_down = true;
    world_pass(world, 1100000);
    buyer_buy(world, &one, 1, 1, "k");
    world_pass(world, 1100000);
    assert_answer(&one, REASON_DOWN); /* sold out, but that is not why */
    world->lockd_down = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(below_the_quorum_nothing_is_sold_and_sales_resume_by_themselves),
        TEST(a_busy_lane_asks_each_second_and_stops_without_a_quorum),
        TEST(sold_out_needs_a_quorum_too),
        TEST(who_waited_for_the_whole_wait_hears_busy),
        TEST(what_is_down_is_tried_again_until_patience_ends),
        TEST(a_deadline_in_the_queue_is_expired_and_nothing_is_sold),
        TEST(G7_each_cause_is_told_rightly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
