/* transport.h - the quorum's nodes, as the protocol sees them.
 *
 * The protocol (rounds, leases, queues) decides what every node shall be asked; a transport carries
 * it there. In production that is Redis behind admission and breakers, in tests a simulated world.
 * Nothing here does I/O.
 *
 * Thread    the loop's only.
 * Answers   a send that returned true is answered exactly once, never before it returned; false:
 * this node does not vote or is down, nothing was sent, no answer follows. Borrows   the order
 * until send returns; the vote while the answer runs. Units     tokens are below 2^53; ttl_ms and
 * remaining_ms milliseconds.
 */
#ifndef QUORATE_LOCKD_TRANSPORT_H
#define QUORATE_LOCKD_TRANSPORT_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define TRANSPORT_NODES_MAX  9
#define REQUEST_ID_BYTES_MAX 64
#define RESOURCE_BYTES_MAX   200
/* "<request id> <lockd instance, 16 hex digits> <token, 16 digits>" */
#define VALUE_BYTES_MAX (REQUEST_ID_BYTES_MAX + 1 + 16 + 1 + 16)
#define TOKEN_MAX       ((UINT64_C(1) << 53) - 1)

enum order_kind {
    ORDER_GRANT,   /* give the lock to `value`; if `from` is set, also when `from` holds it. Where
                      another lockd's value is in the way, leaves the mark of `value`'s lockd */
    ORDER_EXTEND,  /* a later end for `value` */
    ORDER_RELEASE, /* delete `value`, raise the fence to token + 1 */
    ORDER_FORGET,  /* delete whatever value begins with the request id in `value`; no tombstone */
};

/* No order ever shortens the life of a key: a GRANT or EXTEND for the value that is already there
 * is a yes, but only sets a later end (PEXPIRE … GT). Otherwise a grant of 1 s that was left in the
 * socket of a dropped connection could cut short, when it is executed at last, the key of the same
 * lease that was meanwhile extended to 60 s on a new connection. */
struct order {
    enum order_kind kind;
    struct span resource;
    struct span value;
    struct span from; /* ORDER_GRANT; empty: none */
    uint64_t token;
    uint32_t ttl_ms; /* GRANT and EXTEND; RELEASE and FORGET: how long it is worth repeating */
};

enum verdict {
    VERDICT_YES,      /* done, and it counts */
    VERDICT_HEALED,   /* extend: the key was missing and is there again; does not count */
    VERDICT_HELD,     /* grant: another value holds it for remaining_ms */
    VERDICT_STALE,    /* grant: the token is not above the node's bound */
    VERDICT_LOST,     /* extend: another value, or a higher bound */
    VERDICT_UNKNOWN,  /* no answer in time: it may have happened, or may yet */
    VERDICT_EXCLUDED, /* answered, but the node must not vote (no epoch, another cluster's, clock
                         jumped) */
};

struct vote {
    enum verdict verdict;
    uint64_t bound;   /* highest token this node has accepted or been told for the resource; 0: not
                         answered */
    bool others_wait; /* YES: another lockd has left its mark */
    uint32_t remaining_ms;                 /* HELD */
    char holder[REQUEST_ID_BYTES_MAX + 1]; /* HELD: its request id */
};

typedef void vote_fn(void *arg, const struct vote *vote);

struct transport {
    unsigned nodes; /* how many there are, voting or not */

    /* GRANT and EXTEND go to nodes that vote. RELEASE and FORGET go to every node with a
     * connection, voting or not, and are kept for ttl_ms for nodes without one, and for one that
     * broke before they were answered, to be sent first when it is back; true then too, the answer
     * being UNKNOWN. */
    bool (*send)(void *arg, unsigned node, const struct order *order, vote_fn *on_vote,
                 void *vote_arg);

    bool (*votes)(void *arg, unsigned node);

    void *arg;
};

static inline unsigned transport_quorum(const struct transport *transport)
{
    return transport->nodes / 2 + 1;
}

static inline unsigned transport_voting(const struct transport *transport)
{
    unsigned voting = 0;
    for (unsigned node = 0; node < transport->nodes; node++) {
        voting += transport->votes(transport->arg, node);
    }
    return voting;
}

#endif
