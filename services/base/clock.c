#include "base/clock.h"

#include <time.h>

static uint64_t read_us(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t system_boot_us(void *arg)
{
    (void)arg;
    return read_us(CLOCK_BOOTTIME);
}

static uint64_t system_wall_us(void *arg)
{
    (void)arg;
    return read_us(CLOCK_REALTIME);
}

const struct clock clock_system = {system_boot_us, system_wall_us, NULL};
