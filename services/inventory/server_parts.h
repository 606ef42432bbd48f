/* server_parts.h - what the files of the server share. */
#ifndef QUORATE_INVENTORY_SERVER_PARTS_H
#define QUORATE_INVENTORY_SERVER_PARTS_H

#include "inventory/server.h"
#include "proto/inventory.pb-c.h"

#define PAGE_MAX 1000

struct inventory_service {
    Quorate__Inventory__V1__Inventory_Service base;
    struct ports *ports;
};

struct accounts_service {
    Quorate__Inventory__V1__Accounts_Service base;
    struct ports *ports;
};

/* A request that waits for the store, the nodes or both. It lives until the last of them has
 * answered; the caller may have been answered before. */
struct op {
    struct ports *ports;
    struct rpc_request *request; /* NULL: ended */
    bool changes;                /* a deadline leaves an unknown outcome */
    ProtobufCClosure closure;
};

/* Embedded first in the operation's own struct. */
void op_init(struct op *op, struct ports *ports, struct rpc_request *request, bool changes);

/* Each ends the request, if it has not ended. */
void op_reply(struct op *op, const ProtobufCMessage *reply);
void op_fail(struct op *op, enum reason reason, const char *message);
/* What the store's failures mean. `what`: "Product", "Account"; for NOT_FOUND and EXISTS texts. */
void op_fail_store(struct op *op, enum store_outcome outcome, const char *what);

/* products: GetProduct, ListProducts, CreateProduct, GetStock */
void server_get_product(Quorate__Inventory__V1__Inventory_Service *service,
                        const Quorate__Inventory__V1__GetProductRequest *input,
                        Quorate__Inventory__V1__Product_Closure closure, void *closure_data);
void server_list_products(Quorate__Inventory__V1__Inventory_Service *service,
                          const Quorate__Inventory__V1__ListProductsRequest *input,
                          Quorate__Inventory__V1__ListProductsReply_Closure closure,
                          void *closure_data);
void server_create_product(Quorate__Inventory__V1__Inventory_Service *service,
                           const Quorate__Inventory__V1__CreateProductRequest *input,
                           Quorate__Inventory__V1__Product_Closure closure, void *closure_data);
void server_get_stock(Quorate__Inventory__V1__Inventory_Service *service,
                      const Quorate__Inventory__V1__GetStockRequest *input,
                      Quorate__Inventory__V1__Stock_Closure closure, void *closure_data);

/* purchases: Buy, ListPurchases */
void server_buy(Quorate__Inventory__V1__Inventory_Service *service,
                const Quorate__Inventory__V1__BuyRequest *input,
                Quorate__Inventory__V1__Purchase_Closure closure, void *closure_data);
void server_list_purchases(Quorate__Inventory__V1__Inventory_Service *service,
                           const Quorate__Inventory__V1__ListPurchasesRequest *input,
                           Quorate__Inventory__V1__ListPurchasesReply_Closure closure,
                           void *closure_data);

/* accounts */
void server_create_account(Quorate__Inventory__V1__Accounts_Service *service,
                           const Quorate__Inventory__V1__CreateAccountRequest *input,
                           Quorate__Inventory__V1__Account_Closure closure, void *closure_data);
void server_find_account(Quorate__Inventory__V1__Accounts_Service *service,
                         const Quorate__Inventory__V1__FindAccountRequest *input,
                         Quorate__Inventory__V1__Account_Closure closure, void *closure_data);
void server_get_account(Quorate__Inventory__V1__Accounts_Service *service,
                        const Quorate__Inventory__V1__GetAccountRequest *input,
                        Quorate__Inventory__V1__Account_Closure closure, void *closure_data);

#endif
