#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char said[8192];

/* Runs one log call with standard error in a pipe. */
#define SAY(call)                                                                                  \
    do {                                                                                           \
        int ends[2];                                                                               \
        assert_int_equal(pipe(ends), 0);                                                           \
        int saved = dup(STDERR_FILENO);                                                            \
        dup2(ends[1], STDERR_FILENO);                                                              \
        call;                                                                                      \
        dup2(saved, STDERR_FILENO);                                                                \
        close(saved);                                                                              \
        close(ends[1]);                                                                            \
        ssize_t bytes = read(ends[0], said, sizeof said - 1);                                      \
        said[bytes < 0 ? 0 : bytes] = '\0';                                                        \
        close(ends[0]);                                                                            \
    } while (0)

static void one_event_is_one_line(void **state)
{
    (void)state;
    SAY(LOG_INFO("lock.granted", "token=%d", 42));
    assert_non_null(strstr(said, "Z info lock.granted token=42\n"));
}

static void no_value_can_forge_a_line(void **state)
{
    (void)state;
    SAY(LOG_WARN("account.refused", "name=\"%s\"", "x\n2026-01-01T00:00:00Z error forged\x7f\t"));
    assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
    assert_non_null(strstr(said, "name=\"x\\x0a2026"));
}

static void a_long_line_is_cut(void **state)
{
    (void)state;
    char value[7000];
    memset(value, '\n', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    SAY(LOG_ERROR("x", "%s", value));
    assert_true(strlen(said) <= 2048);
    assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
}

static void below_the_level_nothing_is_said(void **state)
{
    (void)state;
    SAY((LOG_DEBUG("x", "a=%d", 1), (void)write(STDERR_FILENO, ".", 1)));
    assert_string_equal(said, ".");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_event_is_one_line),
        cmocka_unit_test(no_value_can_forge_a_line),
        cmocka_unit_test(a_long_line_is_cut),
        cmocka_unit_test(below_the_level_nothing_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
