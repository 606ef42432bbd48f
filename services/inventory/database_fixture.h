/* database_fixture.h - what tests on a real Postgres begin with: connections, and a shop with one
 * product and fifty accounts.
 */
#ifndef QUORATE_INVENTORY_DATABASE_FIXTURE_H
#define QUORATE_INVENTORY_DATABASE_FIXTURE_H

#include "inventory/database.h"
#include "inventory/postgres_fixture.h"

/* One connection for reads. It migrates; a refusal fails the test. */
struct database *database_fixture_open(struct loop *loop, const struct postgres_fixture *postgres,
                                       unsigned writers, uint64_t timeout_us);

/* Empties the tables, then makes users 1 to 50 and the product "thing", whose id it returns: stock
 * 100, price 10, version 1000. The database must have been up. */
int64_t database_fixture_fill(const struct postgres_fixture *postgres);

/* Whoever holds the product's row makes a sale of it hang. */
PGconn *database_fixture_hold(const struct postgres_fixture *postgres, int64_t product);
void database_fixture_let_go(PGconn *session);

#endif
