/* A lane: its batches, its leases, its life. */
#include "inventory/lane_fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void an_order_is_sold_and_the_lease_given_back(void **state)
{
    struct world *world = *state;
    struct buyer one;
    buyer_buy(world, &one, 7, 2, "k");
    assert_int_equal(one.answers, 0);
    world_settle(world);
    assert_answer(&one, REASON_NONE);
    assert_int_equal(one.purchase.quantity, 2);
    assert_int_equal(one.purchase.remaining_stock, 98);
    assert_int_equal(world->acquired, 1);
    assert_int_equal(world->released, 1);
    assert_int_equal(world->put[1].stock, 98);
    assert_int_equal(world->put[1].version, 101);
}

static void a_batch_takes_what_waits_and_the_next_runs_under_the_same_lease(void **state)
{
    struct world *world = *state;
    world->auto_store = false;
    struct buyer buyers[5];
    for (int i = 0; i < 3; i++)
        buyer_buy(world, &buyers[i], i + 1, 1, "k");
    world_settle(world);
    world_complete(world, world_look_open(world)); /* opens the lane */
    assert_int_equal(world_sell_open(world)->sale.count, 3);
    for (int i = 3; i < 5; i++)
        buyer_buy(world, &buyers[i], i + 1, 1, "k");
    world_settle(world);
    assert_int_equal(world->sells, 1); /* one at a time */
    world_complete(world, world_sell_open(world));
    for (int i = 0; i < 3; i++)
        assert_answer(&buyers[i], REASON_NONE);
    assert_int_equal(buyers[3].answers, 0);
    assert_int_equal(world_sell_open(world)->sale.count, 2);
    assert_int_equal(world->acquired, 1);
    assert_int_equal(world->released, 0);
    world_complete(world, world_sell_open(world));
    for (int i = 3; i < 5; i++)
        assert_answer(&buyers[i], REASON_NONE);
    assert_int_equal(world->released, 1);
}

static void strict_mode_takes_one_lock_for_each_purchase(void **state)
{
    struct world *world = *state;
    struct lanes_options options = world_options();
    options.batch_max = 1;
    world_reopen(world, &options);
    struct buyer buyers[10];
    for (int i = 0; i < 10; i++)
        buyer_buy(world, &buyers[i], i + 1, 1, "k");
    world_settle(world);
    for (int i = 0; i < 10; i++)
        assert_answer(&buyers[i], REASON_NONE);
    assert_int_equal(world->acquired, 10);
    assert_int_equal(world->released, 10);
    assert_int_equal(world->handed_on, 9); /* all but the last */
    assert_int_equal(world->sells, 10);
}

static void the_lease_is_handed_on_when_others_wait(void **state)
{
    struct world *world = *state;
    struct lanes_options options = world_options();
    options.batch_max = 2;
    world_reopen(world, &options);
    world->waiters = true;
    struct buyer buyers[6];
    for (int i = 0; i < 6; i++)
        buyer_buy(world, &buyers[i], i + 1, 1, "k");
    world_settle(world);
    assert_int_equal(world->sells, 3);
    assert_int_equal(world->acquired, 3);
}

static void the_lease_is_kept_for_a_third_of_its_life(void **state)
{
    struct world *world = *state;
    struct lanes_options options = world_options();
    options.batch_max = 2;
    world_reopen(world, &options);
    world->auto_store = false;
    world->ttl_us = 3000000;
    static struct buyer buyers[8];
    for (int i = 0; i < 8; i++)
        buyer_buy(world, &buyers[i], i + 1, 1, "k");
    world_settle(world);
    world_complete(world, world_look_open(world));
    world_pass(world, 900000);
    world_complete(world, world_sell_open(world));
    assert_int_equal(world->acquired, 1); /* 0.9 s of 3: goes on */
    world_pass(world, 200000);
    world_complete(world, world_sell_open(world));
    assert_int_equal(world->acquired, 2); /* 1.1 s: a new one */
    assert_int_equal(world->released, 1);
}

static void a_product_that_does_not_exist_opens_no_lane(void **state)
{
    struct world *world = *state;
    struct buyer one;
    struct world_buy order = {.user_id = 1, .product_id = 77, .key = "k"};
    assert_true(world_buy(world, &one, &order));
    world_settle(world);
    assert_answer(&one, REASON_NOT_FOUND);
    assert_int_equal(lanes_counts(world->lanes).lanes, 0);
    assert_int_equal(world->acquired, 0);
}

static void an_idle_lane_closes(void **state)
{
    struct world *world = *state;
    struct buyer one;
    buyer_buy(world, &one, 1, 1, "k");
    world_settle(world);
    assert_int_equal(lanes_counts(world->lanes).lanes, 1);
    world_pass(world, 9000000);
    buyer_buy(world, &one, 1, 1, "k2");
    world_pass(world, 2000000);
    assert_int_equal(lanes_counts(world->lanes).lanes, 1);
    world_pass(world, 9000000);
    assert_int_equal(lanes_counts(world->lanes).lanes, 0);
}

static void a_cancelled_order_is_never_answered(void **state)
{
    struct world *world = *state;
    struct buyer waiting;
    struct buyer batched;
    struct buyer twin;
    struct world_call *call = world_open_sale(world, &batched, 1, "k");
    buyer_buy(world, &waiting, 2, 1, "k");
    buyer_buy(world, &twin, 3, 1, "k");
    world_settle(world);
    lanes_cancel(world->lanes, waiting.order);
    lanes_cancel(world->lanes, batched.order);
    world_complete(world, call);
    lanes_cancel(world->lanes, twin.order);
    world->auto_store = true;
    world_settle(world);
    assert_int_equal(waiting.answers + batched.answers, 0);
    assert_int_equal(world_sold(world, 1), 2); /* both were handed over */
    assert_int_equal(lanes_counts(world->lanes).orders, 0);
}

static void past_a_bound_an_order_is_refused_at_once(void **state)
{
    struct world *world = *state;
    struct lanes_options options = world_options();
    options.lane_orders_max = 3;
    options.orders_max = 5;
    options.lanes_max = 3;
    world_reopen(world, &options);
    world_product_add(world, 2, 10);
    world_product_add(world, 3, 10);
    world_product_add(world, 4, 10);
    world->auto_locks = false;
    struct buyer buyers[8];
    for (int i = 0; i < 3; i++)
        buyer_buy(world, &buyers[i], i + 1, 1, "k");
    struct world_buy order = {.user_id = 9, .product_id = 1, .key = "k"};
    assert_false(world_buy(world, &buyers[3], &order)); /* its lane */
    order.product_id = 2;
    assert_true(world_buy(world, &buyers[4], &order));
    order.product_id = 3;
    assert_true(world_buy(world, &buyers[5], &order));
    order.product_id = 4;
    order.key = "k4";
    assert_false(world_buy(world, &buyers[6], &order)); /* all */
    lanes_cancel(world->lanes, buyers[5].order);
    assert_false(world_buy(world, &buyers[6], &order)); /* three lanes, none of them idle yet */
    world->auto_locks = true;
    world_settle(world);
    assert_true(world_buy(world, &buyers[6], &order)); /* an idle one made room */
    world_settle(world);
    assert_answer(&buyers[6], REASON_NONE);
    assert_int_equal(lanes_counts(world->lanes).lanes, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_order_is_sold_and_the_lease_given_back),
        TEST(a_batch_takes_what_waits_and_the_next_runs_under_the_same_lease),
        TEST(strict_mode_takes_one_lock_for_each_purchase),
        TEST(the_lease_is_handed_on_when_others_wait),
        TEST(the_lease_is_kept_for_a_third_of_its_life),
        TEST(a_product_that_does_not_exist_opens_no_lane),
        TEST(an_idle_lane_closes),
        TEST(a_cancelled_order_is_never_answered),
        TEST(past_a_bound_an_order_is_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
