#include "inventory/server_world.h"

#include "base/check.h"
#include "base/log.h"
#include "proto/inventory.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

int world_start(void **state)
{
    log_set_level(LOG_LEVEL_ERROR);
    struct world *world = xcalloc(1, sizeof *world);
    world->postgres = postgres_fixture_start();
    *state = world;
    return 0;
}

int world_end(void **state)
{
    struct world *world = *state;
    postgres_fixture_free(world->postgres);
    free(world);
    return 0;
}

static struct ports *open_ports(const struct world *world, const char *lockd_url)
{
    static const char *nodes[] = {"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4",
                                  "127.0.0.1:5"};
    static const struct conf_list node_list = {nodes, 5};
    static const char *lockds[1];
    static const struct conf_list lockd_list = {lockds, 1};
    lockds[0] = lockd_url;
    struct ports_options options = {.database = world->database,
                                    .redis_nodes = &node_list,
                                    .lockd_urls = &lockd_list,
                                    .lease_ttl_ms = 10000,
                                    .lanes = {.batch_max = 128,
                                              .orders_max = 8,
                                              .lane_orders_max = 4,
                                              .lanes_max = 16,
                                              .patience_us = 300000,
                                              .idle_us = 10000000}};
    return ports_open(world->loop, &options);
}

int world_open(void **state)
{
    struct world *world = *state;
    char lockd_url[64];
    snprintf(world->url, sizeof world->url, "ipc:///tmp/quorate-server-%d", (int)getpid());
    snprintf(lockd_url, sizeof lockd_url, "ipc:///tmp/quorate-server-%d-lockd", (int)getpid());
    world->loop = loop_new();
    world->lockd = fake_lockd_open(world->loop, lockd_url);
    struct rpc_server_options options = {.url = world->url, .program = "inventory", .version = "0"};
    world->rpc = rpc_server_open(world->loop, &options);
    assert_non_null(world->rpc);
    world->database = database_fixture_open(world->loop, world->postgres, 1, 1000000);
    world->ports = open_ports(world, lockd_url);
    world->server = server_new(world->rpc, world->ports);
    struct rpc_client_options client_options = {.url = world->url, .program = "test"};
    world->client = rpc_client_open(world->loop, &client_options);
    LOOP_UNTIL(world->loop, database_up(world->database) && rpc_client_up(world->client));
    while (!lanes_have_quorum(ports_lanes(world->ports))) {
        lanes_ask_voting(ports_lanes(world->ports));
        loop_run_ms(world->loop, 10);
    }
    world->product = database_fixture_fill(world->postgres);
    return 0;
}

int world_close(void **state)
{
    struct world *world = *state;
    LOOP_UNTIL(world->loop, ports_quiet(world->ports));
    rpc_client_close(world->client);
    rpc_server_close(world->rpc);
    database_close(world->database);
    ports_close(world->ports);
    fake_lockd_close(world->lockd);
    loop_run_ms(world->loop, 20);
    loop_free(world->loop);
    server_free(world->server);
    return 0;
}

void heard_begin(struct heard *heard, const struct world *world, enum world_service service,
                 uint64_t within_us)
{
    memset(heard, 0, sizeof *heard);
    heard->world = world;
    rpc_call_init(&heard->call, world->client,
                  service == WORLD_ACCOUNTS ? &quorate__inventory__v1__accounts__descriptor
                                            : &quorate__inventory__v1__inventory__descriptor,
                  loop_now_us(world->loop) + within_us);
}

void heard_end(struct heard *heard, bool good)
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

void heard_wait(const struct heard *heard)
{
    LOOP_UNTIL(heard->world->loop, heard->answers > 0);
    assert_int_equal(heard->answers, 1);
}

void assert_reason(const struct heard *heard, enum reason reason)
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
        assert_int_equal(reply->product_id, heard->world->product);
        assert_true(reply->user_id >= 1 && reply->user_id <= 50);
        assert_true(reply->purchased_at_us > INT64_C(1600000000000000));
    }
    heard_end(heard, reply != NULL);
}

void start_buy(struct heard *heard, int64_t user, int64_t quantity, const char *key)
{
    Quorate__Inventory__V1__BuyRequest request = QUORATE__INVENTORY__V1__BUY_REQUEST__INIT;
    request.user_id = user;
    request.product_id = heard->world->product;
    request.quantity = quantity;
    request.idempotency_key = (char *)key;
    quorate__inventory__v1__inventory__buy(&heard->call.service, &request, on_bought, heard);
}

struct heard world_buy(const struct world *world, int64_t user, int64_t quantity, const char *key)
{
    struct heard heard;
    heard_begin(&heard, world, WORLD_INVENTORY, 5000000);
    start_buy(&heard, user, quantity, key);
    heard_wait(&heard);
    return heard;
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
    heard_end(heard, reply != NULL);
}

struct heard world_create_product(const struct world *world, const char *name, int64_t price,
                                  int64_t stock, const char *key)
{
    struct heard heard;
    heard_begin(&heard, world, WORLD_INVENTORY, 5000000);
    Quorate__Inventory__V1__CreateProductRequest request =
        QUORATE__INVENTORY__V1__CREATE_PRODUCT_REQUEST__INIT;
    request.name = (char *)name;
    request.price = price;
    request.stock = stock;
    request.idempotency_key = (char *)key;
    quorate__inventory__v1__inventory__create_product(&heard.call.service, &request, on_product,
                                                      &heard);
    heard_wait(&heard);
    return heard;
}

struct heard world_get_product(const struct world *world, int64_t id)
{
    struct heard heard;
    heard_begin(&heard, world, WORLD_INVENTORY, 5000000);
    Quorate__Inventory__V1__GetProductRequest request =
        QUORATE__INVENTORY__V1__GET_PRODUCT_REQUEST__INIT;
    request.id = id;
    quorate__inventory__v1__inventory__get_product(&heard.call.service, &request, on_product,
                                                   &heard);
    heard_wait(&heard);
    return heard;
}

static void on_products(const Quorate__Inventory__V1__ListProductsReply *reply, void *arg)
{
    struct heard *heard = arg;
    if (reply != NULL) {
        heard->number = (int64_t)reply->n_products;
        heard->more = reply->more;
        if (reply->n_products > 0) heard->id = reply->products[reply->n_products - 1]->id;
    }
    heard_end(heard, reply != NULL);
}

struct heard world_list_products(const struct world *world, int64_t after, uint32_t limit)
{
    struct heard heard;
    heard_begin(&heard, world, WORLD_INVENTORY, 5000000);
    Quorate__Inventory__V1__ListProductsRequest request =
        QUORATE__INVENTORY__V1__LIST_PRODUCTS_REQUEST__INIT;
    request.after = after;
    request.limit = limit;
    quorate__inventory__v1__inventory__list_products(&heard.call.service, &request, on_products,
                                                     &heard);
    heard_wait(&heard);
    return heard;
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
    heard_end(heard, reply != NULL);
}

struct heard world_get_stock(const struct world *world, int64_t id)
{
    struct heard heard;
    heard_begin(&heard, world, WORLD_INVENTORY, 5000000);
    Quorate__Inventory__V1__GetStockRequest request =
        QUORATE__INVENTORY__V1__GET_STOCK_REQUEST__INIT;
    request.product_id = id;
    quorate__inventory__v1__inventory__get_stock(&heard.call.service, &request, on_stock, &heard);
    heard_wait(&heard);
    return heard;
}

long long world_number(const struct world *world, const char *sql)
{
    return postgres_fixture_number(world->postgres, sql);
}
