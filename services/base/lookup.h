/* lookup.h - turns a host name into a numeric address without blocking the loop.
 *
 * Thread    the loop's only; the work is done by libuv's pool.
 * Answers   on_done exactly once, never before lookup_start returned, unless cancelled.
 * Borrows   host until lookup_start returns; the texts while on_done runs.
 * Ownership the lookup frees itself after its answer, or some time after it was cancelled.
 */
#ifndef QUORATE_BASE_LOOKUP_H
#define QUORATE_BASE_LOOKUP_H

#include "base/loop.h"

struct lookup;

/* One of `address` and `why_not` is NULL. */
typedef void lookup_fn(void *arg, const char *address, const char *why_not);

/* A name may have several addresses of which not all are listened on: `pick` chooses one, modulo
 * their number. */
struct lookup *lookup_start(struct loop *loop, const char *host, unsigned pick, lookup_fn *on_done,
                            void *arg);

void lookup_cancel(struct lookup *lookup);

#endif
