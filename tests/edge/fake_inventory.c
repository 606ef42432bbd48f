/* The fake's Inventory: products in memory, purchases by number, lists as long as it was told. */
#include "fake.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define BARE_ID (NEVER_ID + 1) /* INSUFFICIENT, without a detail */

typedef Quorate__Inventory__V1__Product Product;

static void on_due(void *arg)
{
    struct pending *pending = arg;
    rpc_request_on_gone(pending->request, NULL, NULL);
    fake_let_go(pending);
    pending->closure(&pending->purchase, pending->request);
    free(pending);
}

static void buy(Quorate__Inventory__V1__Inventory_Service *service,
                const Quorate__Inventory__V1__BuyRequest *input,
                Quorate__Inventory__V1__Purchase_Closure closure, void *closure_data)
{
    struct fake *fake = ((struct inventory *)service)->fake;
    struct rpc_request *request = closure_data;
    struct span id = rpc_request_id(request);
    struct span trace = rpc_request_traceparent(request);
    printf("buy user=%" PRId64 " product=%" PRId64 " quantity=%" PRId64 " key=%s req=%.*s "
           "trace=%.*s\n",
           input->user_id, input->product_id, input->quantity, input->idempotency_key,
           SPAN_ARGS(id), SPAN_ARGS(trace));
    if (fake_scripted(fake, request, input->product_id)) return;
    if (input->product_id == BARE_ID) {
        rpc_request_fail(request, REASON_INSUFFICIENT, "sold out", NULL);
        return;
    }
    Purchase purchase = QUORATE__INVENTORY__V1__PURCHASE__INIT;
    purchase.id = ++fake->purchases;
    purchase.user_id = input->user_id;
    purchase.product_id = input->product_id;
    purchase.quantity = input->quantity;
    purchase.total_price = 10 * input->quantity;
    purchase.remaining_stock = 90;
    purchase.purchased_at_us = SOME_TIME;
    if (input->product_id > 2000 && input->product_id < NEVER_ID) {
        struct pending *pending = fake_hold(fake, request);
        pending->purchase = purchase;
        pending->closure = closure;
        uint64_t wait_us = (uint64_t)(input->product_id - 2000) * 10000;
        timer_start(&pending->due, loop_timers(fake->loop), loop_now_us(fake->loop) + wait_us,
                    on_due, pending);
        return;
    }
    closure(&purchase, request);
}

static void fill_product(struct product *product, int64_t id, Product *message)
{
    message->id = id;
    message->name = product->name;
    message->has_description = product->has_description;
    message->description = product->description;
    message->price = product->price;
    message->stock = product->stock;
    message->has_redis_stock = true;
    message->redis_stock = product->stock;
    message->created_at_us = SOME_TIME;
    message->updated_at_us = SOME_TIME;
}

static void create_product(Quorate__Inventory__V1__Inventory_Service *service,
                           const Quorate__Inventory__V1__CreateProductRequest *input,
                           Quorate__Inventory__V1__Product_Closure closure, void *closure_data)
{
    struct fake *fake = ((struct inventory *)service)->fake;
    printf("create name=%s key=%s\n", input->name, input->idempotency_key);
    if (fake_scripted_name(fake, closure_data, input->name)) return;
    for (int64_t i = 0; i < fake->product_count; i++) {
        if (strcmp(fake->products[i].name, input->name) != 0) continue;
        rpc_request_fail(closure_data, REASON_EXISTS, "the name is taken", NULL);
        return;
    }
    CHECK(fake->product_count < THINGS_MAX);
    struct product *product = &fake->products[fake->product_count++];
    snprintf(product->name, sizeof product->name, "%s", input->name);
    snprintf(product->description, sizeof product->description, "%s", input->description);
    product->has_description = input->has_description;
    product->price = input->price;
    product->stock = input->stock;
    Product reply = QUORATE__INVENTORY__V1__PRODUCT__INIT;
    fill_product(product, fake->product_count, &reply);
    closure(&reply, closure_data);
}

static void get_product(Quorate__Inventory__V1__Inventory_Service *service,
                        const Quorate__Inventory__V1__GetProductRequest *input,
                        Quorate__Inventory__V1__Product_Closure closure, void *closure_data)
{
    struct fake *fake = ((struct inventory *)service)->fake;
    if (fake_scripted(fake, closure_data, input->id)) return;
    if (input->id < 1 || input->id > fake->product_count) {
        rpc_request_fail(closure_data, REASON_NOT_FOUND, "no such product", NULL);
        return;
    }
    Product reply = QUORATE__INVENTORY__V1__PRODUCT__INIT;
    fill_product(&fake->products[input->id - 1], input->id, &reply);
    closure(&reply, closure_data);
}

/* True: this page is to fail. */
static bool broken_page(struct fake *fake, struct rpc_request *request, const char *list,
                        int64_t after, uint32_t limit)
{
    printf("page list=%s after=%" PRId64 " limit=%u\n", list, after, limit);
    if (fake_scripted(fake, request, 0)) return true;
    if (fake->break_times == 0 || after != fake->break_after) return false;
    fake->break_times--;
    fake_fail(request, fake->break_reason, 0);
    return true;
}

static int64_t page_rows(const struct fake *fake, int64_t left, uint32_t limit)
{
    int64_t rows = left < (int64_t)limit ? left : (int64_t)limit;
    return fake->page_max > 0 && rows > fake->page_max ? fake->page_max : rows;
}

static void list_products(Quorate__Inventory__V1__Inventory_Service *service,
                          const Quorate__Inventory__V1__ListProductsRequest *input,
                          Quorate__Inventory__V1__ListProductsReply_Closure closure,
                          void *closure_data)
{
    struct fake *fake = ((struct inventory *)service)->fake;
    if (broken_page(fake, closure_data, "products", input->after, input->limit)) return;
    int64_t left = fake->rows > input->after ? fake->rows - input->after : 0;
    int64_t rows = page_rows(fake, left, input->limit);
    struct product *row = xcalloc(1, sizeof *row);
    memset(row->description, 'd', (size_t)fake->row_bytes);
    row->has_description = fake->row_bytes > 0;
    snprintf(row->name, sizeof row->name, "row");
    row->price = 10;
    Product *products = xcalloc((size_t)rows, sizeof *products);
    Product **pointers = xcalloc((size_t)rows, sizeof(void *));
    for (int64_t i = 0; i < rows; i++) {
        quorate__inventory__v1__product__init(&products[i]);
        fill_product(row, input->after + 1 + i, &products[i]);
        pointers[i] = &products[i];
    }
    Quorate__Inventory__V1__ListProductsReply reply =
        QUORATE__INVENTORY__V1__LIST_PRODUCTS_REPLY__INIT;
    reply.products = pointers;
    reply.n_products = (size_t)rows;
    reply.more = left > rows;
    closure(&reply, closure_data);
    free(pointers);
    free(products);
    free(row);
}

static void list_purchases(Quorate__Inventory__V1__Inventory_Service *service,
                           const Quorate__Inventory__V1__ListPurchasesRequest *input,
                           Quorate__Inventory__V1__ListPurchasesReply_Closure closure,
                           void *closure_data)
{
    struct fake *fake = ((struct inventory *)service)->fake;
    if (broken_page(fake, closure_data, "purchases", input->after, input->limit)) return;
    int64_t left = input->after == 0 ? fake->rows : input->after - 1;
    int64_t rows = page_rows(fake, left, input->limit);
    Purchase *purchases = xcalloc((size_t)rows, sizeof *purchases);
    Purchase **pointers = xcalloc((size_t)rows, sizeof(void *));
    for (int64_t i = 0; i < rows; i++) {
        quorate__inventory__v1__purchase__init(&purchases[i]);
        purchases[i].id = left - i;
        purchases[i].user_id = input->user_id;
        purchases[i].purchased_at_us = SOME_TIME;
        pointers[i] = &purchases[i];
    }
    Quorate__Inventory__V1__ListPurchasesReply reply =
        QUORATE__INVENTORY__V1__LIST_PURCHASES_REPLY__INIT;
    reply.purchases = pointers;
    reply.n_purchases = (size_t)rows;
    reply.more = left > rows;
    closure(&reply, closure_data);
    free(pointers);
    free(purchases);
}

static void get_stock(Quorate__Inventory__V1__Inventory_Service *service,
                      const Quorate__Inventory__V1__GetStockRequest *input,
                      Quorate__Inventory__V1__Stock_Closure closure, void *closure_data)
{
    struct fake *fake = ((struct inventory *)service)->fake;
    if (fake_scripted(fake, closure_data, input->product_id)) return;
    if (input->product_id < 1 || input->product_id > fake->product_count) {
        rpc_request_fail(closure_data, REASON_NOT_FOUND, "no such product", NULL);
        return;
    }
    Quorate__Inventory__V1__NodeStock nodes[2];
    Quorate__Inventory__V1__NodeStock *pointers[2] = {&nodes[0], &nodes[1]};
    for (int i = 0; i < 2; i++) {
        quorate__inventory__v1__node_stock__init(&nodes[i]);
        nodes[i].name = i == 0 ? "redis:6379" : "redis1:6379";
        nodes[i].reachable = i == 0;
        nodes[i].present = i == 0;
        nodes[i].stock = fake->products[input->product_id - 1].stock;
        nodes[i].version = fake->version;
    }
    Quorate__Inventory__V1__Stock reply = QUORATE__INVENTORY__V1__STOCK__INIT;
    reply.product_id = input->product_id;
    reply.db_stock = nodes[0].stock;
    reply.redis_stock = nodes[0].stock;
    reply.has_redis_stock = true;
    reply.synced = true;
    reply.nodes = pointers;
    reply.n_nodes = 2;
    closure(&reply, closure_data);
}

void fake_inventory_init(struct fake *fake)
{
    fake->inventory = (struct inventory){QUORATE__INVENTORY__V1__INVENTORY__INIT(), fake};
}
