/* Products, stock and accounts over the real RPC, and all services without a database. */
#include "inventory/server_world.h"
#include "proto/inventory.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void products_are_created_and_read(void **state)
{
    struct world *world = *state;
    struct heard made = world_create_product(world, "Lamp", 3, 7, "key");
    assert_reason(&made, REASON_NONE);
    assert_int_equal(made.number, 7);
    assert_false(made.flag); /* no node could be asked */
    struct heard again = world_create_product(world, "Lamp", 3, 7, "key");
    assert_reason(&again, REASON_NONE);
    assert_int_equal(again.id, made.id);
    again = world_create_product(world, "Lamp", 3, 8, "key");
    assert_reason(&again, REASON_KEY_REUSED);
    again = world_create_product(world, "Lamp", 3, 7, "");
    assert_reason(&again, REASON_EXISTS);
    static const struct {
        const char *name;
        int64_t price;
        int64_t stock;
    } bad[] = {{"", 1, 1},   {"x", 0, 1},     {"x", INT64_C(1000000000001), 1},
               {"x", 1, -1}, {"x\xff", 1, 1}, {"x", 1, INT64_C(1000000000001)}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct heard heard =
            world_create_product(world, bad[i].name, bad[i].price, bad[i].stock, "");
        assert_reason(&heard, REASON_INVALID);
    }
    struct heard read = world_get_product(world, made.id);
    assert_string_equal(read.text, "Lamp");
    read = world_get_product(world, 4711);
    assert_reason(&read, REASON_NOT_FOUND);
}

static void a_page_of_long_products_ends_where_the_frame_does(void **state)
{
    struct world *world = *state;
    free(postgres_fixture_sql(world->postgres,
                              "INSERT INTO products (name, description, price, stock, version) "
                              "SELECT 'p' || n, repeat('d', 10000), 1, 1, 1 FROM "
                              "generate_series(1, 50) n"));
    struct heard page = world_list_products(world, 0, 2);
    assert_int_equal(page.number, 2);
    assert_true(page.more);
    int64_t seen = 0;
    int64_t after = 0;
    do {
        page = world_list_products(world, after, 1000);
        assert_reason(&page, REASON_NONE);
        assert_true(page.number > 0 && page.number < 30);
        seen += page.number;
        after = page.id;
    } while (page.more);
    assert_int_equal(seen, 51);
    page = world_list_products(world, after, 10);
    assert_int_equal(page.number, 0);
    assert_false(page.more);
}

static void stock_is_read_from_both_sides(void **state)
{
    struct world *world = *state;
    assert_true(world_buy(world, 1, 3, "a").good);
    struct heard heard = world_get_stock(world, world->product);
    assert_reason(&heard, REASON_NONE);
    assert_int_equal(heard.number, 97);
    assert_false(heard.flag);
    heard = world_get_stock(world, 4711);
    assert_reason(&heard, REASON_NOT_FOUND);
}

static void on_account(const Quorate__Inventory__V1__Account *reply, void *arg)
{
    struct heard *heard = arg;
    if (reply != NULL) {
        heard->id = reply->id;
        heard->flag = reply->admin;
        snprintf(heard->text, sizeof heard->text, "%s/%s/%s", reply->username, reply->email,
                 reply->password_hash);
    }
    heard_end(heard, reply != NULL);
}

static struct heard create_account(const struct world *world, const char *name)
{
    struct heard heard;
    heard_begin(&heard, world, WORLD_ACCOUNTS, 5000000);
    Quorate__Inventory__V1__CreateAccountRequest request =
        QUORATE__INVENTORY__V1__CREATE_ACCOUNT_REQUEST__INIT;
    request.username = (char *)name;
    request.email = "a@b.example";
    request.password_hash = "hash";
    request.admin = true;
    quorate__inventory__v1__accounts__create_account(&heard.call.service, &request, on_account,
                                                     &heard);
    heard_wait(&heard);
    return heard;
}

static void accounts_are_created_and_found(void **state)
{
    struct world *world = *state;
    struct heard made = create_account(world, "김철수");
    assert_reason(&made, REASON_NONE);
    assert_string_equal(made.text, "김철수/a@b.example/"); /* the hash goes to FindAccount only */
    struct heard heard = create_account(world, "김철수");
    assert_reason(&heard, REASON_EXISTS);
    heard = create_account(world, "ab");
    assert_reason(&heard, REASON_INVALID);
    heard_begin(&heard, world, WORLD_ACCOUNTS, 5000000);
    Quorate__Inventory__V1__FindAccountRequest find =
        QUORATE__INVENTORY__V1__FIND_ACCOUNT_REQUEST__INIT;
    find.username = "김철수";
    quorate__inventory__v1__accounts__find_account(&heard.call.service, &find, on_account, &heard);
    heard_wait(&heard);
    assert_int_equal(heard.id, made.id);
    assert_string_equal(heard.text, "김철수/a@b.example/hash");
    assert_true(heard.flag);
    heard_begin(&heard, world, WORLD_ACCOUNTS, 5000000);
    Quorate__Inventory__V1__GetAccountRequest get =
        QUORATE__INVENTORY__V1__GET_ACCOUNT_REQUEST__INIT;
    get.id = 4711;
    quorate__inventory__v1__accounts__get_account(&heard.call.service, &get, on_account, &heard);
    heard_wait(&heard);
    assert_reason(&heard, REASON_NOT_FOUND);
}

static void without_a_database_everything_is_down_and_then_goes_on(void **state)
{
    struct world *world = *state;
    assert_true(world_buy(world, 1, 1, "a").good);
    postgres_fixture_kill(world->postgres);
    loop_run_ms(world->loop, 50);
    struct heard heard = world_buy(world, 1, 1, "b");
    assert_reason(&heard, REASON_DOWN);
    heard = world_list_products(world, 0, 10);
    assert_reason(&heard, REASON_DOWN);
    heard = world_get_stock(world, world->product);
    assert_reason(&heard, REASON_DOWN);
    heard = world_create_product(world, "x", 1, 1, "");
    assert_reason(&heard, REASON_DOWN);
    postgres_fixture_restart(world->postgres);
    LOOP_UNTIL(world->loop, database_up(world->database));
    heard = world_buy(world, 1, 1, "b");
    assert_reason(&heard, REASON_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(products_are_created_and_read),
        TEST(a_page_of_long_products_ends_where_the_frame_does),
        TEST(stock_is_read_from_both_sides),
        TEST(accounts_are_created_and_found),
        TEST(without_a_database_everything_is_down_and_then_goes_on),
    };
    return cmocka_run_group_tests(tests, world_start, world_end);
}
