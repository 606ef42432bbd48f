#include "inventory/store_world.h"

#include "base/check.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void connect_store(struct world *world, unsigned writers, uint64_t timeout_us)
{
    world->database = database_fixture_open(world->loop, world->postgres, writers, timeout_us);
    world->store = store_new(world->database);
    world_wait_until_up(world);
}

int world_open(void **state)
{
    struct world *world = *state;
    world->width = 1;
    world->loop = loop_new();
    connect_store(world, 2, 2000000);
    world->product = database_fixture_fill(world->postgres);
    return 0;
}

int world_open_pair(void **state)
{
    world_open(state);
    struct world *world = *state;
    world->width = 2;
    return 0;
}

int world_close(void **state)
{
    struct world *world = *state;
    database_close(world->database);
    store_free(world->store);
    loop_free(world->loop);
    return 0;
}

void world_wait_until_up(const struct world *world)
{
    LOOP_UNTIL(world->loop, database_up(world->database));
    loop_run_ms(world->loop, 100); /* both writers, too */
}

void world_reopen(struct world *world, unsigned writers, uint64_t timeout_us)
{
    database_close(world->database);
    store_free(world->store);
    connect_store(world, writers, timeout_us);
}

static void on_answer(void *arg, const struct sale_answer *answer)
{
    struct heard *heard = arg;
    heard->answers++;
    heard->outcome = answer->outcome;
    heard->last_token = answer->last_token;
    heard->whole = answer->whole;
    heard->now = answer->now;
    heard->count = answer->count;
    assert_true(answer->count <= WORLD_ROWS_MAX);
    if (answer->count > 0) memcpy(heard->rows, answer->rows, answer->count * sizeof heard->rows[0]);
}

const struct sale_row *heard_row(const struct heard *heard, size_t place)
{
    for (size_t i = 0; i < heard->count; i++) {
        if (heard->rows[i].place == place) return &heard->rows[i];
    }
    return NULL;
}

struct sale_order order_of(int64_t user_id, const char *key, int64_t quantity)
{
    return (struct sale_order){user_id, span_of(key), quantity};
}

void world_start_sale(const struct world *world, struct heard *heard, uint64_t token,
                      const struct sale_order *orders, size_t count)
{
    memset(heard, 0, sizeof *heard);
    struct sale sale = {world->product, token, orders, count};
    store_sell(world->store, &sale, on_answer, heard);
    assert_int_equal(heard->answers, 0);
}

void world_wait_for(const struct world *world, const struct heard *heard)
{
    LOOP_UNTIL(world->loop, heard->answers > 0);
    assert_int_equal(heard->answers, 1);
}

void world_sell(const struct world *world, struct heard *heard, uint64_t token,
                const struct sale_order *orders, size_t count)
{
    world_start_sale(world, heard, token, orders, count);
    world_wait_for(world, heard);
}

void world_look(const struct world *world, struct heard *heard, const struct sale_order *orders,
                size_t count)
{
    memset(heard, 0, sizeof *heard);
    struct sale sale = {world->product, 0, orders, count};
    store_look(world->store, &sale, on_answer, heard);
    world_wait_for(world, heard);
}

long long world_number(const struct world *world, const char *sql)
{
    PGconn *session = postgres_fixture_session(world->postgres);
    char id[24];
    snprintf(id, sizeof id, "%lld", (long long)world->product);
    const char *const values[] = {id};
    PGresult *result = PQexecParams(session, sql, 1, NULL, values, NULL, NULL, 0);
    assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
    long long value = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    PQfinish(session);
    return value;
}

void world_set_stock(const struct world *world, int64_t stock)
{
    char sql[128];
    snprintf(sql, sizeof sql, "UPDATE products SET stock = %lld WHERE id = %lld", (long long)stock,
             (long long)world->product);
    free(postgres_fixture_sql(world->postgres, sql));
}
