#include "inventory/reads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 5, PRODUCTS = 8, CALLS = 64, QUESTIONS = 16 };

#define DEADLINE_US 5000000

/* A question put to a port, waiting for the test to answer it. */
struct question {
    enum { STORE_READ = 1, NODES_READ, NODES_PUT } kind;
    size_t count;
    int64_t products[PRODUCTS];
    struct stock_value value; /* NODES_PUT */
    union {
        reads_store_fn *on_store;
        stock_read_fn *on_read;
        stock_stored_fn *on_stored;
    };
    void *arg;
};

struct answer {
    struct reads_call call;
    unsigned count;
    struct reads_stock stock;
    struct stock_node nodes[NODES];
    struct world *world;
    int64_t get_again; /* the answer asks for this product */
};

struct world {
    uint64_t now_us;
    struct clock clock;
    struct timers timers;
    struct reads *reads;
    bool flush_wanted;
    struct stock_value db[PRODUCTS];          /* by id; version 0: none */
    struct stock_node nodes[NODES][PRODUCTS]; /* what they hold */
    bool postgres_down;
    struct question questions[QUESTIONS];
    size_t asked;
    size_t asked_in_all[4]; /* by kind */
    struct answer answers[CALLS];
};

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

static int set_up(void **state)
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

static int tear_down(void **state)
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

static void flush(struct world *world)
{
    if (!world->flush_wanted) return;
    world->flush_wanted = false;
    reads_flush(world->reads);
}

static void advance(struct world *world, uint64_t us)
{
    world->now_us += us;
    timers_run(&world->timers);
    flush(world);
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

static struct answer *get(struct world *world, int64_t product)
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

static struct question take(struct world *world, int kind)
{
    assert_true(world->asked > 0);
    struct question question = world->questions[0];
    assert_int_equal(question.kind, kind);
    world->asked--;
    memmove(world->questions, world->questions + 1, world->asked * sizeof question);
    return question;
}

/* The oldest question, which must be of this kind, is answered by the world as it is now. */
static void answer_store(struct world *world)
{
    struct question question = take(world, STORE_READ);
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
    flush(world);
}

static void answer_nodes(struct world *world)
{
    struct question question = take(world, NODES_READ);
    struct stock_node held[PRODUCTS * NODES];
    for (size_t i = 0; i < question.count; i++) {
        for (unsigned node = 0; node < NODES; node++)
            held[i * NODES + node] = world->nodes[node][question.products[i]];
    }
    question.on_read(question.arg, &(struct stock_read){question.count, NODES, held});
    flush(world);
}

static void store_on_nodes(struct world *world, const struct stock_value *value)
{
    for (unsigned node = 0; node < NODES; node++) {
        struct stock_node *held = &world->nodes[node][value->product];
        if (held->held == STOCK_UNREACHABLE) continue;
        if (held->held == STOCK_HELD && held->version > value->version) continue;
        *held = (struct stock_node){STOCK_HELD, value->stock, value->version};
    }
}

static void answer_put(struct world *world)
{
    struct question question = take(world, NODES_PUT);
    store_on_nodes(world, &question.value);
    if (question.on_stored == NULL) return;
    struct stock_node held[NODES];
    for (unsigned node = 0; node < NODES; node++)
        held[node] = world->nodes[node][question.value.product];
    question.on_stored(question.arg, &(struct stock_stored){question.value, NODES, held});
    flush(world);
}

static void one_try(struct world *world)
{
    flush(world);
    answer_store(world);
    answer_nodes(world);
}

/* Until nothing is asked any more. */
static void answer_all(struct world *world)
{
    flush(world);
    while (world->asked > 0) {
        if (world->questions[0].kind == STORE_READ) {
            answer_store(world);
        } else {
            answer_nodes(world);
        }
    }
}

static void assert_done(const struct answer *answer, int64_t stock, int64_t version, bool synced)
{
    assert_int_equal(answer->count, 1);
    assert_int_equal(answer->stock.outcome, READS_DONE);
    assert_int_equal(answer->stock.db.stock, stock);
    assert_int_equal(answer->stock.db.version, version);
    assert_int_equal(answer->stock.synced, synced);
}

static void a_read_asks_postgres_then_the_nodes(void **state)
{
    struct world *world = *state;
    struct answer *answer = get(world, 3);
    one_try(world);
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
        answers[i] = get(world, 1 + i % 3);
    one_try(world);
    for (int i = 0; i < 30; i++)
        assert_done(answers[i], 100 * (1 + i % 3), 10, true);
    assert_int_equal(world->asked_in_all[STORE_READ], 1);
    assert_int_equal(world->asked_in_all[NODES_READ], 1);
}

static void a_read_never_joins_one_that_began_before_it(void **state)
{
    struct world *world = *state;
    struct answer *first = get(world, 3);
    flush(world);
    struct answer *second = get(world, 3);
    flush(world);
    struct question early = take(world, STORE_READ);
    early.on_store(early.arg, true, &world->db[3], 1);
    world->db[3] = (struct stock_value){3, 299, 11};
    store_on_nodes(world, &world->db[3]);
    answer_store(world); /* the second's */
    assert_int_equal(second->count, 0);
    struct question read = take(world, NODES_READ);
    struct stock_node old[NODES];
    for (unsigned node = 0; node < NODES; node++)
        old[node] = (struct stock_node){STOCK_HELD, 300, 10};
    read.on_read(read.arg, &(struct stock_read){1, NODES, old});
    assert_done(first, 300, 10, true);
    answer_nodes(world);
    assert_done(second, 299, 11, true);
}

static void at_most_two_rounds_are_open(void **state)
{
    struct world *world = *state;
    struct answer *answers[5];
    for (int i = 0; i < 5; i++) {
        answers[i] = get(world, 3);
        flush(world);
    }
    assert_int_equal(world->asked, 2);
    answer_all(world);
    assert_int_equal(world->asked_in_all[STORE_READ], 3);
    for (int i = 0; i < 5; i++)
        assert_done(answers[i], 300, 10, true);
}

static void a_missing_product_and_postgres_down_are_told(void **state)
{
    struct world *world = *state;
    world->db[4].version = 0;
    struct answer *missing = get(world, 4);
    struct answer *present = get(world, 5);
    one_try(world);
    assert_int_equal(missing->stock.outcome, READS_NOT_FOUND);
    assert_done(present, 500, 10, true);
    struct answer *alone = get(world, 4);
    flush(world);
    answer_store(world);
    assert_int_equal(alone->stock.outcome, READS_NOT_FOUND);
    world->postgres_down = true;
    struct answer *down = get(world, 5);
    flush(world);
    answer_store(world);
    assert_int_equal(down->stock.outcome, READS_DOWN);
    assert_int_equal(reads_counts(world->reads).products, 0);
}

static void during_a_batch_the_answer_is_the_batch(void **state)
{
    struct world *world = *state;
    reads_batch_began(world->reads, 3);
    struct answer *first = get(world, 3);
    struct answer *second = get(world, 3);
    flush(world);
    assert_int_equal(world->asked, 0);
    world->db[3] = (struct stock_value){3, 250, 11};
    reads_batch_ended(world->reads, 3, &world->db[3]);
    assert_int_equal(first->count, 0);
    answer_put(world);
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
    struct answer *during = get(world, 3);
    world->db[3] = (struct stock_value){3, 250, 11};
    reads_batch_ended(world->reads, 3, &world->db[3]);
    struct answer *after = get(world, 3);
    flush(world);
    answer_put(world);
    answer_store(world);
    answer_nodes(world);
    assert_done(during, 250, 11, true);
    assert_done(after, 250, 11, true);
    assert_int_equal(world->asked_in_all[STORE_READ], 1);
}

static void of_a_batch_that_failed_the_readers_read_for_themselves(void **state)
{
    struct world *world = *state;
    reads_batch_began(world->reads, 3);
    struct answer *answer = get(world, 3);
    reads_batch_ended(world->reads, 3, NULL);
    assert_int_equal(answer->count, 0);
    one_try(world);
    assert_done(answer, 300, 10, true);
}

static void versions_that_differ_are_read_again(void **state)
{
    struct world *world = *state;
    struct answer *answer = get(world, 3);
    flush(world);
    answer_store(world); /* then a batch commits, and reaches the nodes first */
    world->db[3] = (struct stock_value){3, 299, 11};
    store_on_nodes(world, &world->db[3]);
    answer_nodes(world);
    assert_int_equal(answer->count, 0);
    one_try(world);
    assert_done(answer, 299, 11, true);
    assert_int_equal(reads_counts(world->reads).again, 1);
}

static void again_means_the_batch_if_one_is_under_way(void **state)
{
    struct world *world = *state;
    struct answer *answer = get(world, 3);
    flush(world);
    answer_store(world);
    world->db[3] = (struct stock_value){3, 299, 11};
    store_on_nodes(world, &world->db[3]);
    reads_batch_began(world->reads, 3);
    answer_nodes(world);
    assert_int_equal(world->asked, 0);
    struct answer *fresh = get(world, 3);
    world->db[3] = (struct stock_value){3, 298, 12};
    reads_batch_ended(world->reads, 3, &world->db[3]);
    answer_put(world);
    assert_done(answer, 298, 12, true);
    assert_done(fresh, 298, 12, true);
}

static void after_five_tries_it_says_moving(void **state)
{
    struct world *world = *state;
    struct answer *answer = get(world, 3);
    for (int i = 0; i < READS_TRIES; i++) {
        advance(world, 10000);
        assert_int_equal(answer->count, 0);
        answer_store(world);
        world->db[3].version++;
        world->db[3].stock--;
        store_on_nodes(world, &world->db[3]);
        answer_nodes(world);
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
    struct answer *answer = get(world, 3);
    for (int i = 0; i < READS_TRIES; i++) {
        assert_int_equal(answer->count, 0);
        advance(world, 10000);
        answer_store(world);
        answer_nodes(world);
    }
    assert_done(answer, 300, 10, false);
    assert_false(answer->stock.moving);
    assert_int_equal(answer->nodes[2].held, STOCK_ABSENT);
    assert_int_equal(answer->stock.view.stock, 300);
    answer_put(world);
    struct answer *next = get(world, 3);
    one_try(world);
    assert_done(next, 300, 10, true);
    assert_int_equal(reads_counts(world->reads).repairs, 1);
}

static void a_number_changed_by_hand_is_told_and_then_repaired(void **state)
{
    struct world *world = *state;
    world->nodes[0][3].stock = 999;
    struct answer *answer = get(world, 3);
    for (int i = 0; i < READS_TRIES; i++) {
        advance(world, 10000);
        answer_store(world);
        answer_nodes(world);
    }
    assert_done(answer, 300, 10, false);
    assert_int_equal(answer->nodes[0].stock, 999);
    answer_put(world);
    assert_int_equal(world->nodes[0][3].stock, 300);
}

static void a_node_ahead_of_postgres_is_never_lowered(void **state)
{
    struct world *world = *state;
    world->nodes[1][3] = (struct stock_node){STOCK_HELD, 17, 99};
    struct answer *answer = get(world, 3);
    for (int i = 0; i < READS_TRIES; i++) {
        advance(world, 10000);
        answer_store(world);
        answer_nodes(world);
    }
    assert_done(answer, 300, 10, false);
    assert_int_equal(world->asked_in_all[NODES_PUT], 0);
}

static void unreachable_nodes_do_not_count(void **state)
{
    struct world *world = *state;
    world->nodes[1][3].held = STOCK_UNREACHABLE;
    struct answer *four = get(world, 3);
    one_try(world);
    assert_done(four, 300, 10, true);
    for (unsigned node = 0; node < NODES; node++)
        world->nodes[node][3] = (struct stock_node){STOCK_UNREACHABLE, 0, 0};
    struct answer *none = get(world, 3);
    one_try(world);
    assert_done(none, 300, 10, false);
    assert_false(none->stock.view.has_stock);
    assert_int_equal(world->asked_in_all[STORE_READ], 2);
}

static void a_deadline_answers_alone(void **state)
{
    struct world *world = *state;
    struct answer *late = get(world, 3);
    advance(world, DEADLINE_US - 1);
    struct answer *fresh = get(world, 3);
    assert_int_equal(late->count, 0);
    advance(world, 1);
    assert_int_equal(late->count, 1);
    assert_int_equal(late->stock.outcome, READS_EXPIRED);
    answer_all(world);
    assert_done(fresh, 300, 10, true);
}

static void a_cancelled_call_is_never_answered(void **state)
{
    struct world *world = *state;
    struct answer *gone = get(world, 3);
    struct answer *stays = get(world, 3);
    flush(world);
    reads_cancel(&gone->call);
    reads_cancel(&gone->call);
    one_try(world);
    assert_int_equal(gone->count, 0);
    assert_done(stays, 300, 10, true);
    struct answer *all_gone = get(world, 3);
    reads_cancel(&all_gone->call);
    one_try(world);
    advance(world, 2 * DEADLINE_US);
    assert_int_equal(all_gone->count, 0);
    assert_int_equal(reads_counts(world->reads).products, 0);
}

/* Calls that were cancelled leave nothing behind, wherever they waited. */
static void reads_may_be_freed_in_any_state(void **state)
{
    struct world *world = *state;
    struct answer *paused = get(world, 1);
    world->nodes[0][1].version = 9;
    for (int i = 0; i < 2; i++)
        one_try(world);
    assert_true(timers_next_us(&world->timers) < paused->call.deadline.due_us);
    reads_batch_began(world->reads, 2);
    struct answer *joined = get(world, 2);
    struct answer *queued = get(world, 3);
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
    struct answer *answer = get(world, 3);
    answer->get_again = 4;
    one_try(world);
    assert_done(answer, 300, 10, true);
    answer->count = 0;
    one_try(world);
    assert_done(answer, 400, 10, true);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_read_asks_postgres_then_the_nodes),
        CASE(all_that_wait_share_a_read_and_a_round),
        CASE(a_read_never_joins_one_that_began_before_it),
        CASE(at_most_two_rounds_are_open),
        CASE(a_missing_product_and_postgres_down_are_told),
        CASE(during_a_batch_the_answer_is_the_batch),
        CASE(a_batch_without_readers_puts_nothing_of_its_own),
        CASE(after_the_statement_a_read_is_a_read_of_its_own),
        CASE(of_a_batch_that_failed_the_readers_read_for_themselves),
        CASE(versions_that_differ_are_read_again),
        CASE(again_means_the_batch_if_one_is_under_way),
        CASE(after_five_tries_it_says_moving),
        CASE(a_node_that_stays_behind_is_told_and_then_repaired),
        CASE(a_number_changed_by_hand_is_told_and_then_repaired),
        CASE(a_node_ahead_of_postgres_is_never_lowered),
        CASE(unreachable_nodes_do_not_count),
        CASE(a_deadline_answers_alone),
        CASE(a_cancelled_call_is_never_answered),
        CASE(reads_may_be_freed_in_any_state),
        CASE(an_answer_may_ask_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
