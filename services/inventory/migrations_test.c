#include "base/log.h"
#include "inventory/database.h"
#include "inventory/postgres_fixture.h"
#include "inventory/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include <cmocka.h>

static struct postgres_fixture *postgres;

static const struct migration one = {"0001_one",
                                     "CREATE TABLE one (id int); INSERT INTO one VALUES (1)"};
static const struct migration two = {"0002_two", "ALTER TABLE one ADD COLUMN more int"};
static const struct migration broken = {"0002_two",
                                        "ALTER TABLE one ADD COLUMN more int; SELECT 1/0"};

static int setup(void **state)
{
    (void)state;
    postgres_fixture_reset(postgres);
    return 0;
}

static struct migrations_report apply(const struct migration *first, const struct migration *second)
{
    struct migration list[2] = {*first};
    if (second != NULL) list[1] = *second;
    PGconn *session = postgres_fixture_session(postgres);
    struct migrations_report report = migrations_apply(session, list, second == NULL ? 1 : 2);
    PQfinish(session);
    return report;
}

static long long number(const char *sql)
{
    return postgres_fixture_number(postgres, sql);
}

static void each_is_applied_once(void **state)
{
    (void)state;
    assert_int_equal(apply(&one, NULL).applied, 1);
    assert_int_equal(apply(&one, &two).applied, 1);
    struct migrations_report report = apply(&one, &two);
    assert_int_equal(report.outcome, MIGRATIONS_DONE);
    assert_int_equal(report.applied, 0);
    assert_int_equal(number("SELECT count(*) FROM one"), 1);
    assert_int_equal(number("SELECT count(*) FROM schema_migrations"), 2);
}

static void one_that_fails_half_way_leaves_nothing_and_can_be_run_again(void **state)
{
    (void)state;
    struct migrations_report report = apply(&one, &broken);
    assert_int_equal(report.outcome, MIGRATIONS_REFUSED);
    assert_non_null(strstr(report.message, "0002_two"));
    assert_non_null(strstr(report.message, "division by zero"));
    assert_int_equal(number("SELECT count(*) FROM schema_migrations"), 1);
    assert_int_equal(
        number("SELECT count(*) FROM information_schema.columns WHERE table_name = 'one'"), 1);
    assert_int_equal(apply(&one, &two).outcome, MIGRATIONS_DONE);
}

static void a_newer_database_is_refused_with_a_clear_message(void **state)
{
    (void)state;
    apply(&one, &two);
    struct migrations_report report = apply(&one, NULL);
    assert_int_equal(report.outcome, MIGRATIONS_REFUSED);
    assert_non_null(strstr(report.message, "newer than this program"));
    assert_non_null(strstr(report.message, "0002_two"));
    struct migration other = {"0001_other", "SELECT 1"};
    report = apply(&other, &two);
    assert_int_equal(report.outcome, MIGRATIONS_REFUSED);
    assert_non_null(strstr(report.message, "different histories"));
}

static void a_lost_connection_is_no_refusal(void **state)
{
    (void)state;
    struct migration fatal = {"0001_one", "SELECT pg_terminate_backend(pg_backend_pid())"};
    assert_int_equal(apply(&fatal, NULL).outcome, MIGRATIONS_LOST);
    assert_int_equal(apply(&one, NULL).outcome, MIGRATIONS_DONE);
}

struct opened {
    struct loop *loop;
    struct database *database;
    unsigned up;
    char refused[512];
};

static void on_change(void *arg, bool up)
{
    struct opened *opened = arg;
    opened->up += up;
}

static void on_refused(void *arg, const char *why)
{
    struct opened *opened = arg;
    snprintf(opened->refused, sizeof opened->refused, "%s", why);
}

static void open_database(struct opened *opened, struct loop *loop)
{
    *opened = (struct opened){.loop = loop};
    struct database_options options = {.url = postgres_fixture_url(postgres),
                                       .writers = 1,
                                       .readers = 1,
                                       .timeout_us = 2000000,
                                       .calls_max = 8,
                                       .statements = store_statements,
                                       .statement_count = store_statement_count,
                                       .migrations = migrations_all,
                                       .migration_count = migrations_count,
                                       .on_change = on_change,
                                       .on_refused = on_refused,
                                       .arg = opened};
    opened->database = database_open(loop, &options);
}

static void two_programs_that_start_at_once_migrate_once(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct opened opened[4];
    for (int i = 0; i < 4; i++)
        open_database(&opened[i], loop);
    while (opened[0].up + opened[1].up + opened[2].up + opened[3].up < 4)
        uv_run(loop_uv(loop), UV_RUN_ONCE);
    assert_int_equal(number("SELECT count(*) FROM schema_migrations"), migrations_count);
    for (int i = 0; i < 4; i++)
        database_close(opened[i].database);
    loop_free(loop);
}

static void the_database_says_when_it_is_refused(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct opened opened;
    open_database(&opened, loop);
    while (opened.up == 0)
        uv_run(loop_uv(loop), UV_RUN_ONCE);
    database_close(opened.database);
    free(postgres_fixture_sql(postgres,
                              "INSERT INTO schema_migrations (name) VALUES ('9999_later')"));
    open_database(&opened, loop);
    while (opened.refused[0] == '\0')
        uv_run(loop_uv(loop), UV_RUN_ONCE);
    assert_non_null(strstr(opened.refused, "9999_later"));
    database_close(opened.database);
    open_database(&opened, loop); /* closed while it migrates */
    database_close(opened.database);
    loop_free(loop);
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    postgres = postgres_fixture_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_is_applied_once, setup),
        cmocka_unit_test_setup(one_that_fails_half_way_leaves_nothing_and_can_be_run_again, setup),
        cmocka_unit_test_setup(a_newer_database_is_refused_with_a_clear_message, setup),
        cmocka_unit_test_setup(a_lost_connection_is_no_refusal, setup),
        cmocka_unit_test_setup(two_programs_that_start_at_once_migrate_once, setup),
        cmocka_unit_test_setup(the_database_says_when_it_is_refused, setup),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    postgres_fixture_free(postgres);
    return failed;
}
