/* exchange.h - one request and its answer.
 *
 * Between libh2o, which parses HTTP, and the calls of the shop, which know nothing of it. An
 * exchange lives from the arrival of the request until libh2o lets go of it: after the answer was
 * sent, or when the client is gone (HTTP/2 tells at once, HTTP/1 only when we write). Then on_end
 * frees what the handler holds, and stops what still works for it.
 *
 * Thread    the loop's only.
 * Answers   each exchange is answered exactly once, by exchange_answer, exchange_fail,
 *           exchange_refuse or a stream; that is the last thing its caller does, because the
 *           exchange may be gone when it returns.
 * Ownership libh2o's; callers keep a pointer only as long as they have an answer to give and
 *           on_end was not called.
 * Borrows   header values given to exchange_header, for ever (literals) or from exchange_alloc.
 * Units     absolute microseconds of CLOCK_BOOTTIME.
 */
#ifndef QUORATE_EDGE_EXCHANGE_H
#define QUORATE_EDGE_EXCHANGE_H

#include "base/reason.h"
#include "base/span.h"
#include "edge/inventory_client.h"
#include "edge/json.h"

#define EXCHANGE_ID_BYTES_MAX 128

struct st_h2o_req_t;
struct connection;
struct edge;
struct route;
struct exchange;

typedef void exchange_fn(struct exchange *exchange);

struct exchange {
    struct edge *edge;
    /* The request; borrowed from libh2o for the exchange's life. */
    struct span method;
    struct span path;  /* normalized, without the query */
    struct span query; /* after '?' */
    struct span body;
    struct span authorization;
    struct span idempotency_key;
    unsigned idempotency_keys; /* how many such headers there were */
    struct span traceparent;   /* empty unless well-formed */
    struct span request_id;    /* given by the client, or made here */
    uint64_t arrived_us;
    uint64_t deadline_us;
    /* Set on the way to the handler. */
    const struct route *route;
    int64_t user_id; /* from the token */
    int64_t id;      /* from the path */
    /* For the handler. */
    struct json out;            /* the body of the answer */
    struct inventory_call call; /* the one it waits for */
    exchange_fn *on_end;        /* NULL, or frees what the handler holds and stops what it began */
    void *state;
    /* exchange.c's own. */
    struct exchange_host *host;
    struct connection *connection;
    struct st_h2o_req_t *request;
    exchange_fn *on_proceed;
    bool answered;
    bool streaming;
    char id_text[EXCHANGE_ID_BYTES_MAX];
    char storage[768]; /* of `out`, before it needs more */
};

/* What all exchanges of a server share. */
struct exchange_host {
    struct loop *loop;
    struct edge *edge;
    uint64_t timeout_us;
    uint64_t next_id; /* of requests that bring none */
    bool draining;    /* connections are not kept after their answer */
    void (*on_answered)(struct exchange *exchange, unsigned status); /* NULL, or told each time */
};

/* For http.c: the exchange of a request that has just arrived. */
struct exchange *exchange_new(struct exchange_host *host, struct st_h2o_req_t *request);

/* Zeroed; freed with the exchange. */
void *exchange_alloc(struct exchange *exchange, size_t bytes);

/* Adds a header to the answer; `name` in lower case. */
void exchange_header(struct exchange *exchange, struct span name, struct span value);

/* Sends `out` as JSON. */
void exchange_answer(struct exchange *exchange, unsigned status);

/* Sends `out` as another type of text. */
void exchange_answer_text(struct exchange *exchange, unsigned status, const char *type);

/* {"detail": …, "code": NAME OF THE REASON} with the reason's HTTP status and the headers that go
 * with it. `detail` is copied. */
void exchange_fail(struct exchange *exchange, enum reason reason, const char *detail);

/* The same for what is no reason of the RPC: 405, 413. */
void exchange_refuse(struct exchange *exchange, unsigned status, const char *code,
                     const char *detail);

/* A body in parts. Each send passes on what is in `out`; then on_proceed is told when the client
 * has taken it and `out` may be filled again. The last part ends the exchange. A broken stream is
 * cut so that the client sees that something is missing. */
void exchange_stream(struct exchange *exchange, unsigned status, exchange_fn *on_proceed);
void exchange_stream_send(struct exchange *exchange, bool last);
void exchange_stream_break(struct exchange *exchange);

#endif
