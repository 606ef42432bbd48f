/* Reads of Postgres and of nodes that do not say the same. */
#include "inventory/reads_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void versions_that_differ_are_read_again(void **state)
{
    struct world *world = *state;
    struct answer *answer = world_get(world, 3);
    world_flush(world);
    world_answer_store(world); /* then a batch commits, and reaches the nodes first */
    world->db[3] = (struct stock_value){3, 299, 11};
    world_store_on_nodes(world, &world->db[3]);
    world_answer_nodes(world);
    assert_int_equal(answer->count, 0);
    world_one_try(world);
    assert_done(answer, 299, 11, true);
    assert_int_equal(reads_counts(world->reads).again, 1);
}

static void again_means_the_batch_if_one_is_under_way(void **state)
{
    struct world *world = *state;
    struct answer *answer = world_get(world, 3);
    world_flush(world);
    world_answer_store(world);
    world->db[3] = (struct stock_value){3, 299, 11};
    world_store_on_nodes(world, &world->db[3]);
    reads_batch_began(world->reads, 3);
    world_answer_nodes(world);
    assert_int_equal(world->asked, 0);
    struct answer *fresh = world_get(world, 3);
    world->db[3] = (struct stock_value){3, 298, 12};
    reads_batch_ended(world->reads, 3, &world->db[3]);
    world_answer_put(world);
    assert_done(answer, 298, 12, true);
    assert_done(fresh, 298, 12, true);
}

static void after_five_tries_it_says_moving(void **state)
{
    struct world *world = *state;
    struct answer *answer = world_get(world, 3);
    for (int i = 0; i < READS_TRIES; i++) {
        world_advance(world, 10000);
        assert_int_equal(answer->count, 0);
        world_answer_store(world);
        world->db[3].version++;
        world->db[3].stock--;
        world_store_on_nodes(world, &world->db[3]);
        world_answer_nodes(world);
    }
    assert_int_equal(answer->count, 1);
    assert_true(answer->stock.moving);
    assert_false(answer->stock.synced);
    assert_int_equal(world->asked_in_all[STORE_READ], READS_TRIES);
    assert_int_equal(world->asked_in_all[NODES_PUT], 0);
    assert_int_equal(reads_counts(world->reads).moving, 1);
}

static void a_node_that_stays_behind_is_told_and_then_repaired(void **state)
{
    struct world *world = *state;
    world->nodes[2][3] = (struct stock_node){STOCK_ABSENT, 0, 0};
    struct answer *answer = world_get(world, 3);
    for (int i = 0; i < READS_TRIES; i++) {
        assert_int_equal(answer->count, 0);
        world_advance(world, 10000);
        world_answer_store(world);
        world_answer_nodes(world);
    }
    assert_done(answer, 300, 10, false);
    assert_false(answer->stock.moving);
    assert_int_equal(answer->nodes[2].held, STOCK_ABSENT);
    assert_int_equal(answer->stock.view.stock, 300);
    world_answer_put(world);
    struct answer *next = world_get(world, 3);
    world_one_try(world);
    assert_done(next, 300, 10, true);
    assert_int_equal(reads_counts(world->reads).repairs, 1);
}

static void a_number_changed_by_hand_is_told_and_then_repaired(void **state)
{
    struct world *world = *state;
    world->nodes[0][3].stock = 999;
    struct answer *answer = world_get(world, 3);
    for (int i = 0; i < READS_TRIES; i++) {
        world_advance(world, 10000);
        world_answer_store(world);
        world_answer_nodes(world);
    }
    assert_done(answer, 300, 10, false);
    assert_int_equal(answer->nodes[0].stock, 999);
    world_answer_put(world);
    assert_int_equal(world->nodes[0][3].stock, 300);
}

static void a_node_ahead_of_postgres_is_never_lowered(void **state)
{
    struct world *world = *state;
    world->nodes[1][3] = (struct stock_node){STOCK_HELD, 17, 99};
    struct answer *answer = world_get(world, 3);
    for (int i = 0; i < READS_TRIES; i++) {
        world_advance(world, 10000);
        world_answer_store(world);
        world_answer_nodes(world);
    }
    assert_done(answer, 300, 10, false);
    assert_int_equal(world->asked_in_all[NODES_PUT], 0);
}

static void unreachable_nodes_do_not_count(void **state)
{
    struct world *world = *state;
    world->nodes[1][3].held = STOCK_UNREACHABLE;
    struct answer *four = world_get(world, 3);
    world_one_try(world);
    assert_done(four, 300, 10, true);
    for (unsigned node = 0; node < NODES; node++)
        world->nodes[node][3] = (struct stock_node){STOCK_UNREACHABLE, 0, 0};
    struct answer *none = world_get(world, 3);
    world_one_try(world);
    assert_done(none, 300, 10, false);
    assert_false(none->stock.view.has_stock);
    assert_int_equal(world->asked_in_all[STORE_READ], 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(versions_that_differ_are_read_again),
        TEST(again_means_the_batch_if_one_is_under_way),
        TEST(after_five_tries_it_says_moving),
        TEST(a_node_that_stays_behind_is_told_and_then_repaired),
        TEST(a_number_changed_by_hand_is_told_and_then_repaired),
        TEST(a_node_ahead_of_postgres_is_never_lowered),
        TEST(unreachable_nodes_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
