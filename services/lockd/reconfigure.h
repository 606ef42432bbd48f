/* reconfigure.h - lockd --reconfigure: makes the nodes one cluster under changed REDIS_NODES or
 * LOCK_TTL_MAX_SECONDS.
 *
 * With all lockds stopped: waits until every lease that was granted under the old settings is over
 * (the old LOCK_TTL_MAX is part of the old epoch's id), then gives every node of the new list an
 * epoch of the new cluster, its floor above every token that any of them has seen and above the
 * wall clock. A lock that is still on a node after the wait means that a lockd is running: nothing
 * more is changed. Repeating it is harmless.
 */
#ifndef QUORATE_LOCKD_RECONFIGURE_H
#define QUORATE_LOCKD_RECONFIGURE_H

#include "base/conf.h"

struct reconfigure_options {
    struct conf_list names;
    uint32_t ttl_max_ms;
};

/* Runs a loop of its own and says on standard error what it does. False: not all nodes were
 * rewritten; it says which and why. */
bool reconfigure_run(const struct reconfigure_options *options);

#endif
