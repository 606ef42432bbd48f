#include "inventory/database_fixture.h"

#include "inventory/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void on_refused(void *arg, const char *why)
{
    (void)arg;
    fail_msg("refused: %s", why);
}

struct database *database_fixture_open(struct loop *loop, const struct postgres_fixture *postgres,
                                       unsigned writers, uint64_t timeout_us)
{
    struct database_options options = {.url = postgres_fixture_url(postgres),
                                       .writers = writers,
                                       .readers = 1,
                                       .timeout_us = timeout_us,
                                       .calls_max = 64,
                                       .statements = store_statements,
                                       .statement_count = store_statement_count,
                                       .migrations = migrations_all,
                                       .migration_count = migrations_count,
                                       .on_refused = on_refused};
    return database_open(loop, &options);
}

int64_t database_fixture_fill(const struct postgres_fixture *postgres)
{
    free(postgres_fixture_sql(
        postgres, "TRUNCATE users, products, purchases, stock_ledger RESTART IDENTITY"));
    free(postgres_fixture_sql(postgres, "INSERT INTO users (username, password_hash) SELECT 'user' "
                                        "|| n, 'x' FROM generate_series(1, 50) n"));
    return postgres_fixture_number(
        postgres, "WITH p AS (INSERT INTO products (name, price, stock, version) VALUES ('thing', "
                  "10, 100, 1000) RETURNING id) INSERT INTO stock_ledger (product_id, version, "
                  "token, delta, stock_after, reason) SELECT id, 1000, 0, 100, 100, 'initial' FROM "
                  "p RETURNING product_id");
}

PGconn *database_fixture_hold(const struct postgres_fixture *postgres, int64_t product)
{
    PGconn *session = postgres_fixture_session(postgres);
    char sql[128];
    snprintf(sql, sizeof sql, "SELECT * FROM products WHERE id = %lld FOR UPDATE",
             (long long)product);
    PQclear(PQexec(session, "BEGIN"));
    PQclear(PQexec(session, sql));
    return session;
}

void database_fixture_let_go(PGconn *session)
{
    PQclear(PQexec(session, "COMMIT"));
    PQfinish(session);
}
