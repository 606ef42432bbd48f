#include "edge/body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct json out;
static struct faults faults;

static int setup(void **state)
{
    (void)state;
    json_init(&out, NULL, 0);
    faults_init(&faults, &out);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_fini(&out);
    return 0;
}

/* The JSON of the faults so far, as a C string. */
static const char *told(void)
{
    if (faults.count > 0) faults_close(&faults, "INVALID");
    json_put_raw(&out, (struct span){"", 1});
    return out.at;
}

static void reset(void)
{
    json_clear(&out);
    faults_init(&faults, &out);
}

static struct body *parse(const char *text)
{
    return body_parse(span_of(text), &faults);
}

static void what_is_no_object_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "x",
                                      "{",
                                      "{\"a\":1",
                                      "{\"a\":1}x",
                                      "[1]",
                                      "1",
                                      "null",
                                      "\"a\"",
                                      "{\"a\":1,}",
                                      "{a:1}",
                                      "{\"a\":\"\x01\"}",
                                      "{'a'}",
                                      "{\"a\"}",
                                      "{\"a\":}",
                                      "{\"a\":NaN}",
                                      "{\"a\":01}",
                                      "{\"a\":\"\xff\"}",
                                      "{,}",
                                      "\xef\xbb\xbf{}",
                                      "{\"a\":\"\\u0000\"}",
                                      "{\"a\":\"\\ud800\"}",
                                      "{\"a\":1e999}",
                                      "{\"a\":9223372036854775808}",
                                      "{\"a\":1,\"a\":2}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        reset();
        assert_null(parse(bad[i]));
        assert_int_equal(faults.count, 1);
    }
    reset();
    assert_null(body_parse((struct span){"{\"a\":\"\0\"}", 9}, &faults));
    assert_int_equal(faults.count, 1);
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    char text[2 * BODY_DEPTH_MAX + 32];
    size_t used = 0;
    for (const char *from = "{\"a\":"; *from != '\0'; from++)
        text[used++] = *from;
    for (int i = 1; i < BODY_DEPTH_MAX; i++)
        text[used++] = '[';
    for (int i = 1; i < BODY_DEPTH_MAX; i++)
        text[used++] = ']';
    text[used++] = '}';
    struct body *body = body_parse((struct span){text, used}, &faults);
    assert_non_null(body);
    body_free(body);
    memmove(text + 6, text + 5, used - 5);
    text[5] = '[';
    assert_null(body_parse((struct span){text, used + 1}, &faults));
    assert_non_null(strstr(told(), "nested too deeply"));
    /* Brackets in strings are no levels. */
    reset();
    body = parse("{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[\"}");
    assert_non_null(body);
    body_free(body);
}

static void integers_are_strict(void **state)
{
    (void)state;
    struct body *body = parse("{\"good\":5,\"zero\":0,\"real\":1.0,\"exponent\":1e2,\"text\":\"5\","
                              "\"truth\":true,\"nothing\":null,\"most\":9223372036854775807}");
    assert_non_null(body);
    int64_t number = 0;
    assert_true(body_integer(body, (struct body_integer_rule){"good", 1, 5}, &faults, &number));
    assert_int_equal(number, 5);
    assert_true(
        body_integer(body, (struct body_integer_rule){"most", 1, INT64_MAX}, &faults, &number));
    assert_true(number == INT64_MAX);
    assert_int_equal(faults.count, 0);
    static const struct {
        const char *field;
        const char *type;
    } bad[] = {{"zero", "\"greater_than\""}, {"real", "int_type"},       {"exponent", "int_type"},
               {"text", "int_type"},         {"truth", "int_type"},      {"nothing", "int_type"},
               {"absent", "missing"},        {"most", "less_than_equal"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        reset();
        assert_false(
            body_integer(body, (struct body_integer_rule){bad[i].field, 1, 9}, &faults, &number));
        assert_non_null(strstr(told(), bad[i].type));
    }
    reset();
    body_integer(body, (struct body_integer_rule){"zero", 3, 9}, &faults, &number);
    assert_non_null(strstr(told(), "Input should be greater than or equal to 3"));
    body_free(body);
}

/* What json.h writes, body.h reads: ids and prices come in and go out as numbers. */
static void F16_integers_next_to_2_to_the_53_survive_json(void **state)
{
    (void)state;
    static const int64_t numbers[] = {9007199254740990, 9007199254740991, 9007199254740992,
                                      9007199254740993, INT64_MAX - 1,    INT64_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct json json;
        json_init(&json, NULL, 0);
        json_open_object(&json);
        JSON_KEY(&json, "id");
        json_put_integer(&json, numbers[i]);
        json_close_object(&json);
        struct body *body = body_parse(json_span(&json), &faults);
        assert_non_null(body);
        int64_t number = 0;
        assert_true(
            body_integer(body, (struct body_integer_rule){"id", 1, INT64_MAX}, &faults, &number));
        assert_int_equal(number, numbers[i]);
        body_free(body);
        json_fini(&json);
    }
    assert_int_equal(faults.count, 0);
    /* A limit at 2^53 lies exactly there. */
    struct body *body = parse("{\"at\":9007199254740992,\"above\":9007199254740993}");
    assert_non_null(body);
    int64_t number = 0;
    const int64_t max = 9007199254740992;
    assert_true(body_integer(body, (struct body_integer_rule){"at", 1, max}, &faults, &number));
    assert_false(body_integer(body, (struct body_integer_rule){"above", 1, max}, &faults, &number));
    assert_non_null(strstr(told(), "less than or equal to 9007199254740992"));
    body_free(body);
}

static void texts_are_measured_in_characters(void **state)
{
    (void)state;
    struct body *body = parse("{\"three\":\"\xed\x95\x9c\xea\xb5\xad\xec\x96\xb4\",\"none\":null,"
                              "\"number\":3,\"empty\":\"\"}");
    struct span text;
    assert_true(body_text(body, &(struct body_text_rule){"three", false, 3, 3, 0}, &faults, &text));
    assert_int_equal(text.bytes, 9);
    assert_true(body_text(body, &(struct body_text_rule){"none", true, 1, 3, 0}, &faults, &text));
    assert_null(text.at);
    assert_true(body_text(body, &(struct body_text_rule){"gone", true, 1, 3, 0}, &faults, &text));
    assert_int_equal(faults.count, 0);
    static const struct {
        struct body_text_rule rule;
        const char *type;
    } bad[] = {{{"three", false, 4, 9, 0}, "string_too_short"},
               {{"three", false, 1, 2, 0}, "string_too_long"},
               {{"three", false, 1, 9, 8}, "at most 8 bytes"},
               {{"empty", false, 1, 9, 0}, "string_too_short"},
               {{"none", false, 1, 9, 0}, "string_type"},
               {{"number", true, 1, 9, 0}, "string_type"},
               {{"gone", false, 1, 9, 0}, "missing"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        reset();
        assert_false(body_text(body, &bad[i].rule, &faults, &text));
        assert_non_null(strstr(told(), bad[i].type));
    }
    body_free(body);
}

static void all_faults_are_told_together(void **state)
{
    (void)state;
    faults_add(&faults, "body", "price", "missing", "Field required");
    faults_add(&faults, "header", NULL, "value_error", "say \"why\"");
    faults_add_at(&faults, 17, "no JSON");
    assert_string_equal(told(),
                        "{\"detail\":[{\"loc\":[\"body\",\"price\"],\"msg\":\"Field required\","
                        "\"type\":\"missing\"},{\"loc\":[\"header\"],\"msg\":\"say \\\"why\\\"\","
                        "\"type\":\"value_error\"},{\"loc\":[\"body\",17],\"msg\":\"no JSON\","
                        "\"type\":\"json_invalid\"}],\"code\":\"INVALID\"}");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_is_no_object_is_refused),
        T(nesting_is_bounded),
        T(integers_are_strict),
        T(F16_integers_next_to_2_to_the_53_survive_json),
        T(texts_are_measured_in_characters),
        T(all_faults_are_told_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
