#include "inventory/link.h"

#include "base/check.h"
#include "base/log.h"
#include "inventory/conninfo.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

/* A statement that was sent. */
struct call {
    struct call *next;
    link_answer_fn *on_answer; /* NULL: one of our own, preparing */
    void *arg;
    uint64_t due_us;
    PGresult *rows;
    PGresult *error;
};

struct link {
    struct loop *loop;
    struct conninfo *info;
    struct link_options options;
    enum link_state state;
    bool closing;
    uv_work_t dialling;
    bool dialling_now;
    PGconn *dialled; /* the pool's while dialling_now */
    PGconn *connection;
    uv_poll_t *poll; /* lives until libuv has closed it, which is after the link may be gone */
    int events;
    struct call *first; /* oldest */
    struct call **tail;
    size_t calls;
    struct call *spare; /* to be used again */
    struct timer deadline;
    struct tick losing;
    char why[256];
};

struct link_rows; /* a PGresult */

static const PGresult *result_of(const struct link_rows *rows)
{
    return (const PGresult *)rows;
}

size_t link_rows_count(const struct link_rows *rows)
{
    return (size_t)PQntuples(result_of(rows));
}

bool link_rows_null(const struct link_rows *rows, size_t row, size_t column)
{
    return PQgetisnull(result_of(rows), (int)row, (int)column) != 0;
}

struct span link_rows_bytes(const struct link_rows *rows, size_t row, size_t column)
{
    return (struct span){PQgetvalue(result_of(rows), (int)row, (int)column),
                         (size_t)PQgetlength(result_of(rows), (int)row, (int)column)};
}

enum link_state link_state(const struct link *link)
{
    return link->state;
}

size_t link_calls(const struct link *link)
{
    return link->calls;
}

static void on_lose_tick(void *arg);

struct link *link_new(struct loop *loop, struct conninfo *info, const struct link_options *options)
{
    CHECK(options->timeout_us > 0 && options->calls_max > 0);
    struct link *link = xcalloc(1, sizeof *link);
    link->loop = loop;
    link->info = info;
    link->options = *options;
    link->tail = &link->first;
    tick_init(&link->losing, on_lose_tick, link);
    return link;
}

static void on_poll_closed(uv_handle_t *handle)
{
    free(handle);
}

/* libuv must have let go of the socket before libpq closes it. */
static void hang_up(struct link *link)
{
    timer_stop(&link->deadline);
    tick_cancel(&link->losing);
    if (link->poll != NULL) {
        link->poll->data = NULL;
        uv_close((uv_handle_t *)link->poll, on_poll_closed);
        link->poll = NULL;
    }
    if (link->connection != NULL) PQfinish(link->connection);
    link->connection = NULL;
    link->events = 0;
    link->state = LINK_RESTING;
}

static void call_recycle(struct link *link, struct call *call)
{
    PQclear(call->rows);
    PQclear(call->error);
    call->next = link->spare;
    link->spare = call;
}

static struct call *call_pop(struct link *link)
{
    struct call *call = link->first;
    link->first = call->next;
    if (link->first == NULL) link->tail = &link->first;
    link->calls--;
    return call;
}

/* Only what was open when the link was lost: an answer may bring new sends, on other links. */
static void answer_lost(struct link *link)
{
    struct call *lost = link->first;
    link->first = NULL;
    link->tail = &link->first;
    link->calls = 0;
    while (lost != NULL) {
        struct call *call = lost;
        lost = call->next;
        link_answer_fn *on_answer = call->on_answer;
        void *arg = call->arg;
        call_recycle(link, call);
        struct link_answer answer = {.outcome = LINK_LOST};
        if (on_answer != NULL) on_answer(arg, &answer);
    }
}

static void release(struct link *link)
{
    while (link->spare != NULL) {
        struct call *call = link->spare;
        link->spare = call->next;
        free(call);
    }
    conninfo_free(link->info);
    free(link);
}

void link_close(struct link *link)
{
    if (link == NULL) return;
    CHECK(!link->closing);
    link->closing = true;
    hang_up(link);
    answer_lost(link);
    if (!link->dialling_now) release(link); /* else when the pool has given it back */
}

static void on_lose_tick(void *arg)
{
    struct link *link = arg;
    hang_up(link);
    answer_lost(link);
    link->options.on_change(link->options.arg, link, link->why);
}

/* Only marks: callers still use the connection. Torn down at the end of the turn. */
static void lose(struct link *link, const char *why)
{
    if (link->losing.in != NULL) return;
    snprintf(link->why, sizeof link->why, "%s", why);
    link->why[strcspn(link->why, "\n")] = '\0';
    loop_at_tick_end(link->loop, &link->losing);
}

static bool being_lost(const struct link *link)
{
    return link->losing.in != NULL;
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void flush(struct link *link)
{
    int left = PQflush(link->connection);
    if (left < 0) {
        lose(link, PQerrorMessage(link->connection));
        return;
    }
    int events = UV_READABLE | (left > 0 ? UV_WRITABLE : 0);
    if (events == link->events) return;
    link->events = events;
    if (uv_poll_start(link->poll, events, on_poll) != 0) lose(link, "the socket can't be watched");
}

static void on_deadline(void *arg)
{
    struct link *link = arg;
    if (link->first == NULL || being_lost(link)) return;
    struct timers *timers = loop_timers(link->loop);
    if (link->first->due_us > timers_now_us(timers)) {
        timer_start(&link->deadline, timers, link->first->due_us, on_deadline, link);
        return;
    }
    lose(link, "a statement got no answer in time");
}

static void call_push(struct link *link, link_answer_fn *on_answer, void *arg)
{
    struct call *call = link->spare;
    if (call != NULL) {
        link->spare = call->next;
    } else {
        call = xcalloc(1, sizeof *call);
    }
    struct timers *timers = loop_timers(link->loop);
    *call = (struct call){.on_answer = on_answer,
                          .arg = arg,
                          .due_us = timers_now_us(timers) + link->options.timeout_us};
    *link->tail = call;
    link->tail = &call->next;
    link->calls++;
    /* Deadlines come in the order of sends: one timer, for the oldest. */
    if (!timer_running(&link->deadline)) {
        timer_start(&link->deadline, timers, call->due_us, on_deadline, link);
    }
}

bool link_send(struct link *link, const struct link_send *send)
{
    if (link->state != LINK_UP || being_lost(link)) return false;
    if (link->calls >= link->options.calls_max) return false;
    CHECK(send->statement < link->options.statement_count && send->on_answer != NULL);
    CHECK(send->param_count <= LINK_PARAMS_MAX);
    const char *values[LINK_PARAMS_MAX];
    int lengths[LINK_PARAMS_MAX];
    int formats[LINK_PARAMS_MAX];
    for (size_t i = 0; i < send->param_count; i++) {
        values[i] = send->params[i].at;
        lengths[i] = (int)send->params[i].bytes;
        formats[i] = 1;
    }
    call_push(link, send->on_answer, send->arg);
    const char *name = link->options.statements[send->statement].name;
    if (PQsendQueryPrepared(link->connection, name, (int)send->param_count, values, lengths,
                            formats, 1) == 0 ||
        PQpipelineSync(link->connection) == 0) {
        lose(link, PQerrorMessage(link->connection)); /* answered as lost: a part may be out */
        return true;
    }
    flush(link);
    return true;
}

static void came_up(struct link *link)
{
    link->state = LINK_UP;
    link->options.on_change(link->options.arg, link, NULL);
}

/* The server has confirmed the end of the oldest statement's transaction. */
static void take_sync(struct link *link)
{
    struct call *call = call_pop(link);
    if (call->on_answer == NULL) {
        PGresult *error = call->error;
        call->error = NULL;
        call_recycle(link, call);
        if (error != NULL) {
            lose(link, PQresultErrorMessage(error));
            PQclear(error);
        } else if (link->first == NULL && link->state == LINK_PREPARING) {
            came_up(link);
        }
        return;
    }
    struct link_answer answer = {.outcome = LINK_DONE};
    answer.rows = (const struct link_rows *)call->rows;
    if (call->error != NULL) {
        answer = (struct link_answer){.outcome = LINK_FAILED,
                                      .message = PQresultErrorMessage(call->error)};
        answer.sqlstate = PQresultErrorField(call->error, PG_DIAG_SQLSTATE);
    }
    PGresult *rows = call->rows;
    PGresult *error = call->error;
    link_answer_fn *on_answer = call->on_answer;
    void *arg = call->arg;
    call->rows = NULL;
    call->error = NULL;
    call_recycle(link, call);
    on_answer(arg, &answer);
    PQclear(rows);
    PQclear(error);
}

/* An error after the rows came with the commit, and one that ends the session came from anywhere:
 * neither says whether the statement took place. */
static void take_error(struct link *link, struct call *call, PGresult *result)
{
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    bool tells = severity != NULL && strcmp(severity, "ERROR") == 0 &&
                 PQresultErrorField(result, PG_DIAG_SQLSTATE) != NULL;
    if (!tells || call->rows != NULL || call->error != NULL) {
        lose(link, PQresultErrorMessage(result));
        PQclear(result);
        return;
    }
    call->error = result;
}

static void take_result(struct link *link, PGresult *result)
{
    struct call *call = link->first;
    switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_SYNC:
        PQclear(result);
        take_sync(link);
        return;
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
        if (call->rows != NULL || call->error != NULL) {
            PQclear(result);
            lose(link, "an answer came twice");
            return;
        }
        call->rows = result;
        return;
    case PGRES_PIPELINE_ABORTED: /* behind an error, which has been kept */
        PQclear(result);
        return;
    default:
        take_error(link, call, result);
    }
}

static void receive(struct link *link)
{
    bool alive = PQconsumeInput(link->connection) != 0;
    /* What arrived before the end is still good. A NULL ends one statement, not the pipeline. */
    unsigned nothing = 0;
    while (!being_lost(link) && link->first != NULL && !PQisBusy(link->connection)) {
        PGresult *result = PQgetResult(link->connection);
        nothing = result == NULL ? nothing + 1 : 0;
        if (result != NULL) take_result(link, result);
        if (nothing > 2) lose(link, "libpq has no more answers than we have questions");
        if (PQstatus(link->connection) == CONNECTION_BAD) break;
    }
    if (!alive || PQstatus(link->connection) == CONNECTION_BAD) {
        lose(link, PQerrorMessage(link->connection));
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct link *link = poll->data;
    if (link == NULL || being_lost(link)) return;
    if (status < 0) {
        lose(link, uv_strerror(status));
        return;
    }
    if ((events & UV_READABLE) != 0) receive(link);
    if (!being_lost(link)) flush(link);
}

static void ignore_notice(void *arg, const char *message)
{
    (void)arg;
    LOG_DEBUG("database.notice", "text=\"%s\"", message);
}

static void prepare(struct link *link)
{
    PQsetNoticeProcessor(link->connection, ignore_notice, NULL);
    link->state = LINK_PREPARING;
    link->poll = xcalloc(1, sizeof *link->poll);
    if (PQsetnonblocking(link->connection, 1) != 0 || PQenterPipelineMode(link->connection) == 0) {
        free(link->poll);
        link->poll = NULL;
        lose(link, PQerrorMessage(link->connection));
        return;
    }
    CHECK(uv_poll_init(loop_uv(link->loop), link->poll, PQsocket(link->connection)) == 0);
    link->poll->data = link;
    for (size_t i = 0; i < link->options.statement_count; i++) {
        const struct link_statement *statement = &link->options.statements[i];
        call_push(link, NULL, NULL);
        if (PQsendPrepare(link->connection, statement->name, statement->sql, 0, NULL) == 0 ||
            PQpipelineSync(link->connection) == 0) {
            lose(link, PQerrorMessage(link->connection));
            return;
        }
    }
    flush(link);
}

static void dial(uv_work_t *work)
{
    struct link *link = work->data;
    link->dialled = PQconnectdbParams(link->info->keywords, link->info->values, 1);
}

static void on_dialled(uv_work_t *work, int status)
{
    struct link *link = work->data;
    link->dialling_now = false;
    link->connection = link->dialled;
    link->dialled = NULL;
    if (link->closing) {
        hang_up(link);
        release(link);
        return;
    }
    CHECK(status == 0);
    if (PQstatus(link->connection) == CONNECTION_OK) {
        prepare(link);
    } else {
        lose(link, PQerrorMessage(link->connection));
    }
}

void link_dial(struct link *link)
{
    CHECK(link->state == LINK_RESTING && !link->dialling_now && !link->closing);
    link->state = LINK_DIALLING;
    link->dialling_now = true;
    link->dialling.data = link;
    CHECK(uv_queue_work(loop_uv(link->loop), &link->dialling, dial, on_dialled) == 0);
}
