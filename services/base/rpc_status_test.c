#include "base/rpc_status.h"

#include "proto/lock.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void what_is_no_utf8_is_replaced(void **state)
{
    (void)state;
    const struct {
        const char *text;
        const char *clean;
    } cases[] = {
        {NULL, ""},
        {"", ""},
        {"plain", "plain"},
        {"\xed\x95\x9c\xea\xb5\xad \xf0\x9f\x94\x92", "\xed\x95\x9c\xea\xb5\xad \xf0\x9f\x94\x92"},
        {"\xff", "?"},
        {"a\xc3", "a?"},              /* cut off */
        {"\xc0\xaf", "??"},           /* overlong */
        {"\xe0\x80\xaf", "???"},      /* overlong */
        {"\xed\xa0\x80", "???"},      /* surrogate */
        {"\xf4\x90\x80\x80", "????"}, /* above U+10FFFF */
        {"\xf0\x80\x80\xaf", "????"}, /* overlong */
        {"\xe2\x82x", "??x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rpc_status status;
        rpc_status_set_message(&status, cases[i].text);
        assert_string_equal(status.message, cases[i].clean);
    }
}

static void a_long_text_is_cut_between_characters(void **state)
{
    (void)state;
    char text[2000];
    struct rpc_status status;
    memset(text, 'x', sizeof text);
    text[1999] = '\0';
    rpc_status_set_message(&status, text);
    assert_int_equal(strlen(status.message), RPC_MESSAGE_BYTES_MAX);
    for (size_t i = 1; i + 1 < sizeof text; i += 2) {
        text[i] = (char)0xc3;
        text[i + 1] = (char)0xa9;
    }
    rpc_status_set_message(&status, text);
    assert_int_equal(strlen(status.message), RPC_MESSAGE_BYTES_MAX - 1);
}

static void a_detail_is_unpacked_as_what_it_is(void **state)
{
    (void)state;
    struct rpc_status status = {.reason = REASON_BUSY,
                                .detail_type = span_of("quorate.lock.v1.Refusal"),
                                .detail = {"\x08\x03\x10\x05", 4}};
    assert_null(rpc_status_detail(&status, &quorate__lock__v1__nodes_reply__descriptor));
    Quorate__Lock__V1__Refusal *refusal = (Quorate__Lock__V1__Refusal *)rpc_status_detail(
        &status, &quorate__lock__v1__refusal__descriptor);
    assert_non_null(refusal);
    assert_int_equal(refusal->voting, 3);
    assert_int_equal(refusal->quorum, 5);
    quorate__lock__v1__refusal__free_unpacked(refusal, NULL);
    status.detail = (struct span){"\x08", 1};
    assert_null(rpc_status_detail(&status, &quorate__lock__v1__refusal__descriptor));
    status = (struct rpc_status){.reason = REASON_BUSY};
    assert_null(rpc_status_detail(&status, &quorate__lock__v1__refusal__descriptor));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_utf8_is_replaced),
        cmocka_unit_test(a_long_text_is_cut_between_characters),
        cmocka_unit_test(a_detail_is_unpacked_as_what_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
