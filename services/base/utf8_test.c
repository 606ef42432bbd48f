#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static long characters(const char *text)
{
    return utf8_length(span_of(text));
}

static void characters_are_counted(void **state)
{
    (void)state;
    assert_int_equal(characters(""), 0);
    assert_int_equal(characters("Café"), 4);
    assert_int_equal(characters("한정판 🎟"), 5);
    assert_int_equal(characters("\xf4\x8f\xbf\xbf"), 1);
}

static void what_is_not_utf8_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "a\xc3",
                                      "\xe2\x82",
                                      "\xe2\x28\xa1",
                                      "\xf0\x9f\x8e"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_true(characters(bad[i]) == -1);
    assert_int_equal(utf8_length((struct span){"a\0b", 3}),
                     3); /* Postgres takes no NUL: that is for callers to refuse */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_are_counted),
        cmocka_unit_test(what_is_not_utf8_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
