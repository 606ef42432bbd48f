#include "base/log.h"
#include "inventory/lane_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct world world;

static int setup(void **state)
{
    (void)state;
    struct lanes_options options = world_options();
    world_open(&world, &options);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world.auto_store = world.auto_locks = true;
    world_pass(&world, 6000000);
    assert_true(lanes_quiet(world.lanes));
    world_close(&world);
    return 0;
}

static void reopen(const struct lanes_options *options)
{
    world_close(&world);
    world_open(&world, options);
}

static void buy(struct buyer *buyer, int64_t user_id, int64_t quantity, const char *key)
{
    struct world_buy order = {.user_id = user_id, .quantity = quantity, .key = key};
    assert_true(world_buy(&world, buyer, &order));
}

static void assert_answer(const struct buyer *buyer, enum reason reason)
{
    assert_int_equal(buyer->answers, 1);
    assert_string_equal(reason_name(buyer->reason), reason_name(reason));
}

/* Sells all of product 1 but `left`, and lets the lane know. */
static void sell_down_to(int64_t left)
{
    static struct buyer first;
    buy(&first, 999, world.products[1].stock - left, "first");
    world_settle(&world);
    assert_answer(&first, REASON_NONE);
}

static void an_order_is_sold_and_the_lease_given_back(void **state)
{
    (void)state;
    struct buyer one;
    buy(&one, 7, 2, "k");
    assert_int_equal(one.answers, 0);
    world_settle(&world);
    assert_answer(&one, REASON_NONE);
    assert_int_equal(one.purchase.quantity, 2);
    assert_int_equal(one.purchase.remaining_stock, 98);
    assert_int_equal(world.acquired, 1);
    assert_int_equal(world.released, 1);
    assert_int_equal(world.put[1].stock, 98);
    assert_int_equal(world.put[1].version, 101);
}

static void a_batch_takes_what_waits_and_the_next_runs_under_the_same_lease(void **state)
{
    (void)state;
    world.auto_store = false;
    struct buyer buyers[5];
    for (int i = 0; i < 3; i++)
        buy(&buyers[i], i + 1, 1, "k");
    world_settle(&world);
    world_complete(&world, world_look_open(&world)); /* opens the lane */
    assert_int_equal(world_sell_open(&world)->sale.count, 3);
    for (int i = 3; i < 5; i++)
        buy(&buyers[i], i + 1, 1, "k");
    world_settle(&world);
    assert_int_equal(world.sells, 1); /* one at a time */
    world_complete(&world, world_sell_open(&world));
    for (int i = 0; i < 3; i++)
        assert_answer(&buyers[i], REASON_NONE);
    assert_int_equal(buyers[3].answers, 0);
    assert_int_equal(world_sell_open(&world)->sale.count, 2);
    assert_int_equal(world.acquired, 1);
    assert_int_equal(world.released, 0);
    world_complete(&world, world_sell_open(&world));
    for (int i = 3; i < 5; i++)
        assert_answer(&buyers[i], REASON_NONE);
    assert_int_equal(world.released, 1);
}

static void strict_mode_takes_one_lock_for_each_purchase(void **state)
{
    (void)state;
    struct lanes_options options = world_options();
    options.batch_max = 1;
    reopen(&options);
    struct buyer buyers[10];
    for (int i = 0; i < 10; i++)
        buy(&buyers[i], i + 1, 1, "k");
    world_settle(&world);
    for (int i = 0; i < 10; i++)
        assert_answer(&buyers[i], REASON_NONE);
    assert_int_equal(world.acquired, 10);
    assert_int_equal(world.released, 10);
    assert_int_equal(world.handed_on, 9); /* all but the last */
    assert_int_equal(world.sells, 10);
}

static void the_lease_is_handed_on_when_others_wait(void **state)
{
    (void)state;
    struct lanes_options options = world_options();
    options.batch_max = 2;
    reopen(&options);
    world.waiters = true;
    struct buyer buyers[6];
    for (int i = 0; i < 6; i++)
        buy(&buyers[i], i + 1, 1, "k");
    world_settle(&world);
    assert_int_equal(world.sells, 3);
    assert_int_equal(world.acquired, 3);
}

static void the_lease_is_kept_for_a_third_of_its_life(void **state)
{
    (void)state;
    struct lanes_options options = world_options();
    options.batch_max = 2;
    reopen(&options);
    world.auto_store = false;
    world.ttl_us = 3000000;
    static struct buyer buyers[8];
    for (int i = 0; i < 8; i++)
        buy(&buyers[i], i + 1, 1, "k");
    world_settle(&world);
    world_complete(&world, world_look_open(&world));
    world_pass(&world, 900000);
    world_complete(&world, world_sell_open(&world));
    assert_int_equal(world.acquired, 1); /* 0.9 s of 3: goes on */
    world_pass(&world, 200000);
    world_complete(&world, world_sell_open(&world));
    assert_int_equal(world.acquired, 2); /* 1.1 s: a new one */
    assert_int_equal(world.released, 1);
}

static void G12_an_order_too_big_refuses_only_itself(void **state)
{
    (void)state;
    sell_down_to(3);
    struct buyer big;
    struct buyer small[3];
    buy(&big, 1, 5, "k");
    for (int i = 0; i < 3; i++)
        buy(&small[i], i + 2, 1, "k");
    world_settle(&world);
    assert_answer(&big, REASON_INSUFFICIENT);
    assert_int_equal(big.available, 0);
    for (int i = 0; i < 3; i++)
        assert_answer(&small[i], REASON_NONE);
    assert_string_equal(big.message, "Insufficient stock for product 1: requested 5, available 0");
}

static void who_was_crowded_out_runs_again_at_the_head(void **state)
{
    (void)state;
    sell_down_to(3);
    struct buyer first;
    struct buyer second;
    struct buyer third;
    buy(&first, 1, 2, "k");
    buy(&second, 2, 2, "k");
    buy(&third, 3, 1, "k");
    world_settle(&world);
    assert_answer(&first, REASON_NONE);
    assert_answer(&second, REASON_INSUFFICIENT);
    assert_int_equal(second.available, 1);
    assert_answer(&third, REASON_NONE);
    assert_int_equal(world.products[1].stock, 0);
}

static void G13_equal_keys_in_one_batch_take_stock_once(void **state)
{
    (void)state;
    sell_down_to(2);
    struct buyer twice[2];
    struct buyer other;
    buy(&twice[0], 1, 1, "k");
    buy(&twice[1], 1, 1, "k");
    buy(&other, 2, 1, "k");
    world_settle(&world);
    assert_answer(&twice[0], REASON_NONE);
    assert_answer(&twice[1], REASON_NONE);
    assert_answer(&other, REASON_NONE);
    assert_memory_equal(&twice[0].purchase, &twice[1].purchase, sizeof twice[0].purchase);
    assert_int_equal(world_sold(&world, 1), 100);
}

static void G8_one_key_a_hundred_times_is_one_purchase_with_one_body(void **state)
{
    (void)state;
    struct buyer buyers[100];
    for (int i = 0; i < 100; i++) {
        buy(&buyers[i], 1, 1, "k");
        if (i % 7 == 0) world_settle(&world);
    }
    world_settle(&world);
    for (int i = 0; i < 100; i++) {
        assert_answer(&buyers[i], REASON_NONE);
        assert_memory_equal(&buyers[i].purchase, &buyers[0].purchase, sizeof buyers[i].purchase);
    }
    assert_int_equal(world_sold(&world, 1), 1);
}

static void a_key_with_another_body_is_refused(void **state)
{
    (void)state;
    world_product_add(&world, 2, 10);
    struct buyer one;
    struct buyer batch;
    struct buyer later;
    struct buyer elsewhere;
    struct buyer other_user;
    buy(&one, 1, 1, "k");
    buy(&batch, 1, 2, "k");
    world_settle(&world);
    buy(&later, 1, 3, "k");
    buy(&other_user, 2, 3, "k");
    struct world_buy there = {.user_id = 1, .product_id = 2, .key = "k"};
    assert_true(world_buy(&world, &elsewhere, &there));
    world_settle(&world);
    assert_answer(&one, REASON_NONE);
    assert_answer(&batch, REASON_KEY_REUSED);
    assert_answer(&later, REASON_KEY_REUSED);
    assert_answer(&elsewhere, REASON_KEY_REUSED);
    assert_answer(&other_user, REASON_NONE);
}

static void sold_out_is_one_read_without_the_lock(void **state)
{
    (void)state;
    sell_down_to(0);
    world.auto_store = false;
    unsigned acquired = world.acquired;
    unsigned looks = world.looks;
    struct buyer buyers[50];
    struct buyer late;
    for (int i = 0; i < 50; i++)
        buy(&buyers[i], i + 1, 1, "k");
    world_settle(&world);
    buy(&late, 60, 1, "k"); /* after the read began: needs the next one */
    world_settle(&world);
    world_complete(&world, world_look_open(&world));
    for (int i = 0; i < 50; i++)
        assert_answer(&buyers[i], REASON_INSUFFICIENT);
    assert_int_equal(late.answers, 0);
    world_complete(&world, world_look_open(&world));
    assert_answer(&late, REASON_INSUFFICIENT);
    assert_int_equal(world.looks, looks + 2);
    assert_int_equal(world.acquired, acquired);
}

static void a_read_that_finds_stock_takes_the_lock(void **state)
{
    (void)state;
    sell_down_to(0);
    world.products[1].stock = 2; /* restocked elsewhere */
    world.products[1].version++;
    struct buyer one;
    struct buyer big;
    buy(&one, 1, 1, "k");
    buy(&big, 2, 3, "k");
    world_settle(&world);
    assert_answer(&one, REASON_NONE);
    assert_answer(&big, REASON_INSUFFICIENT);
}

static void G21_a_recorded_key_gets_its_first_body_when_all_is_sold(void **state)
{
    (void)state;
    struct buyer first;
    struct buyer again;
    buy(&first, 1, 1, "k");
    world_settle(&world);
    sell_down_to(0);
    buy(&again, 1, 1, "k");
    world_settle(&world);
    assert_answer(&again, REASON_NONE);
    assert_memory_equal(&first.purchase, &again.purchase, sizeof first.purchase);
}

static void below_the_quorum_nothing_is_sold_and_sales_resume_by_themselves(void **state)
{
    (void)state;
    struct buyer before;
    buy(&before, 1, 1, "k");
    world_settle(&world);
    world.voting = 2;
    world_pass(&world, 1100000);
    struct buyer during;
    buy(&during, 2, 1, "k");
    world_settle(&world);
    assert_answer(&during, REASON_NO_QUORUM);
    assert_int_equal(world_sold(&world, 1), 1);
    struct buyer soon;
    buy(&soon, 3, 1, "k"); /* the fresh knowledge answers, no question */
    unsigned asks = world.asks;
    world_settle(&world);
    assert_answer(&soon, REASON_NO_QUORUM);
    assert_int_equal(world.asks, asks);
    assert_non_null(strstr(soon.message, "2 of 5"));
    world.voting = 3;
    world_pass(&world, 300000);
    struct buyer after;
    buy(&after, 4, 1, "k");
    world_settle(&world);
    assert_answer(&after, REASON_NONE);
}

static void a_busy_lane_asks_each_second_and_stops_without_a_quorum(void **state)
{
    (void)state;
    struct lanes_options options = world_options();
    options.batch_max = 1;
    options.batch_max = 2;
    reopen(&options);
    world.auto_store = false;
    struct buyer buyers[8];
    for (int i = 0; i < 8; i++)
        buy(&buyers[i], i + 1, 1, "k");
    world_settle(&world);
    world_complete(&world, world_look_open(&world));
    world_complete(&world, world_sell_open(&world));
    assert_int_equal(world.asks, 0);
    world.voting = 2;
    world_pass(&world, 1100000);
    world_complete(&world, world_sell_open(&world)); /* was handed over before: is sold */
    assert_int_equal(world.asks, 1);
    for (int i = 0; i < 4; i++)
        assert_answer(&buyers[i], REASON_NONE);
    for (int i = 4; i < 8; i++)
        assert_answer(&buyers[i], REASON_NO_QUORUM);
    assert_int_equal(world.open_leases, 0);
}

static void sold_out_needs_a_quorum_too(void **state)
{
    (void)state;
    sell_down_to(0);
    world.voting = 2;
    world_pass(&world, 1100000);
    struct buyer one;
    buy(&one, 1, 1, "k");
    world_settle(&world);
    assert_answer(&one, REASON_NO_QUORUM);
    world.voting = 3;
    world_pass(&world, 300000);
    struct buyer two;
    buy(&two, 1, 1, "k");
    world_settle(&world);
    assert_answer(&two, REASON_INSUFFICIENT);
}

static const struct sale_answer lost = {.outcome = SALE_UNKNOWN};

/* Opens the lane, and has one batch under way. */
static struct world_call *open_sale(struct buyer *buyer, int64_t user_id, const char *key)
{
    world.auto_store = false;
    buy(buyer, user_id, 1, key);
    world_settle(&world);
    if (world_look_open(&world) != NULL) world_complete(&world, world_look_open(&world));
    assert_non_null(world_sell_open(&world));
    return world_sell_open(&world);
}

static void G6_a_lost_answer_is_settled_under_a_higher_token(void **state)
{
    (void)state;
    for (int committed = 0; committed < 2; committed++) {
        struct buyer one;
        struct world_call *call = open_sale(&one, 1 + committed, "k");
        uint64_t token = call->sale.token;
        struct world_result result;
        if (committed) world_execute(&world, call, &result);
        world.auto_locks = false;
        world_answer(&world, call, &lost);
        assert_int_equal(one.answers, 0);
        assert_int_equal(world.open_leases, 0); /* released before the new one is asked for */
        assert_int_equal(world.handed_on, 0);
        assert_int_equal(world.last_min_token, token);
        world.auto_locks = true;
        world_settle(&world);
        assert_true(world_sell_open(&world)->sale.token > token);
        world_complete(&world, world_sell_open(&world));
        assert_answer(&one, REASON_NONE);
        assert_int_equal(world_sold(&world, 1), 1 + committed);
        assert_int_equal(world.products[1].stock, 99 - committed);
    }
}

static void G16_a_deadline_over_a_lost_answer_is_unknown_then_the_key_tells(void **state)
{
    (void)state;
    struct buyer one;
    struct buyer again;
    struct world_result result;
    struct world_call *call = open_sale(&one, 1, "k");
    world_execute(&world, call, &result);
    world_pass(&world, 5000000);
    assert_answer(&one, REASON_OUTCOME_UNKNOWN);
    world_answer(&world, call, &lost);
    world.auto_store = true;
    buy(&again, 1, 1, "k");
    world_settle(&world);
    assert_answer(&again, REASON_NONE);
    assert_int_equal(again.purchase.id, result.rows[0].purchase.id);
    assert_int_equal(world_sold(&world, 1), 1);
}

static void an_order_that_may_be_sold_is_never_told_that_nothing_happened(void **state)
{
    (void)state;
    struct buyer one;
    struct buyer other;
    world_answer(&world, open_sale(&one, 1, "k"), &lost);
    struct world_call *repeat = world_sell_open(&world);
    world.auto_locks = false;
    world_answer(&world, repeat, &lost);
    buy(&other, 2, 1, "k");
    world.voting = 2;
    world_refuse(&world, world_acquire_open(&world), LANE_LOCK_NO_QUORUM);
    assert_answer(&other, REASON_NO_QUORUM);
    assert_int_equal(one.answers, 0);
    world.auto_locks = true;
    world_pass(&world, 2000000);
    assert_int_equal(one.answers, 0);
    world.voting = 5;
    world.auto_store = true;
    world_pass(&world, 500000);
    assert_answer(&one, REASON_NONE);
}

static void G20_a_straggler_is_refused_after_its_repeat(void **state)
{
    (void)state;
    world.products[1].stock = 1;
    struct buyer one;
    struct world_call *call = open_sale(&one, 1, "k");
    struct world_call straggler = *call; /* hangs in a dead connection */
    struct sale_order order = call->sale.orders[0];
    order.key = span_of("k");
    straggler.sale.orders = &order;
    world_answer(&world, call, &lost);
    world_complete(&world, world_sell_open(&world));
    assert_answer(&one, REASON_NONE);
    world.products[1].stock = 1; /* a restock */
    world.record_count = 0;      /* even where the key would not stop it */
    struct world_result result;
    world_execute(&world, &straggler, &result);
    assert_int_equal(result.answer.outcome, SALE_FENCED);
    assert_int_equal(world.products[1].stock, 1);
}

static void G23_a_statement_that_is_not_whole_refuses_nobody(void **state)
{
    (void)state;
    world.products[1].stock = 1;
    struct buyer one;
    struct world_call *call = open_sale(&one, 1, "k");
    struct world_result result;
    world_execute(&world, call, &result); /* the straggler commits … */
    int64_t id = result.rows[0].purchase.id;
    world_answer(&world, call, &lost);
    /* … between the repeat's snapshot and its lock on the product. */
    struct sale_answer half = {.outcome = SALE_DONE, .now = {1, 0, 200}};
    world_answer(&world, world_sell_open(&world), &half);
    assert_int_equal(one.answers, 0);
    world_complete(&world, world_sell_open(&world));
    assert_answer(&one, REASON_NONE);
    assert_int_equal(one.purchase.id, id);
}

static void F31_a_product_that_remembers_a_higher_token_names_it(void **state)
{
    (void)state;
    world.products[1].last_token = 3600000000; /* a clock was an hour ahead */
    struct buyer one;
    buy(&one, 1, 1, "k");
    world_settle(&world);
    assert_answer(&one, REASON_NONE);
    assert_int_equal(world.last_min_token, 3600000000);
    assert_int_equal(world.products[1].last_token, 3600000001);
    assert_int_equal(world.acquired, 2);
}

static void G24_an_order_without_an_account_is_told_so_and_the_lane_goes_on(void **state)
{
    (void)state;
    struct buyer gone[3];
    struct buyer good[2];
    buy(&gone[0], WORLD_USERS + 1, 1, "k");
    buy(&good[0], 1, 1, "k");
    buy(&gone[1], WORLD_USERS + 2, 2, "k");
    world_settle(&world);
    assert_answer(&gone[0], REASON_UNAUTHENTICATED);
    assert_answer(&gone[1], REASON_UNAUTHENTICATED);
    assert_answer(&good[0], REASON_NONE);
    assert_int_equal(world.sells, 1);
    sell_down_to(1); /* scarce: who has no account must not be taken for who was crowded out */
    buy(&gone[0], WORLD_USERS + 1, 1, "k2");
    buy(&gone[1], WORLD_USERS + 2, 1, "k2");
    buy(&good[1], 2, 1, "k2");
    buy(&gone[2], WORLD_USERS + 3, 1, "k2");
    world_settle(&world);
    assert_answer(&gone[0], REASON_UNAUTHENTICATED);
    assert_answer(&gone[1], REASON_UNAUTHENTICATED);
    assert_answer(&good[1], REASON_NONE);
    assert_int_equal(gone[2].answers, 1); /* 0 left: either cause is true */
    buy(&gone[0], WORLD_USERS + 1, 1, "k3");
    world_settle(&world);
    assert_answer(&gone[0], REASON_UNAUTHENTICATED); /* sold out, and gone */
}

static void a_product_that_does_not_exist_opens_no_lane(void **state)
{
    (void)state;
    struct buyer one;
    struct world_buy order = {.user_id = 1, .product_id = 77, .key = "k"};
    assert_true(world_buy(&world, &one, &order));
    world_settle(&world);
    assert_answer(&one, REASON_NOT_FOUND);
    assert_int_equal(lanes_counts(world.lanes).lanes, 0);
    assert_int_equal(world.acquired, 0);
}

static void an_idle_lane_closes(void **state)
{
    (void)state;
    struct buyer one;
    buy(&one, 1, 1, "k");
    world_settle(&world);
    assert_int_equal(lanes_counts(world.lanes).lanes, 1);
    world_pass(&world, 9000000);
    buy(&one, 1, 1, "k2");
    world_pass(&world, 2000000);
    assert_int_equal(lanes_counts(world.lanes).lanes, 1);
    world_pass(&world, 9000000);
    assert_int_equal(lanes_counts(world.lanes).lanes, 0);
}

static void who_waited_for_the_whole_wait_hears_busy(void **state)
{
    (void)state;
    world.auto_locks = false;
    struct buyer early;
    struct buyer late;
    buy(&early, 1, 1, "k");
    world_settle(&world);
    world_pass(&world, 500000);
    buy(&late, 2, 1, "k");
    world_pass(&world, 500000);
    world_refuse(&world, world_acquire_open(&world), LANE_LOCK_BUSY);
    assert_answer(&early, REASON_BUSY);
    assert_non_null(strstr(early.message, "Failed to acquire lock for resource: stock:1"));
    assert_int_equal(late.answers, 0);
    world_grant(&world, world_acquire_open(&world));
    assert_answer(&late, REASON_NONE);
}

static void what_is_down_is_tried_again_until_patience_ends(void **state)
{
    (void)state;
    struct buyer one;
    struct buyer two;
    for (int store = 0; store < 2; store++) {
        world.lockd_down = !store;
        world.store_down = store;
        buy(&one, 1, 1, store ? "a" : "b");
        world_pass(&world, 900000);
        assert_int_equal(one.answers, 0);
        world.lockd_down = world.store_down = false;
        world_pass(&world, 60000);
        assert_answer(&one, REASON_NONE);
        world.lockd_down = !store;
        world.store_down = store;
        buy(&two, 2, 1, store ? "a" : "b");
        world_pass(&world, 1100000);
        assert_answer(&two, REASON_DOWN);
        assert_string_equal(two.message, store ? "no connection" : "no lock");
        world.lockd_down = world.store_down = false;
        world_pass(&world, 100000);
    }
}

static void a_deadline_in_the_queue_is_expired_and_nothing_is_sold(void **state)
{
    (void)state;
    world.auto_locks = false;
    struct buyer one;
    struct buyer look;
    struct world_buy order = {.user_id = 1, .key = "k", .within_us = 300000};
    assert_true(world_buy(&world, &one, &order));
    world_settle(&world);
    world_pass(&world, 400000);
    assert_answer(&one, REASON_EXPIRED);
    assert_true(one.answered_us <= world.now_us - 90000);
    world_grant(&world, world_acquire_open(&world)); /* for nobody any more */
    assert_int_equal(world.open_leases, 0);
    assert_int_equal(world.sells, 0);
    world.auto_locks = true;
    sell_down_to(0);
    world.auto_store = false;
    assert_true(world_buy(&world, &look, &order));
    world_pass(&world, 400000);
    assert_answer(&look, REASON_EXPIRED); /* a look changes nothing */
    world_complete(&world, world_look_open(&world));
}

static void a_cancelled_order_is_never_answered(void **state)
{
    (void)state;
    struct buyer waiting;
    struct buyer batched;
    struct buyer twin;
    struct world_call *call = open_sale(&batched, 1, "k");
    buy(&waiting, 2, 1, "k");
    buy(&twin, 3, 1, "k");
    world_settle(&world);
    lanes_cancel(world.lanes, waiting.order);
    lanes_cancel(world.lanes, batched.order);
    world_complete(&world, call);
    lanes_cancel(world.lanes, twin.order);
    world.auto_store = true;
    world_settle(&world);
    assert_int_equal(waiting.answers + batched.answers, 0);
    assert_int_equal(world_sold(&world, 1), 2); /* both were handed over */
    assert_int_equal(lanes_counts(world.lanes).orders, 0);
}

static void past_a_bound_an_order_is_refused_at_once(void **state)
{
    (void)state;
    struct lanes_options options = world_options();
    options.lane_orders_max = 3;
    options.orders_max = 5;
    options.lanes_max = 3;
    reopen(&options);
    world_product_add(&world, 2, 10);
    world_product_add(&world, 3, 10);
    world_product_add(&world, 4, 10);
    world.auto_locks = false;
    struct buyer buyers[8];
    for (int i = 0; i < 3; i++)
        buy(&buyers[i], i + 1, 1, "k");
    struct world_buy order = {.user_id = 9, .product_id = 1, .key = "k"};
    assert_false(world_buy(&world, &buyers[3], &order)); /* its lane */
    order.product_id = 2;
    assert_true(world_buy(&world, &buyers[4], &order));
    order.product_id = 3;
    assert_true(world_buy(&world, &buyers[5], &order));
    order.product_id = 4;
    order.key = "k4";
    assert_false(world_buy(&world, &buyers[6], &order)); /* all */
    lanes_cancel(world.lanes, buyers[5].order);
    assert_false(world_buy(&world, &buyers[6], &order)); /* three lanes, none of them idle yet */
    world.auto_locks = true;
    world_settle(&world);
    assert_true(world_buy(&world, &buyers[6], &order)); /* an idle one made room */
    world_settle(&world);
    assert_answer(&buyers[6], REASON_NONE);
    assert_int_equal(lanes_counts(world.lanes).lanes, 3);
}

static void a_statement_rolled_back_runs_again(void **state)
{
    (void)state;
    struct buyer one;
    struct sale_answer again = {.outcome = SALE_AGAIN};
    world_answer(&world, open_sale(&one, 1, "k"), &again);
    for (int i = 0; i < 4; i++)
        world_answer(&world, world_sell_open(&world), &again);
    world_complete(&world, world_sell_open(&world));
    assert_answer(&one, REASON_NONE);
    assert_int_equal(world.acquired, 1);
}

static void G7_each_cause_is_told_rightly(void **state)
{
    (void)state;
    struct buyer one;
    world.auto_locks = false;
    static const struct {
        enum lane_lock_outcome outcome;
        enum reason reason;
    } causes[] = {{LANE_LOCK_BUSY, REASON_BUSY},
                  {LANE_LOCK_NO_QUORUM, REASON_NO_QUORUM},
                  {LANE_LOCK_OVERLOADED, REASON_OVERLOADED}};
    for (size_t i = 0; i < sizeof causes / sizeof causes[0]; i++) {
        buy(&one, 1, 1, "k");
        world_settle(&world);
        world_refuse(&world, world_acquire_open(&world), causes[i].outcome);
        assert_answer(&one, causes[i].reason);
    }
    world.auto_locks = true;
    buy(&one, 1, 101, "k");
    world_settle(&world);
    assert_answer(&one, REASON_INSUFFICIENT);
    sell_down_to(0);
    world.lockd_down = true;
    world_pass(&world, 1100000);
    buy(&one, 1, 1, "k");
    world_pass(&world, 1100000);
    assert_answer(&one, REASON_DOWN); /* sold out, but that is not why */
    world.lockd_down = false;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        TEST(an_order_is_sold_and_the_lease_given_back),
        TEST(a_batch_takes_what_waits_and_the_next_runs_under_the_same_lease),
        TEST(strict_mode_takes_one_lock_for_each_purchase),
        TEST(the_lease_is_handed_on_when_others_wait),
        TEST(the_lease_is_kept_for_a_third_of_its_life),
        TEST(G12_an_order_too_big_refuses_only_itself),
        TEST(who_was_crowded_out_runs_again_at_the_head),
        TEST(G13_equal_keys_in_one_batch_take_stock_once),
        TEST(G8_one_key_a_hundred_times_is_one_purchase_with_one_body),
        TEST(a_key_with_another_body_is_refused),
        TEST(sold_out_is_one_read_without_the_lock),
        TEST(a_read_that_finds_stock_takes_the_lock),
        TEST(G21_a_recorded_key_gets_its_first_body_when_all_is_sold),
        TEST(below_the_quorum_nothing_is_sold_and_sales_resume_by_themselves),
        TEST(a_busy_lane_asks_each_second_and_stops_without_a_quorum),
        TEST(sold_out_needs_a_quorum_too),
        TEST(G6_a_lost_answer_is_settled_under_a_higher_token),
        TEST(G16_a_deadline_over_a_lost_answer_is_unknown_then_the_key_tells),
        TEST(an_order_that_may_be_sold_is_never_told_that_nothing_happened),
        TEST(G20_a_straggler_is_refused_after_its_repeat),
        TEST(G23_a_statement_that_is_not_whole_refuses_nobody),
        TEST(F31_a_product_that_remembers_a_higher_token_names_it),
        TEST(G24_an_order_without_an_account_is_told_so_and_the_lane_goes_on),
        TEST(a_product_that_does_not_exist_opens_no_lane),
        TEST(an_idle_lane_closes),
        TEST(who_waited_for_the_whole_wait_hears_busy),
        TEST(what_is_down_is_tried_again_until_patience_ends),
        TEST(a_deadline_in_the_queue_is_expired_and_nothing_is_sold),
        TEST(a_cancelled_order_is_never_answered),
        TEST(past_a_bound_an_order_is_refused_at_once),
        TEST(a_statement_rolled_back_runs_again),
        TEST(G7_each_cause_is_told_rightly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
