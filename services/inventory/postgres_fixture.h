/* postgres_fixture.h - a real Postgres for tests: started, stopped, killed, its sessions paused.
 *
 * It lives in a directory of its own and listens on a socket there, so that any number run beside
 * each other; as root it runs as the user `postgres`. It dies with the test program. Every failure
 * ends the test. Blocking: not for use while a loop waits for an answer.
 */
#ifndef QUORATE_INVENTORY_POSTGRES_FIXTURE_H
#define QUORATE_INVENTORY_POSTGRES_FIXTURE_H

#include <libpq-fe.h>
#include <stdbool.h>

struct postgres_fixture;

struct postgres_fixture *postgres_fixture_start(void);
void postgres_fixture_free(struct postgres_fixture *postgres);

/* postgresql://quorate@/quorate?host=… */
const char *postgres_fixture_url(const struct postgres_fixture *postgres);

void postgres_fixture_kill(struct postgres_fixture *postgres);    /* as a power cut */
void postgres_fixture_restart(struct postgres_fixture *postgres); /* after a kill */

/* A new database, empty. */
void postgres_fixture_reset(struct postgres_fixture *postgres);

/* Runs SQL; the first value of its last result, "" if none, "(null)". Free it. */
char *postgres_fixture_sql(const struct postgres_fixture *postgres, const char *sql);
long long postgres_fixture_number(const struct postgres_fixture *postgres, const char *sql);

/* A session of the test's own, for locks held by others. PQfinish it. */
PGconn *postgres_fixture_session(const struct postgres_fixture *postgres);

/* Stops and continues the server's processes of the services' sessions (not the test's). */
void postgres_fixture_pause_sessions(struct postgres_fixture *postgres);
void postgres_fixture_resume_sessions(struct postgres_fixture *postgres);
void postgres_fixture_end_sessions(const struct postgres_fixture *postgres);

#endif
