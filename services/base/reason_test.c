#include "base/reason.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_code_and_a_status_follow_from_the_reason(void **state)
{
    (void)state;
    assert_string_equal(reason_name(REASON_NO_QUORUM), "NO_QUORUM");
    assert_int_equal(reason_grpc_code(REASON_NO_QUORUM), 14);
    assert_int_equal(reason_http_status(REASON_NO_QUORUM), 503);
    assert_int_equal(reason_http_status(REASON_OUTCOME_UNKNOWN), 504);
    assert_int_equal(reason_http_status(REASON_INSUFFICIENT), 400);
}

static void an_unknown_number_is_an_unknown_outcome(void **state)
{
    (void)state;
    assert_int_equal(reason_from_number(REASON_CANCELLED), REASON_CANCELLED);
    assert_int_equal(reason_from_number(REASON_CANCELLED + 1), REASON_OUTCOME_UNKNOWN);
    assert_int_equal(reason_from_number(UINT32_MAX), REASON_OUTCOME_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_code_and_a_status_follow_from_the_reason),
        cmocka_unit_test(an_unknown_number_is_an_unknown_outcome),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
