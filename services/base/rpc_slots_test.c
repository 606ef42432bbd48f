#include "base/rpc_slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Calls are never looked into: any address will do. */
static struct rpc_call *call_number(uintptr_t number)
{
    return (struct rpc_call *)(8 * number); // NOLINT(performance-no-int-to-ptr)
}

static void an_id_finds_its_call_until_given_back(void **state)
{
    (void)state;
    struct rpc_slots slots;
    rpc_slots_init(&slots, 3);
    uint64_t ids[3];
    for (uintptr_t i = 0; i < 3; i++) {
        ids[i] = rpc_slots_take(&slots, call_number(i + 1));
        assert_true(ids[i] != 0);
    }
    assert_true(rpc_slots_take(&slots, call_number(9)) == 0);
    for (uintptr_t i = 0; i < 3; i++)
        assert_ptr_equal(rpc_slots_find(&slots, ids[i]), call_number(i + 1));
    rpc_slots_give(&slots, ids[1]);
    assert_null(rpc_slots_find(&slots, ids[1]));
    assert_int_equal(slots.taken, 2);
    rpc_slots_fini(&slots);
}

static void the_id_of_an_ended_call_is_never_that_of_another(void **state)
{
    (void)state;
    struct rpc_slots slots;
    rpc_slots_init(&slots, 1);
    uint64_t old = rpc_slots_take(&slots, call_number(1));
    for (uintptr_t i = 2; i < 1000; i++) {
        rpc_slots_give(&slots, old);
        uint64_t id = rpc_slots_take(&slots, call_number(i));
        assert_true(id != old);
        assert_null(rpc_slots_find(&slots, old));
        assert_ptr_equal(rpc_slots_find(&slots, id), call_number(i));
        old = id;
    }
    rpc_slots_fini(&slots);
}

static void any_number_may_be_asked_for(void **state)
{
    (void)state;
    struct rpc_slots slots;
    rpc_slots_init(&slots, 2);
    const uint64_t numbers[] = {0, 1, 2, 0xffff, 0x10000, 0x10002, UINT64_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        assert_null(rpc_slots_find(&slots, numbers[i]));
    rpc_slots_fini(&slots);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_finds_its_call_until_given_back),
        cmocka_unit_test(the_id_of_an_ended_call_is_never_that_of_another),
        cmocka_unit_test(any_number_may_be_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
