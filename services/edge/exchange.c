#include "edge/exchange.h"

#include "base/check.h"
#include "edge/connection.h"

#include <h2o.h>
#include <stdio.h>
#include <stdlib.h>

/* The exchange with libh2o's part of it. */
struct hosted {
    struct exchange exchange;
    h2o_generator_t generator;
};

static const char type_json[] = "application/json";

struct phrase {
    unsigned status;
    const char *text;
};

static const char *phrase_of(unsigned status)
{
    static const struct phrase phrases[] = {
        {200, "OK"},
        {201, "Created"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {422, "Unprocessable Content"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < sizeof phrases / sizeof phrases[0]; i++)
        if (phrases[i].status == status) return phrases[i].text;
    return "Status";
}

static bool id_byte(char byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
           (byte >= 'A' && byte <= 'Z') || byte == '-' || byte == '_' || byte == '.' || byte == ':';
}

static bool good_request_id(struct span id)
{
    if (id.bytes == 0 || id.bytes > EXCHANGE_ID_BYTES_MAX) return false;
    for (size_t i = 0; i < id.bytes; i++)
        if (!id_byte(id.at[i])) return false;
    return true;
}

/* W3C Trace Context: 00-<32 hex>-<16 hex>-<2 hex>. */
static bool good_traceparent(struct span value)
{
    if (value.bytes != 55) return false;
    for (size_t i = 0; i < value.bytes; i++) {
        char byte = value.at[i];
        bool dash = i == 2 || i == 35 || i == 52;
        bool hex = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f');
        if (dash ? byte != '-' : !hex) return false;
    }
    return memcmp(value.at, "ff", 2) != 0;
}

static void make_request_id(struct exchange *exchange)
{
    static const char hex[] = "0123456789abcdef";
    uint64_t number = exchange->host->next_id++;
    for (unsigned i = 0; i < 16; i++)
        exchange->id_text[i] = hex[(number >> (60 - 4 * i)) & 15];
    exchange->request_id = (struct span){exchange->id_text, 16};
}

static void read_headers(struct exchange *exchange)
{
    const h2o_headers_t *headers = &exchange->request->headers;
    for (size_t i = 0; i < headers->size; i++) {
        const h2o_header_t *header = &headers->entries[i];
        struct span name = {header->name->base, header->name->len};
        struct span value = {header->value.base, header->value.len};
        if (header->name == &H2O_TOKEN_AUTHORIZATION->buf) {
            exchange->authorization = value;
        } else if (name.bytes == 15 && memcmp(name.at, "idempotency-key", 15) == 0) {
            exchange->idempotency_key = value;
            exchange->idempotency_keys++;
        } else if (name.bytes == 12 && memcmp(name.at, "x-request-id", 12) == 0) {
            if (good_request_id(value)) exchange->request_id = value;
        } else if (name.bytes == 11 && memcmp(name.at, "traceparent", 11) == 0) {
            if (good_traceparent(value)) exchange->traceparent = value;
        }
    }
    if (exchange->request_id.bytes == 0) make_request_id(exchange);
}

/* libh2o clears the request's pool: the answer was sent, or nobody waits for it any more. */
static void on_dispose(void *memory)
{
    struct exchange *exchange = &((struct hosted *)memory)->exchange;
    inventory_call_cancel(&exchange->call);
    if (exchange->on_end != NULL) exchange->on_end(exchange);
    connection_request_ended(exchange->connection, exchange->answered);
    json_fini(&exchange->out);
}

struct exchange *exchange_new(struct exchange_host *host, struct st_h2o_req_t *request)
{
    struct hosted *hosted = h2o_mem_alloc_shared(&request->pool, sizeof *hosted, on_dispose);
    struct exchange *exchange = &hosted->exchange;
    memset(exchange, 0, offsetof(struct exchange, id_text));
    hosted->generator = (h2o_generator_t){NULL, NULL};
    exchange->host = host;
    exchange->edge = host->edge;
    exchange->request = request;
    exchange->connection = connection_of(request->conn->callbacks->get_socket(request->conn));
    connection_request_began(exchange->connection, request->version >= 0x200);
    exchange->method = (struct span){request->method.base, request->method.len};
    exchange->path = (struct span){request->path_normalized.base, request->path_normalized.len};
    if (request->query_at < request->path.len)
        exchange->query = (struct span){request->path.base + request->query_at + 1,
                                        request->path.len - request->query_at - 1};
    exchange->body = (struct span){request->entity.base, request->entity.len};
    exchange->arrived_us = loop_now_us(host->loop);
    exchange->deadline_us = exchange->arrived_us + host->timeout_us;
    json_init(&exchange->out, exchange->storage, sizeof exchange->storage);
    read_headers(exchange);
    return exchange;
}

void *exchange_alloc(struct exchange *exchange, size_t bytes)
{
    void *memory = h2o_mem_alloc_pool(&exchange->request->pool, bytes);
    memset(memory, 0, bytes);
    return memory;
}

void exchange_header(struct exchange *exchange, struct span name, struct span value)
{
    h2o_req_t *request = exchange->request;
    h2o_add_header_by_str(&request->pool, &request->res.headers, name.at, name.bytes, 0, NULL,
                          value.at, value.bytes);
}

static bool is_head(const struct exchange *exchange)
{
    return span_equal(exchange->method, (struct span){"HEAD", 4});
}

static void begin_response(struct exchange *exchange, unsigned status, struct span type)
{
    h2o_req_t *request = exchange->request;
    request->res.status = (int)status;
    request->res.reason = phrase_of(status);
    h2o_add_header(&request->pool, &request->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, type.at,
                   type.bytes);
    exchange_header(exchange, (struct span){"x-request-id", 12}, exchange->request_id);
    if (exchange->host->draining) request->http1_is_persistent = 0;
    if (exchange->host->on_answered != NULL) exchange->host->on_answered(exchange, status);
}

static void answer(struct exchange *exchange, unsigned status, struct span type)
{
    CHECK(!exchange->answered && !exchange->streaming);
    struct hosted *hosted = (struct hosted *)exchange;
    h2o_req_t *request = exchange->request;
    begin_response(exchange, status, type);
    request->res.content_length = exchange->out.used;
    exchange->answered = true;
    h2o_iovec_t body = h2o_iovec_init(exchange->out.at, exchange->out.used);
    size_t parts = is_head(exchange) || body.len == 0 ? 0 : 1;
    h2o_start_response(request, &hosted->generator);
    h2o_send(request, &body, parts, H2O_SEND_STATE_FINAL);
}

void exchange_answer(struct exchange *exchange, unsigned status)
{
    answer(exchange, status, (struct span){type_json, sizeof type_json - 1});
}

void exchange_answer_text(struct exchange *exchange, unsigned status, const char *type)
{
    answer(exchange, status, span_of(type));
}

void exchange_refuse(struct exchange *exchange, unsigned status, const char *code,
                     const char *detail)
{
    struct json *out = &exchange->out;
    json_clear(out);
    json_open_object(out);
    JSON_KEY(out, "detail");
    json_put_text(out, span_of(detail));
    JSON_KEY(out, "code");
    json_put_text(out, span_of(code));
    json_close_object(out);
    if (status == 401) exchange_header(exchange, span_of("www-authenticate"), span_of("Bearer"));
    if (status == 503) exchange_header(exchange, span_of("retry-after"), span_of("1"));
    exchange_answer(exchange, status);
}

void exchange_fail(struct exchange *exchange, enum reason reason, const char *detail)
{
    CHECK(reason != REASON_NONE);
    exchange_refuse(exchange, reason_http_status(reason), reason_name(reason), detail);
}

static void on_generator_proceed(h2o_generator_t *generator, h2o_req_t *request)
{
    (void)request;
    struct exchange *exchange =
        &H2O_STRUCT_FROM_MEMBER(struct hosted, generator, generator)->exchange;
    json_clear(&exchange->out);
    exchange->on_proceed(exchange);
}

void exchange_stream(struct exchange *exchange, unsigned status, exchange_fn *on_proceed)
{
    CHECK(!exchange->answered && !exchange->streaming && on_proceed != NULL);
    struct hosted *hosted = (struct hosted *)exchange;
    h2o_req_t *request = exchange->request;
    exchange->streaming = true;
    exchange->on_proceed = on_proceed;
    hosted->generator.proceed = on_generator_proceed;
    begin_response(exchange, status, (struct span){type_json, sizeof type_json - 1});
    /* HTTP/1.0 knows no chunks: the end of the connection is the end of the body. */
    if (request->version < 0x101) request->http1_is_persistent = 0;
    h2o_start_response(request, &hosted->generator);
}

void exchange_stream_send(struct exchange *exchange, bool last)
{
    CHECK(exchange->streaming && !exchange->answered);
    h2o_iovec_t part = h2o_iovec_init(exchange->out.at, exchange->out.used);
    last |= is_head(exchange);
    exchange->answered = last;
    h2o_send(exchange->request, &part, is_head(exchange) || part.len == 0 ? 0 : 1,
             last ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

void exchange_stream_break(struct exchange *exchange)
{
    CHECK(exchange->streaming && !exchange->answered);
    exchange->answered = true;
    h2o_send(exchange->request, NULL, 0, H2O_SEND_STATE_ERROR);
}
