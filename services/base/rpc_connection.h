/* rpc_connection.h - the connections of a server, and the ways back to who called.
 *
 * A reply finds its way by the header of its request: the pipe and the caller's NNG request id (and
 * whatever devices between have added). Our own client uses one request id, so that its answers
 * share messages; a plain req0 program uses a new one each time and gets one message each. Hence
 * frames are gathered per route, one route per header. Mixing two would send answers astray.
 *
 * Routes that carry nothing are forgotten, apart from the last few of each connection: those of our
 * own client live as long as the connection.
 *
 * NNG queues 64 messages per pipe and silently drops what comes after, and does not say how many
 * are queued. But callers wait for answers before they call again: who calls has read. So a
 * connection gets 32 messages in a row without a word from it, and from then on a few a
 * millisecond; what is above waits in its envelopes.
 *
 * Part of rpc_server. Thread    the loop's only.
 */
#ifndef QUORATE_BASE_RPC_CONNECTION_H
#define QUORATE_BASE_RPC_CONNECTION_H

#include "base/loop.h"
#include "base/rpc_frame.h"
#include "base/rpc_socket.h"

#include <uthash.h>

#define RPC_ROUTES_KEPT 4

struct rpc_request;
struct rpc_connections;

struct rpc_route {
    struct rpc_connection *connection;
    uint32_t open; /* requests that will be answered this way */
    bool kept;
    bool waiting; /* in connections->waiting */
    struct rpc_envelope envelope;
    struct rpc_route *prev, *next;                 /* in connection->routes */
    struct rpc_route *prev_waiting, *next_waiting; /* in connections->waiting */
    UT_hash_handle hh;                             /* in connections->routes, by header */
    size_t header_bytes;
    char header[RPC_HEADER_BYTES_MAX];
};

struct rpc_connection {
    struct rpc_connections *all;
    uint32_t pipe;
    uint32_t open;                /* requests not ended, also those cancelled */
    struct rpc_request *requests; /* rpc_request's list */
    struct rpc_route *routes;
    struct rpc_route *kept[RPC_ROUTES_KEPT];
    unsigned kept_next;
    uint32_t unheard;  /* messages sent that it may not have read yet, as far as we can tell */
    uint64_t paced_us; /* when more were last allowed */
    UT_hash_handle hh; /* in connections->table, by pipe */
};

struct rpc_connections {
    struct loop *loop;
    struct rpc_socket *socket;
    struct rpc_connection *table;
    struct rpc_route *routes;
    struct rpc_route *waiting; /* with frames to send */
    struct tick flush;
    struct timer flush_again;
};

void rpc_connections_init(struct rpc_connections *all, struct loop *loop);

/* Sends what waits as far as NNG takes it, and forgets every connection; their requests are gone
 * before. */
void rpc_connections_fini(struct rpc_connections *all);

/* Requests of the connection were detached before it is removed. */
struct rpc_connection *rpc_connection_add(struct rpc_connections *all, uint32_t pipe);
struct rpc_connection *rpc_connection_find(struct rpc_connections *all, uint32_t pipe);
void rpc_connection_remove(struct rpc_connection *connection);

/* A message came from it. */
void rpc_connection_heard(struct rpc_connection *connection);

/* Finds or makes it. Call rpc_route_settle when done with it. */
struct rpc_route *rpc_route_get(struct rpc_connection *connection, struct span header);

/* Frees the route if nothing goes its way any more and it is not among the last few. */
void rpc_route_settle(struct rpc_route *route);

/* Queues a measured frame for the end of the turn. False: the caller reads too slowly and nothing
 * more fits; the frame was not taken. */
bool rpc_route_put(struct rpc_route *route, const struct rpc_frame *frame)
    __attribute__((warn_unused_result));

#endif
