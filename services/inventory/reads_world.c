#include "inventory/reads_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t now(void *arg)
{
    return ((struct world *)arg)->now_us;
}

static struct question *ask(void *arg, int kind, const int64_t *products, size_t count)
{
    struct world *world = arg;
    assert_true(world->asked < QUESTIONS);
    assert_in_range(count, 1, PRODUCTS);
    struct question *question = &world->questions[world->asked++];
    *question = (struct question){.kind = kind, .count = count};
    memcpy(question->products, products, count * sizeof *products);
    world->asked_in_all[kind]++;
    return question;
}

static void store_read(void *arg, const int64_t *products, size_t count, reads_store_fn *on_read,
                       void *on_read_arg)
{
    struct question *question = ask(arg, STORE_READ, products, count);
    question->on_store = on_read;
    question->arg = on_read_arg;
}

static void nodes_read(void *arg, const int64_t *products, size_t count, stock_read_fn *on_read,
                       void *on_read_arg)
{
    struct question *question = ask(arg, NODES_READ, products, count);
    question->on_read = on_read;
    question->arg = on_read_arg;
}

static void nodes_put(void *arg, const struct stock_value *value, stock_stored_fn *on_stored,
                      void *on_stored_arg)
{
    struct question *question = ask(arg, NODES_PUT, &value->product, 1);
    question->value = *value;
    question->on_stored = on_stored;
    question->arg = on_stored_arg;
}

static void flush_later(void *arg)
{
    ((struct world *)arg)->flush_wanted = true;
}

int world_set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    world->now_us = 1000000;
    world->clock = (struct clock){now, now, world};
    timers_init(&world->timers, &world->clock);
    world->reads = reads_new(
        &world->timers,
        &(struct reads_ports){store_read, nodes_read, nodes_put, flush_later, world}, NULL);
    for (int64_t id = 1; id < PRODUCTS; id++) {
        world->db[id] = (struct stock_value){id, 100 * id, 10};
        for (unsigned node = 0; node < NODES; node++)
            world->nodes[node][id] = (struct stock_node){STOCK_HELD, 100 * id, 10};
    }
    *state = world;
    return 0;
}

int world_tear_down(void **state)
{
    struct world *world = *state;
    assert_int_equal(world->asked, 0);
    for (int i = 0; i < CALLS; i++)
        assert_true(world->answers[i].count <= 1);
    reads_free(world->reads);
    timers_fini(&world->timers);
    free(world);
    return 0;
}

void world_flush(struct world *world)
{
    if (!world->flush_wanted) return;
    world->flush_wanted = false;
    reads_flush(world->reads);
}

void world_advance(struct world *world, uint64_t us)
{
    world->now_us += us;
    timers_run(&world->timers);
    world_flush(world);
}

static void on_stock(void *arg, const struct reads_stock *stock)
{
    struct answer *answer = arg;
    answer->count++;
    answer->stock = *stock;
    if (stock->nodes != NULL) memcpy(answer->nodes, stock->nodes, sizeof answer->nodes);
    if (answer->get_again == 0) return;
    int64_t product = answer->get_again;
    answer->get_again = 0;
    reads_get(answer->world->reads, &answer->call, product, answer->world->now_us + DEADLINE_US,
              on_stock, answer);
}

struct answer *world_get(struct world *world, int64_t product)
{
    struct answer *answer = world->answers;
    while (answer->world != NULL)
        answer++;
    assert_true(answer < world->answers + CALLS);
    answer->world = world;
    reads_get(world->reads, &answer->call, product, world->now_us + DEADLINE_US, on_stock, answer);
    assert_int_equal(answer->count, 0);
    return answer;
}

struct question world_take(struct world *world, int kind)
{
    assert_true(world->asked > 0);
    struct question question = world->questions[0];
    assert_int_equal(question.kind, kind);
    world->asked--;
    memmove(world->questions, world->questions + 1, world->asked * sizeof question);
    return question;
}

void world_answer_store(struct world *world)
{
    struct question question = world_take(world, STORE_READ);
    struct stock_value found[PRODUCTS];
    size_t count = 0;
    for (size_t i = question.count; i > 0; i--) { /* in any order */
        int64_t product = question.products[i - 1];
        if (world->db[product].version != 0) found[count++] = world->db[product];
    }
    if (world->postgres_down) {
        question.on_store(question.arg, false, NULL, 0);
    } else {
        question.on_store(question.arg, true, found, count);
    }
    world_flush(world);
}

void world_answer_nodes(struct world *world)
{
    struct question question = world_take(world, NODES_READ);
    struct stock_node held[PRODUCTS * NODES];
    for (size_t i = 0; i < question.count; i++) {
        for (unsigned node = 0; node < NODES; node++)
            held[i * NODES + node] = world->nodes[node][question.products[i]];
    }
    question.on_read(question.arg, &(struct stock_read){question.count, NODES, held});
    world_flush(world);
}

void world_store_on_nodes(struct world *world, const struct stock_value *value)
{
    for (unsigned node = 0; node < NODES; node++) {
        struct stock_node *held = &world->nodes[node][value->product];
        if (held->held == STOCK_UNREACHABLE) continue;
        if (held->held == STOCK_HELD && held->version > value->version) continue;
        *held = (struct stock_node){STOCK_HELD, value->stock, value->version};
    }
}

void world_answer_put(struct world *world)
{
    struct question question = world_take(world, NODES_PUT);
    world_store_on_nodes(world, &question.value);
    if (question.on_stored == NULL) return;
    struct stock_node held[NODES];
    for (unsigned node = 0; node < NODES; node++)
        held[node] = world->nodes[node][question.value.product];
    question.on_stored(question.arg, &(struct stock_stored){question.value, NODES, held});
    world_flush(world);
}

void world_one_try(struct world *world)
{
    world_flush(world);
    world_answer_store(world);
    world_answer_nodes(world);
}

void world_answer_all(struct world *world)
{
    world_flush(world);
    while (world->asked > 0) {
        if (world->questions[0].kind == STORE_READ) {
            world_answer_store(world);
        } else {
            world_answer_nodes(world);
        }
    }
}

void assert_done(const struct answer *answer, int64_t stock, int64_t version, bool synced)
{
    assert_int_equal(answer->count, 1);
    assert_int_equal(answer->stock.outcome, READS_DONE);
    assert_int_equal(answer->stock.db.stock, stock);
    assert_int_equal(answer->stock.db.version, version);
    assert_int_equal(answer->stock.synced, synced);
}
