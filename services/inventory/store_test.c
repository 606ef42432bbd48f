/* Products, purchases and accounts on a real Postgres, and what the schema refuses. */
#include "inventory/store_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

static struct product_heard create(const struct world *world, const char *name,
                                   const char *description, int64_t stock, const char *key)
{
    struct product_heard heard = {0};
    struct store_product_new made = {.name = span_of(name),
                                     .description = span_of(description),
                                     .has_description = description != NULL,
                                     .price = 5,
                                     .stock = stock,
                                     .key = span_of(key)};
    store_product_create(world->store, &made, on_products, &heard);
    LOOP_UNTIL(world->loop, heard.answers > 0);
    return heard;
}

static void a_product_is_created_once_by_name_and_by_key(void **state)
{
    struct world *world = *state;
    uint64_t wall_us = clock_wall_us(&clock_system);
    struct product_heard made = create(world, "Café", NULL, 7, "k1");
    assert_int_equal(made.outcome, STORE_DONE);
    assert_string_equal(made.name, "Café");
    assert_false(made.has_description);
    assert_true((uint64_t)made.version > wall_us - 5000000);
    assert_true((uint64_t)made.version < wall_us + 5000000);
    world->product = made.id;
    assert_int_equal(
        world_number(world, "SELECT delta FROM stock_ledger WHERE product_id = $1 AND reason = "
                            "'initial'"),
        7);
    struct product_heard again = create(world, "Café", NULL, 7, "k1");
    assert_int_equal(again.outcome, STORE_DONE);
    assert_int_equal(again.id, made.id);
    assert_int_equal(create(world, "Café", "", 7, "k1").outcome, STORE_KEY_REUSED);
    assert_int_equal(create(world, "Other", NULL, 7, "k1").outcome, STORE_KEY_REUSED);
    assert_int_equal(create(world, "Café", NULL, 7, "k2").outcome, STORE_EXISTS);
    assert_int_equal(create(world, "Café", NULL, 7, NULL).outcome, STORE_EXISTS);
    assert_int_equal(create(world, "Free", "text", 0, NULL).outcome, STORE_DONE);
    assert_int_equal(create(world, "Bad \xff", NULL, 1, NULL).outcome, STORE_INVALID);
    assert_int_equal(create(world, "Minus", NULL, -1, NULL).outcome, STORE_INVALID);
    struct sale_order orders[] = {order_of(1, "a", 2)};
    struct heard heard;
    world_sell(world, &heard, 1, orders, 1);
    again = create(world, "Café", NULL, 7, "k1"); /* the same body, though the stock has moved */
    assert_int_equal(again.outcome, STORE_DONE);
    assert_int_equal(again.stock, 5);
}

static void two_creations_of_one_name_at_once_make_one_product(void **state)
{
    struct world *world = *state;
    PGconn *other = postgres_fixture_session(world->postgres);
    PQclear(PQexec(other, "BEGIN"));
    PQclear(PQexec(other,
                   "INSERT INTO products (name, price, stock, version) VALUES ('both', 1, 1, "
                   "1)"));
    struct product_heard heard = {0};
    struct store_product_new made = {.name = span_of("both"), .price = 5, .stock = 1};
    store_product_create(world->store, &made, on_products, &heard);
    loop_run_ms(world->loop, 100);
    assert_int_equal(heard.answers, 0);
    database_fixture_let_go(other);
    LOOP_UNTIL(world->loop, heard.answers > 0);
    assert_int_equal(heard.outcome, STORE_EXISTS);
}

static void products_are_read_and_paged(void **state)
{
    struct world *world = *state;
    for (int i = 0; i < 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "page %d", i);
        assert_int_equal(create(world, name, NULL, i, NULL).outcome, STORE_DONE);
    }
    struct product_heard heard = {0};
    store_products_after(world->store, world->product, 3, on_products, &heard);
    LOOP_UNTIL(world->loop, heard.answers > 0);
    assert_int_equal(heard.count, 3);
    assert_string_equal(heard.name, "page 0");
    heard = (struct product_heard){0};
    store_product_get(world->store, world->product, on_products, &heard);
    LOOP_UNTIL(world->loop, heard.answers > 0);
    assert_string_equal(heard.name, "thing");
    heard = (struct product_heard){0};
    store_product_get(world->store, 4711, on_products, &heard);
    LOOP_UNTIL(world->loop, heard.answers > 0);
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
    struct world *world = *state;
    create(world, "second", NULL, 9, NULL);
    struct levels_heard heard = {0};
    int64_t ids[] = {world->product, 999999};
    store_levels_of(world->store, ids, 2, on_levels, &heard);
    LOOP_UNTIL(world->loop, heard.answers > 0);
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.values[0].stock, 100);
    assert_int_equal(heard.values[0].version, 1000);
    heard = (struct levels_heard){0};
    store_levels_after(world->store, 0, 10, on_levels, &heard);
    LOOP_UNTIL(world->loop, heard.answers > 0);
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
    struct world *world = *state;
    struct heard heard;
    struct sale_order orders[] = {order_of(3, "a", 1), order_of(3, "b", 2), order_of(3, "c", 3),
                                  order_of(4, "a", 1)};
    for (int i = 0; i < 4; i++)
        world_sell(world, &heard, 1, &orders[i], 1);
    struct purchases_heard page = {0};
    struct store_purchases_ask ask = {3, 0, 2};
    store_purchases_of(world->store, &ask, on_purchases, &page);
    LOOP_UNTIL(world->loop, page.answers > 0);
    assert_int_equal(page.count, 2);
    assert_int_equal(page.purchases[0].quantity, 3);
    assert_int_equal(page.purchases[1].quantity, 2);
    assert_int_equal(page.purchases[0].user_id, 3);
    ask.before = page.purchases[1].id;
    page = (struct purchases_heard){0};
    store_purchases_of(world->store, &ask, on_purchases, &page);
    LOOP_UNTIL(world->loop, page.answers > 0);
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
    struct world *world = *state;
    struct store_account account = {.username = span_of("ann"),
                                    .email = span_of("a@b"),
                                    .password_hash = span_of("$argon2id$"),
                                    .admin = true};
    struct account_heard made = {0};
    store_account_create(world->store, &account, on_account, &made);
    LOOP_UNTIL(world->loop, made.answers > 0);
    assert_int_equal(made.outcome, STORE_DONE);
    struct account_heard again = {0};
    store_account_create(world->store, &account, on_account, &again);
    LOOP_UNTIL(world->loop, again.answers > 0);
    assert_int_equal(again.outcome, STORE_EXISTS);
    struct account_heard found = {0};
    store_account_find(world->store, span_of("ann"), on_account, &found);
    LOOP_UNTIL(world->loop, found.answers > 0);
    assert_int_equal(found.id, made.id);
    assert_true(found.admin);
    assert_string_equal(found.hash, "$argon2id$");
    struct account_heard missing = {0};
    store_account_get(world->store, 4711, on_account, &missing);
    LOOP_UNTIL(world->loop, missing.answers > 0);
    assert_int_equal(missing.outcome, STORE_NOT_FOUND);
}

static void G10_the_schema_refuses_what_must_never_be(void **state)
{
    struct world *world = *state;
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
    struct sale_order orders[] = {order_of(1, "a", 1)};
    world_sell(world, &heard, 1, orders, 1);
    PGconn *session = postgres_fixture_session(world->postgres);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        PGresult *result = PQexec(session, bad[i]);
        assert_int_equal(PQresultStatus(result), PGRES_FATAL_ERROR);
        const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        assert_true(strncmp(sqlstate, "23", 2) == 0);
        PQclear(result);
    }
    PQfinish(session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_product_is_created_once_by_name_and_by_key),
        TEST(two_creations_of_one_name_at_once_make_one_product),
        TEST(products_are_read_and_paged),
        TEST(levels_are_read_by_id_and_by_page),
        TEST(purchases_of_an_account_come_newest_first_in_pages),
        TEST(accounts_are_created_once_and_found),
        TEST(G10_the_schema_refuses_what_must_never_be),
    };
    return cmocka_run_group_tests(tests, world_start, world_end);
}
