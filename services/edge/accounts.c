#include "edge/accounts.h"

#include "base/check.h"
#include "edge/body.h"
#include "edge/edge.h"
#include "edge/form.h"
#include "edge/reply.h"

#include <stdio.h>

#define EMAIL_BYTES_MAX 320

/* A registration or a login under way. */
struct entry {
    struct password_job *job; /* NULL: not at the password thread */
    int64_t account_id;
    char username[ACCOUNT_NAME_BYTES_MAX + 1];
    char email[EMAIL_BYTES_MAX + 1];
    char password[PASSWORD_BYTES_MAX];
    size_t password_bytes;
    bool impossible; /* no account can have this name or password: only the time is spent */
};

void accounts_write(struct json *json, const struct account *account)
{
    json_open_object(json);
    JSON_KEY(json, "id");
    json_put_integer(json, account->id);
    JSON_KEY(json, "username");
    json_put_text(json, span_of(account->username));
    JSON_KEY(json, "email");
    if (*account->email != '\0') {
        json_put_text(json, span_of(account->email));
    } else {
        json_put_null(json);
    }
    JSON_KEY(json, "created_at");
    json_put_time(json, account->created_at_us);
    json_close_object(json);
}

static void on_end(struct exchange *exchange)
{
    struct entry *entry = exchange->state;
    sodium_memzero(entry->password, sizeof entry->password);
    if (entry->job != NULL) passwords_cancel(entry->job);
    entry->job = NULL;
}

static struct entry *begin(struct exchange *exchange)
{
    struct entry *entry = exchange_alloc(exchange, sizeof *entry);
    exchange->state = entry;
    exchange->on_end = on_end;
    return entry;
}

static void copy_text(char *into, struct span text)
{
    if (text.bytes > 0) memcpy(into, text.at, text.bytes);
    into[text.bytes] = '\0';
}

static void reply_crowded(struct exchange *exchange)
{
    exchange_fail(exchange, REASON_OVERLOADED, "Too many logins at the moment");
}

/* ---- register ---- */

static void on_created(void *arg, const struct inventory_answer *answer)
{
    struct exchange *exchange = arg;
    const struct entry *entry = exchange->state;
    if (answer->failure == NULL) {
        accounts_write(&exchange->out, answer->account);
        exchange_answer(exchange, 201);
    } else if (answer->failure->reason == REASON_EXISTS) {
        char detail[ACCOUNT_NAME_BYTES_MAX + 64];
        snprintf(detail, sizeof detail, "Username '%s' already exists", entry->username);
        exchange_fail(exchange, REASON_EXISTS, detail);
    } else {
        reply_failure(exchange, answer->failure, 0);
    }
}

static void on_hashed(void *arg, enum passwords_outcome outcome, const char *hash)
{
    struct exchange *exchange = arg;
    struct entry *entry = exchange->state;
    entry->job = NULL;
    if (outcome != PASSWORDS_GOOD) {
        reply_crowded(exchange);
        return;
    }
    reply_await(exchange, on_created);
    inventory_create_account(&exchange->call, &(struct new_account){.username = entry->username,
                                                                    .email = entry->email,
                                                                    .password_hash = hash});
}

static void read_registration(struct exchange *exchange, struct faults *faults, struct entry *entry)
{
    struct body *body = body_parse(exchange->body, faults);
    if (body == NULL) return;
    struct span username = {NULL, 0};
    struct span password = {NULL, 0};
    struct span email = {NULL, 0};
    body_text(body, &(struct body_text_rule){"username", false, 3, 50, ACCOUNT_NAME_BYTES_MAX},
              faults, &username);
    body_text(body, &(struct body_text_rule){"password", false, 6, 100, PASSWORD_BYTES_MAX}, faults,
              &password);
    body_text(body, &(struct body_text_rule){"email", true, 0, EMAIL_BYTES_MAX, EMAIL_BYTES_MAX},
              faults, &email);
    copy_text(entry->username, username);
    copy_text(entry->email, email);
    if (password.bytes > 0) memcpy(entry->password, password.at, password.bytes);
    entry->password_bytes = password.bytes;
    body_free(body);
}

void accounts_register(struct exchange *exchange)
{
    struct entry *entry = begin(exchange);
    struct faults faults;
    faults_init(&faults, &exchange->out);
    read_registration(exchange, &faults, entry);
    if (faults.count > 0) {
        reply_faults(exchange, &faults);
        return;
    }
    struct password_task task = {.password = {entry->password, entry->password_bytes},
                                 .deadline_us = exchange->deadline_us};
    entry->job = passwords_hash(exchange->edge->passwords, &task, on_hashed, exchange);
    sodium_memzero(entry->password, sizeof entry->password);
    if (entry->job == NULL) reply_crowded(exchange);
}

/* ---- login ---- */

static void on_verified(void *arg, enum passwords_outcome outcome, const char *hash)
{
    (void)hash;
    struct exchange *exchange = arg;
    struct entry *entry = exchange->state;
    entry->job = NULL;
    switch (outcome) {
    case PASSWORDS_LATE:
        reply_crowded(exchange);
        return;
    case PASSWORDS_WRONG:
        reply_unauthenticated(exchange, "Invalid username or password");
        return;
    case PASSWORDS_GOOD:
        break;
    }
    char token[JWT_BYTES_MAX + 1];
    size_t bytes =
        auth_issue(exchange->edge->auth, entry->account_id, span_of(entry->username), token);
    struct json *out = &exchange->out;
    json_open_object(out);
    JSON_KEY(out, "access_token");
    json_put_text(out, (struct span){token, bytes});
    JSON_KEY(out, "token_type");
    json_put_text(out, span_of("bearer"));
    json_close_object(out);
    exchange_answer(exchange, 200);
}

/* `account` NULL: nobody has this name. That takes the same time, so that the answer does not tell
 * which names exist. */
static void verify(struct exchange *exchange, const struct account *account)
{
    struct entry *entry = exchange->state;
    struct password_task task = {.password = {entry->password, entry->password_bytes},
                                 .deadline_us = exchange->deadline_us};
    if (account != NULL) {
        entry->account_id = account->id;
        copy_text(entry->username, span_of(account->username));
        if (!entry->impossible) task.hash = account->password_hash;
    }
    entry->job = passwords_verify(exchange->edge->passwords, &task, on_verified, exchange);
    sodium_memzero(entry->password, sizeof entry->password);
    if (entry->job == NULL) reply_crowded(exchange);
}

static void on_found(void *arg, const struct inventory_answer *answer)
{
    struct exchange *exchange = arg;
    if (answer->failure == NULL) {
        verify(exchange, answer->account);
    } else if (answer->failure->reason == REASON_NOT_FOUND) {
        verify(exchange, NULL);
    } else {
        reply_failure(exchange, answer->failure, 0);
    }
}

static void read_field(struct exchange *exchange, struct faults *faults, const char *name,
                       struct form_room room, struct span *value)
{
    struct entry *entry = exchange->state;
    *value = (struct span){room.into, 0};
    switch (form_text(exchange->body, name, room, value)) {
    case FORM_FOUND:
        if (value->bytes > 0) return;
        faults_add(faults, "body", name, "missing", "Field required");
        return;
    case FORM_ABSENT:
        faults_add(faults, "body", name, "missing", "Field required");
        return;
    case FORM_MALFORMED:
        faults_add(faults, "body", name, "string_unicode",
                   "Input should be a valid string, URL-encoded UTF-8 without NUL");
        return;
    case FORM_TOO_LONG:
        entry->impossible = true;
        value->bytes = 0;
        return;
    }
}

void accounts_login(struct exchange *exchange)
{
    struct entry *entry = begin(exchange);
    struct faults faults;
    faults_init(&faults, &exchange->out);
    struct span username;
    struct span password;
    char grant[16];
    struct span grant_type = {grant, 0};
    enum form_outcome outcome = form_text(exchange->body, "grant_type",
                                          (struct form_room){grant, sizeof grant}, &grant_type);
    bool granted = outcome == FORM_ABSENT ||
                   (outcome == FORM_FOUND &&
                    (grant_type.bytes == 0 || span_equal(grant_type, span_of("password"))));
    if (!granted)
        faults_add(&faults, "body", "grant_type", "string_pattern_mismatch",
                   "Input should be 'password'");
    read_field(exchange, &faults, "username",
               (struct form_room){entry->username, ACCOUNT_NAME_BYTES_MAX}, &username);
    read_field(exchange, &faults, "password",
               (struct form_room){entry->password, sizeof entry->password}, &password);
    if (faults.count > 0) {
        reply_faults(exchange, &faults);
        return;
    }
    entry->username[username.bytes] = '\0';
    entry->password_bytes = password.bytes;
    reply_await(exchange, on_found);
    inventory_find_account(&exchange->call, entry->username);
}

/* ---- me ---- */

static void on_account(void *arg, const struct inventory_answer *answer)
{
    struct exchange *exchange = arg;
    if (answer->failure == NULL) {
        accounts_write(&exchange->out, answer->account);
        exchange_answer(exchange, 200);
    } else if (answer->failure->reason == REASON_NOT_FOUND) {
        reply_unauthenticated(exchange, "The account of this token does not exist any more");
    } else {
        reply_failure(exchange, answer->failure, 0);
    }
}

void accounts_me(struct exchange *exchange)
{
    reply_await(exchange, on_account);
    inventory_get_account(&exchange->call, exchange->user_id);
}
