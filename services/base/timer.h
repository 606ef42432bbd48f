/* timer.h - embedded deadlines, and the heap that holds them.
 *
 * A timer is part of the struct that waits; starting and stopping never allocates a handle, and a
 * stopped timer never fires: not even one that was due together with the timer whose callback stops
 * it. The heap is pure: the loop drives it with the real clock, a test with a fake one.
 *
 * Thread    the loop's only.
 * Answers   a running timer fires once, from timers_run, then it is stopped; its callback may start
 * it again, stop or start others, and free the struct that holds it. Borrows   the timer's memory,
 * from start until it fired or was stopped. timers_fini forgets those that still run. Units
 * absolute microseconds on the clock's boot time.
 */
#ifndef QUORATE_BASE_TIMER_H
#define QUORATE_BASE_TIMER_H

#include "base/clock.h"

#include <stdbool.h>
#include <stddef.h>

#define TIMER_NEVER UINT64_MAX

typedef void timer_due_fn(void *arg);

struct timers {
    const struct clock *clock;
    struct timer **heap; /* smallest due_us first */
    size_t count;
    size_t capacity;
    struct timer *gathered; /* due, about to fire in this run */
};

/* Zero-initialised is stopped. */
struct timer {
    struct timers *in; /* NULL: stopped */
    uint64_t due_us;
    timer_due_fn *on_due;
    void *arg;
    size_t place; /* in the heap; HEAP_NONE while gathered */
    struct timer *next;
    struct timer **back;
};

void timers_init(struct timers *timers, const struct clock *clock);
void timers_fini(struct timers *timers);

static inline uint64_t timers_now_us(const struct timers *timers)
{
    return clock_boot_us(timers->clock);
}

/* When the first one is due; TIMER_NEVER if none runs. */
uint64_t timers_next_us(const struct timers *timers);

/* Fires what is due now, in order; what its callbacks start waits for the next run. */
void timers_run(struct timers *timers);

/* Runs until due_us; a running timer is started anew. A due_us in the past fires at the next run,
 * never at once. */
void timer_start(struct timer *timer, struct timers *timers, uint64_t due_us, timer_due_fn *on_due,
                 void *arg);

/* Harmless on a stopped timer. */
void timer_stop(struct timer *timer);

static inline bool timer_running(const struct timer *timer)
{
    return timer->in != NULL;
}

#endif
