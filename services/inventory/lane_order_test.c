/* What each order of a batch gets, and what a lane does that is sold out. */
#include "inventory/lane_fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void G12_an_order_too_big_refuses_only_itself(void **state)
{
    struct world *world = *state;
    world_sell_down_to(world, 3);
    struct buyer big;
    struct buyer small[3];
    buyer_buy(world, &big, 1, 5, "k");
    for (int i = 0; i < 3; i++)
        buyer_buy(world, &small[i], i + 2, 1, "k");
    world_settle(world);
    assert_answer(&big, REASON_INSUFFICIENT);
    assert_int_equal(big.available, 0);
    for (int i = 0; i < 3; i++)
        assert_answer(&small[i], REASON_NONE);
    assert_string_equal(big.message, "Insufficient stock for product 1: requested 5, available 0");
}

static void who_was_crowded_out_runs_again_at_the_head(void **state)
{
    struct world *world = *state;
    world_sell_down_to(world, 3);
    struct buyer first;
    struct buyer second;
    struct buyer third;
    buyer_buy(world, &first, 1, 2, "k");
    buyer_buy(world, &second, 2, 2, "k");
    buyer_buy(world, &third, 3, 1, "k");
    world_settle(world);
    assert_answer(&first, REASON_NONE);
    assert_answer(&second, REASON_INSUFFICIENT);
    assert_int_equal(second.available, 1);
    assert_answer(&third, REASON_NONE);
    assert_int_equal(world->products[1].stock, 0);
}

static void G13_equal_keys_in_one_batch_take_stock_once(void **state)
{
    struct world *world = *state;
    world_sell_down_to(world, 2);
    struct buyer twice[2];
    struct buyer other;
    buyer_buy(world, &twice[0], 1, 1, "k");
    buyer_buy(world, &twice[1], 1, 1, "k");
    buyer_buy(world, &other, 2, 1, "k");
    world_settle(world);
    assert_answer(&twice[0], REASON_NONE);
    assert_answer(&twice[1], REASON_NONE);
    assert_answer(&other, REASON_NONE);
    assert_memory_equal(&twice[0].purchase, &twice[1].purchase, sizeof twice[0].purchase);
    assert_int_equal(world_sold(world, 1), 100);
}

static void G8_one_key_a_hundred_times_is_one_purchase_with_one_body(void **state)
{
    struct world *world = *state;
    struct buyer buyers[100];
    for (int i = 0; i < 100; i++) {
        buyer_buy(world, &buyers[i], 1, 1, "k");
        if (i % 7 == 0) world_settle(world);
    }
    world_settle(world);
    for (int i = 0; i < 100; i++) {
        assert_answer(&buyers[i], REASON_NONE);
        assert_memory_equal(&buyers[i].purchase, &buyers[0].purchase, sizeof buyers[i].purchase);
    }
    assert_int_equal(world_sold(world, 1), 1);
}

static void a_key_with_another_body_is_refused(void **state)
{
    struct world *world = *state;
    world_product_add(world, 2, 10);
    struct buyer one;
    struct buyer batch;
    struct buyer later;
    struct buyer elsewhere;
    struct buyer other_user;
    buyer_buy(world, &one, 1, 1, "k");
    buyer_buy(world, &batch, 1, 2, "k");
    world_settle(world);
    buyer_buy(world, &later, 1, 3, "k");
    buyer_buy(world, &other_user, 2, 3, "k");
    struct world_buy there = {.user_id = 1, .product_id = 2, .key = "k"};
    assert_true(world_buy(world, &elsewhere, &there));
    world_settle(world);
    assert_answer(&one, REASON_NONE);
    assert_answer(&batch, REASON_KEY_REUSED);
    assert_answer(&later, REASON_KEY_REUSED);
    assert_answer(&elsewhere, REASON_KEY_REUSED);
    assert_answer(&other_user, REASON_NONE);
}

static void sold_out_is_one_read_without_the_lock(void **state)
{
    struct world *world = *state;
    world_sell_down_to(world, 0);
    world->auto_store = false;
    unsigned acquired = world->acquired;
    unsigned looks = world->looks;
    struct buyer buyers[50];
    struct buyer late;
    for (int i = 0; i < 50; i++)
        buyer_buy(world, &buyers[i], i + 1, 1, "k");
    world_settle(world);
    buyer_buy(world, &late, 60, 1, "k"); /* after the read began: needs the next one */
    world_settle(world);
    world_complete(world, world_look_open(world));
    for (int i = 0; i < 50; i++)
        assert_answer(&buyers[i], REASON_INSUFFICIENT);
    assert_int_equal(late.answers, 0);
    world_complete(world, world_look_open(world));
    assert_answer(&late, REASON_INSUFFICIENT);
    assert_int_equal(world->looks, looks + 2);
    assert_int_equal(world->acquired, acquired);
}

static void a_read_that_finds_stock_takes_the_lock(void **state)
{
    struct world *world = *state;
    world_sell_down_to(world, 0);
    world->products[1].stock = 2; /* restocked elsewhere */
    world->products[1].version++;
    struct buyer one;
    struct buyer big;
    buyer_buy(world, &one, 1, 1, "k");
    buyer_buy(world, &big, 2, 3, "k");
    world_settle(world);
    assert_answer(&one, REASON_NONE);
    assert_answer(&big, REASON_INSUFFICIENT);
}

static void G21_a_recorded_key_gets_its_first_body_when_all_is_sold(void **state)
{
    struct world *world = *state;
    struct buyer first;
    struct buyer again;
    buyer_buy(world, &first, 1, 1, "k");
    world_settle(world);
    world_sell_down_to(world, 0);
    buyer_buy(world, &again, 1, 1, "k");
    world_settle(world);
    assert_answer(&again, REASON_NONE);
    assert_memory_equal(&first.purchase, &again.purchase, sizeof first.purchase);
}

static void G24_an_order_without_an_account_is_told_so_and_the_lane_goes_on(void **state)
{
    struct world *world = *state;
    struct buyer gone[3];
    struct buyer good[2];
    buyer_buy(world, &gone[0], WORLD_USERS + 1, 1, "k");
    buyer_buy(world, &good[0], 1, 1, "k");
    buyer_buy(world, &gone[1], WORLD_USERS + 2, 2, "k");
    world_settle(world);
    assert_answer(&gone[0], REASON_UNAUTHENTICATED);
    assert_answer(&gone[1], REASON_UNAUTHENTICATED);
    assert_answer(&good[0], REASON_NONE);
    assert_int_equal(world->sells, 1);
    world_sell_down_to(
        world, 1); /* scarce: who has no account must not be taken for who was crowded out */
    buyer_buy(world, &gone[0], WORLD_USERS + 1, 1, "k2");
    buyer_buy(world, &gone[1], WORLD_USERS + 2, 1, "k2");
    buyer_buy(world, &good[1], 2, 1, "k2");
    buyer_buy(world, &gone[2], WORLD_USERS + 3, 1, "k2");
    world_settle(world);
    assert_answer(&gone[0], REASON_UNAUTHENTICATED);
    assert_answer(&gone[1], REASON_UNAUTHENTICATED);
    assert_answer(&good[1], REASON_NONE);
    assert_int_equal(gone[2].answers, 1); /* 0 left: either cause is true */
    buyer_buy(world, &gone[0], WORLD_USERS + 1, 1, "k3");
    world_settle(world);
    assert_answer(&gone[0], REASON_UNAUTHENTICATED); /* sold out, and gone */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(G12_an_order_too_big_refuses_only_itself),
        TEST(who_was_crowded_out_runs_again_at_the_head),
        TEST(G13_equal_keys_in_one_batch_take_stock_once),
        TEST(G8_one_key_a_hundred_times_is_one_purchase_with_one_body),
        TEST(a_key_with_another_body_is_refused),
        TEST(sold_out_is_one_read_without_the_lock),
        TEST(a_read_that_finds_stock_takes_the_lock),
        TEST(G21_a_recorded_key_gets_its_first_body_when_all_is_sold),
        TEST(G24_an_order_without_an_account_is_told_so_and_the_lane_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
