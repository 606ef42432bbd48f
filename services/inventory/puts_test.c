#include "inventory/puts.h"

#include "inventory/fake_nodes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 5, REPEATS_MAX = 4 };

struct world {
    struct fake_nodes *fake;
    struct puts *puts;
    unsigned behind[NODES];
    unsigned answers;
    struct stock_value value; /* of the last answer */
    struct stock_node held[NODES];
    const struct stock_value *put_again; /* an answer puts this */
};

static void on_behind(void *arg, unsigned node)
{
    ((struct world *)arg)->behind[node]++;
}

static void flush_later(void *arg)
{
    fake_flush_later(((struct world *)arg)->fake);
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    world->fake = fake_nodes_new(NODES);
    world->puts = puts_new(&(struct puts_options){.timers = &world->fake->timers,
                                                  .port = &world->fake->port,
                                                  .repeats_max = REPEATS_MAX,
                                                  .flush_later = flush_later,
                                                  .behind = on_behind,
                                                  .arg = world});
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    puts_free(world->puts);
    fake_nodes_free(world->fake);
    free(world);
    return 0;
}

static void flush(struct world *world)
{
    while (world->fake->flush_wanted) {
        world->fake->flush_wanted = false;
        puts_flush(world->puts, false);
    }
}

static void on_stored(void *arg, const struct stock_stored *stored)
{
    struct world *world = arg;
    world->answers++;
    world->value = stored->value;
    memcpy(world->held, stored->nodes, stored->node_count * sizeof *stored->nodes);
    if (world->put_again == NULL) return;
    const struct stock_value *again = world->put_again;
    world->put_again = NULL;
    puts_put(world->puts, again, on_stored, world);
}

static void put(struct world *world, int64_t product, int64_t stock, int64_t version)
{
    puts_put(world->puts, &(struct stock_value){product, stock, version}, on_stored, world);
}

static void deliver_to_all(struct world *world)
{
    for (unsigned node = 0; node < NODES; node++)
        fake_deliver(world->fake, node, FAKE_DONE);
    flush(world);
}

static void assert_held(const struct world *world, unsigned node, int64_t product, int64_t stock)
{
    const struct stock_node *held = fake_held(world->fake, node, product);
    assert_int_equal(held->held, STOCK_HELD);
    assert_int_equal(held->stock, stock);
}

static void a_put_reaches_all_nodes_and_is_answered_once(void **state)
{
    struct world *world = *state;
    put(world, 7, 90, 11);
    assert_int_equal(world->answers, 0);
    flush(world);
    for (unsigned node = 0; node < NODES; node++) {
        assert_int_equal(world->answers, 0);
        assert_true(fake_deliver(world->fake, node, FAKE_DONE));
        assert_held(world, node, 7, 90);
    }
    assert_int_equal(world->answers, 1);
    for (unsigned node = 0; node < NODES; node++) {
        assert_int_equal(world->held[node].held, STOCK_HELD);
        assert_int_equal(world->held[node].stock, 90);
        assert_int_equal(world->held[node].version, 11);
    }
    assert_int_equal(puts_counts(world->puts).products, 0);
}

static void of_puts_that_come_meanwhile_only_the_newest_goes_out(void **state)
{
    struct world *world = *state;
    put(world, 7, 90, 11);
    flush(world);
    for (int i = 1; i <= 50; i++)
        put(world, 7, 90 - i, 11 + i);
    put(world, 7, 89, 12); /* late, older */
    flush(world);
    for (unsigned node = 0; node < NODES; node++)
        assert_int_equal(world->fake->nodes[node].writes, 1);
    deliver_to_all(world);
    assert_int_equal(world->answers, 1);
    deliver_to_all(world);
    assert_int_equal(world->answers, 52);
    assert_int_equal(world->value.stock, 40);
    for (unsigned node = 0; node < NODES; node++) {
        assert_int_equal(world->fake->nodes[node].writes, 2);
        assert_held(world, node, 7, 40);
    }
    assert_int_equal(puts_counts(world->puts).products, 0);
}

static void a_put_never_joins_a_round_that_began_before_it(void **state)
{
    struct world *world = *state;
    put(world, 7, 90, 11);
    flush(world);
    fake_deliver(world->fake, 0, FAKE_DONE);
    fake_wipe(world->fake, 0);
    put(world, 7, 90, 11);
    for (unsigned node = 1; node < NODES; node++)
        fake_deliver(world->fake, node, FAKE_DONE);
    flush(world);
    assert_int_equal(world->answers, 1);
    deliver_to_all(world);
    assert_int_equal(world->answers, 2);
    assert_held(world, 0, 7, 90);
}

static void products_of_one_turn_share_a_script(void **state)
{
    struct world *world = *state;
    for (int product = 1; product <= 300; product++)
        put(world, product, product, 11);
    flush(world);
    assert_int_equal(world->fake->nodes[0].writes, PUTS_FLIGHTS_MAX);
    for (int i = 0; i < 3; i++)
        deliver_to_all(world);
    assert_int_equal(world->fake->nodes[0].writes, (300 + PUTS_CHUNK - 1) / PUTS_CHUNK);
    assert_int_equal(world->answers, 300);
    for (int product = 1; product <= 300; product++)
        assert_held(world, 4, product, product);
}

/* Under load the scripts get larger, not more. */
static void what_comes_while_two_flights_are_in_the_air_flies_together(void **state)
{
    struct world *world = *state;
    for (int product = 1; product <= 10; product++) {
        put(world, product, product, 11);
        flush(world);
    }
    for (unsigned node = 0; node < NODES; node++)
        assert_int_equal(world->fake->nodes[node].writes, 2);
    fake_deliver(world->fake, 0, FAKE_DONE);
    fake_deliver(world->fake, 1, FAKE_DONE);
    flush(world);
    assert_int_equal(world->fake->nodes[0].writes, 2);
    fake_deliver(world->fake, 2, FAKE_LOST); /* the third has spoken: landed */
    flush(world);
    for (unsigned node = 0; node < NODES; node++) {
        assert_int_equal(world->fake->nodes[node].writes, 3);
        assert_int_equal(world->fake->nodes[node].products_written, 10);
    }
    for (int i = 0; i < 3; i++)
        deliver_to_all(world);
    assert_int_equal(world->answers, 10);
    for (int product = 1; product <= 10; product++)
        assert_held(world, 4, product, product);
}

static void put_unheard(struct world *world, int64_t product, int64_t stock, int64_t version)
{
    puts_put(world->puts, &(struct stock_value){product, stock, version}, NULL, NULL);
    flush(world);
}

static void puts_that_nobody_waits_for_leave_at_a_pace(void **state)
{
    struct world *world = *state;
    put_unheard(world, 7, 90, 11); /* after a silence: at once */
    assert_int_equal(world->fake->nodes[0].writes, 1);
    deliver_to_all(world);
    put_unheard(world, 7, 80, 12);
    put_unheard(world, 7, 70, 13);
    put_unheard(world, 8, 60, 14);
    fake_advance(world->fake, PUTS_PACE_US - 1);
    flush(world);
    assert_int_equal(world->fake->nodes[0].writes, 1);
    fake_advance(world->fake, 1);
    flush(world);
    assert_int_equal(world->fake->nodes[0].writes, 2);
    deliver_to_all(world);
    assert_held(world, 0, 7, 70);
    assert_held(world, 0, 8, 60);
    put_unheard(world, 7, 50, 15);
    assert_int_equal(world->fake->nodes[0].writes, 2);
    put(world, 8, 40, 16); /* with it goes what waits */
    flush(world);
    assert_int_equal(world->fake->nodes[0].writes, 3);
    deliver_to_all(world);
    assert_int_equal(world->answers, 1);
    assert_held(world, 0, 7, 50);
    put_unheard(world, 7, 30, 17);
    assert_int_equal(world->fake->nodes[0].writes, 3);
    put(world, 7, 20, 18); /* of the same product, too */
    flush(world);
    assert_int_equal(world->fake->nodes[0].writes, 4);
    deliver_to_all(world);
    put_unheard(world, 7, 10, 19);
    puts_flush(world->puts, true);
    assert_int_equal(world->fake->nodes[0].writes, 5);
    deliver_to_all(world);
    assert_held(world, 0, 7, 10);
    fake_advance(world->fake, 10 * PUTS_PACE_US);
    flush(world);
    assert_int_equal(world->fake->nodes[0].writes, 5);
}

static void who_is_about_to_ask_the_nodes_waits_for_no_flight(void **state)
{
    struct world *world = *state;
    for (int product = 1; product <= 4; product++) {
        put(world, product, product, 11);
        flush(world);
    }
    puts_flush(world->puts, true);
    assert_int_equal(world->fake->nodes[0].products_written, 4);
    for (int i = 0; i < 4; i++)
        deliver_to_all(world);
    assert_int_equal(world->answers, 4);
    put(world, 5, 5, 11); /* and the count of flights is right again */
    flush(world);
    put(world, 6, 6, 11);
    flush(world);
    put(world, 7, 7, 11);
    flush(world);
    assert_int_equal(world->fake->nodes[0].products_written, 6);
    for (int i = 0; i < 3; i++)
        deliver_to_all(world);
    assert_int_equal(world->answers, 7);
}

static void a_node_that_is_down_is_not_waited_for_nor_repeated_to(void **state)
{
    struct world *world = *state;
    fake_down(world->fake, 2);
    put(world, 7, 90, 11);
    flush(world);
    deliver_to_all(world);
    assert_int_equal(world->answers, 1);
    assert_int_equal(world->held[2].held, STOCK_UNREACHABLE);
    assert_int_equal(world->held[3].held, STOCK_HELD);
    assert_int_equal(puts_counts(world->puts).products, 0);
}

static void with_all_nodes_down_the_answer_comes_at_the_end_of_the_turn(void **state)
{
    struct world *world = *state;
    for (unsigned node = 0; node < NODES; node++)
        fake_down(world->fake, node);
    put(world, 7, 90, 11);
    assert_int_equal(world->answers, 0);
    flush(world);
    assert_int_equal(world->answers, 1);
    assert_int_equal(puts_counts(world->puts).products, 0);
}

static void what_a_node_did_not_acknowledge_is_repeated_with_pauses(void **state)
{
    struct world *world = *state;
    put(world, 7, 90, 11);
    flush(world);
    for (unsigned node = 0; node < NODES; node++)
        fake_deliver(world->fake, node, node == 3 ? FAKE_LOST : FAKE_DONE);
    assert_int_equal(world->answers, 1);
    assert_int_equal(world->held[3].held, STOCK_UNREACHABLE);
    fake_advance(world->fake, PUTS_REPEAT_US - 1);
    flush(world);
    assert_int_equal(world->fake->nodes[3].writes, 1);
    fake_advance(world->fake, 1);
    flush(world);
    assert_int_equal(world->fake->nodes[3].writes, 2);
    assert_int_equal(world->fake->nodes[2].writes, 1);
    fake_deliver(world->fake, 3, FAKE_UNHEARD);
    fake_advance(world->fake, 2 * PUTS_REPEAT_US - 1);
    flush(world);
    assert_int_equal(world->fake->nodes[3].writes, 2);
    fake_advance(world->fake, 1);
    flush(world);
    fake_deliver(world->fake, 3, FAKE_DONE);
    assert_held(world, 3, 7, 90);
    assert_int_equal(world->answers, 1);
    assert_int_equal(puts_counts(world->puts).products, 0);
    assert_int_equal(puts_counts(world->puts).repeats, 2);
}

static void a_newer_put_takes_the_place_of_a_repetition(void **state)
{
    struct world *world = *state;
    put(world, 7, 90, 11);
    flush(world);
    for (unsigned node = 0; node < NODES; node++)
        fake_deliver(world->fake, node, node == 3 ? FAKE_LOST : FAKE_DONE);
    put(world, 7, 80, 12);
    flush(world);
    deliver_to_all(world);
    assert_held(world, 3, 7, 80);
    fake_advance(world->fake, 10 * PUTS_REPEAT_MAX_US);
    flush(world);
    assert_int_equal(world->fake->nodes[3].writes, 2);
    assert_int_equal(puts_counts(world->puts).products, 0);
}

static void an_old_put_of_a_repeating_product_never_lowers_it(void **state)
{
    struct world *world = *state;
    put(world, 7, 90, 11);
    flush(world);
    for (unsigned node = 0; node < NODES; node++)
        fake_deliver(world->fake, node, node == 3 ? FAKE_LOST : FAKE_DONE);
    put(world, 7, 95, 10);
    flush(world);
    deliver_to_all(world);
    for (unsigned node = 0; node < NODES; node++)
        assert_held(world, node, 7, 90);
    assert_int_equal(world->value.stock, 90);
}

static void a_node_too_busy_to_be_written_to_is_repeated_to(void **state)
{
    struct world *world = *state;
    world->fake->nodes[1].full = true;
    put(world, 7, 90, 11);
    flush(world);
    deliver_to_all(world);
    assert_int_equal(world->answers, 1);
    assert_int_equal(world->held[1].held, STOCK_UNREACHABLE);
    world->fake->nodes[1].full = false;
    fake_advance(world->fake, PUTS_REPEAT_US);
    flush(world);
    fake_deliver(world->fake, 1, FAKE_DONE);
    assert_held(world, 1, 7, 90);
}

static void past_the_bound_a_node_is_behind_and_nothing_more_is_kept(void **state)
{
    struct world *world = *state;
    for (int product = 1; product <= 2 * REPEATS_MAX; product++)
        put(world, product, 1, 1);
    flush(world);
    for (unsigned node = 0; node < NODES; node++)
        fake_deliver(world->fake, node, node == 0 ? FAKE_LOST : FAKE_DONE);
    assert_int_equal(world->answers, 2 * REPEATS_MAX);
    assert_int_equal(puts_counts(world->puts).repeating, REPEATS_MAX);
    assert_int_equal(puts_counts(world->puts).products, REPEATS_MAX);
    assert_int_equal(world->behind[0], REPEATS_MAX);
    assert_int_equal(world->behind[1], 0);
}

static void a_node_that_went_down_is_not_repeated_to(void **state)
{
    struct world *world = *state;
    put(world, 7, 90, 11);
    flush(world);
    for (unsigned node = 0; node < NODES; node++)
        fake_deliver(world->fake, node, node == 3 ? FAKE_LOST : FAKE_DONE);
    fake_down(world->fake, 3);
    fake_advance(world->fake, PUTS_REPEAT_US);
    flush(world);
    assert_int_equal(puts_counts(world->puts).products, 0);
}

static void an_answer_may_put_again(void **state)
{
    struct world *world = *state;
    struct stock_value again = {7, 80, 12};
    world->put_again = &again;
    put(world, 7, 90, 11);
    flush(world);
    deliver_to_all(world);
    assert_int_equal(world->answers, 1);
    deliver_to_all(world);
    assert_int_equal(world->answers, 2);
    assert_held(world, 0, 7, 80);
}

/* Random puts, losses and outages: in the end every node that was never down holds the newest, and
 * each put was answered once, by something not older. */
static void nodes_converge_whatever_is_lost(void **state)
{
    struct world *world = *state;
    int64_t newest[8] = {0};
    unsigned asked = 0;
    srand(20240607);
    for (int turn = 0; turn < 20000; turn++) {
        int64_t product = 1 + rand() % 7;
        if (rand() % 3 == 0) {
            int64_t version = newest[product] + 1 + rand() % 3;
            if (rand() % 5 == 0 && newest[product] > 3) {
                version = newest[product] - rand() % 3;
            } else {
                newest[product] = version;
            }
            put(world, product, 100000 - version, version);
            asked++;
        }
        unsigned node = (unsigned)rand() % NODES;
        if (rand() % 200 == 0) fake_down(world->fake, 4);
        if (rand() % 200 == 0) world->fake->nodes[4].up = true;
        fake_deliver(world->fake, node, (enum fake_fate)(rand() % 10 > 2 ? 0 : 1 + rand() % 2));
        if (rand() % 4 == 0) fake_advance(world->fake, PUTS_REPEAT_US / 3);
        if (rand() % 2 == 0) flush(world);
    }
    for (int turn = 0; turn < 100; turn++) {
        flush(world);
        deliver_to_all(world);
        fake_advance(world->fake, PUTS_REPEAT_MAX_US);
    }
    assert_int_equal(world->answers, asked);
    assert_int_equal(puts_counts(world->puts).products, 0);
    for (unsigned node = 0; node < 4; node++) {
        for (int64_t product = 1; product <= 7; product++) {
            if (newest[product] == 0) continue;
            assert_int_equal(fake_held(world->fake, node, product)->version, newest[product]);
            assert_held(world, node, product, 100000 - newest[product]);
        }
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_put_reaches_all_nodes_and_is_answered_once),
        CASE(of_puts_that_come_meanwhile_only_the_newest_goes_out),
        CASE(a_put_never_joins_a_round_that_began_before_it),
        CASE(products_of_one_turn_share_a_script),
        CASE(what_comes_while_two_flights_are_in_the_air_flies_together),
        CASE(puts_that_nobody_waits_for_leave_at_a_pace),
        CASE(who_is_about_to_ask_the_nodes_waits_for_no_flight),
        CASE(a_node_that_is_down_is_not_waited_for_nor_repeated_to),
        CASE(with_all_nodes_down_the_answer_comes_at_the_end_of_the_turn),
        CASE(what_a_node_did_not_acknowledge_is_repeated_with_pauses),
        CASE(a_newer_put_takes_the_place_of_a_repetition),
        CASE(an_old_put_of_a_repeating_product_never_lowers_it),
        CASE(a_node_too_busy_to_be_written_to_is_repeated_to),
        CASE(past_the_bound_a_node_is_behind_and_nothing_more_is_kept),
        CASE(a_node_that_went_down_is_not_repeated_to),
        CASE(an_answer_may_put_again),
        CASE(nodes_converge_whatever_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
