#include "inventory/level.h"

#include "inventory/fake_nodes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 3 };

/* Postgres: products 1 to `products`, stock = 1000 + id, all at one version. */
struct world {
    struct fake_nodes *fake;
    struct level *level;
    struct stock_source source;
    int64_t products;
    int64_t version;
    bool broken;    /* pages fail */
    unsigned pages; /* asked for */
    unsigned even[NODES];
    uint64_t written[NODES];
    /* The page under way. */
    int64_t after;
    size_t limit;
    stock_page_fn *on_page;
    void *on_page_arg;
};

static void ask_page(void *arg, int64_t after, size_t limit, stock_page_fn *on_page,
                     void *on_page_arg)
{
    struct world *world = arg;
    assert_null(world->on_page);
    world->pages++;
    world->after = after;
    world->limit = limit;
    world->on_page = on_page;
    world->on_page_arg = on_page_arg;
}

/* Postgres answers, with what it holds now. */
static bool answer_page(struct world *world)
{
    stock_page_fn *on_page = world->on_page;
    if (on_page == NULL) return false;
    world->on_page = NULL;
    struct stock_value *values = calloc(world->limit, sizeof *values);
    struct stock_page page = {.ok = !world->broken, .values = values};
    for (int64_t id = world->after + 1; id <= world->products && page.count < world->limit; id++)
        values[page.count++] = (struct stock_value){id, 1000 + id, world->version};
    on_page(world->on_page_arg, &page);
    free(values);
    return true;
}

static void on_even(void *arg, unsigned node, uint64_t products)
{
    struct world *world = arg;
    world->even[node]++;
    world->written[node] = products;
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    world->fake = fake_nodes_new(NODES);
    world->version = 5;
    world->source = (struct stock_source){ask_page, world};
    world->level = level_new(&(struct level_options){.timers = &world->fake->timers,
                                                     .port = &world->fake->port,
                                                     .source = &world->source,
                                                     .on_even = on_even,
                                                     .arg = world});
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    level_free(world->level);
    answer_page(world); /* one may be open: late is harmless */
    fake_nodes_free(world->fake);
    free(world);
    return 0;
}

/* Until nothing moves. */
static void run(struct world *world)
{
    bool moved = true;
    while (moved) {
        moved = answer_page(world);
        for (unsigned node = 0; node < NODES; node++)
            moved = fake_deliver(world->fake, node, FAKE_DONE) || moved;
    }
}

static bool is_level(const struct world *world, unsigned node)
{
    for (int64_t id = 1; id <= world->products; id++) {
        const struct stock_node *held = fake_held(world->fake, node, id);
        if (held->held != STOCK_HELD || held->stock != 1000 + id) return false;
        if (held->version < world->version) return false;
    }
    return true;
}

static void a_node_that_is_behind_gets_every_product(void **state)
{
    struct world *world = *state;
    const int64_t catalogues[] = {0, 1, 249, 250, 251, 999, 1000, 1001, 2000, 4321};
    for (size_t i = 0; i < sizeof catalogues / sizeof catalogues[0]; i++) {
        world->products = catalogues[i];
        fake_wipe(world->fake, 0);
        level_behind(world->level, 0);
        assert_false(level_even(world->level, 0));
        run(world);
        assert_true(level_even(world->level, 0));
        assert_int_equal(world->even[0], i + 1);
        assert_true(is_level(world, 0));
        assert_int_equal(world->written[0], catalogues[i]);
    }
    assert_int_equal(world->even[1], 0);
    assert_int_equal(world->fake->nodes[1].writes, 0);
}

static void nodes_share_the_walk(void **state)
{
    struct world *world = *state;
    world->products = 5500;
    for (unsigned node = 0; node < NODES; node++)
        level_behind(world->level, node);
    run(world);
    /* The page under way when the second joined is not theirs: one more, at most. */
    assert_in_range(world->pages, 6, 7);
    for (unsigned node = 0; node < NODES; node++)
        assert_true(level_even(world->level, node) && is_level(world, node));
}

static void a_node_joins_in_the_middle_and_goes_once_round(void **state)
{
    struct world *world = *state;
    world->products = 5500;
    level_behind(world->level, 0);
    for (int i = 0; i < 14; i++) {
        answer_page(world);
        fake_deliver(world->fake, 0, FAKE_DONE);
    }
    unsigned pages = world->pages;
    assert_in_range(pages, 3, 6);
    level_behind(world->level, 1);
    run(world);
    assert_true(is_level(world, 0) && is_level(world, 1));
    assert_true(level_even(world->level, 0) && level_even(world->level, 1));
    assert_int_equal(world->written[1], 5500);
    assert_in_range(world->pages, 6 + pages - 1, 6 + pages + 1);
}

/* What was committed before the node was reported behind must be in its lap: a page that was asked
 * for earlier does not count. */
static void a_page_asked_for_before_a_node_joined_is_not_its_page(void **state)
{
    struct world *world = *state;
    world->products = 100;
    level_behind(world->level, 0);
    assert_non_null(world->on_page);
    struct stock_value old[100];
    for (int64_t id = 1; id <= 100; id++)
        old[id - 1] = (struct stock_value){id, 1, 4};
    level_behind(world->level, 1);
    stock_page_fn *on_page = world->on_page;
    world->on_page = NULL;
    on_page(world->on_page_arg, &(struct stock_page){true, old, 100});
    run(world);
    assert_true(is_level(world, 1));
    assert_true(level_even(world->level, 1));
}

static void one_script_per_node_is_under_way(void **state)
{
    struct world *world = *state;
    world->products = 4000;
    level_behind(world->level, 0);
    level_behind(world->level, 1);
    bool moved = true;
    while (moved) {
        moved = answer_page(world);
        for (unsigned node = 0; node < 2; node++) {
            const struct fake_write *first = world->fake->nodes[node].inbox;
            assert_true(first == NULL || first->next == NULL);
            moved = fake_deliver(world->fake, node, FAKE_DONE) || moved;
        }
    }
    assert_true(level_even(world->level, 0) && level_even(world->level, 1));
}

static void a_higher_version_on_the_node_stays(void **state)
{
    struct world *world = *state;
    world->products = 10;
    world->fake->nodes[0].held[3] = (struct stock_node){STOCK_HELD, 1, world->version + 1};
    level_behind(world->level, 0);
    run(world);
    assert_int_equal(fake_held(world->fake, 0, 3)->stock, 1);
    assert_int_equal(fake_held(world->fake, 0, 4)->stock, 1004);
}

static void a_write_without_an_answer_starts_the_lap_anew_after_a_pause(void **state)
{
    struct world *world = *state;
    world->products = 2500;
    level_behind(world->level, 0);
    level_behind(world->level, 1);
    answer_page(world);
    answer_page(world);
    while (!fake_deliver(world->fake, 0, FAKE_LOST))
        answer_page(world);
    run(world);
    assert_true(level_even(world->level, 1)); /* others go on */
    assert_false(level_even(world->level, 0));
    fake_advance(world->fake, LEVEL_PAUSE_US);
    run(world);
    assert_true(level_even(world->level, 0) && is_level(world, 0));
}

static void a_node_that_goes_down_leaves_and_comes_again(void **state)
{
    struct world *world = *state;
    world->products = 3000;
    level_behind(world->level, 0);
    answer_page(world);
    fake_deliver(world->fake, 0, FAKE_DONE);
    fake_down(world->fake, 0);
    level_away(world->level, 0);
    run(world);
    assert_false(level_even(world->level, 0));
    assert_int_equal(world->even[0], 0);
    world->fake->nodes[0].up = true;
    level_behind(world->level, 0);
    run(world);
    assert_true(level_even(world->level, 0) && is_level(world, 0));
    assert_int_equal(world->even[0], 1);
}

/* The write of the lap before the outage is answered late: it is no progress of the new lap. */
static void an_answer_of_an_earlier_lap_counts_for_nothing(void **state)
{
    struct world *world = *state;
    world->products = 600;
    level_behind(world->level, 0);
    answer_page(world);
    assert_non_null(world->fake->nodes[0].inbox);
    level_away(world->level, 0);
    level_behind(world->level, 0);
    fake_deliver(world->fake, 0, FAKE_DONE);
    run(world);
    assert_true(level_even(world->level, 0) && is_level(world, 0));
    assert_int_equal(world->written[0], 600);
}

static void postgres_down_is_asked_again_after_pauses(void **state)
{
    struct world *world = *state;
    world->products = 10;
    world->broken = true;
    level_behind(world->level, 0);
    run(world);
    assert_int_equal(world->pages, 1);
    fake_advance(world->fake, LEVEL_PAUSE_US);
    run(world);
    assert_int_equal(world->pages, 2);
    fake_advance(world->fake, LEVEL_PAUSE_US);
    run(world);
    assert_int_equal(world->pages, 2);
    world->broken = false;
    fake_advance(world->fake, LEVEL_PAUSE_US);
    run(world);
    assert_true(level_even(world->level, 0) && is_level(world, 0));
}

/* The page with which a lap would have begun fails: the lap begins with the next. */
static void a_lap_may_begin_with_a_page_that_is_asked_for_twice(void **state)
{
    struct world *world = *state;
    world->products = 3500;
    level_behind(world->level, 0);
    answer_page(world);
    answer_page(world);
    world->broken = true;
    level_behind(world->level, 1);
    run(world);
    world->broken = false;
    fake_advance(world->fake, LEVEL_PAUSE_US);
    run(world);
    assert_true(level_even(world->level, 1) && is_level(world, 1));
}

static void reported_behind_again_and_again_it_still_gets_there(void **state)
{
    struct world *world = *state;
    world->products = 3000;
    for (int i = 0; i < 200; i++) {
        level_behind(world->level, 0);
        answer_page(world);
        fake_deliver(world->fake, 0, FAKE_DONE);
    }
    assert_true(is_level(world, 0)); /* the walk went on, though it never ended */
    run(world);
    assert_true(level_even(world->level, 0));
}

static void nothing_is_read_while_no_node_is_behind(void **state)
{
    struct world *world = *state;
    world->products = 3000;
    level_behind(world->level, 0);
    run(world);
    unsigned pages = world->pages;
    fake_advance(world->fake, 3600000000);
    run(world);
    assert_int_equal(world->pages, pages);
    assert_int_equal(timers_next_us(&world->fake->timers), TIMER_NEVER);
}

/* Random outages, losses, joins: when all is quiet, every node that is up is even and has it all,
 * though the version went up meanwhile and nodes lost their data. */
static void nodes_get_level_whatever_happens(void **state)
{
    struct world *world = *state;
    world->products = 3333;
    srand(77);
    for (int turn = 0; turn < 6000; turn++) {
        unsigned node = (unsigned)rand() % NODES;
        int what = rand() % 100;
        if (what < 2) {
            fake_down(world->fake, node);
            level_away(world->level, node);
            if (rand() % 2 == 0) fake_wipe(world->fake, node);
            world->version++;
        } else if (what < 5 && !world->fake->nodes[node].up) {
            world->fake->nodes[node].up = true;
            level_behind(world->level, node);
        } else if (what < 40) {
            world->broken = rand() % 20 == 0;
            answer_page(world);
            world->broken = false;
        } else if (what < 95) {
            fake_deliver(world->fake, node, rand() % 50 == 0 ? FAKE_LOST : FAKE_DONE);
        } else {
            fake_advance(world->fake, LEVEL_PAUSE_US / 2);
        }
    }
    for (unsigned node = 0; node < NODES; node++) {
        if (!world->fake->nodes[node].up) {
            world->fake->nodes[node].up = true;
            level_behind(world->level, node);
        }
    }
    world->version++;
    for (unsigned node = 0; node < NODES; node++)
        level_behind(world->level, node);
    for (int i = 0; i < 10; i++) {
        run(world);
        fake_advance(world->fake, LEVEL_PAUSE_MAX_US);
    }
    for (unsigned node = 0; node < NODES; node++)
        assert_true(level_even(world->level, node) && is_level(world, node));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_node_that_is_behind_gets_every_product),
        CASE(nodes_share_the_walk),
        CASE(a_node_joins_in_the_middle_and_goes_once_round),
        CASE(a_page_asked_for_before_a_node_joined_is_not_its_page),
        CASE(one_script_per_node_is_under_way),
        CASE(a_higher_version_on_the_node_stays),
        CASE(a_write_without_an_answer_starts_the_lap_anew_after_a_pause),
        CASE(a_node_that_goes_down_leaves_and_comes_again),
        CASE(an_answer_of_an_earlier_lap_counts_for_nothing),
        CASE(postgres_down_is_asked_again_after_pauses),
        CASE(a_lap_may_begin_with_a_page_that_is_asked_for_twice),
        CASE(reported_behind_again_and_again_it_still_gets_there),
        CASE(nothing_is_read_while_no_node_is_behind),
        CASE(nodes_get_level_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
