#include "edge/form.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static char room[16];
static struct span value;

static enum form_outcome get(const char *form, const char *name)
{
    return form_text(span_of(form), name, (struct form_room){room, sizeof room}, &value);
}

#define assert_value(form, name, expected)                                                         \
    do {                                                                                           \
        assert_int_equal(get(form, name), FORM_FOUND);                                             \
        assert_true(span_equal(value, span_of(expected)));                                         \
    } while (0)

static void fields_are_decoded(void **state)
{
    (void)state;
    assert_value("a=1&b=2", "a", "1");
    assert_value("a=1&b=2", "b", "2");
    assert_value("name=J%C3%BCrgen+M", "name", "J\xc3\xbcrgen M");
    assert_value("p=%26%3D%2b%25", "p", "&=+%");
    assert_value("a=", "a", "");
    assert_value("a=b=c", "a", "b=c");
    assert_value("a=1&a=2", "a", "2");
    assert_value("&&a=1&&", "a", "1");
}

static void what_is_not_there_is_absent(void **state)
{
    (void)state;
    static const char *const forms[] = {"", "b=1", "aa=1", "a", "&", "=", "=1", "b=a=1"};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        assert_int_equal(get(forms[i], "a"), FORM_ABSENT);
}

static void broken_values_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"a=%",   "a=%1",  "a=%zz", "a=%1&b=2",
                                      "a=%00", "a=%ff", "a=%c3", "a=%ed%a0%80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(get(bad[i], "a"), FORM_MALFORMED);
    assert_int_equal(get("a=12345678901234567", "a"), FORM_TOO_LONG);
    assert_value("a=1234567890123456", "a", "1234567890123456");
}

static void integers_fit_or_are_refused(void **state)
{
    (void)state;
    int64_t number = 0;
    assert_int_equal(form_integer(span_of("n=42"), "n", &number), FORM_FOUND);
    assert_true(number == 42);
    assert_int_equal(form_integer(span_of("n=-9223372036854775808"), "n", &number), FORM_FOUND);
    assert_true(number == INT64_MIN);
    assert_int_equal(form_integer(span_of("n=9223372036854775807"), "n", &number), FORM_FOUND);
    assert_true(number == INT64_MAX);
    assert_int_equal(form_integer(span_of("m=1"), "n", &number), FORM_ABSENT);
    static const char *const bad[] = {"n=",
                                      "n=-",
                                      "n=x",
                                      "n=1x",
                                      "n=1.0",
                                      "n=+1",
                                      "n=%201",
                                      "n=9223372036854775808",
                                      "n=-9223372036854775809",
                                      "n=99999999999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(form_integer(span_of(bad[i]), "n", &number), FORM_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_decoded),
        cmocka_unit_test(what_is_not_there_is_absent),
        cmocka_unit_test(broken_values_are_refused),
        cmocka_unit_test(integers_fit_or_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
