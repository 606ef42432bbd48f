/* fake.h - what the fake's services share: its products and accounts, what it was told to do, and
 * the requests that wait.
 */
#ifndef QUORATE_TESTS_EDGE_FAKE_H
#define QUORATE_TESTS_EDGE_FAKE_H

#include "base/loop.h"
#include "base/rpc_server.h"
#include "proto/inventory.pb-c.h"
#include "proto/lock.pb-c.h"

#include <uv.h>

#define THINGS_MAX 1000
#define NEVER_ID   3000 /* is not answered */
#define SOME_TIME  1767323045678901

/* 2^53 + 1: no double holds it. */
#define SOME_VERSION 9007199254740993

typedef Quorate__Inventory__V1__Purchase Purchase;

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

/* Each service, in its own file. */
void fake_inventory_init(struct fake *fake);
void fake_accounts_init(struct fake *fake);
void fake_lock_init(struct fake *fake);

/* True: the id, or the name, asks for something else than an answer, and has it. */
bool fake_scripted(struct fake *fake, struct rpc_request *request, int64_t id);
bool fake_scripted_name(struct fake *fake, struct rpc_request *request, const char *name);

void fake_fail(struct rpc_request *request, unsigned reason, int64_t product_id);

/* The request waits until it is let go; who asked may give up before. */
struct pending *fake_hold(struct fake *fake, struct rpc_request *request);
void fake_let_go(struct pending *pending);

#endif
