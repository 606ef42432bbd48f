/* Buy and ListPurchases. */
#include "inventory/server_parts.h"

#include "base/check.h"
#include "base/utf8.h"

#include <stdlib.h>

/* An answer needs time for its way back: a tenth of what is left, at most this much. */
#define WAY_BACK_US UINT64_C(50000)

struct buying {
    struct lanes *lanes;
    struct rpc_request *request;
    Quorate__Inventory__V1__Purchase_Closure closure;
    struct lane_order *order;
    int64_t product_id;
    int64_t quantity;
};

static void pack_purchase(Quorate__Inventory__V1__Purchase *into, const struct purchase *purchase)
{
    quorate__inventory__v1__purchase__init(into);
    into->id = purchase->id;
    into->user_id = purchase->user_id;
    into->product_id = purchase->product_id;
    into->quantity = purchase->quantity;
    into->total_price = purchase->total_price;
    into->remaining_stock = purchase->remaining_stock;
    into->purchased_at_us = purchase->purchased_at_us;
}

static void on_bought(void *arg, const struct lane_answer *answer)
{
    struct buying *buying = arg;
    struct buying was = *buying;
    free(buying);
    if (answer->reason == REASON_NONE) {
        Quorate__Inventory__V1__Purchase reply;
        pack_purchase(&reply, answer->purchase);
        was.closure(&reply, was.request);
        return;
    }
    if (answer->reason != REASON_INSUFFICIENT) {
        rpc_request_fail(was.request, answer->reason, answer->message, NULL);
        return;
    }
    Quorate__Inventory__V1__Shortage shortage = QUORATE__INVENTORY__V1__SHORTAGE__INIT;
    shortage.product_id = was.product_id;
    shortage.requested = was.quantity;
    shortage.available = answer->available;
    rpc_request_fail(was.request, answer->reason, answer->message, &shortage.base);
}

/* Cancelled, or the caller's connection is gone: what was not begun is not bought for nobody. */
static void on_buyer_gone(void *arg)
{
    struct buying *buying = arg;
    struct buying was = *buying;
    lanes_cancel(was.lanes, was.order);
    free(buying);
    rpc_request_fail(was.request, REASON_OUTCOME_UNKNOWN,
                     "Given up; the purchase may or may not have been recorded", NULL);
}

static const char *buy_fault(const Quorate__Inventory__V1__BuyRequest *input)
{
    if (input->user_id <= 0) return "user_id must be above 0";
    if (input->product_id <= 0) return "product_id must be above 0";
    if (input->quantity < 1 || input->quantity > QUANTITY_MAX) {
        return "quantity must be from 1 to 1000000";
    }
    struct span key = span_of(input->idempotency_key);
    if (key.bytes < 1 || key.bytes > SALE_KEY_BYTES_MAX) {
        return "idempotency_key must have 1 to 255 bytes";
    }
    if (utf8_length(key) < 0) return "idempotency_key must be UTF-8";
    return NULL;
}

void server_buy(Quorate__Inventory__V1__Inventory_Service *service,
                const Quorate__Inventory__V1__BuyRequest *input,
                Quorate__Inventory__V1__Purchase_Closure closure, void *closure_data)
{
    struct rpc_request *request = closure_data;
    const struct inventory_service *self = (const struct inventory_service *)service;
    const char *fault = buy_fault(input);
    if (fault != NULL) {
        rpc_request_fail(request, REASON_INVALID, fault, NULL);
        return;
    }
    uint64_t arrived_us = rpc_request_arrived_us(request);
    uint64_t deadline_us = rpc_request_deadline_us(request);
    uint64_t left_us = deadline_us > arrived_us ? deadline_us - arrived_us : 0;
    uint64_t way_back_us = left_us / 10 < WAY_BACK_US ? left_us / 10 : WAY_BACK_US;
    struct lane_buy buy = {.user_id = input->user_id,
                           .product_id = input->product_id,
                           .quantity = input->quantity,
                           .key = span_of(input->idempotency_key),
                           .deadline_us = deadline_us - way_back_us};
    struct buying *buying = xcalloc(1, sizeof *buying);
    *buying = (struct buying){.lanes = ports_lanes(self->ports),
                              .request = request,
                              .closure = closure,
                              .product_id = input->product_id,
                              .quantity = input->quantity};
    buying->order = lanes_buy(buying->lanes, &buy, on_bought, buying);
    if (buying->order == NULL) {
        free(buying);
        rpc_request_fail(request, REASON_OVERLOADED, "Too many purchases wait", NULL);
        return;
    }
    rpc_request_on_gone(request, on_buyer_gone, buying);
}

struct listing {
    struct op op;
    size_t limit;
};

static void on_purchases(void *arg, enum store_outcome outcome, const struct purchase *purchases,
                         size_t count)
{
    struct listing *listing = arg;
    if (outcome != STORE_DONE) {
        op_fail_store(&listing->op, outcome, "Purchase");
        free(listing);
        return;
    }
    Quorate__Inventory__V1__ListPurchasesReply reply =
        QUORATE__INVENTORY__V1__LIST_PURCHASES_REPLY__INIT;
    reply.more = count > listing->limit; /* one more than asked for was read */
    reply.n_purchases = reply.more ? listing->limit : count;
    Quorate__Inventory__V1__Purchase *packed = xcalloc(count + 1, sizeof *packed);
    reply.purchases = xcalloc(count + 1, sizeof(Quorate__Inventory__V1__Purchase *));
    for (size_t i = 0; i < reply.n_purchases; i++) {
        pack_purchase(&packed[i], &purchases[i]);
        reply.purchases[i] = &packed[i];
    }
    op_reply(&listing->op, &reply.base);
    free(reply.purchases);
    free(packed);
    free(listing);
}

void server_list_purchases(Quorate__Inventory__V1__Inventory_Service *service,
                           const Quorate__Inventory__V1__ListPurchasesRequest *input,
                           Quorate__Inventory__V1__ListPurchasesReply_Closure closure,
                           void *closure_data)
{
    struct rpc_request *request = closure_data;
    const struct inventory_service *self = (const struct inventory_service *)service;
    if (input->user_id <= 0 || input->after < 0 || input->limit < 1 || input->limit > PAGE_MAX) {
        rpc_request_fail(request, REASON_INVALID,
                         "user_id must be above 0, after not below, limit from 1 to 1000", NULL);
        return;
    }
    struct listing *listing = xcalloc(1, sizeof *listing);
    listing->limit = input->limit;
    listing->op.closure = (ProtobufCClosure)closure;
    op_init(&listing->op, self->ports, request, false);
    struct store_purchases_ask ask = {input->user_id, input->after, listing->limit + 1};
    store_purchases_of(ports_store(self->ports), &ask, on_purchases, listing);
}
