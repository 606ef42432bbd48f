/* Reads, puts and nodes together in a world where everything takes its time at random: batches of
 * this inventory, commits and puts of another one, statements and node reads whose moment lies
 * anywhere between question and answer, lost writes, nodes that go down. Checked of every answer:
 *
 *   its db value was current at some moment between the call and the answer;
 *   `synced` is said exactly when every reachable node's value in it is the db value in it;
 *   when all is quiet, an answer is synced and not moving.
 */
#include "inventory/reads.h"

#include "inventory/fake_nodes.h"
#include "inventory/puts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 3, PRODUCTS = 3, ASKED_MAX = 64, CALLS = 40, QUESTIONS = 64, STEPS = 60000 };

struct caller {
    struct reads_call call;
    struct world *world;
    int64_t product; /* 0: no call is open */
    int64_t known;   /* the highest version that anybody had been told of when it called */
};

/* A read of Postgres or of the nodes: executed at one moment, answered at another. */
struct question {
    enum { NOTHING, STORE, NODES_ } kind;
    bool executed;
    size_t count;
    int64_t products[ASKED_MAX];
    struct stock_value values[ASKED_MAX];
    struct stock_node held[ASKED_MAX * NODES];
    reads_store_fn *on_store;
    stock_read_fn *on_read;
    void *arg;
};

enum sale { SALE_NONE, SALE_SENT, SALE_COMMITTED };

struct world {
    struct fake_nodes *fake;
    struct puts *puts;
    struct puts *others_puts; /* of the other inventory, on the same nodes */
    struct reads *reads;
    bool reads_flush_wanted;
    struct stock_value db[PRODUCTS + 1];
    int64_t told[PRODUCTS + 1]; /* highest version that some buyer was told of */
    enum sale sale[PRODUCTS + 1];
    struct question questions[QUESTIONS];
    struct caller callers[CALLS];
    unsigned answers;
    unsigned synced;
    unsigned moving;
};

static void puts_later(void *arg)
{
    (void)arg; /* every step flushes */
}

static void reads_later(void *arg)
{
    ((struct world *)arg)->reads_flush_wanted = true;
}

static void on_behind(void *arg, unsigned node)
{
    (void)arg;
    (void)node;
    fail(); /* the bound is far away */
}

static struct question *new_question(struct world *world, int kind, const int64_t *products,
                                     size_t count)
{
    struct question *question = world->questions;
    while (question->kind != NOTHING)
        question++;
    assert_true(question < world->questions + QUESTIONS);
    assert_in_range(count, 1, ASKED_MAX);
    *question = (struct question){.kind = kind, .count = count};
    memcpy(question->products, products, count * sizeof *products);
    return question;
}

static void store_read(void *arg, const int64_t *products, size_t count, reads_store_fn *on_read,
                       void *on_read_arg)
{
    /* A round may hold a product twice (a repetition and a fresh call); Postgres does not care. */
    struct question *question = new_question(arg, STORE, products, count);
    question->on_store = on_read;
    question->arg = on_read_arg;
}

static void nodes_read(void *arg, const int64_t *products, size_t count, stock_read_fn *on_read,
                       void *on_read_arg)
{
    struct question *question = new_question(arg, NODES_, products, count);
    question->on_read = on_read;
    question->arg = on_read_arg;
}

static void nodes_put(void *arg, const struct stock_value *value, stock_stored_fn *on_stored,
                      void *on_stored_arg)
{
    puts_put(((struct world *)arg)->puts, value, on_stored, on_stored_arg);
}

static void execute(struct world *world, struct question *question)
{
    question->executed = true;
    for (size_t i = 0; i < question->count; i++) {
        question->values[i] = world->db[question->products[i]];
        for (unsigned node = 0; node < NODES; node++) {
            struct stock_node *held = &question->held[i * NODES + node];
            *held = *fake_held(world->fake, node, question->products[i]);
            if (!world->fake->nodes[node].up) *held = (struct stock_node){0};
        }
    }
}

static void answer(struct question *question)
{
    struct question copy = *question;
    question->kind = NOTHING;
    if (copy.kind == STORE) {
        copy.on_store(copy.arg, true, copy.values, copy.count);
    } else {
        copy.on_read(copy.arg, &(struct stock_read){copy.count, NODES, copy.held});
    }
}

static void on_stock(void *arg, const struct reads_stock *stock)
{
    struct caller *caller = arg;
    struct world *world = caller->world;
    assert_int_equal(stock->outcome, READS_DONE);
    assert_int_equal(stock->db.product, caller->product);
    assert_true(stock->db.version >= caller->known);
    assert_true(stock->db.version <= world->db[caller->product].version);
    assert_int_equal(stock->db.stock, 1000000 - stock->db.version);
    unsigned reachable = 0;
    bool alike = true;
    for (unsigned node = 0; node < stock->node_count; node++) {
        const struct stock_node *held = &stock->nodes[node];
        if (held->held == STOCK_UNREACHABLE) continue;
        reachable++;
        alike = alike && held->held == STOCK_HELD && held->version == stock->db.version &&
                held->stock == stock->db.stock;
    }
    assert_int_equal(stock->synced, reachable > 0 && alike);
    assert_false(stock->synced && stock->moving);
    world->answers++;
    world->synced += stock->synced;
    world->moving += stock->moving;
    caller->product = 0;
}

static void call(struct world *world, int64_t product)
{
    for (int i = 0; i < CALLS; i++) {
        struct caller *caller = &world->callers[i];
        if (caller->product != 0) continue;
        caller->world = world;
        caller->product = product;
        caller->known = world->told[product];
        reads_get(world->reads, &caller->call, product, world->fake->now_us + 3600000000, on_stock,
                  caller);
        return;
    }
}

static void commit(struct world *world, int64_t product)
{
    world->db[product].version++;
    world->db[product].stock = 1000000 - world->db[product].version;
}

/* One thing that may happen to a product. The lease lets one inventory commit at a time: the other
 * one does while this one's statement is not under way. */
static void sell(struct world *world, int64_t product)
{
    switch (world->sale[product]) {
    case SALE_NONE:
        if (rand() % 2 == 0) {
            reads_batch_began(world->reads, product);
            world->sale[product] = SALE_SENT;
        } else if (rand() % 3 == 0) {
            commit(world, product);
            world->told[product] = world->db[product].version;
            puts_put(world->others_puts, &world->db[product], NULL, NULL);
        }
        break;
    case SALE_SENT:
        if (rand() % 10 == 0) {
            reads_batch_ended(world->reads, product, NULL); /* refused */
            world->sale[product] = SALE_NONE;
        } else {
            commit(world, product);
            world->sale[product] = SALE_COMMITTED;
        }
        break;
    case SALE_COMMITTED:
        world->told[product] = world->db[product].version;
        puts_put(world->puts, &world->db[product], NULL, NULL);
        reads_batch_ended(world->reads, product, &world->db[product]);
        world->sale[product] = SALE_NONE;
    }
}

static void flush(struct world *world)
{
    puts_flush(world->puts, false);
    puts_flush(world->others_puts, true);
    if (!world->reads_flush_wanted) return;
    world->reads_flush_wanted = false;
    reads_flush(world->reads);
}

static void node_event(struct world *world, unsigned node, bool faults)
{
    int what = rand() % 100;
    if (faults && what == 0 && node == 2) {
        fake_down(world->fake, 2);
    } else if (!world->fake->nodes[node].up) {
        if (what > 90) {
            world->fake->nodes[node].up = true;
            for (int64_t product = 1; product <= PRODUCTS; product++) /* level.c's work */
                puts_put(world->puts, &world->db[product], NULL, NULL);
        }
    } else {
        fake_deliver(world->fake, node, faults && what < 4 ? FAKE_UNHEARD : FAKE_DONE);
    }
}

static void step(struct world *world, bool sales, bool faults)
{
    int64_t product = 1 + rand() % PRODUCTS;
    if (rand() % 3 == 0) call(world, product);
    if (sales && rand() % 4 == 0) sell(world, 1 + rand() % PRODUCTS);
    node_event(world, (unsigned)rand() % NODES, faults);
    struct question *question = &world->questions[rand() % QUESTIONS];
    for (int i = 0; i < QUESTIONS && question->kind == NOTHING; i++)
        question = &world->questions[(question - world->questions + 1) % QUESTIONS];
    if (question->kind != NOTHING) {
        if (!question->executed) {
            execute(world, question);
        } else {
            answer(question);
        }
    }
    if (rand() % 2 == 0) fake_advance(world->fake, (uint64_t)rand() % 2000);
    flush(world);
}

static struct world *world_new(unsigned seed)
{
    struct world *world = calloc(1, sizeof *world);
    srand(seed);
    world->fake = fake_nodes_new(NODES);
    struct puts_options options = {.timers = &world->fake->timers,
                                   .port = &world->fake->port,
                                   .repeats_max = 1000,
                                   .flush_later = puts_later,
                                   .behind = on_behind,
                                   .arg = world};
    world->puts = puts_new(&options);
    world->others_puts = puts_new(&options);
    world->reads = reads_new(
        &world->fake->timers,
        &(struct reads_ports){store_read, nodes_read, nodes_put, reads_later, world}, NULL);
    for (int64_t product = 1; product <= PRODUCTS; product++) {
        world->db[product] = (struct stock_value){product, 1000000 - 10, 10};
        for (unsigned node = 0; node < NODES; node++)
            world->fake->nodes[node].held[product] =
                (struct stock_node){STOCK_HELD, 1000000 - 10, 10};
    }
    return world;
}

static bool some_open(const struct world *world)
{
    for (int i = 0; i < CALLS; i++) {
        if (world->callers[i].product != 0) return true;
    }
    return false;
}

static void world_free(struct world *world)
{
    for (int i = 0; i < 100; i++) {
        flush(world);
        for (unsigned node = 0; node < NODES; node++)
            fake_deliver(world->fake, node, FAKE_DONE);
        for (int j = 0; j < QUESTIONS; j++) {
            if (world->questions[j].kind == NOTHING) continue;
            execute(world, &world->questions[j]);
            answer(&world->questions[j]);
        }
        fake_advance(world->fake, PUTS_REPEAT_MAX_US);
    }
    assert_false(some_open(world));
    reads_free(world->reads);
    puts_free(world->puts);
    puts_free(world->others_puts);
    fake_nodes_free(world->fake);
    free(world);
}

static void every_answer_was_true_at_one_moment(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 4; seed++) {
        struct world *world = world_new(seed);
        for (int i = 0; i < STEPS; i++)
            step(world, true, seed % 2 == 0);
        assert_true(world->answers > STEPS / 20);
        print_message("seed %u: %u answers, %u synced, %u moving\n", seed, world->answers,
                      world->synced, world->moving);
        /* Quiet: no more sales, all nodes up. */
        for (int64_t product = 1; product <= PRODUCTS; product++) {
            while (world->sale[product] != SALE_NONE)
                sell(world, product);
        }
        for (int i = 0; i < STEPS / 10; i++)
            step(world, false, false);
        fake_advance(world->fake, PUTS_REPEAT_MAX_US);
        for (int i = 0; i < STEPS / 10; i++)
            step(world, false, false);
        world->answers = world->synced = 0;
        for (int i = 0; i < STEPS / 10; i++)
            step(world, false, false);
        assert_true(world->answers > 0);
        assert_int_equal(world->answers, world->synced);
        world_free(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_was_true_at_one_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
