/* The services over the real RPC: a real Postgres, a lockd that says what it is told to, and Redis
 * nodes that are all away. */
#include "base/log.h"
#include "base/loop_fixture.h"
#include "base/rpc_client.h"
#include "inventory/database_fixture.h"
#include "inventory/fake_lockd.h"
#include "inventory/server.h"
#include "proto/inventory.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct postgres_fixture *postgres;
static struct loop *loop;
static struct fake_lockd *lockd;
static struct rpc_server *rpc;
static struct database *database;
static struct ports *ports;
static struct server *server;
static struct rpc_client *client;
static char url[64];
static int64_t product; /* "thing": stock 100, price 10; users 1 to 50 exist */

static struct ports *open_ports(const char *lockd_url)
{
    static const char *nodes[] = {"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4",
                                  "127.0.0.1:5"};
    static const struct conf_list node_list = {nodes, 5};
    static const char *lockds[1];
    static const struct conf_list lockd_list = {lockds, 1};
    lockds[0] = lockd_url;
    struct ports_options options = {.database = database,
                                    .redis_nodes = &node_list,
                                    .lockd_urls = &lockd_list,
                                    .lease_ttl_ms = 10000,
                                    .lanes = {.batch_max = 128,
                                              .orders_max = 8,
                                              .lane_orders_max = 4,
                                              .lanes_max = 16,
                                              .patience_us = 300000,
                                              .idle_us = 10000000}};
    return ports_open(loop, &options);
}

static int setup(void **state)
{
    (void)state;
    char lockd_url[64];
    snprintf(url, sizeof url, "ipc:///tmp/quorate-server-%d", (int)getpid());
    snprintf(lockd_url, sizeof lockd_url, "ipc:///tmp/quorate-server-%d-lockd", (int)getpid());
    loop = loop_new();
    lockd = fake_lockd_open(loop, lockd_url);
    struct rpc_server_options options = {.url = url, .program = "inventory", .version = "0"};
    rpc = rpc_server_open(loop, &options);
    assert_non_null(rpc);
    database = database_fixture_open(loop, postgres, 1, 1000000);
    ports = open_ports(lockd_url);
    server = server_new(rpc, ports);
    struct rpc_client_options client_options = {.url = url, .program = "test"};
    client = rpc_client_open(loop, &client_options);
    LOOP_UNTIL(loop, database_up(database) && rpc_client_up(client));
    while (!lanes_have_quorum(ports_lanes(ports))) {
        lanes_ask_voting(ports_lanes(ports));
        loop_run_ms(loop, 10);
    }
    product = database_fixture_fill(postgres);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    LOOP_UNTIL(loop, ports_quiet(ports));
    rpc_client_close(client);
    rpc_server_close(rpc);
    database_close(database);
    ports_close(ports);
    fake_lockd_close(lockd);
    loop_run_ms(loop, 20);
    loop_free(loop);
    server_free(server);
    return 0;
}

/* How a call ended. Texts and lists are looked at by `check` while they last. */
struct heard {
    struct rpc_call call;
    unsigned answers;
    bool good;
    int64_t id;
    int64_t number; /* a purchase's remaining stock, a product's stock, a list's length */
    int64_t total;
    bool more;
    bool flag;
    char text[256];
    int64_t requested;
    int64_t available;
};

static void begin(struct heard *heard, bool accounts, uint64_t within_us)
{
    memset(heard, 0, sizeof *heard);
    const ProtobufCServiceDescriptor *service =
        accounts ? &quorate__inventory__v1__accounts__descriptor
                 : &quorate__inventory__v1__inventory__descriptor;
    rpc_call_init(&heard->call, client, service, loop_now_us(loop) + within_us);
}

static void hear(struct heard *heard, bool good)
{
    heard->answers++;
    heard->good = good;
    if (good || heard->call.status.reason != REASON_INSUFFICIENT) return;
    Quorate__Inventory__V1__Shortage *shortage =
        (Quorate__Inventory__V1__Shortage *)rpc_status_detail(
            &heard->call.status, &quorate__inventory__v1__shortage__descriptor);
    assert_non_null(shortage);
    heard->requested = shortage->requested;
    heard->available = shortage->available;
    protobuf_c_message_free_unpacked(&shortage->base, NULL);
}

static void wait_for(const struct heard *heard)
{
    LOOP_UNTIL(loop, heard->answers > 0);
    assert_int_equal(heard->answers, 1);
}

static void assert_reason(const struct heard *heard, enum reason reason)
{
    assert_int_equal(heard->answers, 1);
    enum reason was = heard->good ? REASON_NONE : heard->call.status.reason;
    assert_string_equal(reason_name(was), reason_name(reason));
}

static void on_bought(const Quorate__Inventory__V1__Purchase *reply, void *arg)
{
    struct heard *heard = arg;
    if (reply != NULL) {
        heard->id = reply->id;
        heard->number = reply->remaining_stock;
        heard->total = reply->total_price;
        assert_int_equal(reply->product_id, product);
        assert_true(reply->user_id >= 1 && reply->user_id <= 50);
        assert_true(reply->purchased_at_us > INT64_C(1600000000000000));
    }
    hear(heard, reply != NULL);
}

static void start_buy(struct heard *heard, int64_t user, int64_t quantity, const char *key)
{
    Quorate__Inventory__V1__BuyRequest request = QUORATE__INVENTORY__V1__BUY_REQUEST__INIT;
    request.user_id = user;
    request.product_id = product;
    request.quantity = quantity;
    request.idempotency_key = (char *)key;
    quorate__inventory__v1__inventory__buy(&heard->call.service, &request, on_bought, heard);
}

static struct heard buy(int64_t user, int64_t quantity, const char *key)
{
    struct heard heard;
    begin(&heard, false, 5000000);
    start_buy(&heard, user, quantity, key);
    wait_for(&heard);
    return heard;
}

static long long number(const char *sql)
{
    return postgres_fixture_number(postgres, sql);
}

static void G7_each_answer_to_a_buyer_is_the_right_one(void **state)
{
    (void)state;
    struct heard first = buy(1, 2, "k");
    assert_reason(&first, REASON_NONE);
    assert_int_equal(first.number, 98);
    assert_int_equal(first.total, 20);
    struct heard again = buy(1, 2, "k");
    assert_reason(&again, REASON_NONE);
    assert_int_equal(again.id, first.id);
    struct heard heard = buy(1, 3, "k");
    assert_reason(&heard, REASON_KEY_REUSED);
    heard = buy(2, 99, "k");
    assert_reason(&heard, REASON_INSUFFICIENT);
    assert_int_equal(heard.requested, 99);
    assert_int_equal(heard.available, 98);
    heard = buy(51, 1, "k");
    assert_reason(&heard, REASON_UNAUTHENTICATED);
    fake_lockd_be(lockd, FAKE_REFUSES, REASON_BUSY);
    heard = buy(3, 1, "k");
    assert_reason(&heard, REASON_BUSY);
    fake_lockd_voting(lockd, 2);
    fake_lockd_be(lockd, FAKE_REFUSES, REASON_NO_QUORUM);
    heard = buy(3, 1, "k");
    assert_reason(&heard, REASON_NO_QUORUM);
    assert_non_null(strstr(heard.call.status.message, "redis2:6379"));
    fake_lockd_voting(lockd, 5);
    fake_lockd_be(lockd, FAKE_GRANTS, REASON_NONE);
    loop_run_ms(loop, 250);
    heard = buy(3, 98, "k");
    assert_reason(&heard, REASON_NONE);
    heard = buy(4, 1, "k");
    assert_reason(&heard, REASON_INSUFFICIENT);
    int64_t known = product;
    product = 4711;
    heard = buy(4, 1, "k2");
    product = known;
    assert_reason(&heard, REASON_NOT_FOUND);
    assert_int_equal(number("SELECT stock FROM products"), 0);
    assert_int_equal(number("SELECT sum(delta) FROM stock_ledger"), 0);
}

static void what_is_malformed_is_refused_and_spoils_nobodys_batch(void **state)
{
    (void)state;
    char long_key[300];
    memset(long_key, 'x', sizeof long_key);
    long_key[256] = '\0';
    static const struct {
        int64_t user;
        int64_t quantity;
        const char *key;
    } bad[] = {{0, 1, "k"},       {-1, 1, "k"}, {1, 0, "k"},        {1, -5, "k"},
               {1, 1000001, "k"}, {1, 1, ""},   {1, 1, "bad \xff"}, {1, 1, "\xed\xa0\x80"}};
    struct heard good;
    begin(&good, false, 5000000);
    start_buy(&good, 1, 1, "good");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct heard heard = buy(bad[i].user, bad[i].quantity, bad[i].key);
        assert_reason(&heard, REASON_INVALID);
    }
    struct heard heard = buy(1, 1, long_key);
    assert_reason(&heard, REASON_INVALID);
    long_key[255] = '\0';
    heard = buy(1, 1, long_key);
    assert_reason(&heard, REASON_NONE);
    wait_for(&good);
    assert_reason(&good, REASON_NONE);
}

static void G16_a_batch_without_answer_is_unknown_then_the_key_gets_its_first_body(void **state)
{
    (void)state;
    assert_true(buy(9, 1, "warm").good);
    PGconn *other = database_fixture_hold(postgres, product);
    struct heard heard;
    uint64_t began_us = loop_now_us(loop);
    begin(&heard, false, 700000);
    start_buy(&heard, 1, 1, "k");
    wait_for(&heard);
    assert_reason(&heard, REASON_OUTCOME_UNKNOWN);
    assert_non_null(strstr(heard.call.status.message, "idempotency key")); /* ours, not the RPC's */
    assert_true(loop_now_us(loop) < began_us + 700000);
    loop_run_ms(
        loop,
        800); /* the statement is given up, its connection dropped; it hangs on in the server */
    struct heard again;
    begin(&again, false, 5000000);
    start_buy(&again, 1, 1, "k"); /* runs behind its own straggler, under a higher token */
    loop_run_ms(loop, 300);
    database_fixture_let_go(other);
    wait_for(&again);
    assert_reason(&again, REASON_NONE);
    assert_int_equal(number("SELECT count(*) FROM purchases WHERE idem = 'k'"), 1);
    assert_int_equal(number("SELECT stock FROM products"), 98);
    assert_int_equal(buy(1, 1, "k").id, again.id);
}

static void a_buyer_who_gave_up_before_his_batch_began_buys_nothing(void **state)
{
    (void)state;
    assert_true(buy(9, 1, "warm").good);
    fake_lockd_be(lockd, FAKE_SILENT, REASON_NONE);
    struct heard gone;
    begin(&gone, false, 5000000);
    start_buy(&gone, 1, 1, "k");
    loop_run_ms(loop, 50);
    rpc_call_cancel(&gone.call);
    loop_run_ms(loop, 50);
    assert_int_equal(lanes_counts(ports_lanes(ports)).orders, 0);
    fake_lockd_be(lockd, FAKE_GRANTS, REASON_NONE);
    loop_run_ms(loop, 1200);
    assert_int_equal(number("SELECT count(*) FROM purchases WHERE idem = 'k'"), 0);
}

static void too_many_buyers_hear_it_at_once(void **state)
{
    (void)state;
    fake_lockd_be(lockd, FAKE_SILENT, REASON_NONE);
    struct heard heard[5];
    char key[5][16];
    for (int i = 0; i < 5; i++) {
        begin(&heard[i], false, 5000000);
        snprintf(key[i], sizeof key[i], "k%d", i);
        start_buy(&heard[i], 1, 1, key[i]);
    }
    wait_for(&heard[4]);
    assert_reason(&heard[4], REASON_OVERLOADED);
    fake_lockd_be(lockd, FAKE_GRANTS, REASON_NONE);
    for (int i = 0; i < 4; i++) {
        wait_for(&heard[i]);
        assert_reason(&heard[i], REASON_NONE);
    }
}

static void on_listed(const Quorate__Inventory__V1__ListPurchasesReply *reply, void *arg)
{
    struct heard *heard = arg;
    if (reply != NULL) {
        heard->number = (int64_t)reply->n_purchases;
        heard->more = reply->more;
        heard->id = reply->n_purchases == 0 ? 0 : reply->purchases[reply->n_purchases - 1]->id;
    }
    hear(heard, reply != NULL);
}

static struct heard list_purchases(int64_t user, int64_t after, uint32_t limit)
{
    struct heard heard;
    begin(&heard, false, 5000000);
    Quorate__Inventory__V1__ListPurchasesRequest request =
        QUORATE__INVENTORY__V1__LIST_PURCHASES_REQUEST__INIT;
    request.user_id = user;
    request.after = after;
    request.limit = limit;
    quorate__inventory__v1__inventory__list_purchases(&heard.call.service, &request, on_listed,
                                                      &heard);
    wait_for(&heard);
    return heard;
}

static void purchases_are_listed_in_pages(void **state)
{
    (void)state;
    assert_true(buy(1, 1, "a").good);
    assert_true(buy(1, 1, "b").good);
    assert_true(buy(1, 1, "c").good);
    struct heard page = list_purchases(1, 0, 2);
    assert_int_equal(page.number, 2);
    assert_true(page.more);
    page = list_purchases(1, page.id, 2);
    assert_int_equal(page.number, 1);
    assert_false(page.more);
    page = list_purchases(2, 0, 1000);
    assert_int_equal(page.number, 0);
    page = list_purchases(2, 0, 1001);
    assert_reason(&page, REASON_INVALID);
}

static void on_product(const Quorate__Inventory__V1__Product *reply, void *arg)
{
    struct heard *heard = arg;
    if (reply != NULL) {
        heard->id = reply->id;
        heard->number = reply->stock;
        heard->flag = reply->has_redis_stock;
        snprintf(heard->text, sizeof heard->text, "%s", reply->name);
    }
    hear(heard, reply != NULL);
}

static struct heard create_product(const char *name, int64_t price, int64_t stock, const char *key)
{
    struct heard heard;
    begin(&heard, false, 5000000);
    Quorate__Inventory__V1__CreateProductRequest request =
        QUORATE__INVENTORY__V1__CREATE_PRODUCT_REQUEST__INIT;
    request.name = (char *)name;
    request.price = price;
    request.stock = stock;
    request.idempotency_key = (char *)key;
    quorate__inventory__v1__inventory__create_product(&heard.call.service, &request, on_product,
                                                      &heard);
    wait_for(&heard);
    return heard;
}

static void products_are_created_and_read(void **state)
{
    (void)state;
    struct heard made = create_product("Lamp", 3, 7, "key");
    assert_reason(&made, REASON_NONE);
    assert_int_equal(made.number, 7);
    assert_false(made.flag); /* no node could be asked */
    struct heard again = create_product("Lamp", 3, 7, "key");
    assert_reason(&again, REASON_NONE);
    assert_int_equal(again.id, made.id);
    again = create_product("Lamp", 3, 8, "key");
    assert_reason(&again, REASON_KEY_REUSED);
    again = create_product("Lamp", 3, 7, "");
    assert_reason(&again, REASON_EXISTS);
    static const struct {
        const char *name;
        int64_t price;
        int64_t stock;
    } bad[] = {{"", 1, 1},   {"x", 0, 1},     {"x", INT64_C(1000000000001), 1},
               {"x", 1, -1}, {"x\xff", 1, 1}, {"x", 1, INT64_C(1000000000001)}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct heard heard = create_product(bad[i].name, bad[i].price, bad[i].stock, "");
        assert_reason(&heard, REASON_INVALID);
    }
    struct heard read;
    begin(&read, false, 5000000);
    Quorate__Inventory__V1__GetProductRequest request =
        QUORATE__INVENTORY__V1__GET_PRODUCT_REQUEST__INIT;
    request.id = made.id;
    quorate__inventory__v1__inventory__get_product(&read.call.service, &request, on_product, &read);
    wait_for(&read);
    assert_string_equal(read.text, "Lamp");
    begin(&read, false, 5000000);
    request.id = 4711;
    quorate__inventory__v1__inventory__get_product(&read.call.service, &request, on_product, &read);
    wait_for(&read);
    assert_reason(&read, REASON_NOT_FOUND);
}

static void on_products(const Quorate__Inventory__V1__ListProductsReply *reply, void *arg)
{
    struct heard *heard = arg;
    if (reply != NULL) {
        heard->number = (int64_t)reply->n_products;
        heard->more = reply->more;
        if (reply->n_products > 0) heard->id = reply->products[reply->n_products - 1]->id;
    }
    hear(heard, reply != NULL);
}

static struct heard list_products(int64_t after, uint32_t limit)
{
    struct heard heard;
    begin(&heard, false, 5000000);
    Quorate__Inventory__V1__ListProductsRequest request =
        QUORATE__INVENTORY__V1__LIST_PRODUCTS_REQUEST__INIT;
    request.after = after;
    request.limit = limit;
    quorate__inventory__v1__inventory__list_products(&heard.call.service, &request, on_products,
                                                     &heard);
    wait_for(&heard);
    return heard;
}

static void a_page_of_long_products_ends_where_the_frame_does(void **state)
{
    (void)state;
    free(postgres_fixture_sql(postgres,
                              "INSERT INTO products (name, description, price, stock, version) "
                              "SELECT 'p' || n, repeat('d', 10000), 1, 1, 1 FROM "
                              "generate_series(1, 50) n"));
    struct heard page = list_products(0, 2);
    assert_int_equal(page.number, 2);
    assert_true(page.more);
    int64_t seen = 0;
    int64_t after = 0;
    do {
        page = list_products(after, 1000);
        assert_reason(&page, REASON_NONE);
        assert_true(page.number > 0 && page.number < 30);
        seen += page.number;
        after = page.id;
    } while (page.more);
    assert_int_equal(seen, 51);
    page = list_products(after, 10);
    assert_int_equal(page.number, 0);
    assert_false(page.more);
}

static void on_stock(const Quorate__Inventory__V1__Stock *reply, void *arg)
{
    struct heard *heard = arg;
    if (reply != NULL) {
        heard->number = reply->db_stock;
        heard->flag = reply->has_redis_stock || reply->synced;
        assert_int_equal(reply->n_nodes, 5);
        assert_string_equal(reply->nodes[1]->name, "127.0.0.1:2");
        assert_false(reply->nodes[1]->reachable);
    }
    hear(heard, reply != NULL);
}

static struct heard get_stock(int64_t id)
{
    struct heard heard;
    begin(&heard, false, 5000000);
    Quorate__Inventory__V1__GetStockRequest request =
        QUORATE__INVENTORY__V1__GET_STOCK_REQUEST__INIT;
    request.product_id = id;
    quorate__inventory__v1__inventory__get_stock(&heard.call.service, &request, on_stock, &heard);
    wait_for(&heard);
    return heard;
}

static void stock_is_read_from_both_sides(void **state)
{
    (void)state;
    assert_true(buy(1, 3, "a").good);
    struct heard heard = get_stock(product);
    assert_reason(&heard, REASON_NONE);
    assert_int_equal(heard.number, 97);
    assert_false(heard.flag);
    heard = get_stock(4711);
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
    hear(heard, reply != NULL);
}

static struct heard create_account(const char *name)
{
    struct heard heard;
    begin(&heard, true, 5000000);
    Quorate__Inventory__V1__CreateAccountRequest request =
        QUORATE__INVENTORY__V1__CREATE_ACCOUNT_REQUEST__INIT;
    request.username = (char *)name;
    request.email = "a@b.example";
    request.password_hash = "hash";
    request.admin = true;
    quorate__inventory__v1__accounts__create_account(&heard.call.service, &request, on_account,
                                                     &heard);
    wait_for(&heard);
    return heard;
}

static void accounts_are_created_and_found(void **state)
{
    (void)state;
    struct heard made = create_account("김철수");
    assert_reason(&made, REASON_NONE);
    assert_string_equal(made.text, "김철수/a@b.example/"); /* the hash goes to FindAccount only */
    struct heard heard = create_account("김철수");
    assert_reason(&heard, REASON_EXISTS);
    heard = create_account("ab");
    assert_reason(&heard, REASON_INVALID);
    begin(&heard, true, 5000000);
    Quorate__Inventory__V1__FindAccountRequest find =
        QUORATE__INVENTORY__V1__FIND_ACCOUNT_REQUEST__INIT;
    find.username = "김철수";
    quorate__inventory__v1__accounts__find_account(&heard.call.service, &find, on_account, &heard);
    wait_for(&heard);
    assert_int_equal(heard.id, made.id);
    assert_string_equal(heard.text, "김철수/a@b.example/hash");
    assert_true(heard.flag);
    begin(&heard, true, 5000000);
    Quorate__Inventory__V1__GetAccountRequest get =
        QUORATE__INVENTORY__V1__GET_ACCOUNT_REQUEST__INIT;
    get.id = 4711;
    quorate__inventory__v1__accounts__get_account(&heard.call.service, &get, on_account, &heard);
    wait_for(&heard);
    assert_reason(&heard, REASON_NOT_FOUND);
}

static void without_a_database_everything_is_down_and_then_goes_on(void **state)
{
    (void)state;
    assert_true(buy(1, 1, "a").good);
    postgres_fixture_kill(postgres);
    loop_run_ms(loop, 50);
    struct heard heard = buy(1, 1, "b");
    assert_reason(&heard, REASON_DOWN);
    heard = list_products(0, 10);
    assert_reason(&heard, REASON_DOWN);
    heard = get_stock(product);
    assert_reason(&heard, REASON_DOWN);
    heard = create_product("x", 1, 1, "");
    assert_reason(&heard, REASON_DOWN);
    postgres_fixture_restart(postgres);
    LOOP_UNTIL(loop, database_up(database));
    heard = buy(1, 1, "b");
    assert_reason(&heard, REASON_NONE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    postgres = postgres_fixture_start();
    const struct CMUnitTest tests[] = {
        TEST(G7_each_answer_to_a_buyer_is_the_right_one),
        TEST(what_is_malformed_is_refused_and_spoils_nobodys_batch),
        TEST(G16_a_batch_without_answer_is_unknown_then_the_key_gets_its_first_body),
        TEST(a_buyer_who_gave_up_before_his_batch_began_buys_nothing),
        TEST(too_many_buyers_hear_it_at_once),
        TEST(purchases_are_listed_in_pages),
        TEST(products_are_created_and_read),
        TEST(a_page_of_long_products_ends_where_the_frame_does),
        TEST(stock_is_read_from_both_sides),
        TEST(accounts_are_created_and_found),
        TEST(without_a_database_everything_is_down_and_then_goes_on),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    postgres_fixture_free(postgres);
    return failed;
}
