/* rpc_clock.h - what a client knows of its server's clock, learned by Hello.
 *
 * Each Hello gives three moments: before it was sent (t0, ours), when it was answered (s, theirs),
 * after it arrived (t1, ours). The server read s somewhere between t0 and t1, and the two clocks
 * run within 1 % of each other; that bounds every other moment from both sides. Of several samples
 * the one that bounds more tightly is kept, for each side on its own.
 *
 * Pure: no clock is read here.
 *
 * Units     absolute microseconds: `ours` of this machine's CLOCK_BOOTTIME, `theirs` of the
 * server's.
 */
#ifndef QUORATE_BASE_RPC_CLOCK_H
#define QUORATE_BASE_RPC_CLOCK_H

#include <stdint.h>

struct rpc_clock_pair {
    uint64_t ours;
    uint64_t theirs;
};

/* Zero-initialised knows nothing. */
struct rpc_clock {
    struct rpc_clock_pair late;  /* (t1, s): theirs is at least this far at ours */
    struct rpc_clock_pair early; /* (t0, s): theirs is at most this far at ours */
};

void rpc_clock_learn(struct rpc_clock *clock, uint64_t t0_us, uint64_t t1_us, uint64_t s_us);

/* The latest moment on their clock that is surely not after `ours_us` on ours: a deadline to send.
 */
uint64_t rpc_clock_theirs(const struct rpc_clock *clock, uint64_t ours_us);

/* The latest moment on our clock that is surely not after `theirs_us` on theirs: the end of a lease
 * received. */
uint64_t rpc_clock_ours(const struct rpc_clock *clock, uint64_t theirs_us);

#endif
