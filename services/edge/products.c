#include "edge/products.h"

#include "edge/body.h"
#include "edge/edge.h"
#include "edge/listing.h"
#include "edge/purchases.h"
#include "edge/reply.h"

#include <inttypes.h>
#include <stdio.h>

#define AMOUNT_MAX            1000000000000
#define DESCRIPTION_BYTES_MAX 10000

void products_write(struct json *json, const struct product *product)
{
    json_open_object(json);
    JSON_KEY(json, "id");
    json_put_integer(json, product->id);
    JSON_KEY(json, "name");
    json_put_text(json, span_of(product->name));
    JSON_KEY(json, "description");
    if (product->description != NULL) {
        json_put_text(json, span_of(product->description));
    } else {
        json_put_null(json);
    }
    JSON_KEY(json, "price");
    json_put_integer(json, product->price);
    JSON_KEY(json, "stock");
    json_put_integer(json, product->stock);
    JSON_KEY(json, "redis_stock");
    if (product->has_redis_stock) {
        json_put_integer(json, product->redis_stock);
    } else {
        json_put_null(json);
    }
    JSON_KEY(json, "created_at");
    json_put_time(json, product->created_at_us);
    JSON_KEY(json, "updated_at");
    json_put_time(json, product->updated_at_us);
    json_close_object(json);
}

static void write_node(struct json *json, const struct node_stock *node)
{
    json_open_object(json);
    JSON_KEY(json, "name");
    json_put_text(json, span_of(node->name));
    JSON_KEY(json, "reachable");
    json_put_boolean(json, node->reachable);
    JSON_KEY(json, "stock");
    if (node->present) {
        json_put_integer(json, node->stock);
    } else {
        json_put_null(json);
    }
    JSON_KEY(json, "version"); /* as text: JavaScript's numbers end at 2^53 */
    if (node->present) {
        json_put_unsigned_text(json, (uint64_t)node->version);
    } else {
        json_put_null(json);
    }
    json_close_object(json);
}

void products_write_stock(struct json *json, const struct stock *stock)
{
    json_open_object(json);
    JSON_KEY(json, "product_id");
    json_put_integer(json, stock->product_id);
    JSON_KEY(json, "db_stock");
    json_put_integer(json, stock->db_stock);
    JSON_KEY(json, "redis_stock");
    if (stock->has_redis_stock) {
        json_put_integer(json, stock->redis_stock);
    } else {
        json_put_null(json);
    }
    JSON_KEY(json, "synced");
    json_put_boolean(json, stock->synced);
    if (stock->moving) {
        JSON_KEY(json, "moving");
        json_put_boolean(json, true);
    }
    JSON_KEY(json, "nodes");
    json_open_array(json);
    for (size_t i = 0; i < stock->node_count; i++)
        write_node(json, &stock->nodes[i]);
    json_close_array(json);
    json_close_object(json);
}

/* What POST asks for, while the account's rights are looked up. */
struct creation {
    struct body *body; /* its texts are borrowed from here */
    struct new_product product;
};

static void on_end(struct exchange *exchange)
{
    struct creation *creation = exchange->state;
    body_free(creation->body);
}

static void on_created(void *arg, const struct inventory_answer *answer)
{
    struct exchange *exchange = arg;
    if (answer->failure == NULL) {
        products_write(&exchange->out, &answer->products[0]);
        exchange_answer(exchange, 201);
        return;
    }
    if (answer->failure->reason != REASON_EXISTS) {
        reply_failure(exchange, answer->failure, 0);
        return;
    }
    const struct creation *creation = exchange->state;
    char detail[900];
    snprintf(detail, sizeof detail, "Product with name '%s' already exists",
             creation->product.name);
    exchange_fail(exchange, REASON_EXISTS, detail);
}

static void create(struct exchange *exchange)
{
    const struct creation *creation = exchange->state;
    reply_await(exchange, on_created);
    inventory_create_product(&exchange->call, &creation->product);
}

static void on_creator(void *arg, const struct inventory_answer *answer)
{
    struct exchange *exchange = arg;
    if (answer->failure != NULL) {
        if (answer->failure->reason == REASON_NOT_FOUND) {
            reply_unauthenticated(exchange, "The account of this token does not exist any more");
        } else {
            reply_failure(exchange, answer->failure, 0);
        }
        return;
    }
    if (!answer->account->admin) {
        exchange_fail(exchange, REASON_DENIED, "Only administrators may create products");
        return;
    }
    create(exchange);
}

void products_create(struct exchange *exchange)
{
    struct faults faults;
    faults_init(&faults, &exchange->out);
    struct creation *creation = exchange_alloc(exchange, sizeof *creation);
    struct new_product *product = &creation->product;
    exchange->state = creation;
    exchange->on_end = on_end;
    struct span name = {NULL, 0};
    struct span description = {NULL, 0};
    creation->body = body_parse(exchange->body, &faults);
    if (creation->body != NULL) {
        body_text(creation->body, &(struct body_text_rule){"name", false, 1, 200, 0}, &faults,
                  &name);
        body_integer(creation->body, (struct body_integer_rule){"price", 1, AMOUNT_MAX}, &faults,
                     &product->price);
        body_integer(creation->body, (struct body_integer_rule){"stock", 0, AMOUNT_MAX}, &faults,
                     &product->stock);
        body_text(creation->body,
                  &(struct body_text_rule){"description", true, 0, DESCRIPTION_BYTES_MAX,
                                           DESCRIPTION_BYTES_MAX},
                  &faults, &description);
    }
    product->name = name.at;
    product->description = description.at;
    product->idempotency_key = purchases_key(exchange, false, &faults);
    if (faults.count > 0) {
        reply_faults(exchange, &faults);
        return;
    }
    if (exchange->edge->conf->open_catalog) {
        create(exchange);
        return;
    }
    reply_await(exchange, on_creator);
    inventory_get_account(&exchange->call, exchange->user_id);
}

void products_list(struct exchange *exchange)
{
    listing_answer(exchange, LISTING_PRODUCTS);
}

static void on_product(void *arg, const struct inventory_answer *answer)
{
    struct exchange *exchange = arg;
    if (answer->failure != NULL) {
        reply_failure(exchange, answer->failure, exchange->id);
        return;
    }
    products_write(&exchange->out, &answer->products[0]);
    exchange_answer(exchange, 200);
}

static void reply_no_product(struct exchange *exchange)
{
    char detail[64];
    snprintf(detail, sizeof detail, "Product with id %" PRId64 " not found", exchange->id);
    exchange_fail(exchange, REASON_NOT_FOUND, detail);
}

void products_get(struct exchange *exchange)
{
    if (exchange->id <= 0) {
        reply_no_product(exchange);
        return;
    }
    reply_await(exchange, on_product);
    inventory_get_product(&exchange->call, exchange->id);
}

static void on_stock(void *arg, const struct inventory_answer *answer)
{
    struct exchange *exchange = arg;
    if (answer->failure != NULL) {
        reply_failure(exchange, answer->failure, exchange->id);
        return;
    }
    products_write_stock(&exchange->out, answer->stock);
    exchange_answer(exchange, 200);
}

void products_stock(struct exchange *exchange)
{
    if (exchange->id <= 0) {
        reply_no_product(exchange);
        return;
    }
    reply_await(exchange, on_stock);
    inventory_get_stock(&exchange->call, exchange->id);
}
