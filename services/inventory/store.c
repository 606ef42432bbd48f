#include "inventory/store_parts.h"

#include "base/check.h"
#include "base/log.h"

#include "sql/look.sql.h"
#include "sql/product_create.sql.h"
#include "sql/sell.sql.h"
#include "sql/sell_one.sql.h"

#include <stdlib.h>

#define PRODUCT_COLUMNS "id, name, description, price, stock, version, created_at, updated_at"

static const struct link_statement statements[STORE_STATEMENTS] = {
    [STORE_SELL] = {"sell", sql_sell},
    [STORE_SELL_ONE] = {"sell_one", sql_sell_one},
    [STORE_LOOK] = {"look", sql_look},
    [STORE_LEVELS_OF] = {"levels_of",
                         "SELECT id, stock, version FROM products WHERE id = ANY ($1::bigint[])"},
    [STORE_LEVELS_AFTER] = {"levels_after", "SELECT id, stock, version FROM products "
                                            "WHERE id > $1 ORDER BY id LIMIT $2::bigint"},
    [STORE_PRODUCT_CREATE] = {"product_create", sql_product_create},
    [STORE_PRODUCT_GET] = {"product_get", "SELECT " PRODUCT_COLUMNS " FROM products WHERE id = $1"},
    [STORE_PRODUCTS_AFTER] = {"products_after", "SELECT " PRODUCT_COLUMNS " FROM products "
                                                "WHERE id > $1 ORDER BY id LIMIT $2::bigint"},
    [STORE_PURCHASES_OF] = {"purchases_of",
                            "SELECT id, product_id, quantity, total_price, remaining_stock, "
                            "purchased_at FROM purchases WHERE user_id = $1 AND id < $2 "
                            "ORDER BY user_id DESC, id DESC LIMIT $3::bigint"},
    [STORE_ACCOUNT_CREATE] = {"account_create",
                              "INSERT INTO users (username, email, password_hash, admin) "
                              "VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING "
                              "RETURNING id, username, email, password_hash, admin, created_at"},
    [STORE_ACCOUNT_FIND] = {"account_find", "SELECT id, username, email, password_hash, admin, "
                                            "created_at FROM users WHERE username = $1"},
    [STORE_ACCOUNT_GET] = {"account_get", "SELECT id, username, email, password_hash, admin, "
                                          "created_at FROM users WHERE id = $1"},
};
const struct link_statement *const store_statements = statements;
const size_t store_statement_count = STORE_STATEMENTS;

/* Products asked again, because what stood in their way was committed meanwhile. */
#define CREATE_TRIES 3

struct store *store_new(struct database *database)
{
    struct store *store = xcalloc(1, sizeof *store);
    store->database = database;
    return store;
}

void store_free(struct store *store)
{
    if (store == NULL) return;
    wire_fini(&store->wire);
    free(store->rows);
    free(store);
}

void store_execute(struct store *store, enum store_statement statement,
                   database_answer_fn *on_answer, void *arg)
{
    struct database_execute execute = {
        .kind = statement == STORE_SELL || statement == STORE_SELL_ONE ? DATABASE_WRITER
                                                                       : DATABASE_READER,
        .statement = statement,
        .params = wire_params(&store->wire),
        .param_count = store->wire.count,
        .on_answer = on_answer,
        .arg = arg,
    };
    database_execute(store->database, &execute);
}

/* A read, or a change of products or accounts, under way. */
struct asking {
    struct store *store;
    union {
        store_levels_fn *levels;
        store_products_fn *products;
        store_purchases_fn *purchases;
        store_account_fn *account;
    } on;
    void *arg;
    bool changes;
    int64_t user_id;
    unsigned tries;
    struct store_product_new product; /* creating: spans into text */
    char *text;
};

static struct asking *asking_new(struct store *store, void *arg)
{
    struct asking *asking = xcalloc(1, sizeof *asking);
    asking->store = store;
    asking->arg = arg;
    return asking;
}

static void asking_free(struct asking *asking)
{
    free(asking->text);
    free(asking);
}

static enum store_outcome outcome_of(const struct asking *asking,
                                     const struct database_answer *answer)
{
    switch (answer->outcome) {
    case DATABASE_DONE:
        return STORE_DONE;
    case DATABASE_LOST:
        return asking->changes ? STORE_UNKNOWN : STORE_DOWN;
    case DATABASE_DOWN:
        return STORE_DOWN;
    case DATABASE_FULL:
        return STORE_OVERLOADED;
    case DATABASE_FAILED:
        break;
    }
    /* Data exceptions and violated checks are the caller's; the rest is ours or the server's. */
    if (strncmp(answer->sqlstate, "22", 2) == 0 || strcmp(answer->sqlstate, "23514") == 0) {
        return STORE_INVALID;
    }
    LOG_ERROR("store.failed", "sqlstate=%s text=\"%s\"", answer->sqlstate, answer->message);
    return STORE_DOWN;
}

static void hear_levels(void *arg, const struct database_answer *answer)
{
    struct asking *asking = arg;
    enum store_outcome outcome = outcome_of(asking, answer);
    size_t count = outcome == STORE_DONE ? link_rows_count(answer->rows) : 0;
    struct stock_value *found = xcalloc(count + 1, sizeof *found);
    for (size_t row = 0; row < count; row++) {
        found[row] = (struct stock_value){wire_read_int64(answer->rows, row, 0),
                                          wire_read_int64(answer->rows, row, 1),
                                          wire_read_int64(answer->rows, row, 2)};
    }
    asking->on.levels(asking->arg, outcome, found, count);
    free(found);
    asking_free(asking);
}

void store_levels_of(struct store *store, const int64_t *products, size_t count,
                     store_levels_fn *on_levels, void *arg)
{
    CHECK(count >= 1 && count <= STORE_PAGE_MAX);
    struct asking *asking = asking_new(store, arg);
    asking->on.levels = on_levels;
    wire_begin(&store->wire);
    wire_int64s(&store->wire, products, count);
    store_execute(store, STORE_LEVELS_OF, hear_levels, asking);
}

void store_levels_after(struct store *store, int64_t after, size_t limit,
                        store_levels_fn *on_levels, void *arg)
{
    CHECK(limit >= 1 && limit <= STORE_PAGE_MAX);
    struct asking *asking = asking_new(store, arg);
    asking->on.levels = on_levels;
    wire_begin(&store->wire);
    wire_int64(&store->wire, after);
    wire_int64(&store->wire, (int64_t)limit);
    store_execute(store, STORE_LEVELS_AFTER, hear_levels, asking);
}

/* Columns as in PRODUCT_COLUMNS, from `first`. */
static struct store_product read_product(const struct link_rows *rows, size_t row, size_t first)
{
    return (struct store_product){
        .id = wire_read_int64(rows, row, first),
        .name = link_rows_bytes(rows, row, first + 1),
        .description = link_rows_bytes(rows, row, first + 2),
        .has_description = !link_rows_null(rows, row, first + 2),
        .price = wire_read_int64(rows, row, first + 3),
        .stock = wire_read_int64(rows, row, first + 4),
        .version = wire_read_int64(rows, row, first + 5),
        .created_at_us = wire_read_time_us(rows, row, first + 6),
        .updated_at_us = wire_read_time_us(rows, row, first + 7),
    };
}

static void hear_products(void *arg, const struct database_answer *answer)
{
    struct asking *asking = arg;
    enum store_outcome outcome = outcome_of(asking, answer);
    size_t count = outcome == STORE_DONE ? link_rows_count(answer->rows) : 0;
    struct store_product *products = xcalloc(count + 1, sizeof *products);
    for (size_t row = 0; row < count; row++)
        products[row] = read_product(answer->rows, row, 0);
    asking->on.products(asking->arg, outcome, products, count);
    free(products);
    asking_free(asking);
}

static void hear_product(void *arg, const struct database_answer *answer)
{
    struct asking *asking = arg;
    enum store_outcome outcome = outcome_of(asking, answer);
    if (outcome != STORE_DONE) {
        asking->on.products(asking->arg, outcome, NULL, 0);
    } else if (link_rows_count(answer->rows) == 0) {
        asking->on.products(asking->arg, STORE_NOT_FOUND, NULL, 0);
    } else {
        struct store_product product = read_product(answer->rows, 0, 0);
        asking->on.products(asking->arg, STORE_DONE, &product, 1);
    }
    asking_free(asking);
}

void store_product_get(struct store *store, int64_t id, store_products_fn *on_product, void *arg)
{
    struct asking *asking = asking_new(store, arg);
    asking->on.products = on_product;
    wire_begin(&store->wire);
    wire_int64(&store->wire, id);
    store_execute(store, STORE_PRODUCT_GET, hear_product, asking);
}

void store_products_after(struct store *store, int64_t after, size_t limit,
                          store_products_fn *on_products, void *arg)
{
    CHECK(limit >= 1 && limit <= STORE_PAGE_MAX + 1);
    struct asking *asking = asking_new(store, arg);
    asking->on.products = on_products;
    wire_begin(&store->wire);
    wire_int64(&store->wire, after);
    wire_int64(&store->wire, (int64_t)limit);
    store_execute(store, STORE_PRODUCTS_AFTER, hear_products, asking);
}

static void send_create(struct asking *asking);

/* Columns of sql/product_create.sql. */
enum { CREATE_FRESH, CREATE_SAME_KEY, CREATE_SAME_BODY, CREATE_PRODUCT };

static void hear_created(void *arg, const struct database_answer *answer)
{
    struct asking *asking = arg;
    enum store_outcome outcome = outcome_of(asking, answer);
    size_t count = outcome == STORE_DONE ? link_rows_count(answer->rows) : 0;
    if (outcome == STORE_DONE && count == 0) {
        if (++asking->tries < CREATE_TRIES) {
            send_create(asking);
            return;
        }
        outcome = STORE_EXISTS;
    }
    struct store_product product = {0};
    if (count > 0) outcome = STORE_EXISTS;
    for (size_t row = 0; row < count; row++) {
        if (!wire_read_bool(answer->rows, row, CREATE_SAME_KEY)) continue;
        bool same = wire_read_bool(answer->rows, row, CREATE_SAME_BODY);
        outcome = same ? STORE_DONE : STORE_KEY_REUSED;
        product = read_product(answer->rows, row, CREATE_PRODUCT);
    }
    bool found = outcome == STORE_DONE;
    asking->on.products(asking->arg, outcome, found ? &product : NULL, found ? 1 : 0);
    asking_free(asking);
}

static void send_create(struct asking *asking)
{
    struct wire *wire = &asking->store->wire;
    const struct store_product_new *product = &asking->product;
    wire_begin(wire);
    wire_text(wire, product->name);
    if (product->has_description) {
        wire_text(wire, product->description);
    } else {
        wire_null(wire);
    }
    wire_int64(wire, product->price);
    wire_int64(wire, product->stock);
    if (product->key.bytes > 0) {
        wire_text(wire, product->key);
    } else {
        wire_null(wire);
    }
    store_execute(asking->store, STORE_PRODUCT_CREATE, hear_created, asking);
}

static struct span keep(char **at, struct span text)
{
    if (text.bytes > 0) memcpy(*at, text.at, text.bytes);
    struct span kept = {*at, text.bytes};
    *at += text.bytes;
    return kept;
}

void store_product_create(struct store *store, const struct store_product_new *product,
                          store_products_fn *on_product, void *arg)
{
    struct asking *asking = asking_new(store, arg);
    asking->on.products = on_product;
    asking->changes = true;
    asking->product = *product;
    asking->text =
        xcalloc(1, product->name.bytes + product->description.bytes + product->key.bytes + 1);
    char *at = asking->text;
    asking->product.name = keep(&at, product->name);
    asking->product.description = keep(&at, product->description);
    asking->product.key = keep(&at, product->key);
    send_create(asking);
}

static void hear_purchases(void *arg, const struct database_answer *answer)
{
    struct asking *asking = arg;
    enum store_outcome outcome = outcome_of(asking, answer);
    size_t count = outcome == STORE_DONE ? link_rows_count(answer->rows) : 0;
    struct purchase *purchases = xcalloc(count + 1, sizeof *purchases);
    for (size_t row = 0; row < count; row++) {
        purchases[row] = (struct purchase){
            .id = wire_read_int64(answer->rows, row, 0),
            .user_id = asking->user_id,
            .product_id = wire_read_int64(answer->rows, row, 1),
            .quantity = wire_read_int64(answer->rows, row, 2),
            .total_price = wire_read_int64(answer->rows, row, 3),
            .remaining_stock = wire_read_int64(answer->rows, row, 4),
            .purchased_at_us = wire_read_time_us(answer->rows, row, 5),
        };
    }
    asking->on.purchases(asking->arg, outcome, purchases, count);
    free(purchases);
    asking_free(asking);
}

void store_purchases_of(struct store *store, const struct store_purchases_ask *ask,
                        store_purchases_fn *on_purchases, void *arg)
{
    CHECK(ask->limit >= 1 && ask->limit <= STORE_PAGE_MAX + 1);
    struct asking *asking = asking_new(store, arg);
    asking->on.purchases = on_purchases;
    asking->user_id = ask->user_id;
    wire_begin(&store->wire);
    wire_int64(&store->wire, ask->user_id);
    wire_int64(&store->wire, ask->before == 0 ? INT64_MAX : ask->before);
    wire_int64(&store->wire, (int64_t)ask->limit);
    store_execute(store, STORE_PURCHASES_OF, hear_purchases, asking);
}

static void hear_account(void *arg, const struct database_answer *answer)
{
    struct asking *asking = arg;
    enum store_outcome outcome = outcome_of(asking, answer);
    struct store_account account = {0};
    if (outcome == STORE_DONE && link_rows_count(answer->rows) == 0) {
        outcome = asking->changes ? STORE_EXISTS : STORE_NOT_FOUND;
    }
    if (outcome == STORE_DONE) {
        const struct link_rows *rows = answer->rows;
        account = (struct store_account){.id = wire_read_int64(rows, 0, 0),
                                         .username = link_rows_bytes(rows, 0, 1),
                                         .email = link_rows_bytes(rows, 0, 2),
                                         .password_hash = link_rows_bytes(rows, 0, 3),
                                         .admin = wire_read_bool(rows, 0, 4),
                                         .created_at_us = wire_read_time_us(rows, 0, 5)};
    }
    asking->on.account(asking->arg, outcome, outcome == STORE_DONE ? &account : NULL);
    asking_free(asking);
}

void store_account_create(struct store *store, const struct store_account *account,
                          store_account_fn *on_account, void *arg)
{
    struct asking *asking = asking_new(store, arg);
    asking->on.account = on_account;
    asking->changes = true;
    wire_begin(&store->wire);
    wire_text(&store->wire, account->username);
    wire_text(&store->wire, account->email);
    wire_text(&store->wire, account->password_hash);
    wire_bool(&store->wire, account->admin);
    store_execute(store, STORE_ACCOUNT_CREATE, hear_account, asking);
}

void store_account_find(struct store *store, struct span username, store_account_fn *on_account,
                        void *arg)
{
    struct asking *asking = asking_new(store, arg);
    asking->on.account = on_account;
    wire_begin(&store->wire);
    wire_text(&store->wire, username);
    store_execute(store, STORE_ACCOUNT_FIND, hear_account, asking);
}

void store_account_get(struct store *store, int64_t id, store_account_fn *on_account, void *arg)
{
    struct asking *asking = asking_new(store, arg);
    asking->on.account = on_account;
    wire_begin(&store->wire);
    wire_int64(&store->wire, id);
    store_execute(store, STORE_ACCOUNT_GET, hear_account, asking);
}
