#include "base/rpc_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000)

/* Their clock runs at `rate` (0.99 to 1.01) of ours and stood at `offset` when ours was zero. */
struct truth {
    double rate;
    double offset;
};

static uint64_t theirs_at(const struct truth *truth, uint64_t ours)
{
    return (uint64_t)(truth->offset + truth->rate * (double)ours);
}

static void check_bounds(const struct rpc_clock *clock, const struct truth *truth, uint64_t now)
{
    for (uint64_t ahead = 0; ahead < 100 * SECOND; ahead = 3 * ahead + 977) {
        /* Their clock passes the moment sent no later than ours passes the deadline. */
        uint64_t expires = rpc_clock_theirs(clock, now + ahead);
        assert_true(expires <= theirs_at(truth, now + ahead) + 1);
        /* When ours reaches the end of a lease, theirs has not. */
        uint64_t ends = theirs_at(truth, now + ahead);
        uint64_t local = rpc_clock_ours(clock, ends);
        assert_true(theirs_at(truth, local) <= ends + 1);
    }
}

static void neither_bound_is_ever_crossed(void **state)
{
    (void)state;
    const double rates[] = {0.99, 0.995, 1, 1.005, 1.01};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        struct truth truth = {rates[i], 5e9};
        struct rpc_clock clock = {{0, 0}, {0, 0}};
        uint64_t now = 10 * SECOND;
        uint64_t seed = 42;
        for (int hello = 0; hello < 50; hello++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            uint64_t there = seed >> 33 & 0x3ffff; /* up to 0.26 s each way */
            uint64_t back = seed >> 13 & 0x3ffff;
            uint64_t t0 = now;
            uint64_t s = theirs_at(&truth, t0 + there);
            now = t0 + there + back;
            rpc_clock_learn(&clock, t0, now, s);
            check_bounds(&clock, &truth, now);
            now += 5 * SECOND;
            check_bounds(&clock, &truth, now);
        }
    }
}

static void equal_clocks_lose_only_one_percent(void **state)
{
    (void)state;
    struct rpc_clock clock = {{0, 0}, {0, 0}};
    rpc_clock_learn(&clock, 100 * SECOND, 100 * SECOND, 700 * SECOND);
    assert_int_equal(rpc_clock_theirs(&clock, 110 * SECOND), 700 * SECOND + 9900000);
    assert_int_equal(rpc_clock_ours(&clock, 710 * SECOND), 100 * SECOND + 9900000);
}

static void a_slow_hello_does_not_spoil_a_good_one(void **state)
{
    (void)state;
    struct rpc_clock clock = {{0, 0}, {0, 0}};
    rpc_clock_learn(&clock, 100 * SECOND, 100 * SECOND, 100 * SECOND);
    rpc_clock_learn(&clock, 101 * SECOND, 103 * SECOND, 102 * SECOND);
    assert_true(rpc_clock_theirs(&clock, 104 * SECOND) >= 104 * SECOND - 40001);
    assert_true(rpc_clock_ours(&clock, 104 * SECOND) >= 104 * SECOND - 40001);
    rpc_clock_learn(&clock, 105 * SECOND, 105 * SECOND, 105 * SECOND);
    assert_int_equal(rpc_clock_theirs(&clock, 105 * SECOND), 105 * SECOND);
    assert_int_equal(rpc_clock_ours(&clock, 105 * SECOND), 105 * SECOND);
}

static void the_end_of_numbers_does_not_wrap(void **state)
{
    (void)state;
    struct rpc_clock clock = {{0, 0}, {0, 0}};
    rpc_clock_learn(&clock, 10 * SECOND, 10 * SECOND, UINT64_MAX - 5);
    assert_true(rpc_clock_theirs(&clock, UINT64_MAX) == UINT64_MAX);
    assert_int_equal(rpc_clock_ours(&clock, 0), 0);
    rpc_clock_learn(&clock, 10 * SECOND, 10 * SECOND, 0);
    assert_true(rpc_clock_ours(&clock, UINT64_MAX) > UINT64_MAX / 100 * 98);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neither_bound_is_ever_crossed),
        cmocka_unit_test(equal_clocks_lose_only_one_percent),
        cmocka_unit_test(a_slow_hello_does_not_spoil_a_good_one),
        cmocka_unit_test(the_end_of_numbers_does_not_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
