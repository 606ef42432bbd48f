/* The fake's Accounts, in memory. */
#include "fake.h"

#include "base/check.h"

#include <stdio.h>

typedef Quorate__Inventory__V1__Account Account;

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
    if (fake_scripted_name(fake, closure_data, input->username)) return;
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
    if (fake_scripted_name(fake, closure_data, input->username)) return;
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
    if (fake_scripted(fake, closure_data, 0)) return;
    if (input->id >= 1 && input->id <= fake->account_count) {
        answer_account(fake, input->id, false, closure, closure_data);
    } else {
        rpc_request_fail(closure_data, REASON_NOT_FOUND, "no such account", NULL);
    }
}

void fake_accounts_init(struct fake *fake)
{
    fake->accounts = (struct accounts){QUORATE__INVENTORY__V1__ACCOUNTS__INIT(), fake};
}
