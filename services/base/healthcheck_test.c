#include "base/healthcheck.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define OLD   HEALTHCHECK_START_US
#define YOUNG (HEALTHCHECK_START_US - 1)

static int verdict(bool alive, bool serves, uint64_t age_us)
{
    return healthcheck_verdict(
        &(struct healthcheck){.alive = alive, .serves = serves, .age_us = age_us});
}

static void what_serves_is_healthy_whatever_its_age(void **state)
{
    (void)state;
    assert_int_equal(verdict(true, true, 0), 0);
    assert_int_equal(verdict(true, true, OLD), 0);
}

static void what_only_lives_is_healthy_once_its_start_is_over(void **state)
{
    (void)state;
    assert_int_equal(verdict(true, false, 0), 1);
    assert_int_equal(verdict(true, false, YOUNG), 1);
    assert_int_equal(verdict(true, false, OLD), 0);
}

static void what_has_served_stays_healthy_while_it_lives(void **state)
{
    (void)state;
    struct healthcheck found = {.alive = true, .has_served = true, .age_us = YOUNG};
    assert_int_equal(healthcheck_verdict(&found), 0);
    found.alive = false;
    assert_int_equal(healthcheck_verdict(&found), 1);
}

static void who_does_not_answer_is_not_healthy(void **state)
{
    (void)state;
    assert_int_equal(verdict(false, false, 0), 1);
    assert_int_equal(verdict(false, false, OLD), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_serves_is_healthy_whatever_its_age),
        cmocka_unit_test(what_only_lives_is_healthy_once_its_start_is_over),
        cmocka_unit_test(what_has_served_stays_healthy_while_it_lives),
        cmocka_unit_test(who_does_not_answer_is_not_healthy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
