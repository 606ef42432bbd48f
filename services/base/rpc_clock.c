#include "base/rpc_clock.h"

#include "base/check.h"

/* start + (at - from) x 0.99, never above the truth whichever clock is the faster one (0.99 is
 * below 1 / 1.01). A moment before the sample loses the other way: x 1 / 0.99. */
static uint64_t carry(uint64_t start, uint64_t from, uint64_t at)
{
    if (at >= from) {
        uint64_t ahead = at - from;
        uint64_t carried = ahead - ahead / 100 - (ahead % 100 != 0);
        return carried > UINT64_MAX - start ? UINT64_MAX : start + carried;
    }
    uint64_t behind = from - at;
    uint64_t carried = behind + behind / 99 + 1;
    return carried >= start ? 0 : start - carried;
}

void rpc_clock_learn(struct rpc_clock *clock, uint64_t t0_us, uint64_t t1_us, uint64_t s_us)
{
    CHECK(t0_us <= t1_us);
    struct rpc_clock_pair *late = &clock->late;
    if (late->ours == 0 || s_us >= carry(late->theirs, late->ours, t1_us)) {
        *late = (struct rpc_clock_pair){t1_us, s_us};
    }
    struct rpc_clock_pair *early = &clock->early;
    if (early->ours == 0 || t0_us >= carry(early->ours, early->theirs, s_us)) {
        *early = (struct rpc_clock_pair){t0_us, s_us};
    }
}

uint64_t rpc_clock_theirs(const struct rpc_clock *clock, uint64_t ours_us)
{
    return carry(clock->late.theirs, clock->late.ours, ours_us);
}

uint64_t rpc_clock_ours(const struct rpc_clock *clock, uint64_t theirs_us)
{
    return carry(clock->early.ours, clock->early.theirs, theirs_us);
}
