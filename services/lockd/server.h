/* server.h - the service quorate.lock.v1.Lock, on the RPC: unpacks, asks leases or members, packs.
 *
 * Hello, Health and Metrics are answered by the RPC server itself; this keeps Health's state: not
 * serving while fewer nodes vote than a grant needs.
 *
 * Thread    the loop's only.
 * Borrows   everything in its options, for the server's life.
 */
#ifndef QUORATE_LOCKD_SERVER_H
#define QUORATE_LOCKD_SERVER_H

#include "base/rpc_server.h"
#include "lockd/leases.h"
#include "lockd/members.h"

struct lock_server;

struct lock_server_options {
    struct rpc_server *rpc;
    struct leases *leases;
    const struct members *members;
    struct timers *timers;
    uint64_t instance;
};

/* Adds the service to the RPC server. */
struct lock_server *lock_server_new(const struct lock_server_options *options);

/* Every request has been ended: leases_free has answered those that were open. */
void lock_server_free(struct lock_server *server);

/* Votes may have changed. */
void lock_server_on_nodes(struct lock_server *server);

/* From now on calls are refused with DOWN; leases are about to be freed. */
void lock_server_drain(struct lock_server *server);

#endif
