/* The store on a real Postgres: what the statements promise, whoever else writes. */
#include "base/log.h"
#include "base/loop_fixture.h"
#include "inventory/database_fixture.h"
#include "inventory/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ROWS_MAX 256

static struct postgres_fixture *postgres;
static struct loop *loop;
static struct database *database;
static struct store *store;
/* Orders in the sales of some tests: alone, or beside one without an account. The statements
 * differ. */
static size_t width = 1;
static int64_t product; /* stock 100, price 10; users 1 to 50 exist */

static void wait_until_up(void)
{
    LOOP_UNTIL(loop, database_up(database));
    loop_run_ms(loop, 100); /* both writers, too */
}

struct heard {
    unsigned answers;
    enum sale_outcome outcome;
    uint64_t last_token;
    bool whole;
    struct stock_value now;
    size_t count;
    struct sale_row rows[ROWS_MAX];
};

static void on_answer(void *arg, const struct sale_answer *answer)
{
    struct heard *heard = arg;
    heard->answers++;
    heard->outcome = answer->outcome;
    heard->last_token = answer->last_token;
    heard->whole = answer->whole;
    heard->now = answer->now;
    heard->count = answer->count;
    assert_true(answer->count <= ROWS_MAX);
    if (answer->count > 0) memcpy(heard->rows, answer->rows, answer->count * sizeof heard->rows[0]);
}

static struct sale_order order(int64_t user_id, const char *key, int64_t quantity)
{
    return (struct sale_order){user_id, span_of(key), quantity};
}

static void start_sale(struct heard *heard, uint64_t token, const struct sale_order *orders,
                       size_t count)
{
    memset(heard, 0, sizeof *heard);
    struct sale sale = {product, token, orders, count};
    store_sell(store, &sale, on_answer, heard);
    assert_int_equal(heard->answers, 0);
}

static void wait_for(const struct heard *heard)
{
    LOOP_UNTIL(loop, heard->answers > 0);
    assert_int_equal(heard->answers, 1);
}

static void sell(struct heard *heard, uint64_t token, const struct sale_order *orders, size_t count)
{
    start_sale(heard, token, orders, count);
    wait_for(heard);
}

static void look(struct heard *heard, const struct sale_order *orders, size_t count)
{
    memset(heard, 0, sizeof *heard);
    struct sale sale = {product, 0, orders, count};
    store_look(store, &sale, on_answer, heard);
    wait_for(heard);
}

static const struct sale_row *row_of(const struct heard *heard, size_t place)
{
    for (size_t i = 0; i < heard->count; i++) {
        if (heard->rows[i].place == place) return &heard->rows[i];
    }
    return NULL;
}

/* The SQL's $1 is the product. */
static long long number(const char *sql)
{
    PGconn *session = postgres_fixture_session(postgres);
    char id[24];
    snprintf(id, sizeof id, "%lld", (long long)product);
    const char *const values[] = {id};
    PGresult *result = PQexecParams(session, sql, 1, NULL, values, NULL, NULL, 0);
    assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
    long long value = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    PQfinish(session);
    return value;
}

static void set_stock(int64_t stock)
{
    char sql[128];
    snprintf(sql, sizeof sql, "UPDATE products SET stock = %lld WHERE id = %lld", (long long)stock,
             (long long)product);
    free(postgres_fixture_sql(postgres, sql));
}

static int setup(void **state)
{
    (void)state;
    loop = loop_new();
    database = database_fixture_open(loop, postgres, 2, 2000000);
    store = store_new(database);
    wait_until_up();
    product = database_fixture_fill(postgres);
    return 0;
}

static int setup_pair(void **state)
{
    width = 2;
    return setup(state);
}

static int teardown(void **state)
{
    (void)state;
    width = 1;
    database_close(database);
    store_free(store);
    loop_free(loop);
    return 0;
}

static void a_batch_is_sold_recorded_and_entered_in_the_ledger(void **state)
{
    (void)state;
    struct heard heard;
    struct sale_order orders[] = {order(2, "a", 3), order(1, "b", 1)};
    sell(&heard, 42, orders, 2);
    assert_int_equal(heard.outcome, SALE_DONE);
    assert_true(heard.whole);
    assert_int_equal(heard.now.stock, 96);
    assert_int_equal(heard.now.version, 1001);
    assert_int_equal(heard.count, 2);
    const struct purchase *first = &row_of(&heard, 0)->purchase;
    assert_int_equal(row_of(&heard, 0)->verdict, SALE_SOLD);
    assert_int_equal(first->quantity, 3);
    assert_int_equal(first->total_price, 30);
    assert_int_equal(first->remaining_stock, 97);
    assert_int_equal(first->product_id, product);
    assert_int_equal(row_of(&heard, 1)->purchase.remaining_stock, 96);
    uint64_t wall_us = clock_wall_us(&clock_system);
    assert_true((uint64_t)first->purchased_at_us <= wall_us + 1000000);
    assert_true((uint64_t)first->purchased_at_us >= wall_us - 10000000);
    assert_int_equal(number("SELECT last_token FROM products WHERE id = $1"), 42);
    assert_int_equal(number("SELECT count(*) FROM purchases WHERE product_id = $1 AND token = 42 "
                            "AND version = 1001 AND (user_id, place) IN ((2, 1), (1, 2))"),
                     2);
    assert_int_equal(number("SELECT sum(delta) FROM stock_ledger WHERE product_id = $1"), 96);
    assert_int_equal(number("SELECT count(*) FROM stock_ledger WHERE product_id = $1 AND reason = "
                            "'sale' AND token = 42 AND delta = -4 AND stock_after = 96"),
                     1);
}

static void G12_five_one_one_one_on_a_stock_of_three_sells_three(void **state)
{
    (void)state;
    struct heard heard;
    struct sale_order orders[] = {order(1, "a", 5), order(2, "a", 1), order(3, "a", 1),
                                  order(4, "a", 1)};
    set_stock(3);
    sell(&heard, 1, orders, 4);
    assert_int_equal(heard.count, 3);
    assert_null(row_of(&heard, 0));
    assert_int_equal(heard.now.stock, 0);
}

static void two_two_one_on_a_stock_of_three_sells_the_first(void **state)
{
    (void)state;
    struct heard heard;
    struct sale_order orders[] = {order(1, "a", 2), order(2, "a", 2), order(3, "a", 1)};
    set_stock(3);
    sell(&heard, 1, orders, 3);
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.rows[0].place, 0);
    assert_int_equal(heard.now.stock, 1);
}

static void a_recorded_key_comes_back_with_its_first_body(void **state)
{
    (void)state;
    struct heard first;
    struct heard again;
    struct sale_order orders[] = {order(1, "a", 2), order(2, "a", 2)};
    sell(&first, 1, orders, 1);
    set_stock(0);
    sell(&again, 2, orders, 2);
    assert_int_equal(again.outcome, SALE_DONE);
    assert_int_equal(again.count, 1);
    assert_int_equal(again.rows[0].verdict, SALE_KNOWN);
    assert_memory_equal(&again.rows[0].purchase, &first.rows[0].purchase, sizeof(struct purchase));
    assert_int_equal(number("SELECT count(*) FROM purchases WHERE product_id = $1"), 1);
    assert_int_equal(number("SELECT count(*) FROM stock_ledger WHERE product_id = $1"), 2);
}

static void a_stale_token_changes_nothing_and_hears_the_newer_one(void **state)
{
    (void)state;
    struct heard heard;
    struct sale_order orders[] = {order(1, "a", 1), order(1, "b", 1)};
    sell(&heard, 50, orders, 1);
    sell(&heard, 49, orders, 2);
    assert_int_equal(heard.outcome, SALE_FENCED);
    assert_int_equal(heard.last_token, 50);
    assert_int_equal(heard.count, 1); /* what is recorded is recorded */
    assert_int_equal(heard.rows[0].verdict, SALE_KNOWN);
    assert_int_equal(number("SELECT stock FROM products WHERE id = $1"), 99);
    assert_int_equal(number("SELECT version FROM products WHERE id = $1"), 1001);
}

static void a_missing_product_and_a_missing_user(void **state)
{
    (void)state;
    struct heard heard;
    struct sale_order orders[] = {order(99, "a", 1), order(1, "a", 1)};
    sell(&heard, 1, orders, 2);
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.rows[0].place, 1);
    product = 12345;
    sell(&heard, 1, orders, 2);
    assert_int_equal(heard.outcome, SALE_NO_PRODUCT);
    look(&heard, orders, 2);
    assert_int_equal(heard.outcome, SALE_NO_PRODUCT);
}

static void G13_an_order_of_two_thousand_million_refuses_only_itself(void **state)
{
    (void)state;
    struct heard heard;
    struct sale_order orders[] = {order(1, "a", 1000000), order(2, "a", 1)};
    sell(&heard, 1, orders, 2);
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.rows[0].place, 1);
}

static void a_look_tells_stock_recorded_keys_and_missing_users(void **state)
{
    (void)state;
    struct heard sold;
    struct heard heard;
    struct sale_order orders[] = {order(1, "a", 1), order(2, "a", 1), order(99, "a", 1)};
    sell(&sold, 1, orders, 1);
    look(&heard, orders, 3);
    assert_int_equal(heard.outcome, SALE_DONE);
    assert_int_equal(heard.now.stock, 99);
    assert_int_equal(heard.now.version, 1001);
    assert_int_equal(heard.count, 2);
    assert_int_equal(row_of(&heard, 0)->verdict, SALE_KNOWN);
    assert_int_equal(row_of(&heard, 2)->verdict, SALE_NO_USER);
    look(&heard, &orders[1], 1);
    assert_int_equal(heard.outcome, SALE_DONE);
    assert_int_equal(heard.count, 0);
}

/* The same orders, alone on one product and beside an order without an account on the other. */
static void an_order_alone_is_sold_as_in_a_batch(void **state)
{
    (void)state;
    int64_t alone = product;
    int64_t beside = postgres_fixture_number(
        postgres, "INSERT INTO products (name, price, stock, version) VALUES ('beside', 10, 20, "
                  "1000) RETURNING id");
    set_stock(20);
    srandom(7);
    unsigned verdicts[3] = {0};
    static char keys[120][2][32];
    int64_t users[120];
    for (int i = 0; i < 120; i++) {
        int64_t quantity = 1 + random() % 6;
        uint64_t token = 1 + (uint64_t)random() % 3 + (uint64_t)i / 10;
        int key = i > 10 && random() % 4 == 0 ? (int)(random() % i) : i;
        users[i] = key == i ? 1 + random() % 55 : users[key]; /* some don't exist */
        int64_t user = users[i];
        for (int j = 0; j < 2; j++)
            snprintf(keys[i][j], sizeof keys[i][j], "%d-%d", key, j);
        struct sale_order orders[] = {order(user, keys[i][1], quantity), order(99, "nobody", 1)};
        struct sale_order single = order(user, keys[i][0], quantity);
        struct heard one;
        struct heard two;
        if (i % 8 == 7) free(postgres_fixture_sql(postgres, "UPDATE products SET stock = 9"));
        product = alone;
        sell(&one, token, &single, 1);
        product = beside;
        sell(&two, token, orders, 2);
        assert_int_equal(one.outcome, two.outcome);
        assert_int_equal(one.last_token, two.last_token);
        assert_int_equal(one.whole, two.whole);
        assert_int_equal(one.now.stock, two.now.stock);
        assert_int_equal(one.now.version, two.now.version);
        assert_int_equal(one.count, two.count);
        verdicts[one.count == 0 ? 2 : one.rows[0].verdict]++;
        if (one.count == 0) continue;
        const struct purchase *a = &one.rows[0].purchase;
        const struct purchase *b = &two.rows[0].purchase;
        assert_int_equal(one.rows[0].place, two.rows[0].place);
        assert_int_equal(one.rows[0].verdict, two.rows[0].verdict);
        assert_int_equal(a->quantity, b->quantity);
        assert_int_equal(a->total_price, b->total_price);
        assert_int_equal(a->remaining_stock, b->remaining_stock);
    }
    assert_true(verdicts[SALE_SOLD] > 10 && verdicts[SALE_KNOWN] > 3 && verdicts[2] > 10);
    for (int i = 0; i < 2; i++) {
        product = i == 0 ? alone : beside;
        assert_int_equal(
            number("SELECT count(*) FROM purchases x WHERE product_id = $1 AND NOT EXISTS "
                   "(SELECT FROM stock_ledger l WHERE l.product_id = $1 AND l.version = "
                   "x.version AND l.delta = -x.quantity AND l.token = x.token AND "
                   "l.stock_after = x.remaining_stock AND x.place = 1)"),
            0);
    }
}

static void a_key_that_another_batch_records_meanwhile_makes_it_run_again(void **state)
{
    (void)state;
    struct heard heard;
    struct sale_order orders[] = {order(1, "a", 1), order(99, "nobody", 1)};
    PGconn *other = postgres_fixture_session(postgres);
    PQclear(PQexec(other, "BEGIN"));
    PQclear(PQexec(other, "INSERT INTO purchases (user_id, product_id, quantity, total_price, "
                          "remaining_stock, idem, token, version, place) VALUES (1, 777, 1, 1, 1, "
                          "'a', 1, 1, 1)"));
    start_sale(&heard, 1, orders, width);
    loop_run_ms(loop, 100);
    assert_int_equal(heard.answers, 0); /* waits for the other's commit */
    PQclear(PQexec(other, "COMMIT"));
    PQfinish(other);
    wait_for(&heard);
    assert_int_equal(heard.outcome, SALE_AGAIN);
    sell(&heard, 1, orders, width);
    assert_int_equal(heard.rows[0].verdict, SALE_KNOWN);
    assert_int_equal(heard.rows[0].purchase.product_id, 777);
    assert_int_equal(number("SELECT stock FROM products WHERE id = $1"), 100);
}

static void reopen(unsigned writers, uint64_t timeout_us)
{
    database_close(database);
    store_free(store);
    database = database_fixture_open(loop, postgres, writers, timeout_us);
    store = store_new(database);
    wait_until_up();
}

static void G23_a_repeat_behind_its_own_straggler_refuses_nobody(void **state)
{
    (void)state;
    struct heard lost;
    struct heard repeat;
    struct sale_order orders[] = {order(1, "a", 1), order(99, "nobody", 1)};
    set_stock(1);
    reopen(2, 300000);
    PGconn *other = database_fixture_hold(postgres, product);
    start_sale(&lost, 10, orders, width);
    wait_for(&lost);
    assert_int_equal(lost.outcome, SALE_UNKNOWN); /* hangs on in the server */
    wait_until_up();
    start_sale(&repeat, 11, orders, width); /* its snapshot is older than the straggler's commit */
    loop_run_ms(loop, 100);
    database_fixture_let_go(other);
    wait_for(&repeat);
    assert_int_equal(repeat.outcome, SALE_DONE);
    assert_false(repeat.whole);
    assert_int_equal(repeat.count, 0);
    assert_int_equal(repeat.now.stock, 0);
    sell(&repeat, 11, orders, width);
    assert_true(repeat.whole);
    assert_int_equal(repeat.rows[0].verdict, SALE_KNOWN);
    assert_int_equal(number("SELECT count(*) FROM purchases WHERE product_id = $1"), 1);
}

static void G20_a_straggler_that_runs_after_its_repeat_and_a_restock_is_refused(void **state)
{
    (void)state;
    struct heard lost;
    struct heard repeat;
    struct sale_order orders[] = {order(1, "a", 1), order(99, "nobody", 1)};
    struct sale_order others[] = {order(2, "a", 1), order(99, "nobody", 1)};
    set_stock(1);
    reopen(1, 300000);
    postgres_fixture_pause_sessions(postgres);
    start_sale(&lost, 10, orders, width); /* reaches the socket of a stopped process */
    wait_for(&lost);
    assert_int_equal(lost.outcome, SALE_UNKNOWN);
    wait_until_up();
    sell(&repeat, 11, others, width); /* somebody else gets the last one */
    assert_int_equal(repeat.rows[0].verdict, SALE_SOLD);
    set_stock(5);
    postgres_fixture_resume_sessions(postgres);
    loop_run_ms(loop, 300);
    assert_int_equal(number("SELECT stock FROM products WHERE id = $1"), 5);
    assert_int_equal(number("SELECT count(*) FROM purchases WHERE product_id = $1"), 1);
}

static void G16_a_commit_whose_answer_is_lost_is_unknown_then_known(void **state)
{
    (void)state;
    struct heard lost;
    struct heard again;
    struct sale_order orders[] = {order(1, "a", 1), order(99, "nobody", 1)};
    reopen(2, 300000);
    PGconn *other = database_fixture_hold(postgres, product);
    start_sale(&lost, 10, orders, width);
    wait_for(&lost);
    assert_int_equal(lost.outcome, SALE_UNKNOWN);
    database_fixture_let_go(other); /* and the straggler commits, to nobody */
    loop_run_ms(loop, 200);
    wait_until_up();
    assert_int_equal(number("SELECT stock FROM products WHERE id = $1"), 99);
    sell(&again, 11, orders, width);
    assert_int_equal(again.rows[0].verdict, SALE_KNOWN);
    assert_int_equal(number("SELECT stock FROM products WHERE id = $1"), 99);
}

static void an_ended_session_makes_what_was_sent_unknown_and_is_dialled_anew(void **state)
{
    (void)state;
    struct heard lost;
    struct heard again;
    struct sale_order orders[] = {order(1, "a", 1)};
    PGconn *other = database_fixture_hold(postgres, product);
    start_sale(&lost, 10, orders, 1);
    loop_run_ms(loop, 50);
    postgres_fixture_end_sessions(postgres);
    wait_for(&lost);
    assert_int_equal(lost.outcome, SALE_UNKNOWN);
    database_fixture_let_go(other);
    wait_until_up();
    sell(&again, 11, orders, 1);
    assert_int_equal(again.rows[0].verdict, SALE_SOLD);
}

static void a_server_that_is_gone_is_down_and_sales_resume_when_it_is_back(void **state)
{
    (void)state;
    struct heard heard;
    struct sale_order orders[] = {order(1, "a", 1)};
    postgres_fixture_kill(postgres);
    loop_run_ms(loop, 100);
    assert_false(database_up(database));
    sell(&heard, 1, orders, 1);
    assert_int_equal(heard.outcome, SALE_DOWN);
    look(&heard, orders, 1);
    assert_int_equal(heard.outcome, SALE_DOWN);
    postgres_fixture_restart(postgres);
    wait_until_up();
    sell(&heard, 1, orders, 1);
    assert_int_equal(heard.outcome, SALE_DONE);
}

static void a_read_does_not_wait_behind_a_batch(void **state)
{
    (void)state;
    struct heard batches[4];
    struct heard read;
    struct sale_order orders[] = {order(1, "a", 1), order(2, "a", 1), order(3, "a", 1),
                                  order(4, "a", 1)};
    PGconn *other = database_fixture_hold(postgres, product);
    for (int i = 0; i < 4; i++)
        start_sale(&batches[i], 1, &orders[i], 1);
    loop_run_ms(loop, 20);
    look(&read, orders, 1);
    assert_int_equal(read.now.stock, 100);
    for (int i = 0; i < 4; i++)
        assert_int_equal(batches[i].answers, 0);
    database_fixture_let_go(other);
    for (int i = 0; i < 4; i++)
        wait_for(&batches[i]);
    assert_int_equal(number("SELECT stock FROM products WHERE id = $1"), 96);
}

static void G22_crossing_batches_of_one_users_keys_never_deadlock(void **state)
{
    (void)state;
    int64_t there = product;
    int64_t elsewhere = postgres_fixture_number(
        postgres, "INSERT INTO products (name, price, stock, version) VALUES ('other', 10, 100000, "
                  "1000) RETURNING id");
    set_stock(100000);
    free(postgres_fixture_sql(postgres, "ALTER SYSTEM SET deadlock_timeout = '20ms'"));
    free(postgres_fixture_sql(postgres, "SELECT pg_reload_conf()"));
    long long before = postgres_fixture_number(
        postgres, "SELECT sum(deadlocks) FROM pg_stat_database WHERE datname = 'quorate'");
    static char keys[20][32];
    unsigned again = 0;
    for (int round = 0; round < 5000; round++) {
        struct sale_order forth[20];
        struct sale_order back[20];
        for (int i = 0; i < 20; i++) {
            snprintf(keys[i], sizeof keys[i], "%d-%d", round, i);
            forth[i] = back[19 - i] = order(1, keys[i], 1);
        }
        struct heard one;
        struct heard two;
        product = there;
        start_sale(&one, 1, forth, 20);
        product = elsewhere;
        start_sale(&two, 1, back, 20);
        wait_for(&one);
        wait_for(&two);
        again += (one.outcome == SALE_AGAIN) + (two.outcome == SALE_AGAIN);
        assert_true(one.outcome == SALE_DONE || two.outcome == SALE_DONE);
        assert_true(one.outcome == SALE_DONE || one.outcome == SALE_AGAIN);
        assert_true(two.outcome == SALE_DONE || two.outcome == SALE_AGAIN);
    }
    assert_true(again > 0); /* they did cross */
    usleep(600000);         /* the server's counters come late */
    assert_int_equal(postgres_fixture_number(postgres,
                                             "SELECT sum(deadlocks) FROM pg_stat_database "
                                             "WHERE datname = 'quorate'"),
                     before);
    free(postgres_fixture_sql(postgres, "ALTER SYSTEM RESET deadlock_timeout"));
}

struct product_heard {
    unsigned answers;
    enum store_outcome outcome;
    size_t count;
    int64_t id;
    int64_t stock;
    int64_t version;
    bool has_description;
    char name[256];
};

static void on_products(void *arg, enum store_outcome outcome, const struct store_product *products,
                        size_t count)
{
    struct product_heard *heard = arg;
    heard->answers++;
    heard->outcome = outcome;
    heard->count = count;
    if (count == 0) return;
    heard->id = products[0].id;
    heard->stock = products[0].stock;
    heard->version = products[0].version;
    heard->has_description = products[0].has_description;
    snprintf(heard->name, sizeof heard->name, "%.*s", SPAN_ARGS(products[0].name));
}

static void wait_product(const struct product_heard *heard)
{
    LOOP_UNTIL(loop, heard->answers > 0);
}

static struct product_heard create(const char *name, const char *description, int64_t stock,
                                   const char *key)
{
    struct product_heard heard = {0};
    struct store_product_new made = {.name = span_of(name),
                                     .description = span_of(description),
                                     .has_description = description != NULL,
                                     .price = 5,
                                     .stock = stock,
                                     .key = span_of(key)};
    store_product_create(store, &made, on_products, &heard);
    wait_product(&heard);
    return heard;
}

static void a_product_is_created_once_by_name_and_by_key(void **state)
{
    (void)state;
    uint64_t wall_us = clock_wall_us(&clock_system);
    struct product_heard made = create("Café", NULL, 7, "k1");
    assert_int_equal(made.outcome, STORE_DONE);
    assert_string_equal(made.name, "Café");
    assert_false(made.has_description);
    assert_true((uint64_t)made.version > wall_us - 5000000);
    assert_true((uint64_t)made.version < wall_us + 5000000);
    product = made.id;
    assert_int_equal(number("SELECT delta FROM stock_ledger WHERE product_id = $1 AND reason = "
                            "'initial'"),
                     7);
    struct product_heard again = create("Café", NULL, 7, "k1");
    assert_int_equal(again.outcome, STORE_DONE);
    assert_int_equal(again.id, made.id);
    assert_int_equal(create("Café", "", 7, "k1").outcome, STORE_KEY_REUSED);
    assert_int_equal(create("Other", NULL, 7, "k1").outcome, STORE_KEY_REUSED);
    assert_int_equal(create("Café", NULL, 7, "k2").outcome, STORE_EXISTS);
    assert_int_equal(create("Café", NULL, 7, NULL).outcome, STORE_EXISTS);
    assert_int_equal(create("Free", "text", 0, NULL).outcome, STORE_DONE);
    assert_int_equal(create("Bad \xff", NULL, 1, NULL).outcome, STORE_INVALID);
    assert_int_equal(create("Minus", NULL, -1, NULL).outcome, STORE_INVALID);
    struct sale_order orders[] = {order(1, "a", 2)};
    struct heard heard;
    sell(&heard, 1, orders, 1);
    again = create("Café", NULL, 7, "k1"); /* the same body, though the stock has moved */
    assert_int_equal(again.outcome, STORE_DONE);
    assert_int_equal(again.stock, 5);
}

static void two_creations_of_one_name_at_once_make_one_product(void **state)
{
    (void)state;
    PGconn *other = postgres_fixture_session(postgres);
    PQclear(PQexec(other, "BEGIN"));
    PQclear(PQexec(other,
                   "INSERT INTO products (name, price, stock, version) VALUES ('both', 1, 1, "
                   "1)"));
    struct product_heard heard = {0};
    struct store_product_new made = {.name = span_of("both"), .price = 5, .stock = 1};
    store_product_create(store, &made, on_products, &heard);
    loop_run_ms(loop, 100);
    assert_int_equal(heard.answers, 0);
    database_fixture_let_go(other);
    wait_product(&heard);
    assert_int_equal(heard.outcome, STORE_EXISTS);
}

static void products_are_read_and_paged(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "page %d", i);
        assert_int_equal(create(name, NULL, i, NULL).outcome, STORE_DONE);
    }
    struct product_heard heard = {0};
    store_products_after(store, product, 3, on_products, &heard);
    wait_product(&heard);
    assert_int_equal(heard.count, 3);
    assert_string_equal(heard.name, "page 0");
    heard = (struct product_heard){0};
    store_product_get(store, product, on_products, &heard);
    wait_product(&heard);
    assert_string_equal(heard.name, "thing");
    heard = (struct product_heard){0};
    store_product_get(store, 4711, on_products, &heard);
    wait_product(&heard);
    assert_int_equal(heard.outcome, STORE_NOT_FOUND);
}

struct levels_heard {
    unsigned answers;
    size_t count;
    struct stock_value values[16];
};

static void on_levels(void *arg, enum store_outcome outcome, const struct stock_value *found,
                      size_t count)
{
    struct levels_heard *heard = arg;
    assert_int_equal(outcome, STORE_DONE);
    heard->answers++;
    heard->count = count;
    if (count > 0) memcpy(heard->values, found, count * sizeof *found);
}

static void levels_are_read_by_id_and_by_page(void **state)
{
    (void)state;
    create("second", NULL, 9, NULL);
    struct levels_heard heard = {0};
    int64_t ids[] = {product, 999999};
    store_levels_of(store, ids, 2, on_levels, &heard);
    LOOP_UNTIL(loop, heard.answers > 0);
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.values[0].stock, 100);
    assert_int_equal(heard.values[0].version, 1000);
    heard = (struct levels_heard){0};
    store_levels_after(store, 0, 10, on_levels, &heard);
    LOOP_UNTIL(loop, heard.answers > 0);
    assert_int_equal(heard.count, 2);
    assert_true(heard.values[0].product < heard.values[1].product);
}

struct purchases_heard {
    unsigned answers;
    size_t count;
    struct purchase purchases[16];
};

static void on_purchases(void *arg, enum store_outcome outcome, const struct purchase *purchases,
                         size_t count)
{
    struct purchases_heard *heard = arg;
    assert_int_equal(outcome, STORE_DONE);
    heard->answers++;
    heard->count = count;
    if (count > 0) memcpy(heard->purchases, purchases, count * sizeof *purchases);
}

static void purchases_of_an_account_come_newest_first_in_pages(void **state)
{
    (void)state;
    struct heard heard;
    struct sale_order orders[] = {order(3, "a", 1), order(3, "b", 2), order(3, "c", 3),
                                  order(4, "a", 1)};
    for (int i = 0; i < 4; i++)
        sell(&heard, 1, &orders[i], 1);
    struct purchases_heard page = {0};
    struct store_purchases_ask ask = {3, 0, 2};
    store_purchases_of(store, &ask, on_purchases, &page);
    LOOP_UNTIL(loop, page.answers > 0);
    assert_int_equal(page.count, 2);
    assert_int_equal(page.purchases[0].quantity, 3);
    assert_int_equal(page.purchases[1].quantity, 2);
    assert_int_equal(page.purchases[0].user_id, 3);
    ask.before = page.purchases[1].id;
    page = (struct purchases_heard){0};
    store_purchases_of(store, &ask, on_purchases, &page);
    LOOP_UNTIL(loop, page.answers > 0);
    assert_int_equal(page.count, 1);
    assert_int_equal(page.purchases[0].quantity, 1);
}

struct account_heard {
    unsigned answers;
    enum store_outcome outcome;
    int64_t id;
    bool admin;
    char hash[64];
};

static void on_account(void *arg, enum store_outcome outcome, const struct store_account *account)
{
    struct account_heard *heard = arg;
    heard->answers++;
    heard->outcome = outcome;
    if (account == NULL) return;
    heard->id = account->id;
    heard->admin = account->admin;
    snprintf(heard->hash, sizeof heard->hash, "%.*s", SPAN_ARGS(account->password_hash));
}

static void accounts_are_created_once_and_found(void **state)
{
    (void)state;
    struct store_account account = {.username = span_of("ann"),
                                    .email = span_of("a@b"),
                                    .password_hash = span_of("$argon2id$"),
                                    .admin = true};
    struct account_heard made = {0};
    store_account_create(store, &account, on_account, &made);
    LOOP_UNTIL(loop, made.answers > 0);
    assert_int_equal(made.outcome, STORE_DONE);
    struct account_heard again = {0};
    store_account_create(store, &account, on_account, &again);
    LOOP_UNTIL(loop, again.answers > 0);
    assert_int_equal(again.outcome, STORE_EXISTS);
    struct account_heard found = {0};
    store_account_find(store, span_of("ann"), on_account, &found);
    LOOP_UNTIL(loop, found.answers > 0);
    assert_int_equal(found.id, made.id);
    assert_true(found.admin);
    assert_string_equal(found.hash, "$argon2id$");
    struct account_heard missing = {0};
    store_account_get(store, 4711, on_account, &missing);
    LOOP_UNTIL(loop, missing.answers > 0);
    assert_int_equal(missing.outcome, STORE_NOT_FOUND);
}

static void G10_the_schema_refuses_what_must_never_be(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "UPDATE products SET stock = -1",
        "UPDATE products SET stock = 1000000000001",
        "UPDATE products SET price = 0",
        "INSERT INTO products (name, price, stock, version) VALUES ('thing', 1, 1, 1)",
        "INSERT INTO products (name, price, stock, version) VALUES ('', 1, 1, 1)",
        "INSERT INTO users (username, password_hash) VALUES ('user1', 'x')",
        "UPDATE purchases SET quantity = 0",
        "UPDATE purchases SET remaining_stock = -1",
        "INSERT INTO purchases OVERRIDING SYSTEM VALUE SELECT * FROM purchases",
    };
    struct heard heard;
    struct sale_order orders[] = {order(1, "a", 1)};
    sell(&heard, 1, orders, 1);
    PGconn *session = postgres_fixture_session(postgres);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        PGresult *result = PQexec(session, bad[i]);
        assert_int_equal(PQresultStatus(result), PGRES_FATAL_ERROR);
        const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        assert_true(strncmp(sqlstate, "23", 2) == 0);
        PQclear(result);
    }
    PQfinish(session);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define PAIR(name)                                                                                 \
    {                                                                                              \
#name "_beside_another", name, setup_pair, teardown, NULL                                  \
    }

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    postgres = postgres_fixture_start();
    const struct CMUnitTest tests[] = {
        TEST(a_batch_is_sold_recorded_and_entered_in_the_ledger),
        TEST(G12_five_one_one_one_on_a_stock_of_three_sells_three),
        TEST(two_two_one_on_a_stock_of_three_sells_the_first),
        TEST(a_recorded_key_comes_back_with_its_first_body),
        TEST(a_stale_token_changes_nothing_and_hears_the_newer_one),
        TEST(a_missing_product_and_a_missing_user),
        TEST(G13_an_order_of_two_thousand_million_refuses_only_itself),
        TEST(a_look_tells_stock_recorded_keys_and_missing_users),
        TEST(an_order_alone_is_sold_as_in_a_batch),
        TEST(a_key_that_another_batch_records_meanwhile_makes_it_run_again),
        PAIR(a_key_that_another_batch_records_meanwhile_makes_it_run_again),
        TEST(G23_a_repeat_behind_its_own_straggler_refuses_nobody),
        PAIR(G23_a_repeat_behind_its_own_straggler_refuses_nobody),
        TEST(G20_a_straggler_that_runs_after_its_repeat_and_a_restock_is_refused),
        PAIR(G20_a_straggler_that_runs_after_its_repeat_and_a_restock_is_refused),
        TEST(G16_a_commit_whose_answer_is_lost_is_unknown_then_known),
        PAIR(G16_a_commit_whose_answer_is_lost_is_unknown_then_known),
        TEST(an_ended_session_makes_what_was_sent_unknown_and_is_dialled_anew),
        TEST(a_server_that_is_gone_is_down_and_sales_resume_when_it_is_back),
        TEST(a_read_does_not_wait_behind_a_batch),
        TEST(G22_crossing_batches_of_one_users_keys_never_deadlock),
        TEST(a_product_is_created_once_by_name_and_by_key),
        TEST(two_creations_of_one_name_at_once_make_one_product),
        TEST(products_are_read_and_paged),
        TEST(levels_are_read_by_id_and_by_page),
        TEST(purchases_of_an_account_come_newest_first_in_pages),
        TEST(accounts_are_created_once_and_found),
        TEST(G10_the_schema_refuses_what_must_never_be),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    postgres_fixture_free(postgres);
    return failed;
}
