/* database.h - Postgres as a small pool of links: batches on some, everything else on others.
 *
 * At start the tables are migrated; then the links are dialled, one at a time, and dialled anew
 * with a back-off (50 ms to 1 s) whenever they are lost. A statement goes to the link of its kind
 * that has the fewest open ones, so that a read never waits behind a hot batch; it is never sent
 * twice.
 *
 * Thread    the loop's only.
 * Answers   every execute is answered exactly once, never before it returned, at the latest when
 *           the statement deadline has passed. Within an answer everything is allowed but
 *           database_close.
 * Borrows   parameters until the call returns; an answer while it runs; statements and metrics for
 *           the database's life.
 */
#ifndef QUORATE_INVENTORY_DATABASE_H
#define QUORATE_INVENTORY_DATABASE_H

#include "inventory/link.h"
#include "inventory/migrations.h"

struct database;
struct metrics;

enum database_kind { DATABASE_WRITER, DATABASE_READER };

struct database_options {
    const char *url;      /* good, by conninfo_check; copied */
    const char *password; /* NULL: as the URL says; copied */
    unsigned writers;     /* links for batches */
    unsigned readers;     /* links for all else */
    uint64_t timeout_us;  /* for a statement's answer */
    size_t calls_max;     /* open statements of one link */
    const struct link_statement *statements;
    size_t statement_count;
    const struct migration *migrations;
    size_t migration_count;
    struct metrics *metrics; /* NULL: not counted */
    /* A writer and a reader are up, or no longer. NULL: not told. */
    void (*on_change)(void *arg, bool up);
    /* This program must not use that database; a person must act. No further attempt is made. */
    void (*on_refused)(void *arg, const char *why);
    void *arg;
};

struct database *database_open(struct loop *loop, const struct database_options *options);

/* Answers what is open (DATABASE_LOST, or DOWN if it was not sent), then frees, partly later on the
 * loop. NULL is harmless. */
void database_close(struct database *database);

bool database_up(const struct database *database);

enum database_outcome {
    DATABASE_DONE,   /* committed */
    DATABASE_FAILED, /* rolled back: the server said no */
    DATABASE_LOST,   /* sent, and no answer came: it may have been executed, or may yet be */
    DATABASE_DOWN,   /* not sent: no link of this kind is up */
    DATABASE_FULL,   /* not sent: too many statements are open */
};

struct database_answer {
    enum database_outcome outcome;
    const struct link_rows *rows; /* DONE */
    const char *sqlstate;         /* FAILED */
    const char *message;          /* FAILED: the server's words, for the log */
};
typedef void database_answer_fn(void *arg, const struct database_answer *answer);

struct database_execute {
    enum database_kind kind;
    size_t statement; /* index */
    const struct link_param *params;
    size_t param_count;
    database_answer_fn *on_answer;
    void *arg;
};
void database_execute(struct database *database, const struct database_execute *execute);

#endif
