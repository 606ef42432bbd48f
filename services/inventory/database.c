#include "inventory/database.h"

#include "base/check.h"
#include "base/log.h"
#include "base/metrics.h"
#include "inventory/conninfo.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define BACK_OFF_MIN_US UINT64_C(50000)
#define BACK_OFF_MAX_US UINT64_C(1000000)

/* Every plan here goes by an index. On a fresh, never analysed table the planner would rather read
 * it all, and keep that plan; and a statement planned anew each time costs more than it runs. */
#define SERVER_OPTIONS                                                                             \
    "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off "             \
    "-c plan_cache_mode=force_generic_plan -c timezone=UTC "                                       \
    "-c client_min_messages=warning"

/* The first connection migrates, in libuv's pool; it outlives a database that is closed meanwhile.
 */
struct starter {
    uv_work_t work;
    struct database *database; /* NULL: closed */
    struct conninfo *info;
    const struct migration *migrations;
    size_t migration_count;
    struct migrations_report report;
};

/* A statement under way, or refused and to be told so from the loop. */
struct ask {
    struct database *database;
    struct ask *next;
    database_answer_fn *on_answer;
    void *arg;
    uint64_t sent_us;
    enum database_kind kind;
    enum database_outcome refused;
};

struct database {
    struct loop *loop;
    struct database_options options;
    char *url;
    char *password;
    struct starter *starter; /* NULL: migrated */
    bool migrated;
    struct link **links; /* writers first */
    size_t link_count;
    struct link *dialling;
    struct timer redial;
    uint64_t back_off_us;
    bool up;
    struct ask *refused; /* oldest first */
    struct ask **refused_tail;
    struct tick refusing;
    struct ask *spare;
    char last_why[256];
    uint64_t *counts[DATABASE_FULL + 1];
    uint64_t *losses;
    int64_t *links_up;
    struct histogram *seconds[2];
};

static void register_metrics(struct database *database, struct metrics *metrics)
{
    static const char *const outcomes[] = {"done", "failed", "lost", "down", "full"};
    for (size_t i = 0; i <= DATABASE_FULL; i++) {
        char label[64];
        snprintf(label, sizeof label, "outcome=\"%s\"", outcomes[i]);
        database->counts[i] =
            metrics_counter(metrics, "quorate_database_statements_total", label, "Statements");
    }
    database->losses = metrics_counter(metrics, "quorate_database_losses_total", NULL,
                                       "Connections to Postgres that were lost or failed");
    database->links_up = metrics_gauge(metrics, "quorate_database_connections", NULL,
                                       "Connections to Postgres that are up");
    database->seconds[DATABASE_WRITER] = metrics_histogram(
        metrics, "quorate_database_seconds", "kind=\"batch\"", "Time to a statement's answer");
    database->seconds[DATABASE_READER] = metrics_histogram(
        metrics, "quorate_database_seconds", "kind=\"other\"", "Time to a statement's answer");
}

static void start_migrating(struct database *database);

static void dial_next(void *arg)
{
    struct database *database = arg;
    if (!database->migrated) {
        start_migrating(database);
        return;
    }
    if (database->dialling != NULL) return;
    for (size_t i = 0; i < database->link_count; i++) {
        if (link_state(database->links[i]) != LINK_RESTING) continue;
        database->dialling = database->links[i];
        link_dial(database->links[i]);
        return;
    }
}

/* Doubles from loss to loss, and starts anew once a link has come up. */
static void redial_later(struct database *database)
{
    if (timer_running(&database->redial)) return;
    struct timers *timers = loop_timers(database->loop);
    timer_start(&database->redial, timers, timers_now_us(timers) + database->back_off_us, dial_next,
                database);
    database->back_off_us *= 2;
    if (database->back_off_us > BACK_OFF_MAX_US) database->back_off_us = BACK_OFF_MAX_US;
}

static bool any_up(const struct database *database, enum database_kind kind)
{
    size_t from = kind == DATABASE_WRITER ? 0 : database->options.writers;
    size_t to = kind == DATABASE_WRITER ? database->options.writers : database->link_count;
    for (size_t i = from; i < to; i++) {
        if (link_state(database->links[i]) == LINK_UP) return true;
    }
    return false;
}

static void tell_change(struct database *database)
{
    bool up = any_up(database, DATABASE_WRITER) && any_up(database, DATABASE_READER);
    if (up == database->up) return;
    database->up = up;
    if (up) {
        LOG_INFO("database.up", "links=%zu", database->link_count);
    } else {
        LOG_WARN("database.down", "why=\"%s\"", database->last_why);
    }
    if (database->options.on_change != NULL) {
        database->options.on_change(database->options.arg, up);
    }
}

/* An outage is said once, not at each attempt. */
static void note_loss(struct database *database, const char *why)
{
    if (database->losses != NULL) ++*database->losses;
    if (strcmp(database->last_why, why) == 0) return;
    snprintf(database->last_why, sizeof database->last_why, "%s", why);
    LOG_WARN("database.lost", "why=\"%s\"", why);
}

static void on_link_change(void *arg, struct link *link, const char *why)
{
    struct database *database = arg;
    bool was_dialling = database->dialling == link;
    if (was_dialling) database->dialling = NULL;
    if (why == NULL) {
        database->back_off_us = BACK_OFF_MIN_US;
        database->last_why[0] = '\0';
        if (database->links_up != NULL) ++*database->links_up;
        dial_next(database);
    } else {
        if (!was_dialling && database->links_up != NULL) --*database->links_up;
        note_loss(database, why);
        redial_later(database);
    }
    tell_change(database);
}

static void migrate(uv_work_t *work)
{
    struct starter *starter = work->data;
    PGconn *connection = PQconnectdbParams(starter->info->keywords, starter->info->values, 1);
    if (PQstatus(connection) == CONNECTION_OK) {
        starter->report =
            migrations_apply(connection, starter->migrations, starter->migration_count);
    } else {
        starter->report.outcome = MIGRATIONS_LOST;
        snprintf(starter->report.message, sizeof starter->report.message, "%s",
                 PQerrorMessage(connection));
    }
    PQfinish(connection);
}

static void on_migrated(uv_work_t *work, int status)
{
    struct starter *starter = work->data;
    struct database *database = starter->database;
    struct migrations_report report = starter->report;
    conninfo_free(starter->info);
    free(starter);
    if (database == NULL) return;
    CHECK(status == 0);
    database->starter = NULL;
    report.message[strcspn(report.message, "\n")] = '\0';
    switch (report.outcome) {
    case MIGRATIONS_DONE:
        if (report.applied > 0) LOG_INFO("database.migrated", "applied=%zu", report.applied);
        database->migrated = true;
        dial_next(database);
        return;
    case MIGRATIONS_LOST:
        note_loss(database, report.message);
        redial_later(database);
        return;
    case MIGRATIONS_REFUSED:
        LOG_ERROR("database.refused", "why=\"%s\"", report.message);
        database->options.on_refused(database->options.arg, report.message);
    }
}

static void start_migrating(struct database *database)
{
    CHECK(database->starter == NULL);
    struct starter *starter = xcalloc(1, sizeof *starter);
    starter->database = database;
    starter->info = conninfo_new(database->url, database->password, SERVER_OPTIONS);
    starter->migrations = database->options.migrations;
    starter->migration_count = database->options.migration_count;
    starter->work.data = starter;
    database->starter = starter;
    CHECK(uv_queue_work(loop_uv(database->loop), &starter->work, migrate, on_migrated) == 0);
}

static void on_refuse_tick(void *arg)
{
    struct database *database = arg;
    struct ask *ask = database->refused;
    database->refused = NULL;
    database->refused_tail = &database->refused;
    while (ask != NULL) {
        struct ask *next = ask->next;
        struct database_answer answer = {.outcome = ask->refused};
        database_answer_fn *on_answer = ask->on_answer;
        void *ask_arg = ask->arg;
        ask->next = database->spare;
        database->spare = ask;
        on_answer(ask_arg, &answer);
        ask = next;
    }
}

struct database *database_open(struct loop *loop, const struct database_options *options)
{
    CHECK(options->writers > 0 && options->readers > 0 && options->on_refused != NULL);
    struct database *database = xcalloc(1, sizeof *database);
    database->loop = loop;
    database->options = *options;
    database->url = xstrdup(options->url);
    database->password = options->password == NULL ? NULL : xstrdup(options->password);
    database->back_off_us = BACK_OFF_MIN_US;
    database->refused_tail = &database->refused;
    tick_init(&database->refusing, on_refuse_tick, database);
    database->link_count = options->writers + options->readers;
    database->links = xcalloc(database->link_count, sizeof(struct link *));
    struct link_options link_options = {.statements = options->statements,
                                        .statement_count = options->statement_count,
                                        .timeout_us = options->timeout_us,
                                        .calls_max = options->calls_max,
                                        .on_change = on_link_change,
                                        .arg = database};
    for (size_t i = 0; i < database->link_count; i++) {
        struct conninfo *info = conninfo_new(database->url, database->password, SERVER_OPTIONS);
        database->links[i] = link_new(loop, info, &link_options);
    }
    if (options->metrics != NULL) register_metrics(database, options->metrics);
    start_migrating(database);
    return database;
}

void database_close(struct database *database)
{
    if (database == NULL) return;
    timer_stop(&database->redial);
    if (database->starter != NULL) database->starter->database = NULL;
    database->options.on_change = NULL;
    database->migrated = false; /* answers may execute: refused, and told below */
    for (size_t i = 0; i < database->link_count; i++) {
        link_close(database->links[i]);
        database->links[i] = NULL;
    }
    database->link_count = 0;
    while (database->refused != NULL)
        on_refuse_tick(database);
    tick_cancel(&database->refusing);
    while (database->spare != NULL) {
        struct ask *ask = database->spare;
        database->spare = ask->next;
        free(ask);
    }
    free(database->links);
    free(database->url);
    if (database->password != NULL) {
        explicit_bzero(database->password, strlen(database->password));
    }
    free(database->password);
    free(database);
}

bool database_up(const struct database *database)
{
    return database->up;
}

static void on_link_answer(void *arg, const struct link_answer *answer)
{
    struct ask *ask = arg;
    struct database *database = ask->database;
    static const enum database_outcome outcomes[] = {
        [LINK_DONE] = DATABASE_DONE, [LINK_FAILED] = DATABASE_FAILED, [LINK_LOST] = DATABASE_LOST};
    struct database_answer told = {outcomes[answer->outcome], answer->rows, answer->sqlstate,
                                   answer->message};
    if (database->counts[0] != NULL) {
        ++*database->counts[told.outcome];
        histogram_add(database->seconds[ask->kind], loop_now_us(database->loop) - ask->sent_us);
    }
    database_answer_fn *on_answer = ask->on_answer;
    void *ask_arg = ask->arg;
    ask->next = database->spare;
    database->spare = ask;
    on_answer(ask_arg, &told);
}

static struct link *least_busy(const struct database *database, enum database_kind kind)
{
    size_t writers = database->options.writers;
    size_t from = kind == DATABASE_WRITER ? 0 : writers;
    size_t to = kind == DATABASE_WRITER ? writers : database->link_count;
    struct link *best = NULL;
    for (size_t i = from; i < to; i++) {
        struct link *link = database->links[i];
        if (link == NULL || link_state(link) != LINK_UP) continue;
        if (best == NULL || link_calls(link) < link_calls(best)) best = link;
    }
    return best;
}

void database_execute(struct database *database, const struct database_execute *execute)
{
    struct ask *ask = database->spare;
    if (ask != NULL) {
        database->spare = ask->next;
    } else {
        ask = xcalloc(1, sizeof *ask);
    }
    *ask = (struct ask){.database = database,
                        .on_answer = execute->on_answer,
                        .arg = execute->arg,
                        .sent_us = loop_now_us(database->loop)};
    struct link *link = database->link_count == 0 ? NULL : least_busy(database, execute->kind);
    struct link_send send = {execute->statement, execute->params, execute->param_count,
                             on_link_answer, ask};
    ask->kind = execute->kind;
    if (link != NULL && link_send(link, &send)) return;
    bool full = link != NULL && link_calls(link) >= database->options.calls_max;
    ask->refused = full ? DATABASE_FULL : DATABASE_DOWN;
    if (database->counts[0] != NULL) ++*database->counts[ask->refused];
    *database->refused_tail = ask;
    database->refused_tail = &ask->next;
    ask->next = NULL;
    loop_at_tick_end(database->loop, &database->refusing);
}
