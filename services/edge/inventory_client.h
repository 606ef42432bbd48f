/* inventory_client.h - what the edge asks of inventory: products, purchases, accounts.
 *
 * Several inventories may be listed. A call about a product goes to the serving one that ranks
 * highest for this product by rendezvous hashing, so that one product stays at one inventory (its
 * lane need not move) as long as that one serves, and the products of a lost one spread over the
 * others. With one inventory there is nothing to choose.
 *
 * The only file of the edge that knows inventory's messages: everything here is plain structs.
 *
 * Thread    the loop's only.
 * Answers   each call is answered exactly once, never before the function returns, unless it is
 *           cancelled.
 * Borrows   what is passed in, until the function returns (request_id and traceparent, until the
 *           call is answered). An answer and what it points to, while the callback runs.
 * Units     times in us since 1970; deadlines in us of CLOCK_BOOTTIME; prices in whole currency
 *           units.
 */
#ifndef QUORATE_EDGE_INVENTORY_CLIENT_H
#define QUORATE_EDGE_INVENTORY_CLIENT_H

#include "base/conf.h"
#include "base/rpc_client.h"
#include "edge/peer.h"

struct inventory_client;

/* NULL: an address is malformed (said in the log). `urls` is borrowed for the client's life. */
struct inventory_client *inventory_client_open(struct loop *loop, const struct conf_list *urls,
                                               struct metrics *metrics);

/* No call is open. NULL is harmless. */
void inventory_client_close(struct inventory_client *client);

size_t inventory_client_peers(const struct inventory_client *client);
struct peer *inventory_client_peer(const struct inventory_client *client, size_t place);

struct order {
    int64_t user_id;
    int64_t product_id;
    int64_t quantity;
    const char *idempotency_key;
};

struct purchase {
    int64_t id;
    int64_t user_id;
    int64_t product_id;
    int64_t quantity;
    int64_t total_price;
    int64_t remaining_stock;
    int64_t purchased_at_us;
};

struct product {
    int64_t id;
    const char *name;
    const char *description; /* NULL: none */
    int64_t price;
    int64_t stock;
    int64_t redis_stock;
    bool has_redis_stock;
    int64_t created_at_us;
    int64_t updated_at_us;
};

struct new_product {
    const char *name;
    const char *description; /* NULL: none */
    int64_t price;
    int64_t stock;
    const char *idempotency_key; /* "": none */
};

struct node_stock {
    const char *name;
    bool reachable;
    bool present; /* the node holds a value */
    int64_t stock;
    int64_t version;
};

struct stock {
    int64_t product_id;
    int64_t db_stock;
    int64_t redis_stock;
    bool has_redis_stock;
    bool synced;
    bool moving;
    const struct node_stock *nodes;
    size_t node_count;
};

struct account {
    int64_t id;
    const char *username; /* at most ACCOUNT_NAME_BYTES_MAX bytes */
    const char *email;    /* "": none */
    const char *password_hash;
    bool admin;
    int64_t created_at_us;
};

#define ACCOUNT_NAME_BYTES_MAX 200 /* 50 characters */

struct new_account {
    const char *username;
    const char *email;
    const char *password_hash;
    bool admin;
};

struct page {
    int64_t after; /* 0: from the beginning */
    uint32_t limit;
};

struct failure {
    enum reason reason;
    const char *message;
    bool has_shortage; /* with INSUFFICIENT */
    int64_t requested;
    int64_t available;
};

/* failure is NULL on success; then that is set which was asked for. */
struct inventory_answer {
    const struct failure *failure;
    const struct purchase *purchases;
    const struct product *products;
    size_t count; /* of purchases or products */
    bool more;    /* lists: there are others after these */
    const struct stock *stock;
    const struct account *account;
};

typedef void inventory_answer_fn(void *arg, const struct inventory_answer *answer);

/* What every call takes along. */
struct inventory_terms {
    struct inventory_client *client;
    uint64_t deadline_us;
    struct span request_id;
    struct span traceparent;
};

struct inventory_call {
    struct rpc_call rpc;
    struct inventory_terms terms;
    inventory_answer_fn *on_answer;
    void *arg;
};

/* Prepares a call for the next request; one of the functions below then makes it. */
void inventory_call_init(struct inventory_call *call, const struct inventory_terms *terms,
                         inventory_answer_fn *on_answer, void *arg);

/* Harmless on a call that was answered; zero-initialised is harmless too. */
void inventory_call_cancel(struct inventory_call *call);

void inventory_buy(struct inventory_call *call, const struct order *order);
void inventory_list_purchases(struct inventory_call *call, int64_t user_id, struct page page);
void inventory_create_product(struct inventory_call *call, const struct new_product *product);
void inventory_get_product(struct inventory_call *call, int64_t id);
void inventory_list_products(struct inventory_call *call, struct page page);
void inventory_get_stock(struct inventory_call *call, int64_t product_id);
void inventory_create_account(struct inventory_call *call, const struct new_account *account);
void inventory_find_account(struct inventory_call *call, const char *username);
void inventory_get_account(struct inventory_call *call, int64_t id);

#endif
