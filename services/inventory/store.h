/* store.h - products, stock, purchases and accounts in Postgres: every statement that inventory
 * ever runs, typed.
 *
 * Each function is one statement in its own transaction; there is no state here beside the
 * connections (database.h), so that any number of inventories may work on one database. Sales run
 * on connections of their own: a read never waits behind a batch.
 *
 * Thread    the loop's only.
 * Answers   every call is answered exactly once, never before it returned, at the latest when the
 *           statement deadline has passed; also calls that could not be sent (DOWN, OVERLOADED).
 * Borrows   arguments until the call returns; an answer's values and texts while it runs.
 * Units     `_us` after a date is since 1970-01-01 UTC; prices are whole currency units.
 */
#ifndef QUORATE_INVENTORY_STORE_H
#define QUORATE_INVENTORY_STORE_H

#include "base/loop.h"
#include "inventory/sale.h"

struct database;
struct link_statement;
struct store;

#define STORE_PAGE_MAX 1000

/* What the database must prepare: options for database_open. */
extern const struct link_statement *const store_statements;
extern const size_t store_statement_count;

/* Over an open database. To end: database_close (which answers what is open), then store_free. */
struct store *store_new(struct database *database);
void store_free(struct store *store);

/* A lane's batch, and a lane's look (lane.h). */
void store_sell(struct store *store, const struct sale *sale, sale_answer_fn *on_answer, void *arg);
void store_look(struct store *store, const struct sale *sale, sale_answer_fn *on_answer, void *arg);

enum store_outcome {
    STORE_DONE,       /* read; a change: committed, or recorded earlier under the same key */
    STORE_NOT_FOUND,  /* nothing there */
    STORE_EXISTS,     /* nothing changed: the name is taken */
    STORE_KEY_REUSED, /* nothing changed: the key was used with another body */
    STORE_INVALID,    /* nothing changed: a value that Postgres refuses */
    STORE_DOWN,       /* nothing changed: not sent, rolled back; or a read without an answer */
    STORE_OVERLOADED, /* nothing changed: too many statements wait */
    STORE_UNKNOWN,    /* a change was sent, and no answer came */
};

/* Stock and version of these products (1 to STORE_PAGE_MAX); those not found are left out. */
typedef void store_levels_fn(void *arg, enum store_outcome outcome, const struct stock_value *found,
                             size_t count);
void store_levels_of(struct store *store, const int64_t *products, size_t count,
                     store_levels_fn *on_levels, void *arg);
/* Of the products after this id, in order of id, `limit` at most. */
void store_levels_after(struct store *store, int64_t after, size_t limit,
                        store_levels_fn *on_levels, void *arg);

struct store_product {
    int64_t id;
    struct span name;
    struct span description;
    bool has_description;
    int64_t price;
    int64_t stock;
    int64_t version;
    int64_t created_at_us;
    int64_t updated_at_us;
};
typedef void store_products_fn(void *arg, enum store_outcome outcome,
                               const struct store_product *products, size_t count);

struct store_product_new {
    struct span name;
    struct span description;
    bool has_description;
    int64_t price;
    int64_t stock;
    struct span key; /* idempotency key; empty: none */
};

/* Creates a product with its first ledger row; its version starts at the clock in us, so that a new
 * database never loses against old nodes. DONE carries the product: the new one, or the one created
 * earlier with the same key and the same body. */
void store_product_create(struct store *store, const struct store_product_new *product,
                          store_products_fn *on_product, void *arg);
/* DONE with one, or NOT_FOUND. */
void store_product_get(struct store *store, int64_t id, store_products_fn *on_product, void *arg);
/* In order of id; at most STORE_PAGE_MAX + 1, so that a page can tell whether others follow. */
void store_products_after(struct store *store, int64_t after, size_t limit,
                          store_products_fn *on_products, void *arg);

/* Purchases of one account with an id below `before` (0: from the newest), newest first. */
typedef void store_purchases_fn(void *arg, enum store_outcome outcome,
                                const struct purchase *purchases, size_t count);
struct store_purchases_ask {
    int64_t user_id;
    int64_t before;
    size_t limit;
};
void store_purchases_of(struct store *store, const struct store_purchases_ask *ask,
                        store_purchases_fn *on_purchases, void *arg);

struct store_account {
    int64_t id;
    struct span username;
    struct span email;
    struct span password_hash;
    bool admin;
    int64_t created_at_us;
};
/* `account` is NULL unless DONE. */
typedef void store_account_fn(void *arg, enum store_outcome outcome,
                              const struct store_account *account);
/* id and created_at_us are not read. EXISTS when the name is taken. */
void store_account_create(struct store *store, const struct store_account *account,
                          store_account_fn *on_account, void *arg);
void store_account_find(struct store *store, struct span username, store_account_fn *on_account,
                        void *arg);
void store_account_get(struct store *store, int64_t id, store_account_fn *on_account, void *arg);

#endif
