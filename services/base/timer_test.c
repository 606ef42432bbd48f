#include "base/timer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t fake_us;

static uint64_t fake_now(void *arg)
{
    (void)arg;
    return fake_us;
}

static const struct clock fake_clock = {fake_now, fake_now, NULL};

struct probe {
    struct timer timer;
    struct timers *timers;
    struct probe *victim; /* stopped when this one fires */
    uint64_t again_us;    /* started anew when this one fires */
    int fired;
    int *order;
    int place;
};

static void on_due(void *arg)
{
    struct probe *probe = arg;
    probe->fired++;
    if (probe->order != NULL) probe->place = (*probe->order)++;
    if (probe->victim != NULL) timer_stop(&probe->victim->timer);
    if (probe->again_us != 0)
        timer_start(&probe->timer, probe->timers, probe->again_us, on_due, probe);
}

static void fires_in_order_of_deadline(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    struct timers timers;
    timers_init(&timers, &fake_clock);
    fake_us = 0;
    int order = 0;
    struct probe *probes = calloc(COUNT, sizeof *probes);
    srand(7);
    for (int i = 0; i < COUNT; i++) {
        probes[i].order = &order;
        timer_start(&probes[i].timer, &timers, (uint64_t)(rand() % 1000), on_due, &probes[i]);
    }
    for (int i = 0; i < COUNT; i += 3)
        timer_stop(&probes[i].timer);
    fake_us = 500;
    timers_run(&timers);
    uint64_t due_at[COUNT] = {0};
    for (int i = 0; i < COUNT; i++) {
        int wanted = i % 3 != 0 && probes[i].timer.due_us <= 500;
        assert_int_equal(probes[i].fired, wanted);
        assert_int_equal(timer_running(&probes[i].timer), i % 3 != 0 && !wanted);
        if (wanted) due_at[probes[i].place] = probes[i].timer.due_us;
    }
    for (int i = 1; i < order; i++)
        assert_true(due_at[i - 1] <= due_at[i]);
    assert_true(timers_next_us(&timers) > 500);
    timers_fini(&timers);
    for (int i = 0; i < COUNT; i++)
        assert_false(timer_running(&probes[i].timer));
    free(probes);
}

static void a_stopped_timer_never_fires_even_if_it_was_due_in_the_same_run(void **state)
{
    (void)state;
    struct timers timers;
    timers_init(&timers, &fake_clock);
    fake_us = 0;
    struct probe second = {0};
    struct probe third = {0};
    struct probe first = {.victim = &second};
    timer_start(&first.timer, &timers, 1, on_due, &first);
    timer_start(&second.timer, &timers, 2, on_due, &second);
    timer_start(&third.timer, &timers, 3, on_due, &third);
    fake_us = 10;
    timers_run(&timers);
    assert_int_equal(first.fired, 1);
    assert_int_equal(second.fired, 0);
    assert_int_equal(third.fired, 1);
    assert_int_equal(timers_next_us(&timers), TIMER_NEVER);
    timers_fini(&timers);
}

static void what_is_started_in_the_past_waits_for_the_next_run(void **state)
{
    (void)state;
    struct timers timers;
    timers_init(&timers, &fake_clock);
    fake_us = 100;
    struct probe probe = {.timers = &timers, .again_us = 1};
    timer_start(&probe.timer, &timers, 50, on_due, &probe);
    timers_run(&timers);
    assert_int_equal(probe.fired, 1);
    assert_int_equal(timers_next_us(&timers), 1);
    timers_run(&timers);
    assert_int_equal(probe.fired, 2);
    timers_fini(&timers);
}

static void starting_anew_moves_the_deadline(void **state)
{
    (void)state;
    struct timers timers;
    timers_init(&timers, &fake_clock);
    fake_us = 0;
    struct probe probe = {0};
    timer_start(&probe.timer, &timers, 5, on_due, &probe);
    timer_start(&probe.timer, &timers, 20, on_due, &probe);
    fake_us = 10;
    timers_run(&timers);
    assert_int_equal(probe.fired, 0);
    fake_us = 20;
    timers_run(&timers);
    assert_int_equal(probe.fired, 1);
    timers_fini(&timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_in_order_of_deadline),
        cmocka_unit_test(a_stopped_timer_never_fires_even_if_it_was_due_in_the_same_run),
        cmocka_unit_test(what_is_started_in_the_past_waits_for_the_next_run),
        cmocka_unit_test(starting_anew_moves_the_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
