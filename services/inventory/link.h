/* link.h - one connection to Postgres: prepared statements in pipeline mode on the loop.
 *
 * A link rests until it is told to dial. Dialling (names, TLS, passwords) blocks, so libuv's pool
 * does it; then the statements are prepared, and the link is up. It is lost, with everything that
 * was sent and not answered, when the connection breaks or a statement gets no answer in time; then
 * it rests again, and its owner decides when to dial.
 *
 * Each statement is a transaction of its own: it counts as done only when the server has confirmed
 * its end (the commit), not when its rows arrive.
 *
 * Thread    the loop's only.
 * Answers   a send that returned true is answered exactly once, never before it returned; answers
 *           come in the order of sends. false: not up, or full; no answer follows. Within an answer
 *           everything is allowed but link_close.
 * Borrows   parameters until the call returns; an answer while it runs; the statements for the
 *           link's life.
 * Units     absolute microseconds of CLOCK_BOOTTIME in `_us`.
 */
#ifndef QUORATE_INVENTORY_LINK_H
#define QUORATE_INVENTORY_LINK_H

#include "base/loop.h"
#include "base/span.h"

struct link;
struct conninfo;
struct link_rows;

struct link_statement {
    const char *name;
    const char *sql;
};

enum link_outcome {
    LINK_DONE,   /* committed */
    LINK_FAILED, /* rolled back: the server said no; sqlstate and message say why */
    LINK_LOST,   /* no answer: it may have been executed, or may yet be */
};

struct link_answer {
    enum link_outcome outcome;
    const struct link_rows *rows; /* DONE */
    const char *sqlstate;         /* FAILED: five characters */
    const char *message;          /* FAILED */
};
typedef void link_answer_fn(void *arg, const struct link_answer *answer);

enum link_state { LINK_RESTING, LINK_DIALLING, LINK_PREPARING, LINK_UP };

struct link_options {
    const struct link_statement *statements;
    size_t statement_count;
    uint64_t timeout_us; /* for a statement's answer */
    size_t calls_max;
    /* On each change between resting and up; `why` it rests, NULL when up. */
    void (*on_change)(void *arg, struct link *link, const char *why);
    void *arg;
};

/* Takes the conninfo. */
struct link *link_new(struct loop *loop, struct conninfo *info, const struct link_options *options);

/* Answers what is open with LINK_LOST, at once; frees later, on the loop. on_change is not told. */
void link_close(struct link *link);

void link_dial(struct link *link); /* resting links only */
enum link_state link_state(const struct link *link);
size_t link_calls(const struct link *link); /* sent and not answered */

/* In binary. NULL `at`: null. */
struct link_param {
    const char *at;
    size_t bytes;
};

#define LINK_PARAMS_MAX 8

struct link_send {
    size_t statement; /* index */
    const struct link_param *params;
    size_t param_count;
    link_answer_fn *on_answer;
    void *arg;
};
bool link_send(struct link *link, const struct link_send *send);

size_t link_rows_count(const struct link_rows *rows);
bool link_rows_null(const struct link_rows *rows, size_t row, size_t column);
struct span link_rows_bytes(const struct link_rows *rows, size_t row, size_t column);

#endif
