#include "edge/purchases.h"

#include "edge/body.h"
#include "edge/edge.h"
#include "edge/listing.h"
#include "edge/reply.h"

#include <inttypes.h>
#include <stdio.h>

void purchases_write(struct json *json, const struct purchase *purchase)
{
    json_open_object(json);
    JSON_KEY(json, "id");
    json_put_integer(json, purchase->id);
    JSON_KEY(json, "user_id");
    json_put_integer(json, purchase->user_id);
    JSON_KEY(json, "product_id");
    json_put_integer(json, purchase->product_id);
    JSON_KEY(json, "quantity");
    json_put_integer(json, purchase->quantity);
    JSON_KEY(json, "total_price");
    json_put_integer(json, purchase->total_price);
    JSON_KEY(json, "purchased_at");
    json_put_time(json, purchase->purchased_at_us);
    JSON_KEY(json, "remaining_stock");
    json_put_integer(json, purchase->remaining_stock);
    json_close_object(json);
}

/* A key that nobody has used: the process's seed and a count. Keys are an account's own, so that
 * there is nothing to gain from guessing one. */
static const char *make_key(struct exchange *exchange)
{
    struct edge *edge = exchange->edge;
    size_t bytes = 40;
    char *key = exchange_alloc(exchange, bytes);
    snprintf(key, bytes, "%016" PRIx64 "-%" PRIx64, edge->key_seed, edge->key_count++);
    return key;
}

const char *purchases_key(struct exchange *exchange, bool make, struct faults *faults)
{
    if (exchange->idempotency_keys == 0) return make ? make_key(exchange) : "";
    struct span given = exchange->idempotency_key;
    const char *wrong = NULL;
    if (exchange->idempotency_keys > 1) wrong = "There must be one Idempotency-Key";
    if (given.bytes == 0 || given.bytes > IDEMPOTENCY_KEY_BYTES_MAX)
        wrong = "An Idempotency-Key has 1 to 255 characters";
    for (size_t i = 0; wrong == NULL && i < given.bytes; i++)
        if (given.at[i] < 0x20 || given.at[i] > 0x7e)
            wrong = "An Idempotency-Key consists of printable ASCII characters";
    if (wrong != NULL) {
        faults_add(faults, "header", "idempotency-key", "value_error", wrong);
        return NULL;
    }
    char *key = exchange_alloc(exchange, given.bytes + 1);
    memcpy(key, given.at, given.bytes);
    return key;
}

static void on_bought(void *arg, const struct inventory_answer *answer)
{
    struct exchange *exchange = arg;
    if (answer->failure != NULL) {
        reply_failure(exchange, answer->failure, exchange->id);
        return;
    }
    purchases_write(&exchange->out, &answer->purchases[0]);
    exchange_answer(exchange, 201);
}

void purchases_create(struct exchange *exchange)
{
    struct faults faults;
    faults_init(&faults, &exchange->out);
    struct order order = {.user_id = exchange->user_id};
    struct body *body = body_parse(exchange->body, &faults);
    if (body != NULL) {
        body_integer(body, (struct body_integer_rule){"product_id", 1, INT64_MAX}, &faults,
                     &order.product_id);
        body_integer(body, (struct body_integer_rule){"quantity", 1, QUANTITY_MAX}, &faults,
                     &order.quantity);
    }
    body_free(body);
    order.idempotency_key = purchases_key(exchange, true, &faults);
    if (faults.count > 0) {
        reply_faults(exchange, &faults);
        return;
    }
    exchange->id = order.product_id;
    reply_await(exchange, on_bought);
    inventory_buy(&exchange->call, &order);
}

void purchases_mine(struct exchange *exchange)
{
    listing_answer(exchange, LISTING_PURCHASES);
}
