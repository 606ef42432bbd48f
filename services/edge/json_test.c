#include "base/utf8.h"
#include "edge/json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

static struct json json;
static char storage[64];

static int setup(void **state)
{
    (void)state;
    json_init(&json, storage, sizeof storage);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_fini(&json);
    return 0;
}

#define assert_json(expected)                                                                      \
    do {                                                                                           \
        assert_int_equal(json.used, strlen(expected));                                             \
        assert_memory_equal(json.at, expected, json.used);                                         \
    } while (0)

static void commas_stand_where_they_belong(void **state)
{
    (void)state;
    json_open_object(&json);
    JSON_KEY(&json, "a");
    json_put_integer(&json, 1);
    JSON_KEY(&json, "b");
    json_open_array(&json);
    json_open_object(&json);
    json_close_object(&json);
    json_put_null(&json);
    json_open_array(&json);
    json_close_array(&json);
    json_put_boolean(&json, true);
    json_close_array(&json);
    JSON_KEY(&json, "c");
    json_put_boolean(&json, false);
    json_close_object(&json);
    assert_json("{\"a\":1,\"b\":[{},null,[],true],\"c\":false}");
}

static void integers_of_every_length(void **state)
{
    (void)state;
    json_open_array(&json);
    static const int64_t numbers[] = {0, 9, 10, 99, 100, 12345, -1, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        json_put_integer(&json, numbers[i]);
    json_put_unsigned_text(&json, UINT64_MAX);
    json_close_array(&json);
    assert_json("[0,9,10,99,100,12345,-1,9223372036854775807,-9223372036854775808,"
                "\"18446744073709551615\"]");
}

/* What was written so far, as another reader of JSON has it. */
static json_t *read_back(void)
{
    json_t *array = json_loadb(json.at, json.used, 0, NULL);
    assert_true(json_is_array(array));
    return array;
}

/* A double holds 2^53 and not its upper neighbour; the last one that it tells from its neighbours
 * is 2^53 - 1. */
static void F16_integers_next_to_2_to_the_53_come_back_from_json(void **state)
{
    (void)state;
    static const int64_t numbers[] = {
        9007199254740990,  9007199254740991, 9007199254740992, 9007199254740993, -9007199254740992,
        -9007199254740993, INT64_MAX - 1,    INT64_MAX,        INT64_MIN,
    };
    const size_t count = sizeof numbers / sizeof numbers[0];
    json_open_array(&json);
    for (size_t i = 0; i < count; i++)
        json_put_integer(&json, numbers[i]);
    json_close_array(&json);
    json_t *array = read_back();
    assert_int_equal(json_array_size(array), count);
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_array_get(array, i);
        assert_true(json_is_integer(value));
        assert_int_equal(json_integer_value(value), numbers[i]);
    }
    json_decref(array);
}

/* Tokens and versions go out as text, for readers whose every number is a double. */
static void F16_versions_next_to_2_to_the_53_come_back_from_json(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {
        0,         9007199254740990,        9007199254740991, 9007199254740992, 9007199254740993,
        INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX - 1,   UINT64_MAX,
    };
    const size_t count = sizeof numbers / sizeof numbers[0];
    json_open_array(&json);
    for (size_t i = 0; i < count; i++)
        json_put_unsigned_text(&json, numbers[i]);
    json_close_array(&json);
    json_t *array = read_back();
    assert_int_equal(json_array_size(array), count);
    for (size_t i = 0; i < count; i++) {
        const char *text = json_string_value(json_array_get(array, i));
        assert_non_null(text);
        char *end;
        errno = 0;
        assert_int_equal(strtoull(text, &end, 10), numbers[i]);
        assert_int_equal(errno, 0);
        assert_string_equal(end, "");
    }
    json_decref(array);
}

static void strings_are_escaped(void **state)
{
    (void)state;
    json_put_text(&json, (struct span){"a\"b\\c\n\r\t\x01\x7f\0z", 12});
    assert_json("\"a\\\"b\\\\c\\n\\r\\t\\u0001\\u007f\\u0000z\"");
}

static void utf8_passes_and_what_is_none_is_replaced(void **state)
{
    (void)state;
    json_put_text(&json, span_of("h\xc3\xa9 \xed\x95\x9c \xf0\x9f\x8e\x81"));
    json_put_text(&json, span_of("\xff|\xc3|\xed\xa0\x80"));
    assert_json("\"h\xc3\xa9 \xed\x95\x9c \xf0\x9f\x8e\x81\","
                "\"\xef\xbf\xbd|\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void times_are_iso_8601(void **state)
{
    (void)state;
    json_put_time(&json, 0);
    json_put_time(&json, 1767323045678901);
    json_put_time(&json, -1);
    json_put_time(&json, INT64_MAX);
    assert_json("\"1970-01-01T00:00:00.000000Z\",\"2026-01-02T03:04:05.678901Z\","
                "\"1969-12-31T23:59:59.999999Z\",null");
}

static void it_grows_out_of_its_storage(void **state)
{
    (void)state;
    char text[1001];
    memset(text, 'x', 1000);
    text[1000] = '\0';
    json_put_text(&json, span_of(text));
    assert_true(json.on_heap);
    assert_int_equal(json.used, 1002);
    assert_memory_equal(json.at + 1, text, 1000);
    json_clear(&json);
    json_put_integer(&json, 7);
    assert_json("7");
}

static void characters_are_counted_strictly(void **state)
{
    (void)state;
    assert_int_equal(utf8_length(span_of("")), 0);
    assert_int_equal(utf8_length(span_of("a\xc3\xa9\xed\x95\x9c\xf0\x9f\x8e\x81")), 4);
    static const char *const bad[] = {"\x80",         "\xc0\x80",         "\xc1\xbf",
                                      "\xe0\x80\x80", "\xed\xa0\x80",     "\xf0\x80\x80\x80",
                                      "\xe2\x82",     "\xf4\x90\x80\x80", "\xf5\x80\x80\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(utf8_length(span_of(bad[i])), -1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(commas_stand_where_they_belong),
        T(integers_of_every_length),
        T(F16_integers_next_to_2_to_the_53_come_back_from_json),
        T(F16_versions_next_to_2_to_the_53_come_back_from_json),
        T(strings_are_escaped),
        T(utf8_passes_and_what_is_none_is_replaced),
        T(times_are_iso_8601),
        T(it_grows_out_of_its_storage),
        T(characters_are_counted_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
