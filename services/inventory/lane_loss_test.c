/* Statements whose answers are lost, that run late, or that must run again. */
#include "inventory/lane_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct sale_answer lost = {.outcome = SALE_UNKNOWN};

static void G6_a_lost_answer_is_settled_under_a_higher_token(void **state)
{
    struct world *world = *state;
    for (int committed = 0; committed < 2; committed++) {
        struct buyer one;
        struct world_call *call = world_open_sale(world, &one, 1 + committed, "k");
        uint64_t token = call->sale.token;
        struct world_result result;
        if (committed) world_execute(world, call, &result);
        world->auto_locks = false;
        world_answer(world, call, &lost);
        assert_int_equal(one.answers, 0);
        assert_int_equal(world->open_leases, 0); /* released before the new one is asked for */
        assert_int_equal(world->handed_on, 0);
        assert_int_equal(world->last_min_token, token);
        world->auto_locks = true;
        world_settle(world);
        assert_true(world_sell_open(world)->sale.token > token);
        world_complete(world, world_sell_open(world));
        assert_answer(&one, REASON_NONE);
        assert_int_equal(world_sold(world, 1), 1 + committed);
        assert_int_equal(world->products[1].stock, 99 - committed);
    }
}

static void G16_a_deadline_over_a_lost_answer_is_unknown_then_the_key_tells(void **state)
{
    struct world *world = *state;
    struct buyer one;
    struct buyer again;
    struct world_result result;
    struct world_call *call = world_open_sale(world, &one, 1, "k");
    world_execute(world, call, &result);
    world_pass(world, 5000000);
    assert_answer(&one, REASON_OUTCOME_UNKNOWN);
    world_answer(world, call, &lost);
    world->auto_store = true;
    buyer_buy(world, &again, 1, 1, "k");
    world_settle(world);
    assert_answer(&again, REASON_NONE);
    assert_int_equal(again.purchase.id, result.rows[0].purchase.id);
    assert_int_equal(world_sold(world, 1), 1);
}

static void an_order_that_may_be_sold_is_never_told_that_nothing_happened(void **state)
{
    struct world *world = *state;
    struct buyer one;
    struct buyer other;
    world_answer(world, world_open_sale(world, &one, 1, "k"), &lost);
    struct world_call *repeat = world_sell_open(world);
    world->auto_locks = false;
    world_answer(world, repeat, &lost);
    buyer_buy(world, &other, 2, 1, "k");
    world->voting = 2;
    world_refuse(world, world_acquire_open(world), LANE_LOCK_NO_QUORUM);
    assert_answer(&other, REASON_NO_QUORUM);
    assert_int_equal(one.answers, 0);
    world->auto_locks = true;
    world_pass(world, 2000000);
    assert_int_equal(one.answers, 0);
    world->voting = 5;
    world->auto_store = true;
    world_pass(world, 500000);
    assert_answer(&one, REASON_NONE);
}

static void G20_a_straggler_is_refused_after_its_repeat(void **state)
{
    struct world *world = *state;
    world->products[1].stock = 1;
    struct buyer one;
    struct world_call *call = world_open_sale(world, &one, 1, "k");
    struct world_call straggler = *call; /* hangs in a dead connection */
    struct sale_order order = call->sale.orders[0];
    order.key = span_of("k");
    straggler.sale.orders = &order;
    world_answer(world, call, &lost);
    world_complete(world, world_sell_open(world));
    assert_answer(&one, REASON_NONE);
    world->products[1].stock = 1; /* a restock */
    world->record_count = 0;      /* even where the key would not stop it */
    struct world_result result;
    world_execute(world, &straggler, &result);
    assert_int_equal(result.answer.outcome, SALE_FENCED);
    assert_int_equal(world->products[1].stock, 1);
}

static void G23_a_statement_that_is_not_whole_refuses_nobody(void **state)
{
    struct world *world = *state;
    world->products[1].stock = 1;
    struct buyer one;
    struct world_call *call = world_open_sale(world, &one, 1, "k");
    struct world_result result;
    world_execute(world, call, &result); /* the straggler commits … */
    int64_t id = result.rows[0].purchase.id;
    world_answer(world, call, &lost);
    /* … between the repeat's snapshot and its lock on the product. */
    struct sale_answer half = {.outcome = SALE_DONE, .now = {1, 0, 200}};
    world_answer(world, world_sell_open(world), &half);
    assert_int_equal(one.answers, 0);
    world_complete(world, world_sell_open(world));
    assert_answer(&one, REASON_NONE);
    assert_int_equal(one.purchase.id, id);
}

static void F31_a_product_that_remembers_a_higher_token_names_it(void **state)
{
    struct world *world = *state;
    world->products[1].last_token = 3600000000; /* a clock was an hour ahead */
    struct buyer one;
    buyer_buy(world, &one, 1, 1, "k");
    world_settle(world);
    assert_answer(&one, REASON_NONE);
    assert_int_equal(world->last_min_token, 3600000000);
    assert_int_equal(world->products[1].last_token, 3600000001);
    assert_int_equal(world->acquired, 2);
}

static void a_statement_rolled_back_runs_again(void **state)
{
    struct world *world = *state;
    struct buyer one;
    struct sale_answer again = {.outcome = SALE_AGAIN};
    world_answer(world, world_open_sale(world, &one, 1, "k"), &again);
    for (int i = 0; i < 4; i++)
        world_answer(world, world_sell_open(world), &again);
    world_complete(world, world_sell_open(world));
    assert_answer(&one, REASON_NONE);
    assert_int_equal(world->acquired, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(G6_a_lost_answer_is_settled_under_a_higher_token),
        TEST(G16_a_deadline_over_a_lost_answer_is_unknown_then_the_key_tells),
        TEST(an_order_that_may_be_sold_is_never_told_that_nothing_happened),
        TEST(G20_a_straggler_is_refused_after_its_repeat),
        TEST(G23_a_statement_that_is_not_whole_refuses_nobody),
        TEST(F31_a_product_that_remembers_a_higher_token_names_it),
        TEST(a_statement_rolled_back_runs_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
