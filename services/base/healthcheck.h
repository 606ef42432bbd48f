/* healthcheck.h - how a running service is, asked from outside by `NAME --healthcheck`: what a
 * container engine runs again and again.
 *
 * Healthy is what serves; and once it has served, or from HEALTHCHECK_START_US after its start,
 * whatever runs its loop. So a start order that waits for healthy parts waits for a system that
 * sells, but nothing is ever restarted because something else is missing: a lost quorum is not
 * mended by that.
 *
 * Thread    any, with a loop of its own; blocks for at most HEALTHCHECK_WAIT_US.
 */
#ifndef QUORATE_BASE_HEALTHCHECK_H
#define QUORATE_BASE_HEALTHCHECK_H

#include "base/conf.h"

#include <stdbool.h>
#include <stdint.h>

#define HEALTHCHECK_START_US UINT64_C(30000000)
#define HEALTHCHECK_WAIT_US  UINT64_C(2000000)

#define HEALTHCHECK "--healthcheck"
#define HEALTHCHECK_MODE                                                                           \
    {                                                                                              \
        HEALTHCHECK, "asks the one that runs with these settings: exit code 0 if it serves or, "   \
                     "once it has served or 30 s after its start, if it is alive; else 1"          \
    }

struct healthcheck {
    bool alive;
    bool serves;
    bool has_served; /* since its start */
    uint64_t age_us; /* since its start */
};

/* One line for people on standard output. Returns the exit code. */
int healthcheck_verdict(const struct healthcheck *found);

/* Asks a server of the RPC at the address on which it listens, Peer/Hello, then Health/Check; says
 * the verdict and ends the process with it. (Closing an NNG socket may take longer than the engine
 * waits.) */
_Noreturn void healthcheck_rpc(const char *url);

#endif
