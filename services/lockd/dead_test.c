#include "lockd/dead.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static bool has(const struct dead *dead, const char *resource, const char *id, uint64_t now_us)
{
    return dead_has(dead, span_of(resource), span_of(id), now_us);
}

static void ids_are_dead_for_their_life_and_per_resource(void **state)
{
    (void)state;
    struct dead dead;
    dead_init(&dead, 1000, 10);
    dead_add(&dead, span_of("r"), span_of("a"), 5000);
    assert_true(has(&dead, "r", "a", 5999));
    assert_false(has(&dead, "r", "a", 6000));
    assert_false(has(&dead, "s", "a", 5000));
    assert_false(has(&dead, "r", "b", 5000));
    assert_false(has(&dead, "r a", "", 5000));
    dead_add(&dead, span_of("r"), span_of("a"), 5500); /* its end stays: the order is by end */
    assert_int_equal(dead.count, 1);
    assert_false(has(&dead, "r", "a", 6000));
    dead_add(&dead, span_of("r"), span_of("a"), 6000);
    assert_int_equal(dead.count, 1);
    assert_true(has(&dead, "r", "a", 6999));
    dead_fini(&dead);
}

static void the_table_is_bounded_and_forgets_the_oldest(void **state)
{
    (void)state;
    enum { MAX = 100 };
    struct dead dead;
    dead_init(&dead, 1000000, MAX);
    char id[16];
    for (unsigned i = 0; i < 3 * MAX; i++) {
        (void)snprintf(id, sizeof id, "id%u", i);
        dead_add(&dead, span_of("r"), span_of(id), i);
        assert_true(dead.count <= MAX);
    }
    assert_false(has(&dead, "r", "id199", 300));
    assert_true(has(&dead, "r", "id200", 300));
    assert_true(has(&dead, "r", "id299", 300));
    dead_add(&dead, span_of("r"), span_of("late"), 2000000); /* all others are over */
    assert_int_equal(dead.count, 1);
    dead_fini(&dead);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_dead_for_their_life_and_per_resource),
        cmocka_unit_test(the_table_is_bounded_and_forgets_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
