/* lane_fixture.h - what tests of lanes begin with, do again and again, and end with.
 *
 * Each test has a world of its own in *state, with default options, and must leave it so that all
 * orders end when everything answers by itself.
 */
#ifndef QUORATE_INVENTORY_LANE_FIXTURE_H
#define QUORATE_INVENTORY_LANE_FIXTURE_H

#include "inventory/lane_world.h"

/* For cmocka. */
int world_set_up(void **state);
int world_tear_down(void **state);

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

void world_reopen(struct world *world, const struct lanes_options *options);

/* Of product 1, which takes the order. */
void buyer_buy(struct world *world, struct buyer *buyer, int64_t user_id, int64_t quantity,
               const char *key);

/* Answered once, with this. */
void assert_answer(const struct buyer *buyer, enum reason reason);

/* Sells all of product 1 but `left`, and lets the lane know. */
void world_sell_down_to(struct world *world, int64_t left);

/* Opens the lane, and has one batch under way. */
struct world_call *world_open_sale(struct world *world, struct buyer *buyer, int64_t user_id,
                                   const char *key);

#endif
