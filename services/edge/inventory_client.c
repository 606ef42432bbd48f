#include "edge/inventory_client.h"

#include "base/check.h"
#include "edge/rendezvous.h"
#include "proto/inventory.pb-c.h"

#include <stdlib.h>

struct inventory_client {
    struct peer **peers;
    struct rendezvous *ranks; /* beside peers */
    size_t count;
};

struct inventory_client *inventory_client_open(struct loop *loop, const struct conf_list *urls,
                                               struct metrics *metrics)
{
    CHECK(urls->count > 0);
    struct inventory_client *client = xcalloc(1, sizeof *client);
    client->peers = xcalloc(urls->count, sizeof(struct peer *));
    client->ranks = xcalloc(urls->count, sizeof(struct rendezvous));
    for (size_t i = 0; i < urls->count; i++) {
        client->peers[i] = peer_open(loop, urls->items[i], metrics);
        if (client->peers[i] == NULL) {
            inventory_client_close(client);
            return NULL;
        }
        client->ranks[i].seed = rendezvous_seed(urls->items[i]);
        client->count++;
    }
    return client;
}

void inventory_client_close(struct inventory_client *client)
{
    if (client == NULL) return;
    for (size_t i = 0; i < client->count; i++)
        peer_close(client->peers[i]);
    free(client->peers);
    free(client->ranks);
    free(client);
}

size_t inventory_client_peers(const struct inventory_client *client)
{
    return client->count;
}

struct peer *inventory_client_peer(const struct inventory_client *client, size_t place)
{
    CHECK(place < client->count);
    return client->peers[place];
}

static struct rpc_client *pick(struct inventory_client *client, int64_t key)
{
    if (client->count == 1) return peer_rpc(client->peers[0]);
    bool any_serving = false;
    for (size_t i = 0; i < client->count; i++)
        any_serving |= peer_state(client->peers[i]) == PEER_SERVING;
    /* One that does not serve still answers why; one that is down can't even do that. */
    for (size_t i = 0; i < client->count; i++)
        client->ranks[i].usable = any_serving ? peer_state(client->peers[i]) == PEER_SERVING
                                              : rpc_client_up(peer_rpc(client->peers[i]));
    return peer_rpc(client->peers[rendezvous_pick(client->ranks, client->count, (uint64_t)key)]);
}

void inventory_call_init(struct inventory_call *call, const struct inventory_terms *terms,
                         inventory_answer_fn *on_answer, void *arg)
{
    CHECK(on_answer != NULL);
    call->terms = *terms;
    call->on_answer = on_answer;
    call->arg = arg;
}

void inventory_call_cancel(struct inventory_call *call)
{
    rpc_call_cancel(&call->rpc);
}

enum call_kind { READS, CHANGES };

static void begin(struct inventory_call *call, const ProtobufCServiceDescriptor *service,
                  int64_t key, enum call_kind kind)
{
    const struct inventory_terms *terms = &call->terms;
    rpc_call_init(&call->rpc, pick(terms->client, key), service, terms->deadline_us);
    call->rpc.reads_only = kind == READS;
    call->rpc.request_id = terms->request_id;
    call->rpc.traceparent = terms->traceparent;
}

/* protobuf-c wants char *, and does not write to what it packs. */
static char *text_of(const char *text)
{
    return (char *)text;
}

static void answer_failure(struct inventory_call *call)
{
    struct failure failure = {.reason = call->rpc.status.reason,
                              .message = call->rpc.status.message};
    if (failure.reason == REASON_INSUFFICIENT) {
        Quorate__Inventory__V1__Shortage *shortage =
            (Quorate__Inventory__V1__Shortage *)rpc_status_detail(
                &call->rpc.status, &quorate__inventory__v1__shortage__descriptor);
        if (shortage != NULL) {
            failure.has_shortage = true;
            failure.requested = shortage->requested;
            failure.available = shortage->available;
            protobuf_c_message_free_unpacked(&shortage->base, NULL);
        }
    }
    call->on_answer(call->arg, &(struct inventory_answer){.failure = &failure});
}

static struct purchase purchase_of(const Quorate__Inventory__V1__Purchase *message)
{
    return (struct purchase){.id = message->id,
                             .user_id = message->user_id,
                             .product_id = message->product_id,
                             .quantity = message->quantity,
                             .total_price = message->total_price,
                             .remaining_stock = message->remaining_stock,
                             .purchased_at_us = message->purchased_at_us};
}

static struct product product_of(const Quorate__Inventory__V1__Product *message)
{
    return (struct product){.id = message->id,
                            .name = message->name,
                            .description = message->has_description ? message->description : NULL,
                            .price = message->price,
                            .stock = message->stock,
                            .redis_stock = message->redis_stock,
                            .has_redis_stock = message->has_redis_stock,
                            .created_at_us = message->created_at_us,
                            .updated_at_us = message->updated_at_us};
}

static void on_purchase(const Quorate__Inventory__V1__Purchase *reply, void *arg)
{
    struct inventory_call *call = arg;
    if (reply == NULL) {
        answer_failure(call);
        return;
    }
    struct purchase purchase = purchase_of(reply);
    call->on_answer(call->arg, &(struct inventory_answer){.purchases = &purchase, .count = 1});
}

static void on_product(const Quorate__Inventory__V1__Product *reply, void *arg)
{
    struct inventory_call *call = arg;
    if (reply == NULL) {
        answer_failure(call);
        return;
    }
    struct product product = product_of(reply);
    call->on_answer(call->arg, &(struct inventory_answer){.products = &product, .count = 1});
}

static void on_purchases(const Quorate__Inventory__V1__ListPurchasesReply *reply, void *arg)
{
    struct inventory_call *call = arg;
    if (reply == NULL) {
        answer_failure(call);
        return;
    }
    struct purchase *purchases = xcalloc(reply->n_purchases, sizeof *purchases);
    for (size_t i = 0; i < reply->n_purchases; i++)
        purchases[i] = purchase_of(reply->purchases[i]);
    /* A page without rows can have none after it: never ask for ever. */
    struct inventory_answer answer = {.purchases = purchases,
                                      .count = reply->n_purchases,
                                      .more = reply->more && reply->n_purchases > 0};
    call->on_answer(call->arg, &answer);
    free(purchases);
}

static void on_products(const Quorate__Inventory__V1__ListProductsReply *reply, void *arg)
{
    struct inventory_call *call = arg;
    if (reply == NULL) {
        answer_failure(call);
        return;
    }
    struct product *products = xcalloc(reply->n_products, sizeof *products);
    for (size_t i = 0; i < reply->n_products; i++)
        products[i] = product_of(reply->products[i]);
    struct inventory_answer answer = {.products = products,
                                      .count = reply->n_products,
                                      .more = reply->more && reply->n_products > 0};
    call->on_answer(call->arg, &answer);
    free(products);
}

static void on_stock(const Quorate__Inventory__V1__Stock *reply, void *arg)
{
    struct inventory_call *call = arg;
    if (reply == NULL) {
        answer_failure(call);
        return;
    }
    struct node_stock *nodes = xcalloc(reply->n_nodes, sizeof *nodes);
    for (size_t i = 0; i < reply->n_nodes; i++) {
        const Quorate__Inventory__V1__NodeStock *node = reply->nodes[i];
        nodes[i] = (struct node_stock){.name = node->name,
                                       .reachable = node->reachable,
                                       .present = node->present,
                                       .stock = node->stock,
                                       .version = node->version};
    }
    struct stock stock = {.product_id = reply->product_id,
                          .db_stock = reply->db_stock,
                          .redis_stock = reply->redis_stock,
                          .has_redis_stock = reply->has_redis_stock,
                          .synced = reply->synced,
                          .moving = reply->moving,
                          .nodes = nodes,
                          .node_count = reply->n_nodes};
    call->on_answer(call->arg, &(struct inventory_answer){.stock = &stock});
    free(nodes);
}

static void on_account(const Quorate__Inventory__V1__Account *reply, void *arg)
{
    struct inventory_call *call = arg;
    if (reply == NULL) {
        answer_failure(call);
        return;
    }
    if (reply->id <= 0 || strlen(reply->username) > ACCOUNT_NAME_BYTES_MAX) {
        struct failure failure = {.reason = REASON_OUTCOME_UNKNOWN,
                                  .message = "inventory sent an account that can't be"};
        call->on_answer(call->arg, &(struct inventory_answer){.failure = &failure});
        return;
    }
    struct account account = {.id = reply->id,
                              .username = reply->username,
                              .email = reply->email,
                              .password_hash = reply->password_hash,
                              .admin = reply->admin,
                              .created_at_us = reply->created_at_us};
    call->on_answer(call->arg, &(struct inventory_answer){.account = &account});
}

void inventory_buy(struct inventory_call *call, const struct order *order)
{
    begin(call, &quorate__inventory__v1__inventory__descriptor, order->product_id, CHANGES);
    Quorate__Inventory__V1__BuyRequest request = QUORATE__INVENTORY__V1__BUY_REQUEST__INIT;
    request.user_id = order->user_id;
    request.product_id = order->product_id;
    request.quantity = order->quantity;
    request.idempotency_key = text_of(order->idempotency_key);
    quorate__inventory__v1__inventory__buy(&call->rpc.service, &request, on_purchase, call);
}

void inventory_list_purchases(struct inventory_call *call, int64_t user_id, struct page page)
{
    begin(call, &quorate__inventory__v1__inventory__descriptor, user_id, READS);
    Quorate__Inventory__V1__ListPurchasesRequest request =
        QUORATE__INVENTORY__V1__LIST_PURCHASES_REQUEST__INIT;
    request.user_id = user_id;
    request.after = page.after;
    request.limit = page.limit;
    quorate__inventory__v1__inventory__list_purchases(&call->rpc.service, &request, on_purchases,
                                                      call);
}

void inventory_create_product(struct inventory_call *call, const struct new_product *product)
{
    begin(call, &quorate__inventory__v1__inventory__descriptor,
          (int64_t)rendezvous_seed(product->name), CHANGES);
    Quorate__Inventory__V1__CreateProductRequest request =
        QUORATE__INVENTORY__V1__CREATE_PRODUCT_REQUEST__INIT;
    request.name = text_of(product->name);
    request.price = product->price;
    request.stock = product->stock;
    request.has_description = product->description != NULL;
    if (request.has_description) request.description = text_of(product->description);
    request.idempotency_key = text_of(product->idempotency_key);
    quorate__inventory__v1__inventory__create_product(&call->rpc.service, &request, on_product,
                                                      call);
}

void inventory_get_product(struct inventory_call *call, int64_t id)
{
    begin(call, &quorate__inventory__v1__inventory__descriptor, id, READS);
    Quorate__Inventory__V1__GetProductRequest request =
        QUORATE__INVENTORY__V1__GET_PRODUCT_REQUEST__INIT;
    request.id = id;
    quorate__inventory__v1__inventory__get_product(&call->rpc.service, &request, on_product, call);
}

void inventory_list_products(struct inventory_call *call, struct page page)
{
    begin(call, &quorate__inventory__v1__inventory__descriptor, page.after, READS);
    Quorate__Inventory__V1__ListProductsRequest request =
        QUORATE__INVENTORY__V1__LIST_PRODUCTS_REQUEST__INIT;
    request.after = page.after;
    request.limit = page.limit;
    quorate__inventory__v1__inventory__list_products(&call->rpc.service, &request, on_products,
                                                     call);
}

void inventory_get_stock(struct inventory_call *call, int64_t product_id)
{
    begin(call, &quorate__inventory__v1__inventory__descriptor, product_id, READS);
    Quorate__Inventory__V1__GetStockRequest request =
        QUORATE__INVENTORY__V1__GET_STOCK_REQUEST__INIT;
    request.product_id = product_id;
    quorate__inventory__v1__inventory__get_stock(&call->rpc.service, &request, on_stock, call);
}

void inventory_create_account(struct inventory_call *call, const struct new_account *account)
{
    begin(call, &quorate__inventory__v1__accounts__descriptor,
          (int64_t)rendezvous_seed(account->username), CHANGES);
    Quorate__Inventory__V1__CreateAccountRequest request =
        QUORATE__INVENTORY__V1__CREATE_ACCOUNT_REQUEST__INIT;
    request.username = text_of(account->username);
    request.email = text_of(account->email);
    request.password_hash = text_of(account->password_hash);
    request.admin = account->admin;
    quorate__inventory__v1__accounts__create_account(&call->rpc.service, &request, on_account,
                                                     call);
}

void inventory_find_account(struct inventory_call *call, const char *username)
{
    begin(call, &quorate__inventory__v1__accounts__descriptor, (int64_t)rendezvous_seed(username),
          READS);
    Quorate__Inventory__V1__FindAccountRequest request =
        QUORATE__INVENTORY__V1__FIND_ACCOUNT_REQUEST__INIT;
    request.username = text_of(username);
    quorate__inventory__v1__accounts__find_account(&call->rpc.service, &request, on_account, call);
}

void inventory_get_account(struct inventory_call *call, int64_t id)
{
    begin(call, &quorate__inventory__v1__accounts__descriptor, id, READS);
    Quorate__Inventory__V1__GetAccountRequest request =
        QUORATE__INVENTORY__V1__GET_ACCOUNT_REQUEST__INIT;
    request.id = id;
    quorate__inventory__v1__accounts__get_account(&call->rpc.service, &request, on_account, call);
}
