/* connection.h - every open connection to a client, and what it may cost.
 *
 * libh2o has no write timeout, counts reading from the first byte of silence only, and does not
 * notice a client that has gone while its request is answered. So the edge keeps its own list and
 * looks at it several times a second:
 *   - a request (head and body) must arrive within patience_us of its first byte, the first one
 *     within patience_us of the connection: one byte a second does not keep a connection. All that
 *     are arriving are bounded in memory, together too;
 *   - a response must move: a client that takes no byte of it for patience_us is cut off;
 *   - a connection without a request is closed after idle_us; when all places are taken, the one
 *     that has been idle the longest is closed for the next who comes;
 *   - an HTTP/2 connection whose streams are reset before their answer more than 100 times in 10 s
 *     is cut off (libh2o 2.2.5 predates the fix for "rapid reset").
 * A request that is being answered has its own deadline and is left alone.
 *
 * Closing is always done by taking the socket's use away (shutdown) and letting libh2o find out:
 * nothing of libh2o's is ever freed behind its back.
 *
 * Thread    the loop's only.
 * Ownership a connection belongs to libuv and libh2o from connections_accept until both have let
 *           go; then it frees itself.
 * Units     microseconds.
 */
#ifndef QUORATE_EDGE_CONNECTION_H
#define QUORATE_EDGE_CONNECTION_H

#include "base/loop.h"
#include "base/metrics.h"

struct connections;
struct connection;
struct st_h2o_socket_t;
struct uv_stream_s;

struct connections_limits {
    size_t max;
    uint64_t patience_us;
    uint64_t idle_us;
};

struct connections *connections_new(struct loop *loop, const struct connections_limits *limits,
                                    struct metrics *metrics);

/* There is none left. */
void connections_free(struct connections *connections);

size_t connections_count(const struct connections *connections);

/* Takes the connection that waits at the listener; its socket is for libh2o. NULL: all places are
 * taken (one that is idle is being closed, if there is one) or it is gone already. */
struct st_h2o_socket_t *connections_accept(struct connections *connections,
                                           struct uv_stream_s *listener);

/* Told each time a place becomes free. */
void connections_on_free(struct connections *connections, void (*on_free)(void *arg), void *arg);

/* From now on connections without a request are closed at once. */
void connections_drain(struct connections *connections);

/* Cuts all off, whatever they do. Requests that are being answered end first. */
void connections_cut(struct connections *connections);

/* Of a socket that connections_accept gave. */
struct connection *connection_of(struct st_h2o_socket_t *socket);

/* A request has begun, or is over; `answered` false: it was given up before its answer. */
void connection_request_began(struct connection *connection, bool http2);
void connection_request_ended(struct connection *connection, bool answered);

/* It will be closed with input unread: keeps the line open for a while, so that the client gets to
 * read the answer and not a reset. */
void connection_linger(struct connection *connection);

#endif
