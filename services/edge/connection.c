#include "edge/connection.h"

#include "base/check.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <h2o.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SWEEP_US       250000
#define SWEEP_DRAIN_US 20000

#define ARRIVAL_US 1000000

/* A body is at most 64 KiB, and a head as much; libh2o itself would take 400 KiB of head. */
#define INPUT_BYTES_MAX  (160U << 10)
#define INPUT_BYTES_MUCH (4U << 10)
#define INPUTS_BYTES_MAX ((size_t)32 << 20)

#define RESETS_MAX       100
#define RESETS_WINDOW_US 10000000

#define LINGER_US        2000000
#define LINGERERS_MAX    256
#define LINGER_BYTES_MAX (1U << 20)

struct connection {
    uv_tcp_t tcp;
    h2o_socket_t *socket;
    struct connections *in;
    struct connection *next;
    struct connection **back;
    uint64_t active_us; /* opened, or the last request began or ended */
    uint64_t requests;  /* begun so far */
    unsigned pending;   /* begun and not ended */
    bool http2;
    uint64_t receiving_us; /* since when a request arrives; 0: none does */
    uint64_t receiving_no; /* which one */
    uint64_t moved_us;     /* when the client last took something; 0: nothing to take */
    size_t left_bytes;     /* what it had not taken then */
    uint64_t window_us;    /* of counting resets */
    unsigned resets;
    int lingering_fd; /* -1: none */
};

/* A second descriptor of a closed connection, whose input is thrown away until the client closes
 * or has had enough time. */
struct lingerer {
    uv_poll_t poll;
    struct timer limit;
    int fd;
    size_t bytes;
    struct connections *in;
};

struct connections {
    struct loop *loop;
    struct connections_limits limits;
    struct connection *first; /* newest first */
    size_t count;
    size_t lingerers;
    size_t input_bytes; /* of requests that are still arriving, at the last sweep */
    bool draining;
    struct timer sweep;
    void (*on_free)(void *arg);
    void *on_free_arg;
    int64_t *gauge;
    uint64_t *accepted;
    uint64_t *idle_closed;
    uint64_t *slow_closed;
    uint64_t *stalled_closed;
    uint64_t *reset_closed;
    uint64_t *evicted;
};

static void on_sweep(void *arg);

static void plan_sweep(struct connections *connections)
{
    uint64_t wait_us = connections->draining ? SWEEP_DRAIN_US : SWEEP_US;
    timer_start(&connections->sweep, loop_timers(connections->loop),
                loop_now_us(connections->loop) + wait_us, on_sweep, connections);
}

struct connections *connections_new(struct loop *loop, const struct connections_limits *limits,
                                    struct metrics *metrics)
{
    CHECK(limits->max > 0 && limits->patience_us > 0 && limits->idle_us > 0);
    struct connections *connections = xcalloc(1, sizeof *connections);
    connections->loop = loop;
    connections->limits = *limits;
    connections->gauge =
        metrics_gauge(metrics, "quorate_edge_connections", NULL, "Open client connections.");
    connections->accepted = metrics_counter(metrics, "quorate_edge_connections_accepted_total",
                                            NULL, "Client connections accepted.");
    static const char name[] = "quorate_edge_connections_closed_total";
    static const char help[] = "Client connections that the edge closed, and why.";
    connections->idle_closed = metrics_counter(metrics, name, "why=\"idle\"", help);
    connections->slow_closed = metrics_counter(metrics, name, "why=\"slow_request\"", help);
    connections->stalled_closed = metrics_counter(metrics, name, "why=\"stopped_reading\"", help);
    connections->reset_closed = metrics_counter(metrics, name, "why=\"resets\"", help);
    connections->evicted = metrics_counter(metrics, name, "why=\"place_needed\"", help);
    plan_sweep(connections);
    return connections;
}

void connections_free(struct connections *connections)
{
    if (connections == NULL) return;
    CHECK(connections->count == 0 && connections->lingerers == 0);
    timer_stop(&connections->sweep);
    free(connections);
}

size_t connections_count(const struct connections *connections)
{
    return connections->count + connections->lingerers;
}

void connections_on_free(struct connections *connections, void (*on_free)(void *arg), void *arg)
{
    connections->on_free = on_free;
    connections->on_free_arg = arg;
}

static void told_free(struct connections *connections)
{
    if (connections->on_free != NULL) connections->on_free(connections->on_free_arg);
}

static void on_lingerer_closed(uv_handle_t *handle)
{
    struct lingerer *lingerer = handle->data;
    struct connections *connections = lingerer->in;
    close(lingerer->fd);
    free(lingerer);
    connections->lingerers--;
    told_free(connections);
}

static void end_lingering(void *arg)
{
    struct lingerer *lingerer = arg;
    timer_stop(&lingerer->limit);
    uv_close((uv_handle_t *)&lingerer->poll, on_lingerer_closed);
}

static void on_lingerer_readable(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct lingerer *lingerer = poll->data;
    char unread[4096];
    ssize_t bytes = status < 0 ? 0 : recv(lingerer->fd, unread, sizeof unread, MSG_DONTWAIT);
    if (bytes > 0) lingerer->bytes += (size_t)bytes;
    bool again = bytes < 0 && (errno == EAGAIN || errno == EINTR);
    if ((bytes <= 0 && !again) || lingerer->bytes > LINGER_BYTES_MAX) end_lingering(lingerer);
}

static void start_lingering(struct connections *connections, int fd)
{
    shutdown(fd, SHUT_WR);
    struct lingerer *lingerer = xcalloc(1, sizeof *lingerer);
    if (uv_poll_init(loop_uv(connections->loop), &lingerer->poll, fd) != 0) {
        free(lingerer);
        close(fd);
        return;
    }
    lingerer->fd = fd;
    lingerer->in = connections;
    lingerer->poll.data = lingerer;
    connections->lingerers++;
    uv_poll_start(&lingerer->poll, UV_READABLE, on_lingerer_readable);
    timer_start(&lingerer->limit, loop_timers(connections->loop),
                loop_now_us(connections->loop) + LINGER_US, end_lingering, lingerer);
}

void connection_linger(struct connection *connection)
{
    if (connection->lingering_fd >= 0 || connection->in->lingerers >= LINGERERS_MAX) return;
    int fd = h2o_socket_get_fd(connection->socket);
    if (fd >= 0) connection->lingering_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* libh2o has closed the socket; libuv still owns the handle. */
static void on_socket_closed(void *arg)
{
    struct connection *connection = arg;
    struct connections *connections = connection->in;
    connection->socket = NULL;
    *connection->back = connection->next;
    if (connection->next != NULL) connection->next->back = connection->back;
    connections->count--;
    *connections->gauge = (int64_t)connections->count;
    if (connection->lingering_fd >= 0) start_lingering(connections, connection->lingering_fd);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct connection *connection = H2O_STRUCT_FROM_MEMBER(struct connection, tcp, handle);
    struct connections *connections = connection->in;
    free(connection);
    told_free(connections);
}

static void on_refused_closed(uv_handle_t *handle)
{
    free(H2O_STRUCT_FROM_MEMBER(struct connection, tcp, handle));
}

struct connection *connection_of(struct st_h2o_socket_t *socket)
{
    return socket->on_close.data;
}

static bool idle(const struct connection *connection)
{
    const h2o_socket_t *socket = connection->socket;
    bool between = socket->_cb.read != NULL && socket->_cb.write == NULL;
    return between && connection->pending == 0 && (connection->http2 || socket->input->size == 0);
}

/* With `hard`, what the client has not taken is thrown away at once. */
static void cut(struct connection *connection, bool hard)
{
    int fd = h2o_socket_get_fd(connection->socket);
    if (fd < 0) return;
    struct linger no_linger = {.l_onoff = 1, .l_linger = 0};
    if (hard) setsockopt(fd, SOL_SOCKET, SO_LINGER, &no_linger, sizeof no_linger);
    shutdown(fd, SHUT_RDWR);
}

/* One that has just come is about to ask: it is no more idle than the one that wants its place. */
static bool may_go(const struct connection *connection, uint64_t now_us)
{
    return idle(connection) &&
           (connection->requests > 0 || now_us - connection->active_us > ARRIVAL_US);
}

static void evict_one(struct connections *connections)
{
    uint64_t now_us = loop_now_us(connections->loop);
    struct connection *oldest = NULL;
    for (struct connection *c = connections->first; c != NULL; c = c->next)
        if (may_go(c, now_us) && (oldest == NULL || c->active_us < oldest->active_us)) oldest = c;
    if (oldest == NULL) return;
    ++*connections->evicted;
    cut(oldest, false);
}

struct st_h2o_socket_t *connections_accept(struct connections *connections, uv_stream_t *listener)
{
    if (connections->count >= connections->limits.max) {
        evict_one(connections);
        return NULL;
    }
    struct connection *connection = xcalloc(1, sizeof *connection);
    CHECK(uv_tcp_init(loop_uv(connections->loop), &connection->tcp) == 0);
    if (uv_accept(listener, (uv_stream_t *)&connection->tcp) != 0) {
        uv_close((uv_handle_t *)&connection->tcp, on_refused_closed);
        return NULL;
    }
    uv_tcp_nodelay(&connection->tcp, 1);
    connection->in = connections;
    connection->active_us = loop_now_us(connections->loop);
    connection->lingering_fd = -1;
    connection->socket = h2o_uv_socket_create((uv_stream_t *)&connection->tcp, on_handle_closed);
    connection->socket->on_close.cb = on_socket_closed;
    connection->socket->on_close.data = connection;
    connection->next = connections->first;
    connection->back = &connections->first;
    if (connection->next != NULL) connection->next->back = &connection->next;
    connections->first = connection;
    connections->count++;
    *connections->gauge = (int64_t)connections->count;
    ++*connections->accepted;
    return connection->socket;
}

void connection_request_began(struct connection *connection, bool http2)
{
    connection->http2 = http2;
    connection->requests++;
    connection->pending++;
    connection->active_us = loop_now_us(connection->in->loop);
}

void connection_request_ended(struct connection *connection, bool answered)
{
    CHECK(connection->pending > 0);
    connection->pending--;
    uint64_t now_us = loop_now_us(connection->in->loop);
    connection->active_us = now_us;
    if (answered || !connection->http2) return;
    if (now_us - connection->window_us > RESETS_WINDOW_US) {
        connection->window_us = now_us;
        connection->resets = 0;
    }
    if (++connection->resets != RESETS_MAX + 1) return;
    ++*connection->in->reset_closed;
    LOG_WARN("connection.resets", "resets=%u", connection->resets);
    cut(connection, true);
}

/* What the client has not taken: bytes that libuv holds, and those in the kernel that are not
 * acknowledged. */
static size_t left_bytes(struct connection *connection)
{
    size_t bytes = uv_stream_get_write_queue_size((uv_stream_t *)&connection->tcp);
    int in_kernel = 0;
    int fd = h2o_socket_get_fd(connection->socket);
    if (fd >= 0 && ioctl(fd, SIOCOUTQ, &in_kernel) == 0 && in_kernel > 0)
        bytes += (size_t)in_kernel;
    return bytes;
}

/* True: it has taken nothing for too long. */
static bool stalled(struct connection *connection, uint64_t now_us)
{
    if (connection->socket->_cb.write == NULL) {
        connection->moved_us = 0;
        return false;
    }
    size_t left = left_bytes(connection);
    if (connection->moved_us == 0 || left != connection->left_bytes) {
        connection->moved_us = now_us;
        connection->left_bytes = left;
    }
    return now_us - connection->moved_us > connection->in->limits.patience_us;
}

/* True: its request has been arriving for too long, or is more than a request can be. */
static bool dawdles(struct connection *connection, uint64_t now_us)
{
    const h2o_socket_t *socket = connection->socket;
    bool none_yet = connection->requests == 0;
    bool receiving =
        socket->_cb.read != NULL && !connection->http2 && (socket->input->size > 0 || none_yet);
    if (receiving) connection->in->input_bytes += socket->input->size;
    if (!receiving) {
        connection->receiving_us = 0;
        return false;
    }
    if (connection->receiving_us == 0 || connection->receiving_no != connection->requests) {
        connection->receiving_us = none_yet ? connection->active_us : now_us;
        connection->receiving_no = connection->requests;
    }
    return now_us - connection->receiving_us > connection->in->limits.patience_us ||
           socket->input->size > INPUT_BYTES_MAX;
}

static void look_at(struct connection *connection, uint64_t now_us)
{
    struct connections *connections = connection->in;
    if (stalled(connection, now_us)) {
        ++*connections->stalled_closed;
        cut(connection, true);
    } else if (dawdles(connection, now_us)) {
        ++*connections->slow_closed;
        cut(connection, false);
    } else if (idle(connection) && (connections->draining ||
                                    now_us - connection->active_us > connections->limits.idle_us)) {
        ++*connections->idle_closed;
        cut(connection, false);
    }
}

/* Many who send half a request each could fill the memory before their time is over: of those that
 * have sent much, as many are cut as it takes. Ordinary requests are whole in a packet or two. */
static void relieve(struct connections *connections)
{
    for (struct connection *c = connections->first;
         c != NULL && connections->input_bytes > INPUTS_BYTES_MAX; c = c->next) {
        size_t bytes = c->socket->input->size;
        if (c->receiving_us == 0 || bytes < INPUT_BYTES_MUCH) continue;
        connections->input_bytes -= bytes;
        ++*connections->slow_closed;
        cut(c, true);
    }
}

/* Cutting only tells the kernel: libh2o hears of it from the loop, so the list stays as it is. */
static void on_sweep(void *arg)
{
    struct connections *connections = arg;
    plan_sweep(connections);
    uint64_t now_us = loop_now_us(connections->loop);
    connections->input_bytes = 0;
    for (struct connection *c = connections->first; c != NULL; c = c->next)
        look_at(c, now_us);
    relieve(connections);
}

void connections_drain(struct connections *connections)
{
    connections->draining = true;
    on_sweep(connections);
}

void connections_cut(struct connections *connections)
{
    for (struct connection *c = connections->first; c != NULL; c = c->next)
        cut(c, true);
}
