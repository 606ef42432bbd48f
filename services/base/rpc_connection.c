#include "base/rpc_connection.h"

#include "base/check.h"

#include <stdlib.h>
#include <utlist.h>

#define UNHEARD_MAX   32 /* half of what NNG queues per pipe */
#define PACE_US       1000
#define PACE_MESSAGES 8

static bool route_send(struct rpc_route *route)
{
    struct rpc_connection *connection = route->connection;
    struct rpc_connections *all = connection->all;
    if (route->envelope.frames == 0) return true;
    if (connection->unheard >= UNHEARD_MAX) {
        uint64_t now_us = loop_now_us(all->loop);
        if (now_us - connection->paced_us < PACE_US) return false;
        connection->paced_us = now_us;
        connection->unheard -= PACE_MESSAGES;
    }
    struct span header = {route->header, route->header_bytes};
    if (!rpc_socket_send(all->socket, header, &route->envelope)) return false;
    connection->unheard++;
    rpc_envelope_clear(&route->envelope);
    return true;
}

static void on_flush(void *arg)
{
    struct rpc_connections *all = arg;
    struct rpc_route *route;
    struct rpc_route *next;
    DL_FOREACH_SAFE2(all->waiting, route, next, next_waiting)
    {
        if (!route_send(route)) continue;
        DL_DELETE2(all->waiting, route, prev_waiting, next_waiting);
        route->waiting = false;
        rpc_route_settle(route);
    }
    if (all->waiting == NULL) return;
    timer_start(&all->flush_again, loop_timers(all->loop), loop_now_us(all->loop) + PACE_US,
                on_flush, all);
}

void rpc_connections_init(struct rpc_connections *all, struct loop *loop)
{
    *all = (struct rpc_connections){.loop = loop};
    tick_init(&all->flush, on_flush, all);
}

void rpc_connections_fini(struct rpc_connections *all)
{
    on_flush(all);
    tick_cancel(&all->flush);
    timer_stop(&all->flush_again);
    struct rpc_connection *connection;
    struct rpc_connection *next;
    HASH_ITER(hh, all->table, connection, next) rpc_connection_remove(connection);
}

/* uthash's macros are long functions written into ours, hence the exceptions. */
// NOLINTNEXTLINE(readability-function-size)
struct rpc_connection *rpc_connection_add(struct rpc_connections *all, uint32_t pipe)
{
    CHECK(rpc_connection_find(all, pipe) == NULL);
    struct rpc_connection *connection = xcalloc(1, sizeof *connection);
    connection->all = all;
    connection->pipe = pipe;
    HASH_ADD(hh, all->table, pipe, sizeof connection->pipe, connection);
    return connection;
}

struct rpc_connection *rpc_connection_find(struct rpc_connections *all, uint32_t pipe)
{
    struct rpc_connection *connection;
    HASH_FIND(hh, all->table, &pipe, sizeof pipe, connection);
    return connection;
}

/* It may have sent this before it read our last ones: hence not all of them are taken for read. */
void rpc_connection_heard(struct rpc_connection *connection)
{
    connection->unheard /= 2;
}

static void route_free(struct rpc_route *route)
{
    struct rpc_connection *connection = route->connection;
    struct rpc_connections *all = connection->all;
    CHECK(route->open == 0);
    if (route->waiting) DL_DELETE2(all->waiting, route, prev_waiting, next_waiting);
    DL_DELETE(connection->routes, route);
    HASH_DELETE(hh, all->routes, route);
    rpc_envelope_fini(&route->envelope);
    free(route);
}

void rpc_connection_remove(struct rpc_connection *connection)
{
    CHECK(connection->requests == NULL);
    struct rpc_route *route;
    struct rpc_route *next;
    DL_FOREACH_SAFE(connection->routes, route, next) route_free(route);
    HASH_DELETE(hh, connection->all->table, connection);
    free(connection);
}

// NOLINTNEXTLINE(readability-function-size)
struct rpc_route *rpc_route_get(struct rpc_connection *connection, struct span header)
{
    struct rpc_route *route;
    HASH_FIND(hh, connection->all->routes, header.at, (unsigned)header.bytes, route);
    if (route != NULL) return route;
    CHECK(header.bytes <= RPC_HEADER_BYTES_MAX);
    route = xcalloc(1, sizeof *route);
    route->connection = connection;
    memcpy(route->header, header.at, header.bytes);
    route->header_bytes = header.bytes;
    HASH_ADD_KEYPTR(hh, connection->all->routes, route->header, (unsigned)header.bytes, route);
    DL_APPEND(connection->routes, route);
    return route;
}

static bool idle(const struct rpc_route *route)
{
    return route->open == 0 && route->envelope.frames == 0;
}

void rpc_route_settle(struct rpc_route *route)
{
    if (!idle(route) || route->kept) return;
    struct rpc_connection *connection = route->connection;
    struct rpc_route *oldest = connection->kept[connection->kept_next];
    connection->kept[connection->kept_next] = route;
    connection->kept_next = (connection->kept_next + 1) % RPC_ROUTES_KEPT;
    route->kept = true;
    if (oldest == NULL) return;
    oldest->kept = false;
    if (idle(oldest)) route_free(oldest);
}

bool rpc_route_put(struct rpc_route *route, const struct rpc_frame *frame)
{
    struct rpc_connections *all = route->connection->all;
    if (!rpc_envelope_add(&route->envelope, frame)) {
        if (!route_send(route)) return false;
        CHECK(rpc_envelope_add(&route->envelope, frame));
    }
    if (!route->waiting) {
        route->waiting = true;
        DL_APPEND2(all->waiting, route, prev_waiting, next_waiting);
    }
    loop_at_tick_end(all->loop, &all->flush);
    return true;
}
