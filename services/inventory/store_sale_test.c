/* The statements that sell, on a real Postgres: what they promise, whoever else writes. */
#include "inventory/store_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void a_batch_is_sold_recorded_and_entered_in_the_ledger(void **state)
{
    struct world *world = *state;
    struct heard heard;
    struct sale_order orders[] = {order_of(2, "a", 3), order_of(1, "b", 1)};
    world_sell(world, &heard, 42, orders, 2);
    assert_int_equal(heard.outcome, SALE_DONE);
    assert_true(heard.whole);
    assert_int_equal(heard.now.stock, 96);
    assert_int_equal(heard.now.version, 1001);
    assert_int_equal(heard.count, 2);
    const struct purchase *first = &heard_row(&heard, 0)->purchase;
    assert_int_equal(heard_row(&heard, 0)->verdict, SALE_SOLD);
    assert_int_equal(first->quantity, 3);
    assert_int_equal(first->total_price, 30);
    assert_int_equal(first->remaining_stock, 97);
    assert_int_equal(first->product_id, world->product);
    assert_int_equal(heard_row(&heard, 1)->purchase.remaining_stock, 96);
    uint64_t wall_us = clock_wall_us(&clock_system);
    assert_true((uint64_t)first->purchased_at_us <= wall_us + 1000000);
    assert_true((uint64_t)first->purchased_at_us >= wall_us - 10000000);
    assert_int_equal(world_number(world, "SELECT last_token FROM products WHERE id = $1"), 42);
    assert_int_equal(
        world_number(world, "SELECT count(*) FROM purchases WHERE product_id = $1 AND token = 42 "
                            "AND version = 1001 AND (user_id, place) IN ((2, 1), (1, 2))"),
        2);
    assert_int_equal(
        world_number(world, "SELECT sum(delta) FROM stock_ledger WHERE product_id = $1"), 96);
    assert_int_equal(
        world_number(world, "SELECT count(*) FROM stock_ledger WHERE product_id = $1 AND reason = "
                            "'sale' AND token = 42 AND delta = -4 AND stock_after = 96"),
        1);
}

static void G12_five_one_one_one_on_a_stock_of_three_sells_three(void **state)
{
    struct world *world = *state;
    struct heard heard;
    struct sale_order orders[] = {order_of(1, "a", 5), order_of(2, "a", 1), order_of(3, "a", 1),
                                  order_of(4, "a", 1)};
    world_set_stock(world, 3);
    world_sell(world, &heard, 1, orders, 4);
    assert_int_equal(heard.count, 3);
    assert_null(heard_row(&heard, 0));
    assert_int_equal(heard.now.stock, 0);
}

static void two_two_one_on_a_stock_of_three_sells_the_first(void **state)
{
    struct world *world = *state;
    struct heard heard;
    struct sale_order orders[] = {order_of(1, "a", 2), order_of(2, "a", 2), order_of(3, "a", 1)};
    world_set_stock(world, 3);
    world_sell(world, &heard, 1, orders, 3);
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.rows[0].place, 0);
    assert_int_equal(heard.now.stock, 1);
}

static void a_recorded_key_comes_back_with_its_first_body(void **state)
{
    struct world *world = *state;
    struct heard first;
    struct heard again;
    struct sale_order orders[] = {order_of(1, "a", 2), order_of(2, "a", 2)};
    world_sell(world, &first, 1, orders, 1);
    world_set_stock(world, 0);
    world_sell(world, &again, 2, orders, 2);
    assert_int_equal(again.outcome, SALE_DONE);
    assert_int_equal(again.count, 1);
    assert_int_equal(again.rows[0].verdict, SALE_KNOWN);
    assert_memory_equal(&again.rows[0].purchase, &first.rows[0].purchase, sizeof(struct purchase));
    assert_int_equal(world_number(world, "SELECT count(*) FROM purchases WHERE product_id = $1"),
                     1);
    assert_int_equal(world_number(world, "SELECT count(*) FROM stock_ledger WHERE product_id = $1"),
                     2);
}

static void a_stale_token_changes_nothing_and_hears_the_newer_one(void **state)
{
    struct world *world = *state;
    struct heard heard;
    struct sale_order orders[] = {order_of(1, "a", 1), order_of(1, "b", 1)};
    world_sell(world, &heard, 50, orders, 1);
    world_sell(world, &heard, 49, orders, 2);
    assert_int_equal(heard.outcome, SALE_FENCED);
    assert_int_equal(heard.last_token, 50);
    assert_int_equal(heard.count, 1); /* what is recorded is recorded */
    assert_int_equal(heard.rows[0].verdict, SALE_KNOWN);
    assert_int_equal(world_number(world, "SELECT stock FROM products WHERE id = $1"), 99);
    assert_int_equal(world_number(world, "SELECT version FROM products WHERE id = $1"), 1001);
}

static void a_missing_product_and_a_missing_user(void **state)
{
    struct world *world = *state;
    struct heard heard;
    struct sale_order orders[] = {order_of(99, "a", 1), order_of(1, "a", 1)};
    world_sell(world, &heard, 1, orders, 2);
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.rows[0].place, 1);
    world->product = 12345;
    world_sell(world, &heard, 1, orders, 2);
    assert_int_equal(heard.outcome, SALE_NO_PRODUCT);
    world_look(world, &heard, orders, 2);
    assert_int_equal(heard.outcome, SALE_NO_PRODUCT);
}

static void G13_an_order_of_two_thousand_million_refuses_only_itself(void **state)
{
    struct world *world = *state;
    struct heard heard;
    struct sale_order orders[] = {order_of(1, "a", 1000000), order_of(2, "a", 1)};
    world_sell(world, &heard, 1, orders, 2);
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.rows[0].place, 1);
}

static void a_look_tells_stock_recorded_keys_and_missing_users(void **state)
{
    struct world *world = *state;
    struct heard sold;
    struct heard heard;
    struct sale_order orders[] = {order_of(1, "a", 1), order_of(2, "a", 1), order_of(99, "a", 1)};
    world_sell(world, &sold, 1, orders, 1);
    world_look(world, &heard, orders, 3);
    assert_int_equal(heard.outcome, SALE_DONE);
    assert_int_equal(heard.now.stock, 99);
    assert_int_equal(heard.now.version, 1001);
    assert_int_equal(heard.count, 2);
    assert_int_equal(heard_row(&heard, 0)->verdict, SALE_KNOWN);
    assert_int_equal(heard_row(&heard, 2)->verdict, SALE_NO_USER);
    world_look(world, &heard, &orders[1], 1);
    assert_int_equal(heard.outcome, SALE_DONE);
    assert_int_equal(heard.count, 0);
}

/* The same orders, alone on one product and beside an order without an account on the other. */
static void an_order_alone_is_sold_as_in_a_batch(void **state)
{
    struct world *world = *state;
    int64_t alone = world->product;
    int64_t beside = postgres_fixture_number(
        world->postgres,
        "INSERT INTO products (name, price, stock, version) VALUES ('beside', 10, 20, "
        "1000) RETURNING id");
    world_set_stock(world, 20);
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
        struct sale_order orders[] = {order_of(user, keys[i][1], quantity),
                                      order_of(99, "nobody", 1)};
        struct sale_order single = order_of(user, keys[i][0], quantity);
        struct heard one;
        struct heard two;
        if (i % 8 == 7)
            free(postgres_fixture_sql(world->postgres, "UPDATE products SET stock = 9"));
        world->product = alone;
        world_sell(world, &one, token, &single, 1);
        world->product = beside;
        world_sell(world, &two, token, orders, 2);
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
        world->product = i == 0 ? alone : beside;
        assert_int_equal(
            world_number(world,
                         "SELECT count(*) FROM purchases x WHERE product_id = $1 AND NOT EXISTS "
                         "(SELECT FROM stock_ledger l WHERE l.product_id = $1 AND l.version = "
                         "x.version AND l.delta = -x.quantity AND l.token = x.token AND "
                         "l.stock_after = x.remaining_stock AND x.place = 1)"),
            0);
    }
}

static void a_key_that_another_batch_records_meanwhile_makes_it_run_again(void **state)
{
    struct world *world = *state;
    struct heard heard;
    struct sale_order orders[] = {order_of(1, "a", 1), order_of(99, "nobody", 1)};
    PGconn *other = postgres_fixture_session(world->postgres);
    PQclear(PQexec(other, "BEGIN"));
    PQclear(PQexec(other, "INSERT INTO purchases (user_id, product_id, quantity, total_price, "
                          "remaining_stock, idem, token, version, place) VALUES (1, 777, 1, 1, 1, "
                          "'a', 1, 1, 1)"));
    world_start_sale(world, &heard, 1, orders, world->width);
    loop_run_ms(world->loop, 100);
    assert_int_equal(heard.answers, 0); /* waits for the other's commit */
    PQclear(PQexec(other, "COMMIT"));
    PQfinish(other);
    world_wait_for(world, &heard);
    assert_int_equal(heard.outcome, SALE_AGAIN);
    world_sell(world, &heard, 1, orders, world->width);
    assert_int_equal(heard.rows[0].verdict, SALE_KNOWN);
    assert_int_equal(heard.rows[0].purchase.product_id, 777);
    assert_int_equal(world_number(world, "SELECT stock FROM products WHERE id = $1"), 100);
}

static void a_read_does_not_wait_behind_a_batch(void **state)
{
    struct world *world = *state;
    struct heard batches[4];
    struct heard read;
    struct sale_order orders[] = {order_of(1, "a", 1), order_of(2, "a", 1), order_of(3, "a", 1),
                                  order_of(4, "a", 1)};
    PGconn *other = database_fixture_hold(world->postgres, world->product);
    for (int i = 0; i < 4; i++)
        world_start_sale(world, &batches[i], 1, &orders[i], 1);
    loop_run_ms(world->loop, 20);
    world_look(world, &read, orders, 1);
    assert_int_equal(read.now.stock, 100);
    for (int i = 0; i < 4; i++)
        assert_int_equal(batches[i].answers, 0);
    database_fixture_let_go(other);
    for (int i = 0; i < 4; i++)
        world_wait_for(world, &batches[i]);
    assert_int_equal(world_number(world, "SELECT stock FROM products WHERE id = $1"), 96);
}

static void G22_crossing_batches_of_one_users_keys_never_deadlock(void **state)
{
    struct world *world = *state;
    int64_t there = world->product;
    int64_t elsewhere = postgres_fixture_number(
        world->postgres,
        "INSERT INTO products (name, price, stock, version) VALUES ('other', 10, 100000, "
        "1000) RETURNING id");
    world_set_stock(world, 100000);
    free(postgres_fixture_sql(world->postgres, "ALTER SYSTEM SET deadlock_timeout = '20ms'"));
    free(postgres_fixture_sql(world->postgres, "SELECT pg_reload_conf()"));
    long long before = postgres_fixture_number(
        world->postgres, "SELECT sum(deadlocks) FROM pg_stat_database WHERE datname = 'quorate'");
    static char keys[20][32];
    unsigned again = 0;
    for (int round = 0; round < 5000; round++) {
        struct sale_order forth[20];
        struct sale_order back[20];
        for (int i = 0; i < 20; i++) {
            snprintf(keys[i], sizeof keys[i], "%d-%d", round, i);
            forth[i] = back[19 - i] = order_of(1, keys[i], 1);
        }
        struct heard one;
        struct heard two;
        world->product = there;
        world_start_sale(world, &one, 1, forth, 20);
        world->product = elsewhere;
        world_start_sale(world, &two, 1, back, 20);
        world_wait_for(world, &one);
        world_wait_for(world, &two);
        again += (one.outcome == SALE_AGAIN) + (two.outcome == SALE_AGAIN);
        assert_true(one.outcome == SALE_DONE || two.outcome == SALE_DONE);
        assert_true(one.outcome == SALE_DONE || one.outcome == SALE_AGAIN);
        assert_true(two.outcome == SALE_DONE || two.outcome == SALE_AGAIN);
    }
    assert_true(again > 0); /* they did cross */
    usleep(600000);         /* the server's counters come late */
    assert_int_equal(postgres_fixture_number(world->postgres,
                                             "SELECT sum(deadlocks) FROM pg_stat_database "
                                             "WHERE datname = 'quorate'"),
                     before);
    free(postgres_fixture_sql(world->postgres, "ALTER SYSTEM RESET deadlock_timeout"));
}

int main(void)
{
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
        TEST(a_read_does_not_wait_behind_a_batch),
        TEST(G22_crossing_batches_of_one_users_keys_never_deadlock),
    };
    return cmocka_run_group_tests(tests, world_start, world_end);
}
