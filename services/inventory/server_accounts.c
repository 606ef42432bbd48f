/* Accounts. */
#include "inventory/server_parts.h"

#include "base/check.h"
#include "base/utf8.h"

#include <stdlib.h>

struct asking {
    struct op op;
    bool with_hash;
};

static struct asking *asking_new(const struct accounts_service *self, struct rpc_request *request,
                                 Quorate__Inventory__V1__Account_Closure closure, bool changes)
{
    struct asking *asking = xcalloc(1, sizeof *asking);
    asking->op.closure = (ProtobufCClosure)closure;
    op_init(&asking->op, self->ports, request, changes);
    return asking;
}

static void on_account(void *arg, enum store_outcome outcome, const struct store_account *account)
{
    struct asking *asking = arg;
    if (outcome != STORE_DONE) {
        op_fail_store(&asking->op, outcome, outcome == STORE_EXISTS ? "Username" : "Account");
        free(asking);
        return;
    }
    Quorate__Inventory__V1__Account reply = QUORATE__INVENTORY__V1__ACCOUNT__INIT;
    char *username = xstrndup(account->username.at, account->username.bytes);
    char *email = xstrndup(account->email.at, account->email.bytes);
    char *hash = NULL;
    reply.id = account->id;
    reply.username = username;
    reply.email = email;
    reply.admin = account->admin;
    reply.created_at_us = account->created_at_us;
    if (asking->with_hash) {
        hash = xstrndup(account->password_hash.at, account->password_hash.bytes);
        reply.password_hash = hash;
    }
    op_reply(&asking->op, &reply.base);
    free(username);
    free(email);
    free(hash);
    free(asking);
}

static const char *create_fault(const Quorate__Inventory__V1__CreateAccountRequest *input)
{
    long characters = utf8_length(span_of(input->username));
    if (characters < 3 || characters > 50) return "username must have 3 to 50 characters";
    struct span email = span_of(input->email);
    if (email.bytes > 320 || utf8_length(email) < 0) {
        return "email must have at most 320 bytes";
    }
    struct span hash = span_of(input->password_hash);
    if (hash.bytes < 1 || hash.bytes > 256 || utf8_length(hash) < 0) {
        return "password_hash must have 1 to 256 bytes";
    }
    return NULL;
}

void server_create_account(Quorate__Inventory__V1__Accounts_Service *service,
                           const Quorate__Inventory__V1__CreateAccountRequest *input,
                           Quorate__Inventory__V1__Account_Closure closure, void *closure_data)
{
    const struct accounts_service *self = (const struct accounts_service *)service;
    const char *fault = create_fault(input);
    if (fault != NULL) {
        rpc_request_fail(closure_data, REASON_INVALID, fault, NULL);
        return;
    }
    struct asking *asking = asking_new(self, closure_data, closure, true);
    struct store_account account = {.username = span_of(input->username),
                                    .email = span_of(input->email),
                                    .password_hash = span_of(input->password_hash),
                                    .admin = input->admin};
    store_account_create(ports_store(self->ports), &account, on_account, asking);
}

void server_find_account(Quorate__Inventory__V1__Accounts_Service *service,
                         const Quorate__Inventory__V1__FindAccountRequest *input,
                         Quorate__Inventory__V1__Account_Closure closure, void *closure_data)
{
    const struct accounts_service *self = (const struct accounts_service *)service;
    struct span username = span_of(input->username);
    if (username.bytes < 1 || username.bytes > 200 || utf8_length(username) < 0) {
        rpc_request_fail(closure_data, REASON_NOT_FOUND, "Account not found", NULL);
        return;
    }
    struct asking *asking = asking_new(self, closure_data, closure, false);
    asking->with_hash = true;
    store_account_find(ports_store(self->ports), username, on_account, asking);
}

void server_get_account(Quorate__Inventory__V1__Accounts_Service *service,
                        const Quorate__Inventory__V1__GetAccountRequest *input,
                        Quorate__Inventory__V1__Account_Closure closure, void *closure_data)
{
    const struct accounts_service *self = (const struct accounts_service *)service;
    struct asking *asking = asking_new(self, closure_data, closure, false);
    store_account_get(ports_store(self->ports), input->id, on_account, asking);
}
