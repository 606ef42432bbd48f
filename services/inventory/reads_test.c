/* Who shares a read, who reads anew, and how a read ends. */
#include "inventory/reads_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void a_read_asks_postgres_then_the_nodes(void **state)
{
    struct world *world = *state;
    struct answer *answer = world_get(world, 3);
    world_one_try(world);
    assert_done(answer, 300, 10, true);
    assert_false(answer->stock.moving);
    assert_int_equal(answer->stock.view.stock, 300);
    assert_int_equal(answer->stock.node_count, NODES);
    assert_int_equal(answer->nodes[4].version, 10);
    assert_int_equal(reads_counts(world->reads).products, 0);
}

static void all_that_wait_share_a_read_and_a_round(void **state)
{
    struct world *world = *state;
    struct answer *answers[30];
    for (int i = 0; i < 30; i++)
        answers[i] = world_get(world, 1 + i % 3);
    world_one_try(world);
    for (int i = 0; i < 30; i++)
        assert_done(answers[i], 100 * (1 + i % 3), 10, true);
    assert_int_equal(world->asked_in_all[STORE_READ], 1);
    assert_int_equal(world->asked_in_all[NODES_READ], 1);
}

static void a_read_never_joins_one_that_began_before_it(void **state)
{
    struct world *world = *state;
    struct answer *first = world_get(world, 3);
    world_flush(world);
    struct answer *second = world_get(world, 3);
    world_flush(world);
    struct question early = world_take(world, STORE_READ);
    early.on_store(early.arg, true, &world->db[3], 1);
    world->db[3] = (struct stock_value){3, 299, 11};
    world_store_on_nodes(world, &world->db[3]);
    world_answer_store(world); /* the second's */
    assert_int_equal(second->count, 0);
    struct question read = world_take(world, NODES_READ);
    struct stock_node old[NODES];
    for (unsigned node = 0; node < NODES; node++)
        old[node] = (struct stock_node){STOCK_HELD, 300, 10};
    read.on_read(read.arg, &(struct stock_read){1, NODES, old});
    assert_done(first, 300, 10, true);
    world_answer_nodes(world);
    assert_done(second, 299, 11, true);
}

static void at_most_two_rounds_are_open(void **state)
{
    struct world *world = *state;
    struct answer *answers[5];
    for (int i = 0; i < 5; i++) {
        answers[i] = world_get(world, 3);
        world_flush(world);
    }
    assert_int_equal(world->asked, 2);
    world_answer_all(world);
    assert_int_equal(world->asked_in_all[STORE_READ], 3);
    for (int i = 0; i < 5; i++)
        assert_done(answers[i], 300, 10, true);
}

static void a_missing_product_and_postgres_down_are_told(void **state)
{
    struct world *world = *state;
    world->db[4].version = 0;
    struct answer *missing = world_get(world, 4);
    struct answer *present = world_get(world, 5);
    world_one_try(world);
    assert_int_equal(missing->stock.outcome, READS_NOT_FOUND);
    assert_done(present, 500, 10, true);
    struct answer *alone = world_get(world, 4);
    world_flush(world);
    world_answer_store(world);
    assert_int_equal(alone->stock.outcome, READS_NOT_FOUND);
    world->postgres_down = true;
    struct answer *down = world_get(world, 5);
    world_flush(world);
    world_answer_store(world);
    assert_int_equal(down->stock.outcome, READS_DOWN);
    assert_int_equal(reads_counts(world->reads).products, 0);
}

static void during_a_batch_the_answer_is_the_batch(void **state)
{
    struct world *world = *state;
    reads_batch_began(world->reads, 3);
    struct answer *first = world_get(world, 3);
    struct answer *second = world_get(world, 3);
    world_flush(world);
    assert_int_equal(world->asked, 0);
    world->db[3] = (struct stock_value){3, 250, 11};
    reads_batch_ended(world->reads, 3, &world->db[3]);
    assert_int_equal(first->count, 0);
    world_answer_put(world);
    assert_done(first, 250, 11, true);
    assert_done(second, 250, 11, true);
    assert_int_equal(world->asked_in_all[STORE_READ], 0);
    assert_int_equal(world->asked_in_all[NODES_READ], 0);
    assert_int_equal(reads_counts(world->reads).joined, 2);
    assert_int_equal(reads_counts(world->reads).products, 0);
}

static void a_batch_without_readers_puts_nothing_of_its_own(void **state)
{
    struct world *world = *state;
    reads_batch_began(world->reads, 3);
    reads_batch_ended(world->reads, 3, &world->db[3]);
    assert_int_equal(world->asked, 0);
    assert_int_equal(reads_counts(world->reads).products, 0);
}

static void after_the_statement_a_read_is_a_read_of_its_own(void **state)
{
    struct world *world = *state;
    reads_batch_began(world->reads, 3);
    struct answer *during = world_get(world, 3);
    world->db[3] = (struct stock_value){3, 250, 11};
    reads_batch_ended(world->reads, 3, &world->db[3]);
    struct answer *after = world_get(world, 3);
    world_flush(world);
    world_answer_put(world);
    world_answer_store(world);
    world_answer_nodes(world);
    assert_done(during, 250, 11, true);
    assert_done(after, 250, 11, true);
    assert_int_equal(world->asked_in_all[STORE_READ], 1);
}

static void of_a_batch_that_failed_the_readers_read_for_themselves(void **state)
{
    struct world *world = *state;
    reads_batch_began(world->reads, 3);
    struct answer *answer = world_get(world, 3);
    reads_batch_ended(world->reads, 3, NULL);
    assert_int_equal(answer->count, 0);
    world_one_try(world);
    assert_done(answer, 300, 10, true);
}

static void a_deadline_answers_alone(void **state)
{
    struct world *world = *state;
    struct answer *late = world_get(world, 3);
    world_advance(world, DEADLINE_US - 1);
    struct answer *fresh = world_get(world, 3);
    assert_int_equal(late->count, 0);
    world_advance(world, 1);
    assert_int_equal(late->count, 1);
    assert_int_equal(late->stock.outcome, READS_EXPIRED);
    world_answer_all(world);
    assert_done(fresh, 300, 10, true);
}

static void a_cancelled_call_is_never_answered(void **state)
{
    struct world *world = *state;
    struct answer *gone = world_get(world, 3);
    struct answer *stays = world_get(world, 3);
    world_flush(world);
    reads_cancel(&gone->call);
    reads_cancel(&gone->call);
    world_one_try(world);
    assert_int_equal(gone->count, 0);
    assert_done(stays, 300, 10, true);
    struct answer *all_gone = world_get(world, 3);
    reads_cancel(&all_gone->call);
    world_one_try(world);
    world_advance(world, 2 * DEADLINE_US);
    assert_int_equal(all_gone->count, 0);
    assert_int_equal(reads_counts(world->reads).products, 0);
}

/* Calls that were cancelled leave nothing behind, wherever they waited. */
static void reads_may_be_freed_in_any_state(void **state)
{
    struct world *world = *state;
    struct answer *paused = world_get(world, 1);
    world->nodes[0][1].version = 9;
    for (int i = 0; i < 2; i++)
        world_one_try(world);
    assert_true(timers_next_us(&world->timers) < paused->call.deadline.due_us);
    reads_batch_began(world->reads, 2);
    struct answer *joined = world_get(world, 2);
    struct answer *queued = world_get(world, 3);
    reads_cancel(&paused->call);
    reads_cancel(&joined->call);
    reads_cancel(&queued->call);
    reads_free(world->reads);
    world->reads = NULL;
    assert_int_equal(timers_next_us(&world->timers), TIMER_NEVER);
}

static void an_answer_may_ask_again(void **state)
{
    struct world *world = *state;
    struct answer *answer = world_get(world, 3);
    answer->get_again = 4;
    world_one_try(world);
    assert_done(answer, 300, 10, true);
    answer->count = 0;
    world_one_try(world);
    assert_done(answer, 400, 10, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_read_asks_postgres_then_the_nodes),
        TEST(all_that_wait_share_a_read_and_a_round),
        TEST(a_read_never_joins_one_that_began_before_it),
        TEST(at_most_two_rounds_are_open),
        TEST(a_missing_product_and_postgres_down_are_told),
        TEST(during_a_batch_the_answer_is_the_batch),
        TEST(a_batch_without_readers_puts_nothing_of_its_own),
        TEST(after_the_statement_a_read_is_a_read_of_its_own),
        TEST(of_a_batch_that_failed_the_readers_read_for_themselves),
        TEST(a_deadline_answers_alone),
        TEST(a_cancelled_call_is_never_answered),
        TEST(reads_may_be_freed_in_any_state),
        TEST(an_answer_may_ask_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
