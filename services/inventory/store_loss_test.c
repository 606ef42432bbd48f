/* Sales whose answers are lost, on a real Postgres: by stragglers, ended sessions, a dead server.
 */
#include "inventory/store_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void G23_a_repeat_behind_its_own_straggler_refuses_nobody(void **state)
{
    struct world *world = *state;
    struct heard lost;
    struct heard repeat;
    struct sale_order orders[] = {order_of(1, "a", 1), order_of(99, "nobody", 1)};
    world_set_stock(world, 1);
    world_reopen(world, 2, 300000);
    PGconn *other = database_fixture_hold(world->postgres, world->product);
    world_start_sale(world, &lost, 10, orders, world->width);
    world_wait_for(world, &lost);
    assert_int_equal(lost.outcome, SALE_UNKNOWN); /* hangs on in the server */
    world_wait_until_up(world);
    /* Its snapshot is older than the straggler's commit. */
    world_start_sale(world, &repeat, 11, orders, world->width);
    loop_run_ms(world->loop, 100);
    database_fixture_let_go(other);
    world_wait_for(world, &repeat);
    assert_int_equal(repeat.outcome, SALE_DONE);
    assert_false(repeat.whole);
    assert_int_equal(repeat.count, 0);
    assert_int_equal(repeat.now.stock, 0);
    world_sell(world, &repeat, 11, orders, world->width);
    assert_true(repeat.whole);
    assert_int_equal(repeat.rows[0].verdict, SALE_KNOWN);
    assert_int_equal(world_number(world, "SELECT count(*) FROM purchases WHERE product_id = $1"),
                     1);
}

static void G20_a_straggler_that_runs_after_its_repeat_and_a_restock_is_refused(void **state)
{
    struct world *world = *state;
    struct heard lost;
    struct heard repeat;
    struct sale_order orders[] = {order_of(1, "a", 1), order_of(99, "nobody", 1)};
    struct sale_order others[] = {order_of(2, "a", 1), order_of(99, "nobody", 1)};
    world_set_stock(world, 1);
    world_reopen(world, 1, 300000);
    postgres_fixture_pause_sessions(world->postgres);
    /* Reaches the socket of a stopped process. */
    world_start_sale(world, &lost, 10, orders, world->width);
    world_wait_for(world, &lost);
    assert_int_equal(lost.outcome, SALE_UNKNOWN);
    world_wait_until_up(world);
    world_sell(world, &repeat, 11, others, world->width); /* somebody else gets the last one */
    assert_int_equal(repeat.rows[0].verdict, SALE_SOLD);
    world_set_stock(world, 5);
    postgres_fixture_resume_sessions(world->postgres);
    loop_run_ms(world->loop, 300);
    assert_int_equal(world_number(world, "SELECT stock FROM products WHERE id = $1"), 5);
    assert_int_equal(world_number(world, "SELECT count(*) FROM purchases WHERE product_id = $1"),
                     1);
}

static void G16_a_commit_whose_answer_is_lost_is_unknown_then_known(void **state)
{
    struct world *world = *state;
    struct heard lost;
    struct heard again;
    struct sale_order orders[] = {order_of(1, "a", 1), order_of(99, "nobody", 1)};
    world_reopen(world, 2, 300000);
    PGconn *other = database_fixture_hold(world->postgres, world->product);
    world_start_sale(world, &lost, 10, orders, world->width);
    world_wait_for(world, &lost);
    assert_int_equal(lost.outcome, SALE_UNKNOWN);
    database_fixture_let_go(other); /* and the straggler commits, to nobody */
    loop_run_ms(world->loop, 200);
    world_wait_until_up(world);
    assert_int_equal(world_number(world, "SELECT stock FROM products WHERE id = $1"), 99);
    world_sell(world, &again, 11, orders, world->width);
    assert_int_equal(again.rows[0].verdict, SALE_KNOWN);
    assert_int_equal(world_number(world, "SELECT stock FROM products WHERE id = $1"), 99);
}

static void an_ended_session_makes_what_was_sent_unknown_and_is_dialled_anew(void **state)
{
    struct world *world = *state;
    struct heard lost;
    struct heard again;
    struct sale_order orders[] = {order_of(1, "a", 1)};
    PGconn *other = database_fixture_hold(world->postgres, world->product);
    world_start_sale(world, &lost, 10, orders, 1);
    loop_run_ms(world->loop, 50);
    postgres_fixture_end_sessions(world->postgres);
    world_wait_for(world, &lost);
    assert_int_equal(lost.outcome, SALE_UNKNOWN);
    database_fixture_let_go(other);
    world_wait_until_up(world);
    world_sell(world, &again, 11, orders, 1);
    assert_int_equal(again.rows[0].verdict, SALE_SOLD);
}

static void a_server_that_is_gone_is_down_and_sales_resume_when_it_is_back(void **state)
{
    struct world *world = *state;
    struct heard heard;
    struct sale_order orders[] = {order_of(1, "a", 1)};
    postgres_fixture_kill(world->postgres);
    loop_run_ms(world->loop, 100);
    assert_false(database_up(world->database));
    world_sell(world, &heard, 1, orders, 1);
    assert_int_equal(heard.outcome, SALE_DOWN);
    world_look(world, &heard, orders, 1);
    assert_int_equal(heard.outcome, SALE_DOWN);
    postgres_fixture_restart(world->postgres);
    world_wait_until_up(world);
    world_sell(world, &heard, 1, orders, 1);
    assert_int_equal(heard.outcome, SALE_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(G23_a_repeat_behind_its_own_straggler_refuses_nobody),
        PAIR(G23_a_repeat_behind_its_own_straggler_refuses_nobody),
        TEST(G20_a_straggler_that_runs_after_its_repeat_and_a_restock_is_refused),
        PAIR(G20_a_straggler_that_runs_after_its_repeat_and_a_restock_is_refused),
        TEST(G16_a_commit_whose_answer_is_lost_is_unknown_then_known),
        PAIR(G16_a_commit_whose_answer_is_lost_is_unknown_then_known),
        TEST(an_ended_session_makes_what_was_sent_unknown_and_is_dialled_anew),
        TEST(a_server_that_is_gone_is_down_and_sales_resume_when_it_is_back),
    };
    return cmocka_run_group_tests(tests, world_start, world_end);
}
