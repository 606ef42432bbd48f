/* http.h - the HTTP server: libh2o on our loop, a listener, and the exchanges it makes.
 *
 * HTTP/1.1, and HTTP/2 in clear text where it is switched on. What libh2o refuses by itself (a body
 * that is too long, broken lengths and encodings) is answered in JSON too where it passes our
 * filter; a request line that can't be read gets libh2o's plain 400.
 *
 * Thread    the loop's only.
 * Borrows   the options' metrics and host, for the server's life.
 */
#ifndef QUORATE_EDGE_HTTP_H
#define QUORATE_EDGE_HTTP_H

#include "edge/connection.h"
#include "edge/exchange.h"

struct http_options {
    const char *host;
    uint16_t port;
    bool http2;
    size_t body_bytes_max;
    uint64_t request_timeout_us;
    struct connections_limits limits;
    struct metrics *metrics;
    struct edge *edge;       /* for the exchanges */
    exchange_fn *on_request; /* must answer the exchange, now or later */
    void (*on_answered)(struct exchange *exchange, unsigned status);
};

/* NULL: can't listen there (said in the log). */
struct http *http_open(struct loop *loop, const struct http_options *options);

/* Accepts nobody any more, lets requests end, closes connections as they become idle; on_empty is
 * told once the last is gone, from the loop. */
void http_drain(struct http *http, void (*on_empty)(void *arg), void *arg);

/* Cuts off who is still there. */
void http_cut(struct http *http);

/* After on_empty. Runs the loop once to let libh2o's handles go. */
void http_close(struct http *http);

bool http_draining(const struct http *http);

#endif
