#include "inventory/migrations.h"

#include "base/check.h"

#include <libpq-fe.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Any number, the same in all inventories. */
#define LOCK_SQL "SELECT pg_advisory_lock(7163451726)"

static const char table_sql[] = "CREATE TABLE IF NOT EXISTS schema_migrations ("
                                " name text PRIMARY KEY,"
                                " applied_at timestamptz NOT NULL DEFAULT now())";

static void say(struct migrations_report *report, enum migrations_outcome outcome,
                const char *format, ...) __attribute__((format(printf, 3, 4)));
static void say(struct migrations_report *report, enum migrations_outcome outcome,
                const char *format, ...)
{
    report->outcome = outcome;
    va_list args;
    va_start(args, format);
    vsnprintf(report->message, sizeof report->message, format, args);
    va_end(args);
}

/* Faults that pass by themselves: connection, resources, a server that starts, stops or is only a
 * standby yet. The first two or all five characters of the SQLSTATE. */
static bool passes(const char *sqlstate)
{
    static const char *const classes[] = {"08", "40", "53", "57", "25006"};
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        if (strncmp(sqlstate, classes[i], strlen(classes[i])) == 0) return true;
    }
    return false;
}

static void say_error(struct migrations_report *report, PGconn *connection, const PGresult *result,
                      const char *doing)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    bool lost = PQstatus(connection) != CONNECTION_OK || sqlstate == NULL || passes(sqlstate);
    say(report, lost ? MIGRATIONS_LOST : MIGRATIONS_REFUSED, "%s: %.300s", doing,
        PQerrorMessage(connection));
}

/* NULL: it failed, and the report says so. */
static PGresult *run(PGconn *connection, struct migrations_report *report, const char *sql,
                     const char *doing)
{
    PGresult *result = PQexec(connection, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return result;
    say_error(report, connection, result, doing);
    PQclear(result);
    return NULL;
}

/* What the database has applied must be a beginning of what we know. */
static size_t compare(const PGresult *rows, struct migrations_report *report,
                      const struct migration *list, size_t count)
{
    size_t there = (size_t)PQntuples(rows);
    for (size_t i = 0; i < there; i++) {
        const char *name = PQgetvalue(rows, (int)i, 0);
        if (i >= count) {
            say(report, MIGRATIONS_REFUSED,
                "the database is newer than this program: it has migration %.100s, this program "
                "knows none after %.100s; use a newer program",
                PQgetvalue(rows, (int)there - 1, 0),
                count == 0 ? "the empty one" : list[count - 1].name);
            return 0;
        }
        if (strcmp(name, list[i].name) == 0) continue;
        say(report, MIGRATIONS_REFUSED,
            "the database has migration %.100s where this program knows %.100s: they come from "
            "different histories",
            name, list[i].name);
        return 0;
    }
    return there;
}

static bool apply_one(PGconn *connection, struct migrations_report *report,
                      const struct migration *migration)
{
    char doing[160];
    snprintf(doing, sizeof doing, "migration %.100s failed and left nothing", migration->name);
    PGresult *result = run(connection, report, "BEGIN", doing);
    if (result == NULL) return false;
    PQclear(result);
    result = run(connection, report, migration->sql, doing);
    if (result != NULL) {
        PQclear(result);
        result = PQexecParams(connection, "INSERT INTO schema_migrations (name) VALUES ($1)", 1,
                              NULL, &migration->name, NULL, NULL, 0);
        if (PQresultStatus(result) == PGRES_COMMAND_OK) {
            PQclear(result);
            result = run(connection, report, "COMMIT", doing);
            if (result == NULL) return false;
            PQclear(result);
            report->applied++;
            return true;
        }
        say_error(report, connection, result, doing);
        PQclear(result);
    }
    PQclear(PQexec(connection, "ROLLBACK"));
    return false;
}

struct migrations_report migrations_apply(PGconn *connection, const struct migration *list,
                                          size_t count)
{
    struct migrations_report report = {.outcome = MIGRATIONS_DONE};
    PGresult *result = run(connection, &report, LOCK_SQL, "can't lock the migrations");
    if (result == NULL) return report;
    PQclear(result);
    result = run(connection, &report, table_sql, "can't create schema_migrations");
    if (result == NULL) return report;
    PQclear(result);
    result = run(connection, &report, "SELECT name FROM schema_migrations ORDER BY name",
                 "can't read schema_migrations");
    if (result == NULL) return report;
    size_t there = compare(result, &report, list, count);
    PQclear(result);
    for (size_t i = there; i < count && report.outcome == MIGRATIONS_DONE; i++) {
        if (!apply_one(connection, &report, &list[i])) return report;
    }
    /* The lock ends with the session at the latest. */
    PQclear(PQexec(connection, "SELECT pg_advisory_unlock_all()"));
    return report;
}
