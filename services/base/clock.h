/* clock.h - what time it is, as a parameter.
 *
 * Pure code (lease queue, redlock, lane, timers) never asks the kernel: it is given a clock, and
 * under test a fake one. Deadlines are on `boot`, which no one can set and which goes on while the
 * machine sleeps; `wall` serves only where a number must mean something to others (tokens,
 * versions, log lines).
 *
 * Thread    any.
 * Units     microseconds; `boot` since the machine started, `wall` since 1970.
 */
#ifndef QUORATE_BASE_CLOCK_H
#define QUORATE_BASE_CLOCK_H

#include <stdint.h>

struct clock {
    uint64_t (*boot_us)(void *arg);
    uint64_t (*wall_us)(void *arg);
    void *arg;
};

static inline uint64_t clock_boot_us(const struct clock *clock)
{
    return clock->boot_us(clock->arg);
}

static inline uint64_t clock_wall_us(const struct clock *clock)
{
    return clock->wall_us(clock->arg);
}

/* The kernel's CLOCK_BOOTTIME and CLOCK_REALTIME. */
extern const struct clock clock_system;

#endif
