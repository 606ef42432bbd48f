/* lockd_client.h - what the edge asks of lockd: how many nodes vote, for /health.
 *
 * Locks themselves are inventory's business. The last known state is kept and asked anew every half
 * second, so that /health costs nothing. With several lockds the one that counts the most votes
 * speaks: each reaches the nodes by its own ways.
 *
 * Thread    the loop's only.
 */
#ifndef QUORATE_EDGE_LOCKD_CLIENT_H
#define QUORATE_EDGE_LOCKD_CLIENT_H

#include "base/conf.h"
#include "edge/peer.h"

struct lockd_client;

/* NULL: an address is malformed (said in the log). `urls` is borrowed for the client's life. */
struct lockd_client *lockd_client_open(struct loop *loop, const struct conf_list *urls,
                                       struct metrics *metrics);

/* NULL is harmless. */
void lockd_client_close(struct lockd_client *client);

size_t lockd_client_peers(const struct lockd_client *client);
struct peer *lockd_client_peer(const struct lockd_client *client, size_t place);

struct quorum {
    bool known; /* a lockd has told within the last two seconds */
    uint32_t voting;
    uint32_t needed;
    uint32_t nodes;
    const char *missing; /* "redis3:6379 (down), …"; "" if all vote. Borrowed until the next call */
};

struct quorum lockd_client_quorum(const struct lockd_client *client);

#endif
