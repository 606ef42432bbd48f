/* Products and their stock. */
#include "inventory/server_parts.h"

#include "base/check.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* A page of products ends here, whatever was asked for: a reply must fit into a frame of the RPC.
 */
#define PAGE_BYTES_MAX (200 * 1024)

/* Products read from Postgres, while the nodes are asked for their live stock. */
struct showing {
    struct op op;
    bool list;
    bool more;
    size_t limit;
    size_t count;
    Quorate__Inventory__V1__Product *products;
    int64_t *ids;
};

static void pack_product(Quorate__Inventory__V1__Product *into, const struct store_product *product)
{
    quorate__inventory__v1__product__init(into);
    into->id = product->id;
    into->name = xstrndup(product->name.at, product->name.bytes);
    into->description = xstrndup(product->description.at, product->description.bytes);
    into->has_description = product->has_description;
    into->price = product->price;
    into->stock = product->stock;
    into->created_at_us = product->created_at_us;
    into->updated_at_us = product->updated_at_us;
}

static void showing_free(struct showing *showing)
{
    for (size_t i = 0; i < showing->count; i++) {
        free(showing->products[i].name);
        free(showing->products[i].description);
    }
    free(showing->products);
    free(showing->ids);
    free(showing);
}

/* Copies what fits into a frame. */
static void keep_products(struct showing *showing, const struct store_product *products,
                          size_t count)
{
    size_t bytes = 0;
    showing->products = xcalloc(count + 1, sizeof *showing->products);
    showing->ids = xcalloc(count + 1, sizeof *showing->ids);
    for (size_t i = 0; i < count; i++) {
        struct span name = products[i].name;
        bytes += name.bytes + products[i].description.bytes + 80; /* the numbers and tags */
        if (i == showing->limit || (i > 0 && bytes > PAGE_BYTES_MAX)) {
            showing->more = true;
            return;
        }
        pack_product(&showing->products[i], &products[i]);
        showing->ids[i] = products[i].id;
        showing->count++;
    }
}

static void show(struct showing *showing)
{
    if (!showing->list) {
        op_reply(&showing->op, &showing->products[0].base);
        showing_free(showing);
        return;
    }
    Quorate__Inventory__V1__ListProductsReply reply =
        QUORATE__INVENTORY__V1__LIST_PRODUCTS_REPLY__INIT;
    reply.more = showing->more;
    reply.n_products = showing->count;
    reply.products = xcalloc(showing->count + 1, sizeof(Quorate__Inventory__V1__Product *));
    for (size_t i = 0; i < showing->count; i++)
        reply.products[i] = &showing->products[i];
    op_reply(&showing->op, &reply.base);
    free(reply.products);
    showing_free(showing);
}

static void note_live_stock(Quorate__Inventory__V1__Product *product,
                            const struct stock_node *nodes, unsigned node_count)
{
    struct stock_view view = stock_view_of(nodes, node_count);
    product->has_redis_stock = view.has_stock;
    product->redis_stock = view.stock;
}

static void on_live_stock(void *arg, const struct stock_read *read)
{
    struct showing *showing = arg;
    CHECK(read->count == showing->count);
    for (size_t i = 0; i < read->count; i++)
        note_live_stock(&showing->products[i], &read->nodes[i * read->node_count],
                        read->node_count);
    show(showing);
}

static void on_products(void *arg, enum store_outcome outcome, const struct store_product *products,
                        size_t count)
{
    struct showing *showing = arg;
    if (outcome != STORE_DONE || showing->op.request == NULL) {
        if (outcome != STORE_DONE) op_fail_store(&showing->op, outcome, "Product");
        showing_free(showing);
        return;
    }
    keep_products(showing, products, count);
    if (showing->count == 0) {
        show(showing);
        return;
    }
    stock_read(live_stock(ports_live(showing->op.ports)), showing->ids, showing->count,
               on_live_stock, showing);
}

void server_get_product(Quorate__Inventory__V1__Inventory_Service *service,
                        const Quorate__Inventory__V1__GetProductRequest *input,
                        Quorate__Inventory__V1__Product_Closure closure, void *closure_data)
{
    const struct inventory_service *self = (const struct inventory_service *)service;
    struct showing *showing = xcalloc(1, sizeof *showing);
    showing->limit = 1;
    showing->op.closure = (ProtobufCClosure)closure;
    op_init(&showing->op, self->ports, closure_data, false);
    store_product_get(ports_store(self->ports), input->id, on_products, showing);
}

void server_list_products(Quorate__Inventory__V1__Inventory_Service *service,
                          const Quorate__Inventory__V1__ListProductsRequest *input,
                          Quorate__Inventory__V1__ListProductsReply_Closure closure,
                          void *closure_data)
{
    const struct inventory_service *self = (const struct inventory_service *)service;
    if (input->after < 0 || input->limit < 1 || input->limit > PAGE_MAX) {
        rpc_request_fail(closure_data, REASON_INVALID,
                         "after must not be below 0, limit from 1 to 1000", NULL);
        return;
    }
    struct showing *showing = xcalloc(1, sizeof *showing);
    showing->list = true;
    showing->limit = input->limit;
    showing->op.closure = (ProtobufCClosure)closure;
    op_init(&showing->op, self->ports, closure_data, false);
    store_products_after(ports_store(self->ports), input->after, showing->limit + 1, on_products,
                         showing);
}

static void on_first_stock(void *arg, const struct stock_stored *stored)
{
    struct showing *showing = arg;
    note_live_stock(&showing->products[0], stored->nodes, stored->node_count);
    show(showing);
}

/* Committed; now it goes to all nodes, also for a caller that is gone. Should this process die
 * here, the nodes are levelled when it starts. */
static void on_created(void *arg, enum store_outcome outcome, const struct store_product *products,
                       size_t count)
{
    struct showing *showing = arg;
    if (outcome != STORE_DONE) {
        op_fail_store(&showing->op, outcome, "Product");
        showing_free(showing);
        return;
    }
    CHECK(count == 1);
    showing->op.changes = false; /* it has happened, and asked again it is found */
    keep_products(showing, products, 1);
    struct stock_value value = {products[0].id, products[0].stock, products[0].version};
    stock_put(live_stock(ports_live(showing->op.ports)), &value, on_first_stock, showing);
}

static const char *create_fault(const Quorate__Inventory__V1__CreateProductRequest *input)
{
    long characters = utf8_length(span_of(input->name));
    if (characters < 1 || characters > 200) return "name must have 1 to 200 characters";
    if (input->price < 1 || input->price > PRICE_MAX) return "price must be from 1 to 10^12";
    if (input->stock < 0 || input->stock > STOCK_MAX) return "stock must be from 0 to 10^12";
    struct span description = span_of(input->description);
    if (description.bytes > 10000 || utf8_length(description) < 0) {
        return "description must have at most 10000 bytes of UTF-8";
    }
    struct span key = span_of(input->idempotency_key);
    if (key.bytes > SALE_KEY_BYTES_MAX || utf8_length(key) < 0) {
        return "idempotency_key must have at most 255 bytes of UTF-8";
    }
    return NULL;
}

void server_create_product(Quorate__Inventory__V1__Inventory_Service *service,
                           const Quorate__Inventory__V1__CreateProductRequest *input,
                           Quorate__Inventory__V1__Product_Closure closure, void *closure_data)
{
    const struct inventory_service *self = (const struct inventory_service *)service;
    const char *fault = create_fault(input);
    if (fault != NULL) {
        rpc_request_fail(closure_data, REASON_INVALID, fault, NULL);
        return;
    }
    struct showing *showing = xcalloc(1, sizeof *showing);
    showing->limit = 1;
    showing->op.closure = (ProtobufCClosure)closure;
    op_init(&showing->op, self->ports, closure_data, true);
    struct store_product_new product = {.name = span_of(input->name),
                                        .description = span_of(input->description),
                                        .has_description = input->has_description,
                                        .price = input->price,
                                        .stock = input->stock,
                                        .key = span_of(input->idempotency_key)};
    store_product_create(ports_store(self->ports), &product, on_created, showing);
}

struct stock_asking {
    struct op op;
    struct reads_call call;
    int64_t product_id;
};

static void reply_stock(struct stock_asking *asking, const struct reads_stock *stock)
{
    Quorate__Inventory__V1__NodeStock packed[STOCK_NODES_MAX];
    Quorate__Inventory__V1__NodeStock *nodes[STOCK_NODES_MAX];
    Quorate__Inventory__V1__Stock reply = QUORATE__INVENTORY__V1__STOCK__INIT;
    reply.product_id = asking->product_id;
    reply.db_stock = stock->db.stock;
    reply.redis_stock = stock->view.stock;
    reply.has_redis_stock = stock->view.has_stock;
    reply.synced = stock->synced;
    reply.moving = stock->moving;
    reply.n_nodes = stock->node_count;
    reply.nodes = nodes;
    for (unsigned i = 0; i < stock->node_count; i++) {
        const struct stock_node *node = &stock->nodes[i];
        quorate__inventory__v1__node_stock__init(&packed[i]);
        packed[i].name = (char *)stock_node_name(live_stock(ports_live(asking->op.ports)), i);
        packed[i].reachable = node->held != STOCK_UNREACHABLE;
        packed[i].present = node->held == STOCK_HELD;
        packed[i].stock = node->stock;
        packed[i].version = node->version;
        nodes[i] = &packed[i];
    }
    op_reply(&asking->op, &reply.base);
}

static void on_stock(void *arg, const struct reads_stock *stock)
{
    struct stock_asking *asking = arg;
    char message[80];
    switch (stock->outcome) {
    case READS_DONE:
        reply_stock(asking, stock);
        break;
    case READS_NOT_FOUND:
        snprintf(message, sizeof message, "Product with id %" PRId64 " not found",
                 asking->product_id);
        op_fail(&asking->op, REASON_NOT_FOUND, message);
        break;
    case READS_DOWN:
        op_fail(&asking->op, REASON_DOWN, "The database can't be reached");
        break;
    case READS_EXPIRED:
        op_fail(&asking->op, REASON_EXPIRED, "The deadline passed before the stock was read");
        break;
    }
    free(asking);
}

static void on_asker_gone(void *arg)
{
    struct stock_asking *asking = arg;
    reads_cancel(&asking->call);
    op_fail(&asking->op, REASON_EXPIRED, "The deadline passed before the stock was read");
    free(asking);
}

void server_get_stock(Quorate__Inventory__V1__Inventory_Service *service,
                      const Quorate__Inventory__V1__GetStockRequest *input,
                      Quorate__Inventory__V1__Stock_Closure closure, void *closure_data)
{
    const struct inventory_service *self = (const struct inventory_service *)service;
    struct stock_asking *asking = xcalloc(1, sizeof *asking);
    asking->op.closure = (ProtobufCClosure)closure;
    asking->product_id = input->product_id;
    op_init(&asking->op, self->ports, closure_data, false);
    rpc_request_on_gone(closure_data, on_asker_gone, asking);
    reads_get(live_reads(ports_live(self->ports)), &asking->call, input->product_id,
              rpc_request_deadline_us(closure_data), on_stock, asking);
}
