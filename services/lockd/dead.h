/* dead.h - request ids that were released, and must not be granted any more.
 *
 * An Acquire may be overtaken by its own Release on another connection; what comes after it would
 * take a lock that nobody will ever let go. So a released id stays dead for a while. The table is
 * bounded: past its maximum the oldest are forgotten first, which can cost such an overtaken
 * Acquire one lease until its TTL, never the exclusion.
 *
 * Thread    the loop's only.
 * Borrows   all spans, until the call returns.
 * Units     microseconds on the clock's boot time.
 */
#ifndef QUORATE_LOCKD_DEAD_H
#define QUORATE_LOCKD_DEAD_H

#include "base/span.h"

#include <stdint.h>

struct dead_id;
struct dead {
    struct dead_id *ids; /* oldest first */
    uint64_t life_us;
    uint32_t count;
    uint32_t max;
};

void dead_init(struct dead *dead, uint64_t life_us, uint32_t max);
void dead_fini(struct dead *dead);

/* Dead from now on for life_us; an id that is dead already keeps its end. */
void dead_add(struct dead *dead, struct span resource, struct span request_id, uint64_t now_us);

bool dead_has(const struct dead *dead, struct span resource, struct span request_id,
              uint64_t now_us);

#endif
