#include "inventory/postgres_fixture.h"

#include "base/check.h"

#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SESSIONS_MAX 64

struct postgres_fixture {
    pid_t pid; /* 0: not running */
    char directory[64];
    char url[160];
    char programs[128];
    pid_t paused[SESSIONS_MAX];
    size_t paused_count;
};

static void find_programs(struct postgres_fixture *postgres)
{
    glob_t found;
    CHECK(glob("/usr/lib/postgresql/*/bin", 0, NULL, &found) == 0); /* is it installed? */
    snprintf(postgres->programs, sizeof postgres->programs, "%s",
             found.gl_pathv[found.gl_pathc - 1]);
    globfree(&found);
}

/* Postgres refuses to run as root. */
static void drop_root(void)
{
    if (getuid() != 0) return;
    const struct passwd *user = getpwnam("postgres");
    CHECK(user != NULL);
    CHECK(initgroups("postgres", user->pw_gid) == 0);
    CHECK(setgid(user->pw_gid) == 0);
    CHECK(setuid(user->pw_uid) == 0);
}

/* The program is arguments[0]; in the end by its whole path, since initdb looks for its companions
 * where it lies. */
static pid_t run(const struct postgres_fixture *postgres, char *arguments[])
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", postgres->programs, arguments[0]);
    char log[128];
    snprintf(log, sizeof log, "%s/log", postgres->directory);
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid != 0) return pid;
    CHECK(chdir("/") == 0);
    drop_root();
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* forgotten when the user changes, so after that */
    CHECK(freopen(log, "a", stdout) != NULL && dup2(fileno(stdout), STDERR_FILENO) >= 0);
    arguments[0] = path;
    execv(path, arguments);
    _exit(127);
}

static void initialise(const struct postgres_fixture *postgres)
{
    char data[96];
    snprintf(data, sizeof data, "%s/data", postgres->directory);
    char *arguments[] = {"initdb", "-D",        data, "-U",   "quorate",          "-A",
                         "trust",  "--no-sync", "-E", "UTF8", "--locale=C.UTF-8", NULL};
    int status = 0;
    pid_t pid = run(postgres, arguments);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static PGconn *connect_to(const struct postgres_fixture *postgres, const char *database)
{
    const char *const keywords[] = {"dbname", "dbname", "application_name", NULL};
    const char *const values[] = {postgres->url, database, "test", NULL};
    /* The first dbname is the URL; the second overrides its database. */
    return PQconnectdbParams(keywords, values, 1);
}

static void start_server(struct postgres_fixture *postgres)
{
    char data[96];
    snprintf(data, sizeof data, "%s/data", postgres->directory);
    char *arguments[] = {"postgres",
                         "-D",
                         data,
                         "-k",
                         postgres->directory,
                         "-c",
                         "listen_addresses=",
                         "-c",
                         "fsync=off",
                         "-c",
                         "max_connections=60",
                         "-c",
                         "shared_buffers=32MB",
                         "-c",
                         "autovacuum=off",
                         NULL};
    postgres->pid = run(postgres, arguments);
    for (int tries = 0; tries < 1500; tries++) {
        CHECK(waitpid(postgres->pid, NULL, WNOHANG) == 0); /* it could not start */
        PGconn *connection = connect_to(postgres, "postgres");
        bool good = PQstatus(connection) == CONNECTION_OK;
        PQfinish(connection);
        if (good) return;
        usleep(20000);
    }
    CHECK(!"Postgres answers");
}

struct postgres_fixture *postgres_fixture_start(void)
{
    struct postgres_fixture *postgres = xcalloc(1, sizeof *postgres);
    find_programs(postgres);
    snprintf(postgres->directory, sizeof postgres->directory, "/tmp/quorate-postgres-XXXXXX");
    CHECK(mkdtemp(postgres->directory) != NULL);
    if (getuid() == 0) {
        const struct passwd *user = getpwnam("postgres");
        CHECK(user != NULL && chown(postgres->directory, user->pw_uid, user->pw_gid) == 0);
    }
    snprintf(postgres->url, sizeof postgres->url, "postgresql://quorate@/quorate?host=%s",
             postgres->directory);
    initialise(postgres);
    start_server(postgres);
    postgres_fixture_reset(postgres);
    return postgres;
}

void postgres_fixture_free(struct postgres_fixture *postgres)
{
    if (postgres == NULL) return;
    if (postgres->pid != 0) postgres_fixture_kill(postgres);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", postgres->directory);
    CHECK(system(command) == 0);
    free(postgres);
}

const char *postgres_fixture_url(const struct postgres_fixture *postgres)
{
    return postgres->url;
}

void postgres_fixture_kill(struct postgres_fixture *postgres)
{
    postgres_fixture_resume_sessions(postgres);
    CHECK(kill(postgres->pid, SIGQUIT) == 0); /* ends all sessions, writes nothing */
    CHECK(waitpid(postgres->pid, NULL, 0) == postgres->pid);
    postgres->pid = 0;
}

void postgres_fixture_restart(struct postgres_fixture *postgres)
{
    CHECK(postgres->pid == 0);
    start_server(postgres);
}

static char *first_value(PGconn *connection, const char *sql)
{
    CHECK(PQstatus(connection) == CONNECTION_OK);
    PGresult *result = PQexec(connection, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        fprintf(stderr, "%s: %s", sql, PQerrorMessage(connection));
        CHECK(!"the test's SQL runs");
    }
    char *value = xstrdup("");
    if (PQntuples(result) > 0) {
        free(value);
        value = xstrdup(PQgetisnull(result, 0, 0) ? "(null)" : PQgetvalue(result, 0, 0));
    }
    PQclear(result);
    return value;
}

void postgres_fixture_reset(struct postgres_fixture *postgres)
{
    PGconn *connection = connect_to(postgres, "postgres");
    free(first_value(connection, "DROP DATABASE IF EXISTS quorate WITH (FORCE)"));
    free(first_value(connection, "CREATE DATABASE quorate"));
    PQfinish(connection);
}

PGconn *postgres_fixture_session(const struct postgres_fixture *postgres)
{
    PGconn *connection = connect_to(postgres, "quorate");
    CHECK(PQstatus(connection) == CONNECTION_OK);
    return connection;
}

char *postgres_fixture_sql(const struct postgres_fixture *postgres, const char *sql)
{
    PGconn *connection = postgres_fixture_session(postgres);
    char *value = first_value(connection, sql);
    PQfinish(connection);
    return value;
}

long long postgres_fixture_number(const struct postgres_fixture *postgres, const char *sql)
{
    char *value = postgres_fixture_sql(postgres, sql);
    long long number = strtoll(value, NULL, 10);
    free(value);
    return number;
}

static size_t sessions(const struct postgres_fixture *postgres, pid_t *into)
{
    PGconn *connection = connect_to(postgres, "postgres");
    PGresult *result = PQexec(connection, "SELECT pid FROM pg_stat_activity WHERE datname = "
                                          "'quorate' AND application_name <> 'test'");
    size_t count = (size_t)PQntuples(result);
    CHECK(count <= SESSIONS_MAX);
    for (size_t i = 0; i < count; i++)
        into[i] = (pid_t)strtol(PQgetvalue(result, (int)i, 0), NULL, 10);
    PQclear(result);
    PQfinish(connection);
    return count;
}

void postgres_fixture_pause_sessions(struct postgres_fixture *postgres)
{
    postgres->paused_count = sessions(postgres, postgres->paused);
    for (size_t i = 0; i < postgres->paused_count; i++)
        CHECK(kill(postgres->paused[i], SIGSTOP) == 0);
}

void postgres_fixture_resume_sessions(struct postgres_fixture *postgres)
{
    for (size_t i = 0; i < postgres->paused_count; i++)
        kill(postgres->paused[i], SIGCONT);
    postgres->paused_count = 0;
}

void postgres_fixture_end_sessions(const struct postgres_fixture *postgres)
{
    PGconn *connection = connect_to(postgres, "postgres");
    free(first_value(connection, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                                 "WHERE datname = 'quorate' AND application_name <> 'test'"));
    PQfinish(connection);
}
