/* hints.h - hears from every node which resources are released there.
 *
 * A node publishes the name of a resource when its lock goes. That is a hint to try again at once
 * instead of later, and nothing else: it is lost when nobody listens, it comes from every node once
 * and for one's own releases too, it may be late, and anyone who can reach a node can make one up.
 * Nothing is ever granted for it.
 *
 * Each node is listened to on a connection of its own, because one that subscribes can ask nothing
 * else; whether the node votes is no matter here. Such a connection is looked after as any other:
 * found again when its server is back, given up when a question every two seconds has no answer.
 *
 * Thread    the loop's only.
 * Answers   on_hint comes from the loop, never from inside a call; none after hints_close.
 * Borrows   the names for the hints' life; the resource while on_hint runs.
 * Units     a node is its place in the names.
 */
#ifndef QUORATE_LOCKD_HINTS_H
#define QUORATE_LOCKD_HINTS_H

#include "base/conf.h"
#include "base/loop.h"
#include "base/span.h"

struct hints;

#define HINTS_CHANNEL "quorate:released"

/* `resource` is any 1 to RESOURCE_BYTES_MAX bytes. */
typedef void hints_hint_fn(void *arg, unsigned node, struct span resource);

/* Never fails: a node that is away is dialed for ever. The names are host:port, up to
 * TRANSPORT_NODES_MAX. */
struct hints *hints_open(struct loop *loop, const struct conf_list *names, hints_hint_fn *on_hint,
                         void *arg);

/* Allowed inside on_hint. NULL is harmless. */
void hints_close(struct hints *hints);

#endif
