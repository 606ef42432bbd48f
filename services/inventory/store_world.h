/* store_world.h - a store on a real Postgres for tests: one product, fifty accounts, and what was
 * answered.
 *
 * Postgres lives as long as the test program; connections, product and accounts are each test's
 * own.
 */
#ifndef QUORATE_INVENTORY_STORE_WORLD_H
#define QUORATE_INVENTORY_STORE_WORLD_H

#include "base/loop_fixture.h"
#include "inventory/database_fixture.h"
#include "inventory/store.h"

#define WORLD_ROWS_MAX 256

struct world {
    struct postgres_fixture *postgres;
    struct loop *loop;
    struct database *database;
    struct store *store;
    int64_t product; /* stock 100, price 10; users 1 to 50 exist */
    /* Orders in the sales of some tests: alone, or beside one without an account. The statements
     * differ. */
    size_t width;
};

/* For cmocka: the program's, and each test's. */
int world_start(void **state);
int world_end(void **state);
int world_open(void **state);
int world_open_pair(void **state); /* width 2 */
int world_close(void **state);

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_open, world_close)
#define PAIR(name)                                                                                 \
    {                                                                                              \
#name "_beside_another", name, world_open_pair, world_close, NULL                          \
    }

void world_wait_until_up(const struct world *world);

/* Other connections; what is in Postgres stays. */
void world_reopen(struct world *world, unsigned writers, uint64_t timeout_us);

struct heard {
    unsigned answers;
    enum sale_outcome outcome;
    uint64_t last_token;
    bool whole;
    struct stock_value now;
    size_t count;
    struct sale_row rows[WORLD_ROWS_MAX];
};

/* NULL: there is none of this place. */
const struct sale_row *heard_row(const struct heard *heard, size_t place);

struct sale_order order_of(int64_t user_id, const char *key, int64_t quantity);

void world_start_sale(const struct world *world, struct heard *heard, uint64_t token,
                      const struct sale_order *orders, size_t count);
void world_wait_for(const struct world *world, const struct heard *heard);
/* Both. */
void world_sell(const struct world *world, struct heard *heard, uint64_t token,
                const struct sale_order *orders, size_t count);
void world_look(const struct world *world, struct heard *heard, const struct sale_order *orders,
                size_t count);

/* The SQL's $1 is the product. */
long long world_number(const struct world *world, const char *sql);
void world_set_stock(const struct world *world, int64_t stock);

#endif
