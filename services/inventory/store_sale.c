/* A lane's statements: the batch, and the look. */
#include "inventory/store_parts.h"

#include "base/check.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdlib.h>

/* A sale or look under way. */
struct asking {
    struct store *store;
    sale_answer_fn *on_answer;
    void *arg;
    int64_t product_id;
    size_t count;
};

static struct asking *asking_new(struct store *store, const struct sale *sale,
                                 sale_answer_fn *on_answer, void *arg)
{
    CHECK(sale->count >= 1 && sale->count <= SALE_ORDERS_MAX);
    struct asking *asking = xcalloc(1, sizeof *asking);
    *asking = (struct asking){store, on_answer, arg, sale->product_id, sale->count};
    return asking;
}

static void tell(struct asking *asking, const struct sale_answer *answer)
{
    sale_answer_fn *on_answer = asking->on_answer;
    void *arg = asking->arg;
    free(asking);
    on_answer(arg, answer);
}

static struct sale_row *rows_for(struct store *store, size_t count)
{
    if (store->rows_room < count) {
        store->rows_room = count;
        store->rows = xrealloc(store->rows, count * sizeof *store->rows);
    }
    return store->rows;
}

/* Columns from `first`: id, product_id, quantity, total_price, remaining_stock, purchased_at. */
static struct purchase read_purchase(const struct link_rows *rows, size_t row, size_t first)
{
    return (struct purchase){.id = wire_read_int64(rows, row, first),
                             .product_id = wire_read_int64(rows, row, first + 1),
                             .quantity = wire_read_int64(rows, row, first + 2),
                             .total_price = wire_read_int64(rows, row, first + 3),
                             .remaining_stock = wire_read_int64(rows, row, first + 4),
                             .purchased_at_us = wire_read_time_us(rows, row, first + 5)};
}

static size_t read_place(const struct asking *asking, const struct link_rows *rows, size_t row,
                         size_t column)
{
    int64_t place = wire_read_int64(rows, row, column); /* counted from 1 */
    CHECK(place >= 1 && place <= (int64_t)asking->count);
    return (size_t)place - 1;
}

/* Rolled back, but for what reason? Those of the first kind may be gone at once: another's key or
 * lock, a deadlock, a statement that was cancelled. */
static struct sale_answer failed(const struct asking *asking, const struct database_answer *answer)
{
    static const char *const again[] = {"23505", "40", "55P03", "57014"};
    for (size_t i = 0; i < sizeof again / sizeof again[0]; i++) {
        if (strncmp(answer->sqlstate, again[i], strlen(again[i])) == 0) {
            LOG_DEBUG("sale.again", "product=%" PRId64 " sqlstate=%s", asking->product_id,
                      answer->sqlstate);
            return (struct sale_answer){.outcome = SALE_AGAIN, .message = "The database is busy"};
        }
    }
    LOG_ERROR("sale.failed", "product=%" PRId64 " sqlstate=%s text=\"%s\"", asking->product_id,
              answer->sqlstate, answer->message);
    return (struct sale_answer){.outcome = SALE_DOWN, .message = "The database refuses to sell"};
}

static struct sale_answer unanswered(enum database_outcome outcome)
{
    switch (outcome) {
    case DATABASE_LOST:
        return (struct sale_answer){.outcome = SALE_UNKNOWN};
    case DATABASE_FULL:
        return (struct sale_answer){.outcome = SALE_DOWN, .message = "The database is overloaded"};
    case DATABASE_DOWN:
    case DATABASE_DONE:
    case DATABASE_FAILED:
        break;
    }
    return (struct sale_answer){.outcome = SALE_DOWN, .message = "The database can't be reached"};
}

/* Columns of sql/sell.sql and sql/sell_one.sql. */
enum {
    SELL_LAST_TOKEN,
    SELL_WHOLE,
    SELL_STOCK,
    SELL_VERSION,
    SELL_FRESH,
    SELL_PLACE,
    SELL_PURCHASE,
};

static struct sale_answer read_sold(struct asking *asking, const struct link_rows *rows)
{
    size_t count = link_rows_count(rows);
    if (count == 0) return (struct sale_answer){.outcome = SALE_NO_PRODUCT};
    struct sale_row *said = rows_for(asking->store, count);
    struct sale_answer told = {.outcome = SALE_DONE,
                               .whole = wire_read_bool(rows, 0, SELL_WHOLE),
                               .now = {.product = asking->product_id},
                               .rows = said};
    if (link_rows_null(rows, 0, SELL_STOCK)) {
        told.outcome = SALE_FENCED;
        told.last_token = (uint64_t)wire_read_int64(rows, 0, SELL_LAST_TOKEN);
    } else {
        told.now.stock = wire_read_int64(rows, 0, SELL_STOCK);
        told.now.version = wire_read_int64(rows, 0, SELL_VERSION);
    }
    for (size_t row = 0; row < count; row++) {
        if (link_rows_null(rows, row, SELL_PLACE)) continue;
        bool fresh = wire_read_bool(rows, row, SELL_FRESH);
        said[told.count++] = (struct sale_row){.place = read_place(asking, rows, row, SELL_PLACE),
                                               .verdict = fresh ? SALE_SOLD : SALE_KNOWN,
                                               .purchase = read_purchase(rows, row, SELL_PURCHASE)};
    }
    return told;
}

static void on_sold(void *arg, const struct database_answer *answer)
{
    struct asking *asking = arg;
    struct sale_answer told;
    if (answer->outcome == DATABASE_DONE) {
        told = read_sold(asking, answer->rows);
    } else if (answer->outcome == DATABASE_FAILED) {
        told = failed(asking, answer);
    } else {
        told = unanswered(answer->outcome);
    }
    tell(asking, &told);
}

void store_sell(struct store *store, const struct sale *sale, sale_answer_fn *on_answer, void *arg)
{
    struct asking *asking = asking_new(store, sale, on_answer, arg);
    wire_begin(&store->wire);
    wire_int64(&store->wire, sale->product_id);
    wire_int64(&store->wire, (int64_t)sale->token);
    if (sale->count == 1) {
        wire_int64(&store->wire, sale->orders[0].user_id);
        wire_text(&store->wire, sale->orders[0].key);
        wire_int64(&store->wire, sale->orders[0].quantity);
        store_execute(store, STORE_SELL_ONE, on_sold, asking);
        return;
    }
    wire_users(&store->wire, sale);
    wire_keys(&store->wire, sale);
    wire_quantities(&store->wire, sale);
    store_execute(store, STORE_SELL, on_sold, asking);
}

/* Columns of sql/look.sql. */
enum { LOOK_STOCK, LOOK_VERSION, LOOK_PLACE, LOOK_HAS_USER, LOOK_PURCHASE };

static struct sale_answer read_looked(struct asking *asking, const struct link_rows *rows)
{
    size_t count = link_rows_count(rows);
    if (count == 0) return (struct sale_answer){.outcome = SALE_NO_PRODUCT};
    struct sale_row *said = rows_for(asking->store, count);
    struct sale_answer told = {.outcome = SALE_DONE,
                               .whole = true,
                               .now = {asking->product_id, wire_read_int64(rows, 0, LOOK_STOCK),
                                       wire_read_int64(rows, 0, LOOK_VERSION)},
                               .rows = said};
    for (size_t row = 0; row < count; row++) {
        if (link_rows_null(rows, row, LOOK_PLACE)) continue;
        struct sale_row *into = &said[told.count++];
        *into = (struct sale_row){.place = read_place(asking, rows, row, LOOK_PLACE),
                                  .verdict = SALE_NO_USER};
        if (!wire_read_bool(rows, row, LOOK_HAS_USER)) continue;
        into->verdict = SALE_KNOWN;
        into->purchase = read_purchase(rows, row, LOOK_PURCHASE);
    }
    return told;
}

/* A look changes nothing, so that no answer is no unknown outcome. */
static void on_looked(void *arg, const struct database_answer *answer)
{
    struct asking *asking = arg;
    struct sale_answer told;
    if (answer->outcome == DATABASE_DONE) {
        told = read_looked(asking, answer->rows);
    } else if (answer->outcome == DATABASE_LOST) {
        told = unanswered(DATABASE_DOWN);
    } else if (answer->outcome == DATABASE_FAILED) {
        told = failed(asking, answer);
        told.outcome = SALE_DOWN;
    } else {
        told = unanswered(answer->outcome);
    }
    tell(asking, &told);
}

void store_look(struct store *store, const struct sale *sale, sale_answer_fn *on_answer, void *arg)
{
    struct asking *asking = asking_new(store, sale, on_answer, arg);
    wire_begin(&store->wire);
    wire_int64(&store->wire, sale->product_id);
    wire_users(&store->wire, sale);
    wire_keys(&store->wire, sale);
    store_execute(store, STORE_LOOK, on_looked, asking);
}
