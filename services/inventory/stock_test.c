/* The live stock on real Redis servers. Postgres is an array here. */
#include "inventory/stock.h"

#include "base/loop_fixture.h"
#include "base/metrics.h"
#include "base/redis_fixture.h"

#include <inttypes.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 5, PRODUCTS_MAX = 200000 };

struct world {
    struct loop *loop;
    struct redis_fixture *redis[NODES];
    char names[NODES][32];
    const char *items[NODES];
    struct conf_list list;
    struct stock *stock;
    struct metrics *metrics;
    struct stock_source source;
    struct stock_value *db; /* by id; version 0: none */
    int64_t products;       /* highest id */
    unsigned pages;
    unsigned stored;
    struct stock_value value; /* of the last put that was answered */
    struct stock_node held[NODES];
    unsigned reads;
    size_t read_count;
    struct stock_node *read; /* of the last read */
};

/* A page that Postgres is about to answer. */
struct page {
    struct timer timer;
    struct world *world;
    int64_t after;
    size_t limit;
    stock_page_fn *on_page;
    void *arg;
};

static void answer_page(void *arg)
{
    struct page *page = arg;
    const struct world *world = page->world;
    struct stock_value *values = calloc(page->limit, sizeof *values);
    struct stock_page answer = {.ok = true, .values = values};
    for (int64_t id = page->after + 1; id <= world->products && answer.count < page->limit; id++) {
        if (world->db[id].version != 0) values[answer.count++] = world->db[id];
    }
    page->on_page(page->arg, &answer);
    free(values);
    free(page);
}

static void ask_page(void *arg, int64_t after, size_t limit, stock_page_fn *on_page, void *on_arg)
{
    struct world *world = arg;
    struct page *page = calloc(1, sizeof *page);
    *page = (struct page){
        .world = world, .after = after, .limit = limit, .on_page = on_page, .arg = on_arg};
    world->pages++;
    timer_start(&page->timer, loop_timers(world->loop), loop_now_us(world->loop) + 1000,
                answer_page, page);
}

static bool all_level(struct world *world)
{
    for (unsigned node = 0; node < NODES; node++) {
        if (stock_node_state(world->stock, node) != STOCK_NODE_LEVEL) return false;
    }
    return true;
}

static bool one_down(struct world *world)
{
    for (unsigned node = 0; node < NODES; node++) {
        if (stock_node_state(world->stock, node) == STOCK_NODE_DOWN) return true;
    }
    return false;
}

static void open_stock(struct world *world)
{
    world->metrics = metrics_new();
    world->stock =
        stock_open(world->loop, &world->list,
                   &(struct stock_options){.source = &world->source, .metrics = world->metrics});
}

static void close_stock(struct world *world)
{
    stock_close(world->stock);
    metrics_free(world->metrics);
    world->stock = NULL;
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    world->loop = loop_new();
    for (unsigned i = 0; i < NODES; i++) {
        world->redis[i] = redis_fixture_start("--appendonly yes --appendfsync always");
        snprintf(world->names[i], sizeof world->names[i], "127.0.0.1:%u",
                 redis_fixture_port(world->redis[i]));
        world->items[i] = world->names[i];
    }
    world->list = (struct conf_list){world->items, NODES};
    world->db = calloc(PRODUCTS_MAX + 1, sizeof *world->db);
    world->source = (struct stock_source){ask_page, world};
    open_stock(world);
    LOOP_WITHIN_MS(world->loop, 2000, all_level(world));
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    close_stock(world);
    loop_run_ms(world->loop, 10); /* a page may be open */
    loop_free(world->loop);
    for (unsigned i = 0; i < NODES; i++)
        redis_fixture_free(world->redis[i]);
    free(world->read);
    free(world->db);
    free(world);
    return 0;
}

static void on_stored(void *arg, const struct stock_stored *stored)
{
    struct world *world = arg;
    world->stored++;
    world->value = stored->value;
    assert_int_equal(stored->node_count, NODES);
    memcpy(world->held, stored->nodes, sizeof world->held);
}

/* Commits, and puts. */
static void put(struct world *world, int64_t product, int64_t stock, int64_t version)
{
    world->db[product] = (struct stock_value){product, stock, version};
    if (product > world->products) world->products = product;
    stock_put(world->stock, &world->db[product], on_stored, world);
}

static void on_read(void *arg, const struct stock_read *read)
{
    struct world *world = arg;
    size_t bytes = read->count * read->node_count * sizeof *read->nodes;
    world->reads++;
    world->read_count = read->count;
    world->read = realloc(world->read, bytes);
    memcpy(world->read, read->nodes, bytes);
}

static void read_one(struct world *world, int64_t product)
{
    world->reads = 0;
    stock_read(world->stock, &product, 1, on_read, world);
    assert_int_equal(world->reads, 0);
    LOOP_WITHIN_MS(world->loop, 2000, world->reads >= 1);
}

static void assert_on_node(struct world *world, unsigned node, int64_t product, const char *stock,
                           const char *version)
{
    char command[64];
    snprintf(command, sizeof command, "GET stock:%" PRId64, product);
    char *text = redis_fixture_ask(world->redis[node], command);
    assert_string_equal(text, stock);
    free(text);
    snprintf(command, sizeof command, "GET stockver:%" PRId64, product);
    text = redis_fixture_ask(world->redis[node], command);
    assert_string_equal(text, version);
    free(text);
}

static void ask(struct world *world, unsigned node, const char *command)
{
    free(redis_fixture_ask(world->redis[node], command));
}

static void G2_a_new_products_stock_is_on_all_five_at_once(void **state)
{
    struct world *world = *state;
    put(world, 1, 100, 1700000000000000);
    assert_int_equal(world->stored, 0);
    LOOP_WITHIN_MS(world->loop, 1000, world->stored >= 1);
    for (unsigned node = 0; node < NODES; node++) {
        assert_on_node(world, node, 1, "100", "1700000000000000");
        assert_int_equal(world->held[node].held, STOCK_HELD);
        assert_int_equal(world->held[node].stock, 100);
        assert_int_equal(world->held[node].version, 1700000000000000);
    }
    read_one(world, 1);
    for (unsigned node = 0; node < NODES; node++)
        assert_int_equal(world->read[node].stock, 100);
}

/* A rejected purchase, or an answer that comes late, puts the same version or an older one again:
 * nothing is added, ever. */
static void G1_a_late_or_repeated_put_never_adds_stock(void **state)
{
    struct world *world = *state;
    put(world, 1, 5, 20);
    LOOP_WITHIN_MS(world->loop, 1000, world->stored >= 1);
    world->stored = 0;
    stock_put(world->stock, &(struct stock_value){1, 15, 19}, on_stored, world);
    LOOP_WITHIN_MS(world->loop, 1000, world->stored >= 1);
    for (unsigned node = 0; node < NODES; node++) {
        assert_on_node(world, node, 1, "5", "20");
        assert_int_equal(world->held[node].stock, 5);
        assert_int_equal(world->held[node].version, 20);
    }
}

static void G3_a_node_that_was_stopped_is_level_within_a_second(void **state)
{
    struct world *world = *state;
    put(world, 1, 100, 10);
    LOOP_WITHIN_MS(world->loop, 1000, world->stored >= 1);
    redis_fixture_kill(world->redis[4]);
    LOOP_WITHIN_MS(world->loop, 1000, one_down(world));
    for (int i = 1; i <= 40; i++) {
        world->stored = 0;
        put(world, 1, 100 - i, 10 + i);
        put(world, 2, 1000 - i, 10 + i);
        LOOP_WITHIN_MS(world->loop, 1000, world->stored >= 1);
        assert_int_equal(world->held[4].held, STOCK_UNREACHABLE);
    }
    loop_run_ms(world->loop, 1200); /* long enough for the longest back-off */
    redis_fixture_restart(world->redis[4], true);
    uint64_t began_us = loop_now_us(world->loop);
    LOOP_WITHIN_MS(world->loop, 1000, all_level(world));
    uint64_t ms = (loop_now_us(world->loop) - began_us) / 1000;
    print_message("level %" PRIu64 " ms after its return\n", ms);
    assert_on_node(world, 4, 1, "60", "50");
    assert_on_node(world, 4, 2, "960", "50");
}

static void a_node_that_lost_its_data_gets_it_back(void **state)
{
    struct world *world = *state;
    for (int64_t product = 1; product <= 1500; product++)
        put(world, product, product, 10);
    LOOP_WITHIN_MS(world->loop, 1000, world->stored >= 1);
    redis_fixture_restart(world->redis[0], false);
    LOOP_WITHIN_MS(world->loop, 1000, one_down(world));
    LOOP_WITHIN_MS(world->loop, 1000, all_level(world));
    assert_on_node(world, 0, 1, "1", "10");
    assert_on_node(world, 0, 1500, "1500", "10");
}

/* It executes what waited in its sockets after it woke, beside what it is told then. */
static void a_paused_node_that_wakes_with_old_puts_ends_level(void **state)
{
    struct world *world = *state;
    put(world, 1, 100, 10);
    LOOP_WITHIN_MS(world->loop, 1000, world->stored >= 1);
    redis_fixture_pause(world->redis[2]);
    for (int i = 1; i <= 5; i++) {
        world->stored = 0;
        put(world, 1, 100 - i, 10 + i);
        LOOP_WITHIN_MS(world->loop, 1000, world->stored >= 1);
    }
    LOOP_WITHIN_MS(world->loop, 1000, one_down(world));
    world->stored = 0;
    put(world, 1, 50, 60);
    LOOP_WITHIN_MS(world->loop, 1000, world->stored >= 1);
    redis_fixture_resume(world->redis[2]);
    LOOP_WITHIN_MS(world->loop, 2000, all_level(world));
    loop_run_ms(world->loop, 100);
    assert_on_node(world, 2, 1, "50", "60");
}

/* Nobody sells: that a node no longer answers is noticed all the same, and so its return. */
static void an_idle_node_that_falls_silent_is_noticed(void **state)
{
    struct world *world = *state;
    put(world, 1, 100, 10);
    LOOP_WITHIN_MS(world->loop, 1000, world->stored >= 1);
    redis_fixture_pause(world->redis[2]);
    LOOP_WITHIN_MS(world->loop, 2000, one_down(world));
    redis_fixture_resume(world->redis[2]);
    LOOP_WITHIN_MS(world->loop, 1000, all_level(world));
}

/* A short pause is no outage: the node stays up, what it did not acknowledge is repeated.
 */
static void a_put_that_timed_out_is_repeated(void **state)
{
    struct world *world = *state;
    ask(world, 3, "CLIENT PAUSE 280 ALL");
    put(world, 1, 100, 10);
    LOOP_WITHIN_MS(world->loop, 1000, world->stored >= 1);
    assert_int_equal(world->held[3].held, STOCK_UNREACHABLE);
    assert_int_equal(world->held[0].held, STOCK_HELD);
    assert_int_equal(stock_node_state(world->stock, 3), STOCK_NODE_LEVEL);
    ask(world, 3, "FLUSHALL"); /* whatever it executed is gone */
    loop_run_ms(world->loop, 500);
    assert_on_node(world, 3, 1, "100", "10");
}

static void what_is_no_number_counts_as_nothing(void **state)
{
    struct world *world = *state;
    ask(world, 0, "SET stock:1 many");
    ask(world, 0, "SET stockver:1 99999999999999999999");
    ask(world, 1, "RPUSH stockver:1 a b");
    ask(world, 1, "SET stock:1 77");
    ask(world, 2, "SET stock:1 -5");
    ask(world, 2, "SET stockver:1 nan");
    read_one(world, 1);
    for (unsigned node = 0; node < NODES; node++)
        assert_int_equal(world->read[node].held, STOCK_ABSENT);
    put(world, 1, 100, 10);
    put(world, 2, 200, 10);
    LOOP_WITHIN_MS(world->loop, 1000, world->stored >= 1);
    for (unsigned node = 0; node < NODES; node++) {
        assert_on_node(world, node, 1, "100", "10");
        assert_on_node(world, node, 2, "200", "10");
    }
    ask(world, 0, "SET stock:1 999"); /* by hand, at the same version */
    world->stored = 0;
    put(world, 1, 100, 10);
    LOOP_WITHIN_MS(world->loop, 1000, world->stored >= 1);
    assert_on_node(world, 0, 1, "100", "10");
}

static void a_page_of_products_is_read_with_one_question(void **state)
{
    struct world *world = *state;
    int64_t ids[STOCK_READ_MAX];
    for (int64_t id = 1; id <= STOCK_READ_MAX; id++) {
        ids[id - 1] = STOCK_READ_MAX + 1 - id;
        if (id != 500) put(world, id, 2 * id, 10);
    }
    stock_read(world->stock, ids, STOCK_READ_MAX, on_read,
               world); /* behind the puts of this turn */
    LOOP_WITHIN_MS(world->loop, 1000, world->reads >= 1);
    assert_int_equal(world->read_count, STOCK_READ_MAX);
    for (size_t i = 0; i < STOCK_READ_MAX; i++) {
        for (unsigned node = 0; node < NODES; node++) {
            const struct stock_node *held = &world->read[i * NODES + node];
            assert_int_equal(held->held, ids[i] == 500 ? STOCK_ABSENT : STOCK_HELD);
            assert_int_equal(held->stock, ids[i] == 500 ? 0 : 2 * ids[i]);
        }
    }
}

static void nodes_that_are_down_are_unreachable(void **state)
{
    struct world *world = *state;
    put(world, 1, 100, 10);
    LOOP_WITHIN_MS(world->loop, 1000, world->stored >= 1);
    redis_fixture_kill(world->redis[1]);
    LOOP_WITHIN_MS(world->loop, 1000, one_down(world));
    read_one(world, 1);
    assert_int_equal(world->read[0].held, STOCK_HELD);
    assert_int_equal(world->read[1].held, STOCK_UNREACHABLE);
    for (unsigned node = 0; node < NODES; node++)
        redis_fixture_kill(world->redis[node]);
    loop_run_ms(world->loop, 50);
    read_one(world, 1);
    for (unsigned node = 0; node < NODES; node++)
        assert_int_equal(world->read[node].held, STOCK_UNREACHABLE);
    world->stored = 0;
    put(world, 1, 99, 11);
    LOOP_WITHIN_MS(world->loop, 1000, world->stored >= 1);
}

/* A node that refuses (a replica, a full one) is no reason to stop, and is level once it takes. */
static void a_node_that_answers_with_errors_is_level_once_it_stops(void **state)
{
    struct world *world = *state;
    ask(world, 2, "CONFIG SET min-replicas-to-write 1");
    put(world, 1, 100, 10);
    LOOP_WITHIN_MS(world->loop, 1000, world->stored >= 1);
    assert_int_equal(world->held[2].held, STOCK_UNREACHABLE);
    assert_int_equal(world->held[1].held, STOCK_HELD);
    ask(world, 2, "CONFIG SET min-replicas-to-write 0");
    loop_run_ms(world->loop, 500);
    assert_on_node(world, 2, 1, "100", "10");
}

/* G9's side of the nodes: whatever a crashed inventory left undone is done when the next starts. */
static void G9_a_start_makes_all_nodes_level(void **state)
{
    struct world *world = *state;
    close_stock(world);
    for (int64_t product = 1; product <= 2500; product++) {
        world->db[product] = (struct stock_value){product, 7 * product, 1000};
        world->products = product;
    }
    open_stock(world);
    LOOP_WITHIN_MS(world->loop, 2000, all_level(world));
    for (unsigned node = 0; node < NODES; node++) {
        assert_on_node(world, node, 1, "7", "1000");
        assert_on_node(world, node, 2500, "17500", "1000");
    }
}

static void closing_answers_what_is_pending(void **state)
{
    struct world *world = *state;
    for (unsigned node = 0; node < NODES; node++)
        redis_fixture_pause(world->redis[node]);
    int64_t product = 1;
    put(world, 1, 100, 10);
    stock_read(world->stock, &product, 1, on_read, world);
    loop_run_ms(world->loop, 20);
    put(world, 1, 99, 11);
    put(world, 2, 99, 11);
    stock_read(world->stock, &product, 1, on_read, world);
    close_stock(world);
    assert_int_equal(world->stored, 3);
    assert_int_equal(world->reads, 2);
    for (unsigned node = 0; node < NODES; node++)
        redis_fixture_resume(world->redis[node]);
    open_stock(world);
}

/* As soon as a put is answered, the next is made. */
static bool all_level_under_puts(struct world *world)
{
    if (world->stored > 0) {
        world->stored = 0;
        put(world, 7, 1000000, world->db[7].version + 1);
    }
    return all_level(world);
}

static void a_large_catalogue_is_level_soon_in_little_memory(void **state)
{
    struct world *world = *state;
    enum { PRODUCTS = 100000 };
    for (int64_t product = 1; product <= PRODUCTS; product++)
        world->db[product] = (struct stock_value){product, product, 10};
    world->products = PRODUCTS;
    redis_fixture_restart(world->redis[0], false);
    LOOP_WITHIN_MS(world->loop, 1000, one_down(world));
    size_t before = mallinfo2().uordblks;
    put(world, 7, 1000000, 11);
    uint64_t began_us = loop_now_us(world->loop);
    LOOP_WITHIN_MS(world->loop, 20000, all_level_under_puts(world));
    uint64_t ms = (loop_now_us(world->loop) - began_us) / 1000;
    size_t after = mallinfo2().uordblks;
    print_message("%d products on one node: %" PRIu64 " ms, %u pages, %zu bytes kept\n", PRODUCTS,
                  ms, world->pages, after > before ? after - before : 0);
    assert_on_node(world, 0, 1, "1", "10");
    assert_on_node(world, 0, PRODUCTS, "100000", "10");
    assert_true(after < before + 1000000);
    assert_true(world->db[7].version > 30); /* live puts went on beside it */
    loop_run_ms(world->loop, 50);
    char version[24];
    snprintf(version, sizeof version, "%" PRId64, world->db[7].version);
    assert_on_node(world, 0, 7, "1000000", version);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(G2_a_new_products_stock_is_on_all_five_at_once),
        CASE(G1_a_late_or_repeated_put_never_adds_stock),
        CASE(G3_a_node_that_was_stopped_is_level_within_a_second),
        CASE(a_node_that_lost_its_data_gets_it_back),
        CASE(a_paused_node_that_wakes_with_old_puts_ends_level),
        CASE(an_idle_node_that_falls_silent_is_noticed),
        CASE(a_put_that_timed_out_is_repeated),
        CASE(what_is_no_number_counts_as_nothing),
        CASE(a_page_of_products_is_read_with_one_question),
        CASE(nodes_that_are_down_are_unreachable),
        CASE(a_node_that_answers_with_errors_is_level_once_it_stops),
        CASE(G9_a_start_makes_all_nodes_level),
        CASE(closing_answers_what_is_pending),
        CASE(a_large_catalogue_is_level_soon_in_little_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
