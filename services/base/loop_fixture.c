#include "base/loop_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <uv.h>

#include <cmocka.h>

#define LOOK_US 2000

static void on_wake(void *arg)
{
    (void)arg; /* lets uv_run return */
}

/* One turn of the loop, which ends with the first thing that happens or at until_us. */
static void turn(struct loop *loop, uint64_t until_us)
{
    struct timer wake = {0};
    timer_start(&wake, loop_timers(loop), until_us, on_wake, NULL);
    uv_run(loop_uv(loop), UV_RUN_ONCE);
    timer_stop(&wake);
}

static uint64_t earlier(uint64_t a_us, uint64_t b_us)
{
    return a_us < b_us ? a_us : b_us;
}

struct loop_wait loop_wait_begin(struct loop *loop, uint64_t ms)
{
    uint64_t now_us = loop_now_us(loop);
    uv_run(loop_uv(loop), UV_RUN_NOWAIT);
    return (struct loop_wait){loop, now_us + 1000 * ms};
}

void loop_wait_turn(const struct loop_wait *wait, const char *truth, const char *file, int line)
{
    uint64_t now_us = loop_now_us(wait->loop);
    if (now_us >= wait->ends_us) {
        print_error("not in time: %s\n", truth);
        _fail(file, line);
    }
    turn(wait->loop, earlier(now_us + LOOK_US, wait->ends_us));
}

void loop_run_ms(struct loop *loop, uint64_t ms)
{
    uint64_t ends_us = loop_now_us(loop) + 1000 * ms;
    do
        turn(loop, ends_us);
    while (loop_now_us(loop) < ends_us);
}
