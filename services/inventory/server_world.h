/* server_world.h - inventory's services over the real RPC for tests: a real Postgres, a lockd that
 * says what it is told to, Redis nodes that are all away, and a client.
 *
 * Postgres lives as long as the test program; the rest is each test's own.
 */
#ifndef QUORATE_INVENTORY_SERVER_WORLD_H
#define QUORATE_INVENTORY_SERVER_WORLD_H

#include "base/loop_fixture.h"
#include "base/rpc_client.h"
#include "inventory/database_fixture.h"
#include "inventory/fake_lockd.h"
#include "inventory/server.h"

struct world {
    struct postgres_fixture *postgres;
    struct loop *loop;
    struct fake_lockd *lockd;
    struct rpc_server *rpc;
    struct database *database;
    struct ports *ports; /* at most 4 orders for a product */
    struct server *server;
    struct rpc_client *client;
    char url[64];
    int64_t product; /* "thing": stock 100, price 10; users 1 to 50 exist */
};

/* For cmocka: the program's, and each test's. */
int world_start(void **state);
int world_end(void **state);
int world_open(void **state);
int world_close(void **state);

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_open, world_close)

/* A call and how it ended. */
struct heard {
    struct rpc_call call;
    const struct world *world;
    unsigned answers;
    bool good;
    int64_t id;     /* of a list: of its last row */
    int64_t number; /* a purchase's remaining stock, a product's stock, a list's length */
    int64_t total;
    bool more;
    bool flag;
    char text[256];
    int64_t requested;
    int64_t available;
};

enum world_service { WORLD_INVENTORY, WORLD_ACCOUNTS };

/* Before the call is made. */
void heard_begin(struct heard *heard, const struct world *world, enum world_service service,
                 uint64_t within_us);
/* For a call's answer, when all of it that matters was copied. */
void heard_end(struct heard *heard, bool good);
void heard_wait(const struct heard *heard);

void assert_reason(const struct heard *heard, enum reason reason);

/* Of the world's product; heard_begin comes before it. */
void start_buy(struct heard *heard, int64_t user, int64_t quantity, const char *key);

/* These wait for the answer. */
struct heard world_buy(const struct world *world, int64_t user, int64_t quantity, const char *key);
struct heard world_create_product(const struct world *world, const char *name, int64_t price,
                                  int64_t stock, const char *key);
struct heard world_get_product(const struct world *world, int64_t id);
struct heard world_list_products(const struct world *world, int64_t after, uint32_t limit);
struct heard world_get_stock(const struct world *world, int64_t id);

long long world_number(const struct world *world, const char *sql);

#endif
