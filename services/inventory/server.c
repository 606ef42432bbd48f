#include "inventory/server_parts.h"

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

struct server {
    struct inventory_service inventory;
    struct accounts_service accounts;
};

struct server *server_new(struct rpc_server *rpc, struct ports *ports)
{
    struct server *server = xcalloc(1, sizeof *server);
    server->inventory =
        (struct inventory_service){QUORATE__INVENTORY__V1__INVENTORY__INIT(server_), ports};
    server->accounts =
        (struct accounts_service){QUORATE__INVENTORY__V1__ACCOUNTS__INIT(server_), ports};
    rpc_server_add(rpc, &server->inventory.base.base);
    rpc_server_add(rpc, &server->accounts.base.base);
    return server;
}

void server_free(struct server *server)
{
    free(server);
}

static void on_gone(void *arg)
{
    struct op *op = arg;
    if (op->changes) {
        op_fail(op, REASON_OUTCOME_UNKNOWN, "The deadline passed; it may or may not have happened");
    } else {
        op_fail(op, REASON_EXPIRED, "The deadline passed before the answer was there");
    }
}

void op_init(struct op *op, struct ports *ports, struct rpc_request *request, bool changes)
{
    op->ports = ports;
    op->request = request;
    op->changes = changes;
    rpc_request_on_gone(request, on_gone, op);
}

void op_reply(struct op *op, const ProtobufCMessage *reply)
{
    struct rpc_request *request = op->request;
    if (request == NULL) return;
    op->request = NULL;
    op->closure(reply, request);
}

void op_fail(struct op *op, enum reason reason, const char *message)
{
    struct rpc_request *request = op->request;
    if (request == NULL) return;
    op->request = NULL;
    rpc_request_fail(request, reason, message, NULL);
}

void op_fail_store(struct op *op, enum store_outcome outcome, const char *what)
{
    char message[160];
    switch (outcome) {
    case STORE_DONE:
        CHECK(outcome != STORE_DONE);
        return;
    case STORE_NOT_FOUND:
        snprintf(message, sizeof message, "%.100s not found", what);
        op_fail(op, REASON_NOT_FOUND, message);
        return;
    case STORE_EXISTS:
        snprintf(message, sizeof message, "%.100s already exists", what);
        op_fail(op, REASON_EXISTS, message);
        return;
    case STORE_KEY_REUSED:
        op_fail(op, REASON_KEY_REUSED, "The idempotency key was used for another request");
        return;
    case STORE_INVALID:
        snprintf(message, sizeof message, "%.100s has a value that can't be stored", what);
        op_fail(op, REASON_INVALID, message);
        return;
    case STORE_DOWN:
        op_fail(op, REASON_DOWN, "The database can't be reached");
        return;
    case STORE_OVERLOADED:
        op_fail(op, REASON_OVERLOADED, "Too many requests wait for the database");
        return;
    case STORE_UNKNOWN:
        op_fail(op, REASON_OUTCOME_UNKNOWN,
                "The database did not answer; it may or may not have happened");
    }
}
