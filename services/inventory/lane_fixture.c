#include "inventory/lane_fixture.h"

#include "base/check.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

int world_set_up(void **state)
{
    log_set_level(LOG_LEVEL_ERROR);
    struct world *world = xcalloc(1, sizeof *world);
    struct lanes_options options = world_options();
    world_open(world, &options);
    *state = world;
    return 0;
}

int world_tear_down(void **state)
{
    struct world *world = *state;
    world->auto_store = world->auto_locks = true;
    world_pass(world, 6000000);
    assert_true(lanes_quiet(world->lanes));
    world_close(world);
    free(world);
    return 0;
}

void world_reopen(struct world *world, const struct lanes_options *options)
{
    world_close(world);
    world_open(world, options);
}

void buyer_buy(struct world *world, struct buyer *buyer, int64_t user_id, int64_t quantity,
               const char *key)
{
    struct world_buy order = {.user_id = user_id, .quantity = quantity, .key = key};
    assert_true(world_buy(world, buyer, &order));
}

void assert_answer(const struct buyer *buyer, enum reason reason)
{
    assert_int_equal(buyer->answers, 1);
    assert_string_equal(reason_name(buyer->reason), reason_name(reason));
}

void world_sell_down_to(struct world *world, int64_t left)
{
    static struct buyer first;
    buyer_buy(world, &first, 999, world->products[1].stock - left, "first");
    world_settle(world);
    assert_answer(&first, REASON_NONE);
}

struct world_call *world_open_sale(struct world *world, struct buyer *buyer, int64_t user_id,
                                   const char *key)
{
    world->auto_store = false;
    buyer_buy(world, buyer, user_id, 1, key);
    world_settle(world);
    if (world_look_open(world) != NULL) world_complete(world, world_look_open(world));
    assert_non_null(world_sell_open(world));
    return world_sell_open(world);
}
