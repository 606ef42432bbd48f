/* The live stock on a real Postgres and real Redis servers: levelling by Postgres, reads of both.
 */
#include "inventory/live.h"

#include "base/loop_fixture.h"
#include "base/redis_fixture.h"
#include "inventory/database_fixture.h"
#include "inventory/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 3 };

struct world {
    struct loop *loop;
    struct postgres_fixture *postgres;
    struct redis_fixture *redis[NODES];
    char names[NODES][32];
    const char *items[NODES];
    struct conf_list list;
    struct database *database;
    struct store *store;
    struct live *live;
    struct reads_call call;
    unsigned answers;
    struct reads_stock stock;
};

static bool ready(const struct world *world)
{
    for (unsigned node = 0; node < NODES; node++) {
        if (stock_node_state(live_stock(world->live), node) != STOCK_NODE_LEVEL) return false;
    }
    return database_up(world->database);
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    world->loop = loop_new();
    world->postgres = postgres_fixture_start();
    for (unsigned i = 0; i < NODES; i++) {
        world->redis[i] = redis_fixture_start("");
        snprintf(world->names[i], sizeof world->names[i], "127.0.0.1:%u",
                 redis_fixture_port(world->redis[i]));
        world->items[i] = world->names[i];
    }
    world->list = (struct conf_list){world->items, NODES};
    world->database = database_fixture_open(world->loop, world->postgres, 1, 2000000);
    world->store = store_new(world->database);
    world->live = live_open(world->loop,
                            &(struct live_options){.nodes = &world->list, .store = world->store});
    LOOP_WITHIN_MS(world->loop, 5000,
                   ready(world)); /* the nodes were level at once: with an empty Postgres */
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    database_close(world->database);
    live_close(world->live);
    store_free(world->store);
    loop_free(world->loop);
    for (unsigned i = 0; i < NODES; i++)
        redis_fixture_free(world->redis[i]);
    postgres_fixture_free(world->postgres);
    free(world);
    return 0;
}

static void sql(const struct world *world, const char *text)
{
    free(postgres_fixture_sql(world->postgres, text));
}

static void on_stock(void *arg, const struct reads_stock *stock)
{
    struct world *world = arg;
    world->answers++;
    world->stock = *stock;
}

static void get(struct world *world, int64_t product)
{
    world->answers = 0;
    reads_get(live_reads(world->live), &world->call, product, loop_now_us(world->loop) + 4000000,
              on_stock, world);
    LOOP_WITHIN_MS(world->loop, 5000, world->answers > 0);
}

static void assert_on_node(struct world *world, unsigned node, const char *stock)
{
    char *text = redis_fixture_ask(world->redis[node], "GET stock:1");
    assert_string_equal(text, stock);
    free(text);
}

/* Sold by somebody who died before the nodes were told. */
static void a_node_is_levelled_by_postgres_and_a_read_repairs(void **state)
{
    struct world *world = *state;
    sql(world, "INSERT INTO products (name, price, stock, version) VALUES ('A', 1, 100, 1000)");
    redis_fixture_restart(world->redis[1], false);
    get(world, 1);
    assert_int_equal(world->stock.outcome, READS_DONE);
    assert_int_equal(world->stock.db.stock, 100);
    assert_false(world->stock.synced);
    LOOP_WITHIN_MS(world->loop, 5000, ready(world));
    get(world, 1);
    assert_true(world->stock.synced);
    for (unsigned node = 0; node < NODES; node++)
        assert_on_node(world, node, "100");
}

static void what_a_batch_committed_is_put_and_read(void **state)
{
    struct world *world = *state;
    struct lane_stock lane = live_lane_stock(world->live);
    sql(world, "INSERT INTO products (name, price, stock, version) VALUES ('A', 1, 100, 1000)");
    lane.began(lane.arg, 1);
    world->answers = 0;
    reads_get(live_reads(world->live), &world->call, 1, loop_now_us(world->loop) + 4000000,
              on_stock, world);
    sql(world, "UPDATE products SET stock = 99, version = 1001");
    lane.ended(lane.arg, 1, &(struct stock_value){1, 99, 1001});
    LOOP_WITHIN_MS(world->loop, 5000, world->answers > 0);
    assert_true(world->stock.synced);
    assert_int_equal(world->stock.db.stock, 99);
    assert_int_equal(reads_counts(live_reads(world->live)).joined, 1);
    for (unsigned node = 0; node < NODES; node++)
        assert_on_node(world, node, "99");
    lane.began(lane.arg, 1);
    lane.ended(lane.arg, 1, NULL);
    get(world, 1);
    assert_true(world->stock.synced);
    get(world, 2);
    assert_int_equal(world->stock.outcome, READS_NOT_FOUND);
}

static void without_postgres_a_read_says_so(void **state)
{
    struct world *world = *state;
    postgres_fixture_kill(world->postgres);
    get(world, 1);
    assert_int_equal(world->stock.outcome, READS_DOWN);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_node_is_levelled_by_postgres_and_a_read_repairs),
        CASE(what_a_batch_committed_is_put_and_read),
        CASE(without_postgres_a_read_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
