#include "edge/admin.h"

#include "base/check.h"
#include "base/log.h"
#include "edge/edge.h"

#include <inttypes.h>
#include <stdlib.h>

#define RETRY_US    1000000
#define PATIENCE_US 5000000

struct admin {
    struct edge *edge;
    struct timer retry;
    struct password_job *job; /* NULL: none runs */
    bool hashed;
    char hash[PASSWORD_HASH_BYTES];
    struct inventory_call call;
    bool complained;
};

static void try(void *arg);

static void try_again(struct admin *admin)
{
    struct loop *loop = admin->edge->loop;
    timer_start(&admin->retry, loop_timers(loop), loop_now_us(loop) + RETRY_US, try, admin);
}

static void begin_call(struct admin *admin, inventory_answer_fn *on_answer)
{
    uint64_t now_us = loop_now_us(admin->edge->loop);
    inventory_call_init(&admin->call,
                        &(struct inventory_terms){.client = admin->edge->inventory,
                                                  .deadline_us = now_us + PATIENCE_US,
                                                  .request_id = span_of("first-admin")},
                        on_answer, admin);
}

static void on_found(void *arg, const struct inventory_answer *answer)
{
    struct admin *admin = arg;
    const char *username = admin->edge->conf->admin_username;
    if (answer->failure != NULL) {
        try_again(admin);
    } else if (answer->account->admin) {
        LOG_INFO("admin.exists", "username=%s", username);
    } else {
        LOG_ERROR("admin.taken", "username=%s text=\"the account exists and is no administrator\"",
                  username);
    }
}

static void on_created(void *arg, const struct inventory_answer *answer)
{
    struct admin *admin = arg;
    if (answer->failure == NULL) {
        LOG_INFO("admin.created", "username=%s id=%" PRId64, answer->account->username,
                 answer->account->id);
    } else if (answer->failure->reason == REASON_EXISTS) {
        begin_call(admin, on_found);
        inventory_find_account(&admin->call, admin->edge->conf->admin_username);
    } else {
        if (!admin->complained)
            LOG_WARN("admin.waits", "reason=%s text=\"%s\"", reason_name(answer->failure->reason),
                     answer->failure->message);
        admin->complained = true;
        try_again(admin);
    }
}

static void on_hashed(void *arg, enum passwords_outcome outcome, const char *hash)
{
    struct admin *admin = arg;
    admin->job = NULL;
    admin->hashed = outcome == PASSWORDS_GOOD;
    if (admin->hashed) memcpy(admin->hash, hash, sizeof admin->hash);
    try(admin);
}

static void try(void *arg)
{
    struct admin *admin = arg;
    const struct edge_conf *conf = admin->edge->conf;
    uint64_t now_us = loop_now_us(admin->edge->loop);
    if (!admin->hashed) {
        struct password_task task = {.password = span_of(conf->admin_password),
                                     .deadline_us = now_us + PATIENCE_US};
        admin->job = passwords_hash(admin->edge->passwords, &task, on_hashed, admin);
        if (admin->job == NULL) try_again(admin);
        return;
    }
    begin_call(admin, on_created);
    inventory_create_account(&admin->call, &(struct new_account){.username = conf->admin_username,
                                                                 .email = "",
                                                                 .password_hash = admin->hash,
                                                                 .admin = true});
}

struct admin *admin_start(struct edge *edge)
{
    if (*edge->conf->admin_username == '\0') return NULL;
    struct admin *admin = xcalloc(1, sizeof *admin);
    admin->edge = edge;
    timer_start(&admin->retry, loop_timers(edge->loop), 0, try, admin);
    return admin;
}

void admin_stop(struct admin *admin)
{
    if (admin == NULL) return;
    timer_stop(&admin->retry);
    if (admin->job != NULL) passwords_cancel(admin->job);
    inventory_call_cancel(&admin->call);
    free(admin);
}
