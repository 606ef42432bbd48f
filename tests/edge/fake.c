/* fake.c - inventory and lockd for the edge's tests: real RPC, canned and scripted answers.
 *
 *     fake INVENTORY_URL LOCKD_URL
 *
 * Products and accounts live in memory. What goes wrong is asked for by number:
 *     product 1000 + r   every call about it fails with reason r
 *     product 2000 + n   Buy is answered after n x 10 ms
 *     product 3000       is never answered
 *     product 3001       Buy is refused as INSUFFICIENT, without a detail
 * and by name: creating the product or account "fail-r" fails with reason r, and so does finding
 * the account; "never" is never answered.
 *
 * Commands on standard input, one a line:
 *     rows N             the lists have N rows
 *     row_bytes N        each listed product's description has N bytes
 *     page_max N         a page has at most N rows, however many are asked for
 *     break ID REASON N  the page after ID fails N times
 *     serving 0|1        what Health says of inventory
 *     voting N           how many of five nodes vote
 *     version N          what the nodes' stock has, from now on
 *     mute 0|1           no call is answered, Nodes included
 *     sync               nothing
 * Every Buy, CreateProduct and page is told on standard output, one a line. Ends with its standard
 * input.
 */
#include "base/check.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "base/rpc_server.h"
#include "proto/inventory.pb-c.h"
#include "proto/lock.pb-c.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#define THINGS_MAX 1000
#define NEVER_ID   3000
#define BARE_ID    3001
#define SOME_TIME  1767323045678901

/* 2^53 + 1: no double holds it. */
#define SOME_VERSION 9007199254740993

typedef Quorate__Inventory__V1__Product Product;
typedef Quorate__Inventory__V1__Purchase Purchase;
typedef Quorate__Inventory__V1__Account Account;

struct product {
    char name[1024];
    char description[10001];
    bool has_description;
    int64_t price;
    int64_t stock;
};

struct account {
    char username[256];
    char email[512];
    char hash[256];
    bool admin;
};

/* A request that waits: for its time, or for ever. */
struct pending {
    struct fake *fake;
    struct rpc_request *request;
    struct timer due;
    Purchase purchase;
    Quorate__Inventory__V1__Purchase_Closure closure;
    struct pending *next;
    struct pending **back;
};

struct inventory {
    Quorate__Inventory__V1__Inventory_Service base;
    struct fake *fake;
};

struct accounts {
    Quorate__Inventory__V1__Accounts_Service base;
    struct fake *fake;
};

struct lock {
    Quorate__Lock__V1__Lock_Service base;
    struct fake *fake;
};

struct fake {
    struct loop *loop;
    struct inventory inventory;
    struct accounts accounts;
    struct lock lock;
    struct rpc_server *inventory_server;
    struct rpc_server *lockd_server;
    struct product products[THINGS_MAX];
    int64_t product_count;
    struct account account_list[THINGS_MAX];
    int64_t account_count;
    int64_t purchases;
    int64_t rows;
    int64_t row_bytes;
    int64_t page_max;
    int64_t break_after;
    unsigned break_reason;
    int64_t break_times;
    unsigned voting;
    int64_t version;
    bool mute;
    struct pending *pending;
    uv_pipe_t input;
    char line[256];
    size_t line_bytes;
    char room[256];
};

static void unlink_pending(struct pending *pending)
{
    timer_stop(&pending->due);
    *pending->back = pending->next;
    if (pending->next != NULL) pending->next->back = pending->back;
}

static void on_gone(void *arg)
{
    struct pending *pending = arg;
    struct rpc_request *request = pending->request;
    unlink_pending(pending);
    free(pending);
    rpc_request_fail(request, REASON_OUTCOME_UNKNOWN, "nobody waited", NULL);
}

static struct pending *hold(struct fake *fake, struct rpc_request *request)
{
    struct pending *pending = xcalloc(1, sizeof *pending);
    pending->fake = fake;
    pending->request = request;
    pending->next = fake->pending;
    pending->back = &fake->pending;
    if (pending->next != NULL) pending->next->back = &pending->next;
    fake->pending = pending;
    rpc_request_on_gone(request, on_gone, pending);
    return pending;
}

static void on_due(void *arg)
{
    struct pending *pending = arg;
    rpc_request_on_gone(pending->request, NULL, NULL);
    unlink_pending(pending);
    pending->closure(&pending->purchase, pending->request);
    free(pending);
}

static void fail(struct rpc_request *request, unsigned reason, int64_t product_id)
{
    char message[128];
    snprintf(message, sizeof message, "scripted reason %u", reason);
    Quorate__Inventory__V1__Shortage shortage = QUORATE__INVENTORY__V1__SHORTAGE__INIT;
    shortage.product_id = product_id;
    shortage.requested = 7;
    shortage.available = 3;
    rpc_request_fail(request, reason_from_number(reason), message,
                     reason == REASON_INSUFFICIENT ? &shortage.base : NULL);
}

/* True: the id asks for something else than an answer. */
static bool scripted(struct fake *fake, struct rpc_request *request, int64_t id)
{
    if (fake->mute || id == NEVER_ID) {
        hold(fake, request);
        return true;
    }
    if (id <= 1000 || id >= 1100) return false;
    fail(request, (unsigned)(id - 1000), id);
    return true;
}

static bool scripted_name(struct fake *fake, struct rpc_request *request, const char *name)
{
    unsigned reason;
    if (fake->mute || strcmp(name, "never") == 0) {
        hold(fake, request);
        return true;
    }
    if (sscanf(name, "fail-%u", &reason) != 1) return false;
    fail(request, reason, 0);
    return true;
}

/* ---- inventory ---- */

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
    if (scripted(fake, request, input->product_id)) return;
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
        struct pending *pending = hold(fake, request);
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
    if (scripted_name(fake, closure_data, input->name)) return;
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
    if (scripted(fake, closure_data, input->id)) return;
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
    if (scripted(fake, request, 0)) return true;
    if (fake->break_times == 0 || after != fake->break_after) return false;
    fake->break_times--;
    fail(request, fake->break_reason, 0);
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
    if (scripted(fake, closure_data, input->product_id)) return;
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

/* ---- accounts ---- */

static void answer_account(struct fake *fake, int64_t id, bool with_hash,
                           Quorate__Inventory__V1__Account_Closure closure, void *closure_data)
{
    struct account *account = &fake->account_list[id - 1];
    Account reply = QUORATE__INVENTORY__V1__ACCOUNT__INIT;
    reply.id = id;
    reply.username = account->username;
    reply.email = account->email;
    if (with_hash) reply.password_hash = account->hash;
    reply.admin = account->admin;
    reply.created_at_us = SOME_TIME;
    closure(&reply, closure_data);
}

static int64_t find_name(const struct fake *fake, const char *username)
{
    for (int64_t i = 0; i < fake->account_count; i++)
        if (strcmp(fake->account_list[i].username, username) == 0) return i + 1;
    return 0;
}

static void create_account(Quorate__Inventory__V1__Accounts_Service *service,
                           const Quorate__Inventory__V1__CreateAccountRequest *input,
                           Quorate__Inventory__V1__Account_Closure closure, void *closure_data)
{
    struct fake *fake = ((struct accounts *)service)->fake;
    if (scripted_name(fake, closure_data, input->username)) return;
    if (find_name(fake, input->username) > 0) {
        rpc_request_fail(closure_data, REASON_EXISTS, "the name is taken", NULL);
        return;
    }
    CHECK(fake->account_count < THINGS_MAX);
    struct account *account = &fake->account_list[fake->account_count++];
    snprintf(account->username, sizeof account->username, "%s", input->username);
    snprintf(account->email, sizeof account->email, "%s", input->email);
    snprintf(account->hash, sizeof account->hash, "%s", input->password_hash);
    account->admin = input->admin;
    answer_account(fake, fake->account_count, false, closure, closure_data);
}

static void find_account(Quorate__Inventory__V1__Accounts_Service *service,
                         const Quorate__Inventory__V1__FindAccountRequest *input,
                         Quorate__Inventory__V1__Account_Closure closure, void *closure_data)
{
    struct fake *fake = ((struct accounts *)service)->fake;
    if (scripted_name(fake, closure_data, input->username)) return;
    int64_t id = find_name(fake, input->username);
    if (id > 0) {
        answer_account(fake, id, true, closure, closure_data);
    } else {
        rpc_request_fail(closure_data, REASON_NOT_FOUND, "no such account", NULL);
    }
}

static void get_account(Quorate__Inventory__V1__Accounts_Service *service,
                        const Quorate__Inventory__V1__GetAccountRequest *input,
                        Quorate__Inventory__V1__Account_Closure closure, void *closure_data)
{
    struct fake *fake = ((struct accounts *)service)->fake;
    if (scripted(fake, closure_data, 0)) return;
    if (input->id >= 1 && input->id <= fake->account_count) {
        answer_account(fake, input->id, false, closure, closure_data);
    } else {
        rpc_request_fail(closure_data, REASON_NOT_FOUND, "no such account", NULL);
    }
}

/* ---- lockd ---- */

static void lock_nodes(Quorate__Lock__V1__Lock_Service *service,
                       const Quorate__Lock__V1__NodesRequest *input,
                       Quorate__Lock__V1__NodesReply_Closure closure, void *closure_data)
{
    (void)input;
    struct fake *fake = ((struct lock *)service)->fake;
    if (scripted(fake, closure_data, 0)) return;
    Quorate__Lock__V1__Node list[5];
    Quorate__Lock__V1__Node *pointers[5];
    char names[5][32];
    for (unsigned i = 0; i < 5; i++) {
        quorate__lock__v1__node__init(&list[i]);
        snprintf(names[i], sizeof names[i], "redis%u:6379", i);
        list[i].name = names[i];
        list[i].state = i < fake->voting ? QUORATE__LOCK__V1__NODE__STATE__VOTING
                                         : QUORATE__LOCK__V1__NODE__STATE__DOWN;
        pointers[i] = &list[i];
    }
    Quorate__Lock__V1__NodesReply reply = QUORATE__LOCK__V1__NODES_REPLY__INIT;
    reply.quorum = 3;
    reply.voting = fake->voting;
    reply.nodes = pointers;
    reply.n_nodes = 5;
    closure(&reply, closure_data);
}

static void lock_acquire(Quorate__Lock__V1__Lock_Service *service,
                         const Quorate__Lock__V1__AcquireRequest *input,
                         Quorate__Lock__V1__AcquireReply_Closure closure, void *closure_data)
{
    (void)service, (void)input, (void)closure;
    rpc_request_fail(closure_data, REASON_NO_METHOD, "a fake", NULL);
}

static void lock_release(Quorate__Lock__V1__Lock_Service *service,
                         const Quorate__Lock__V1__ReleaseRequest *input,
                         Quorate__Lock__V1__ReleaseReply_Closure closure, void *closure_data)
{
    (void)service, (void)input, (void)closure;
    rpc_request_fail(closure_data, REASON_NO_METHOD, "a fake", NULL);
}

static void lock_extend(Quorate__Lock__V1__Lock_Service *service,
                        const Quorate__Lock__V1__ExtendRequest *input,
                        Quorate__Lock__V1__ExtendReply_Closure closure, void *closure_data)
{
    (void)service, (void)input, (void)closure;
    rpc_request_fail(closure_data, REASON_NO_METHOD, "a fake", NULL);
}

/* ---- commands ---- */

static void obey(struct fake *fake, const char *line)
{
    int64_t number = 0;
    if (sscanf(line, "rows %" SCNd64, &number) == 1) {
        fake->rows = number;
    } else if (sscanf(line, "row_bytes %" SCNd64, &number) == 1) {
        CHECK(number >= 0 && number <= 10000);
        fake->row_bytes = number;
    } else if (sscanf(line, "page_max %" SCNd64, &number) == 1) {
        fake->page_max = number;
    } else if (sscanf(line, "break %" SCNd64 " %u %" SCNd64, &fake->break_after,
                      &fake->break_reason, &fake->break_times) == 3) {
    } else if (sscanf(line, "serving %" SCNd64, &number) == 1) {
        rpc_server_set_serving(fake->inventory_server, "", number != 0);
    } else if (sscanf(line, "voting %" SCNd64, &number) == 1) {
        fake->voting = (unsigned)number;
    } else if (sscanf(line, "version %" SCNd64, &number) == 1) {
        fake->version = number;
    } else if (sscanf(line, "mute %" SCNd64, &number) == 1) {
        fake->mute = number != 0;
    } else {
        CHECK(strcmp(line, "sync") == 0);
    }
    printf("done\n");
}

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)suggested;
    struct fake *fake = handle->data;
    *buffer = uv_buf_init(fake->room, sizeof fake->room);
}

static void on_input(uv_stream_t *stream, ssize_t bytes, const uv_buf_t *buffer)
{
    struct fake *fake = stream->data;
    if (bytes < 0) {
        loop_stop(fake->loop);
        return;
    }
    for (ssize_t i = 0; i < bytes; i++) {
        if (buffer->base[i] != '\n') {
            CHECK(fake->line_bytes + 1 < sizeof fake->line);
            fake->line[fake->line_bytes++] = buffer->base[i];
            continue;
        }
        fake->line[fake->line_bytes] = '\0';
        fake->line_bytes = 0;
        obey(fake, fake->line);
    }
}

static struct rpc_server *serve(struct fake *fake, const char *url, const char *program,
                                struct metrics *metrics)
{
    struct rpc_server *server = rpc_server_open(
        fake->loop, &(struct rpc_server_options){
                        .url = url, .program = program, .version = "fake", .metrics = metrics});
    if (server == NULL) exit(1);
    return server;
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct fake *fake = xcalloc(1, sizeof *fake);
    fake->loop = loop_new();
    fake->voting = 5;
    fake->version = SOME_VERSION;
    struct metrics *metrics[2] = {metrics_new(), metrics_new()};
    fake->inventory = (struct inventory){QUORATE__INVENTORY__V1__INVENTORY__INIT(), fake};
    fake->accounts = (struct accounts){QUORATE__INVENTORY__V1__ACCOUNTS__INIT(), fake};
    fake->lock = (struct lock){QUORATE__LOCK__V1__LOCK__INIT(lock_), fake};
    fake->inventory_server = serve(fake, argv[1], "inventory", metrics[0]);
    rpc_server_add(fake->inventory_server, &fake->inventory.base.base);
    rpc_server_add(fake->inventory_server, &fake->accounts.base.base);
    fake->lockd_server = serve(fake, argv[2], "lockd", metrics[1]);
    rpc_server_add(fake->lockd_server, &fake->lock.base.base);

    CHECK(uv_pipe_init(loop_uv(fake->loop), &fake->input, 0) == 0);
    CHECK(uv_pipe_open(&fake->input, 0) == 0);
    fake->input.data = fake;
    CHECK(uv_read_start((uv_stream_t *)&fake->input, give_room, on_input) == 0);
    printf("ready\n");
    loop_run(fake->loop);

    for (struct pending *pending = fake->pending, *next; pending != NULL; pending = next) {
        next = pending->next;
        rpc_request_on_gone(pending->request, NULL, NULL);
        rpc_request_fail(pending->request, REASON_DOWN, "the fake ends", NULL);
        timer_stop(&pending->due);
        free(pending);
    }
    uv_close((uv_handle_t *)&fake->input, NULL);
    rpc_server_close(fake->inventory_server);
    rpc_server_close(fake->lockd_server);
    loop_free(fake->loop);
    for (int i = 0; i < 2; i++)
        metrics_free(metrics[i]);
    free(fake);
    return 0;
}
