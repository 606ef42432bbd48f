#include "inventory/stock_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DOWN                                                                                       \
    {                                                                                              \
        STOCK_UNREACHABLE, 0, 0                                                                    \
    }
#define EMPTY                                                                                      \
    {                                                                                              \
        STOCK_ABSENT, 0, 0                                                                         \
    }
#define HOLDS(stock, version)                                                                      \
    {                                                                                              \
        STOCK_HELD, stock, version                                                                 \
    }

static const struct stock_value truth = {7, 90, 11};

static void all_alike_is_synced(void **state)
{
    (void)state;
    struct stock_node nodes[5] = {HOLDS(90, 11), HOLDS(90, 11), DOWN, HOLDS(90, 11), HOLDS(90, 11)};
    struct stock_view view = stock_view_of(nodes, 5);
    assert_int_equal(view.reachable, 4);
    assert_true(view.has_stock);
    assert_true(view.equal);
    assert_int_equal(view.stock, 90);
    assert_int_equal(view.version, 11);
    assert_true(stock_view_synced(&view, &truth));
}

static void alike_but_not_as_postgres_is_not_synced(void **state)
{
    (void)state;
    struct stock_node nodes[3] = {HOLDS(90, 10), HOLDS(90, 10), HOLDS(90, 10)};
    struct stock_view view = stock_view_of(nodes, 3);
    assert_true(view.equal);
    assert_false(stock_view_synced(&view, &truth));
    struct stock_node changed[1] = {HOLDS(91, 11)};
    view = stock_view_of(changed, 1);
    assert_false(stock_view_synced(&view, &truth));
}

static void the_value_that_most_hold_counts(void **state)
{
    (void)state;
    struct stock_node nodes[5] = {HOLDS(90, 11), HOLDS(91, 10), HOLDS(91, 10), DOWN, HOLDS(91, 10)};
    struct stock_view view = stock_view_of(nodes, 5);
    assert_int_equal(view.stock, 91);
    assert_int_equal(view.version, 10);
    assert_false(view.equal);
}

static void of_equally_many_the_highest_version_counts(void **state)
{
    (void)state;
    struct stock_node nodes[5] = {HOLDS(91, 10), HOLDS(90, 11), HOLDS(90, 11), HOLDS(91, 10),
                                  HOLDS(89, 12)};
    struct stock_view view = stock_view_of(nodes, 5);
    assert_int_equal(view.stock, 90);
    assert_int_equal(view.version, 11);
}

static void a_node_without_the_value_is_reachable_and_not_synced(void **state)
{
    (void)state;
    struct stock_node nodes[5] = {EMPTY, EMPTY, EMPTY, HOLDS(90, 11), HOLDS(90, 11)};
    struct stock_view view = stock_view_of(nodes, 5);
    assert_int_equal(view.reachable, 5);
    assert_true(view.has_stock);
    assert_int_equal(view.stock, 90);
    assert_false(view.equal);
    assert_false(stock_view_synced(&view, &truth));
}

static void nothing_reached_or_nothing_held_is_nothing_known(void **state)
{
    (void)state;
    struct stock_node down[2] = {DOWN, DOWN};
    struct stock_view view = stock_view_of(down, 2);
    assert_int_equal(view.reachable, 0);
    assert_false(view.has_stock);
    assert_false(view.equal);
    struct stock_node empty[2] = {EMPTY, EMPTY};
    view = stock_view_of(empty, 2);
    assert_int_equal(view.reachable, 2);
    assert_false(view.has_stock);
    assert_false(view.equal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_alike_is_synced),
        cmocka_unit_test(alike_but_not_as_postgres_is_not_synced),
        cmocka_unit_test(the_value_that_most_hold_counts),
        cmocka_unit_test(of_equally_many_the_highest_version_counts),
        cmocka_unit_test(a_node_without_the_value_is_reachable_and_not_synced),
        cmocka_unit_test(nothing_reached_or_nothing_held_is_nothing_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
