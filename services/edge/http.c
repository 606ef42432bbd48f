#include "edge/http.h"

#include "base/check.h"
#include "base/log.h"

#include <h2o.h>
#include <h2o/http1.h>
#include <h2o/http2.h>
#include <netdb.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define BACKLOG 4096

struct http {
    struct loop *loop;
    struct http_options options;
    struct exchange_host host;
    struct connections *connections;
    h2o_globalconf_t config;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
    uv_tcp_t *listener; /* freed when closed */
    void (*on_empty)(void *arg);
    void *on_empty_arg;
    struct timer empty;
};

struct handler {
    h2o_handler_t base;
    struct http *http;
};

static int on_request(h2o_handler_t *handler, h2o_req_t *request)
{
    struct http *http = ((struct handler *)handler)->http;
    http->options.on_request(exchange_new(&http->host, request));
    return 0;
}

/* ---- what libh2o refuses by itself, told in JSON ---- */

struct refusal {
    h2o_ostream_t base;
    h2o_iovec_t body;
};

static h2o_iovec_t refusal_body(int status)
{
    switch (status) {
    case 400:
        return h2o_iovec_init(H2O_STRLIT(
            "{\"detail\":\"The body's length or encoding is broken\",\"code\":\"INVALID\"}"));
    case 413:
        return h2o_iovec_init(
            H2O_STRLIT("{\"detail\":\"The body is too large\",\"code\":\"TOO_LARGE\"}"));
    case 417:
        return h2o_iovec_init(
            H2O_STRLIT("{\"detail\":\"Unknown expectation\",\"code\":\"EXPECTATION_FAILED\"}"));
    default:
        return h2o_iovec_init(
            H2O_STRLIT("{\"detail\":\"The request was refused\",\"code\":\"REFUSED\"}"));
    }
}

static void send_refusal(h2o_ostream_t *stream, h2o_req_t *request, h2o_iovec_t *bufs, size_t count,
                         h2o_send_state_t state)
{
    (void)bufs;
    struct refusal *refusal = (struct refusal *)stream;
    bool last = state != H2O_SEND_STATE_IN_PROGRESS;
    bool empty = count == 0; /* HEAD */
    h2o_ostream_send_next(stream, request, &refusal->body, last && !empty ? 1 : 0, state);
}

static void on_setup_ostream(h2o_filter_t *filter, h2o_req_t *request, h2o_ostream_t **slot)
{
    (void)filter;
    h2o_headers_t *headers = &request->res.headers;
    static const char theirs[] = "text/plain; charset=utf-8";
    if (request->res.status >= 400 && headers->size > 0 &&
        h2o_memis(headers->entries[0].value.base, headers->entries[0].value.len, theirs,
                  sizeof theirs - 1)) {
        struct refusal *refusal =
            (struct refusal *)h2o_add_ostream(request, sizeof(struct refusal), slot);
        refusal->base.do_send = send_refusal;
        refusal->body = refusal_body(request->res.status);
        request->res.content_length = refusal->body.len;
        headers->entries[0].value = h2o_iovec_init(H2O_STRLIT("application/json"));
        slot = &refusal->base.next;
        if (request->version < 0x200)
            connection_linger(connection_of(request->conn->callbacks->get_socket(request->conn)));
    }
    h2o_setup_next_ostream(request, slot);
}

/* ---- the listener ---- */

static void on_incoming(uv_stream_t *listener, int status)
{
    struct http *http = listener->data;
    if (status < 0) {
        LOG_WARN("http.accept", "error=%s", uv_strerror(status));
        return;
    }
    h2o_socket_t *socket = connections_accept(http->connections, listener);
    if (socket != NULL) h2o_accept(&http->accept, socket);
}

static void on_empty_due(void *arg)
{
    struct http *http = arg;
    http->on_empty(http->on_empty_arg);
}

/* A connection that found no place waits in the listener, which libuv leaves alone until it is
 * taken. */
static void on_free_place(void *arg)
{
    struct http *http = arg;
    if (http->listener != NULL) {
        h2o_socket_t *socket = connections_accept(http->connections, (uv_stream_t *)http->listener);
        if (socket != NULL) h2o_accept(&http->accept, socket);
    }
    if (http->on_empty != NULL && connections_count(http->connections) == 0)
        timer_start(&http->empty, loop_timers(http->loop), 0, on_empty_due, http);
}

static void on_listener_closed(uv_handle_t *handle)
{
    free(handle);
}

static void close_listener(struct http *http)
{
    if (http->listener == NULL) return;
    uv_close((uv_handle_t *)http->listener, on_listener_closed);
    http->listener = NULL;
}

static bool listen_at(struct http *http)
{
    const struct http_options *options = &http->options;
    char port[8];
    snprintf(port, sizeof port, "%u", options->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *addresses = NULL;
    int error = getaddrinfo(options->host, port, &hints, &addresses);
    if (error != 0) {
        LOG_ERROR("http.listen", "host=%s port=%u error=%s", options->host, options->port,
                  gai_strerror(error));
        return false;
    }
    http->listener = xcalloc(1, sizeof *http->listener);
    CHECK(uv_tcp_init(loop_uv(http->loop), http->listener) == 0);
    http->listener->data = http;
    int outcome = uv_tcp_bind(http->listener, addresses->ai_addr, 0);
    if (outcome == 0) outcome = uv_listen((uv_stream_t *)http->listener, BACKLOG, on_incoming);
    freeaddrinfo(addresses);
    if (outcome == 0) return true;
    LOG_ERROR("http.listen", "host=%s port=%u error=%s", options->host, options->port,
              uv_strerror(outcome));
    close_listener(http);
    return false;
}

static void configure(struct http *http)
{
    const struct http_options *options = &http->options;
    h2o_globalconf_t *config = &http->config;
    h2o_config_init(config);
    config->server_name = h2o_iovec_init("", 0);
    config->max_request_entity_size = options->body_bytes_max;
    config->http1.upgrade_to_http2 = options->http2;
    /* connection.h closes earlier and for better reasons; this is the net below it. */
    uint64_t net_ms = (options->limits.idle_us + options->limits.patience_us) / 1000 + 5000;
    config->http1.req_timeout = net_ms;
    config->http2.idle_timeout = net_ms;
    h2o_hostconf_t *host = h2o_config_register_host(config, h2o_iovec_init("default", 7), 65535);
    struct handler *handler =
        (struct handler *)h2o_create_handler(&host->fallback_path, sizeof *handler);
    handler->base.on_req = on_request;
    handler->http = http;
    h2o_filter_t *filter = h2o_create_filter(&host->fallback_path, sizeof *filter);
    filter->on_setup_ostream = on_setup_ostream;
    h2o_context_init(&http->context, loop_uv(http->loop), config);
    http->accept.ctx = &http->context;
    http->accept.hosts = config->hosts;
}

struct http *http_open(struct loop *loop, const struct http_options *options)
{
    struct http *http = xcalloc(1, sizeof *http);
    http->loop = loop;
    http->options = *options;
    http->host = (struct exchange_host){.loop = loop,
                                        .edge = options->edge,
                                        .timeout_us = options->request_timeout_us,
                                        .on_answered = options->on_answered};
    randombytes_buf(&http->host.next_id, sizeof http->host.next_id);
    http->connections = connections_new(loop, &options->limits, options->metrics);
    connections_on_free(http->connections, on_free_place, http);
    configure(http);
    if (listen_at(http)) return http;
    http_close(http);
    return NULL;
}

void http_drain(struct http *http, void (*on_empty)(void *arg), void *arg)
{
    CHECK(on_empty != NULL);
    http->on_empty = on_empty;
    http->on_empty_arg = arg;
    http->host.draining = true;
    close_listener(http);
    h2o_context_request_shutdown(&http->context);
    connections_drain(http->connections);
    if (connections_count(http->connections) == 0)
        timer_start(&http->empty, loop_timers(http->loop), 0, on_empty_due, http);
}

void http_cut(struct http *http)
{
    connections_cut(http->connections);
}

bool http_draining(const struct http *http)
{
    return http->host.draining;
}

void http_close(struct http *http)
{
    if (http == NULL) return;
    close_listener(http);
    timer_stop(&http->empty);
    connections_free(http->connections);
    h2o_timeout_unlink(&http->context.http2._graceful_shutdown_timeout);
    h2o_context_dispose(&http->context);
    h2o_config_dispose(&http->config);
    free(http);
}
