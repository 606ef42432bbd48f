/* A request belongs to its handler from its start to its end, whatever becomes of the caller. What
 * it loses on the way: the route, when nobody waits for the answer any more (cancelled, deadline
 * passed, connection lost), and the connection. */
#include "base/check.h"
#include "base/log.h"
#include "base/rpc_server_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define SPARE_MAX  1024
#define BODY_FIELD 4

typedef Quorate__Rpc__V1__Answer Answer;
typedef Quorate__Rpc__V1__Status Status;

/* --- life --- */

// NOLINTNEXTLINE(readability-function-size): uthash's macros
struct rpc_request *rpc_request_new(struct rpc_server *server, struct rpc_method *method,
                                    struct rpc_route *route, uint64_t call_id)
{
    struct rpc_request *request = server->spare;
    if (request == NULL) {
        request = xcalloc(1, sizeof *request);
    } else {
        server->spare = request->next;
        server->spare_count--;
        *request = (struct rpc_request){0};
    }
    request->server = server;
    request->method = method;
    request->connection = route->connection;
    request->key = (struct rpc_request_key){route, call_id};
    HASH_ADD(hh, server->requests, key, sizeof request->key, request);
    DL_APPEND(request->connection->requests, request);
    request->connection->open++;
    route->open++;
    server->open++;
    if (method->own) server->owned++;
    return request;
}

struct rpc_request *rpc_request_find(struct rpc_server *server, const struct rpc_route *route,
                                     uint64_t call_id)
{
    struct rpc_request_key key = {route, call_id};
    struct rpc_request *request = NULL;
    // NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): every byte of key is set
    HASH_FIND(hh, server->requests, &key, sizeof key, request);
    return request;
}

/* The call id may be used again. */
static void leave_route(struct rpc_request *request)
{
    struct rpc_route *route = (struct rpc_route *)request->key.route;
    if (route == NULL) return;
    HASH_DELETE(hh, request->server->requests, request);
    request->key.route = NULL;
    route->open--;
    rpc_route_settle(route);
}

static void leave_connection(struct rpc_request *request)
{
    if (request->connection == NULL) return;
    DL_DELETE(request->connection->requests, request);
    request->connection->open--;
    request->connection = NULL;
}

static void count(struct rpc_server *server, struct rpc_method *method, enum reason reason)
{
    if (server->metrics == NULL) return;
    if (method->counts[reason] == NULL) {
        char labels[512];
        snprintf(labels, sizeof labels, "method=\"%s\",reason=\"%s\"", method->name,
                 reason_name(reason));
        method->counts[reason] = metrics_counter(server->metrics, "quorate_rpc_calls_total", labels,
                                                 "Calls answered, by how they ended");
    }
    (*method->counts[reason])++;
}

/* The request is no more. */
static void request_end(struct rpc_request *request, enum reason reason)
{
    struct rpc_server *server = request->server;
    struct rpc_method *method = request->method;
    timer_stop(&request->deadline);
    leave_route(request);
    leave_connection(request);
    server->open--;
    if (method->own) server->owned--;
    if (server->expiring == request) server->expiring = NULL;
    count(server, method, reason);
    if (method->seconds != NULL)
        histogram_add(method->seconds, loop_now_us(server->loop) - request->arrived_us);
    if (server->spare_count < SPARE_MAX) {
        request->next = server->spare;
        server->spare = request;
        server->spare_count++;
    } else {
        free(request);
    }
    rpc_server_settle(server);
}

/* --- answers --- */

static bool answer_put(struct rpc_server *server, struct rpc_route *route, struct rpc_frame *frame)
{
    if (rpc_route_put(route, frame)) return true;
    rpc_drop(server, RPC_DROP_UNREAD);
    return false;
}

static void answer_status(struct rpc_server *server, struct rpc_route *route, Answer *head,
                          const struct rpc_status *status)
{
    Status packed = QUORATE__RPC__V1__STATUS__INIT;
    packed.reason = (Quorate__Rpc__V1__Reason)status->reason;
    packed.code = (Quorate__Rpc__V1__Code)reason_grpc_code(status->reason);
    packed.message = (char *)status->message;
    if (status->detail_type.bytes > 0) {
        packed.detail_type = (char *)status->detail_type.at;
        packed.detail.data = (uint8_t *)status->detail.at;
        packed.detail.len = status->detail.bytes;
    }
    head->status = &packed;
    struct rpc_frame frame = {.head = &head->base};
    if (rpc_frame_measure(&frame) > RPC_FRAME_BYTES_MAX) {
        LOG_ERROR("rpc.detail_too_large", "type=%s bytes=%zu", packed.detail_type, frame.bytes);
        packed.detail_type = (char *)protobuf_c_empty_string;
        packed.detail = (ProtobufCBinaryData){0, NULL};
        rpc_frame_measure(&frame);
    }
    (void)answer_put(server, route, &frame);
}

void rpc_refuse(struct rpc_server *server, struct rpc_method *method, struct rpc_route *route,
                uint64_t call_id, const struct rpc_status *status)
{
    if (method != NULL) count(server, method, status->reason);
    Answer head = QUORATE__RPC__V1__ANSWER__INIT;
    head.call_id = call_id;
    answer_status(server, route, &head, status);
}

static void request_fail(struct rpc_request *request, const struct rpc_status *status)
{
    struct rpc_route *route = (struct rpc_route *)request->key.route;
    if (route != NULL) {
        Answer head = QUORATE__RPC__V1__ANSWER__INIT;
        head.call_id = request->key.call_id;
        head.number = request->sent;
        answer_status(request->server, route, &head, status);
    }
    request_end(request, status->reason);
}

void rpc_request_fail(struct rpc_request *request, enum reason reason, const char *message,
                      const ProtobufCMessage *detail)
{
    CHECK(reason != REASON_NONE);
    struct rpc_status status = {.reason = reason};
    rpc_status_set_message(&status, message);
    uint8_t *packed = NULL;
    if (detail != NULL && request->key.route != NULL) {
        packed = xcalloc(1, protobuf_c_message_get_packed_size(detail));
        status.detail = (struct span){(char *)packed, protobuf_c_message_pack(detail, packed)};
        status.detail_type = span_of(detail->descriptor->name);
    }
    request_fail(request, &status);
    free(packed);
}

void rpc_request_reply(const ProtobufCMessage *reply, void *arg)
{
    struct rpc_request *request = arg;
    CHECK(reply != NULL);
    CHECK(reply->descriptor ==
          request->method->service->descriptor->methods[request->method->index].output);
    struct rpc_route *route = (struct rpc_route *)request->key.route;
    if (route != NULL) {
        Answer head = QUORATE__RPC__V1__ANSWER__INIT;
        head.call_id = request->key.call_id;
        struct rpc_frame frame = {.head = &head.base, .body = reply, .body_field = BODY_FIELD};
        if (rpc_frame_measure(&frame) > RPC_FRAME_BYTES_MAX) {
            LOG_ERROR("rpc.reply_too_large", "method=%s bytes=%zu", request->method->name,
                      frame.bytes);
            rpc_request_fail(request, REASON_OUTCOME_UNKNOWN, "done, but the reply is too large",
                             NULL);
            return;
        }
        (void)answer_put(request->server, route, &frame);
    }
    request_end(request, REASON_NONE);
}

bool rpc_request_send(struct rpc_request *request, const ProtobufCMessage *message)
{
    struct rpc_route *route = (struct rpc_route *)request->key.route;
    if (route == NULL || request->gone) return false;
    request->blocked = request->sent - request->read >= RPC_STREAM_WINDOW;
    if (request->blocked) return false;
    Answer head = QUORATE__RPC__V1__ANSWER__INIT;
    head.call_id = request->key.call_id;
    head.more = true;
    head.number = request->sent + 1;
    struct rpc_frame frame = {.head = &head.base, .body = message, .body_field = BODY_FIELD};
    CHECK(rpc_frame_measure(&frame) <= RPC_FRAME_BYTES_MAX);
    if (!rpc_route_put(route, &frame)) return false;
    request->sent++;
    return true;
}

void rpc_request_end(struct rpc_request *request)
{
    struct rpc_status status = {.reason = REASON_NONE};
    request_fail(request, &status);
}

void rpc_request_on_read(struct rpc_request *request, uint64_t read)
{
    if (read <= request->read || read > request->sent) return; /* old, or nonsense */
    request->read = read;
    if (!request->blocked) return;
    request->blocked = false;
    if (request->on_ready != NULL) request->on_ready(request->on_ready_arg);
}

/* --- nobody waits any more --- */

static void tell_gone(struct rpc_request *request)
{
    if (request->gone) return;
    request->gone = true;
    timer_stop(&request->deadline);
    if (request->on_gone != NULL) request->on_gone(request->on_gone_arg);
}

void rpc_request_abandon(struct rpc_request *request)
{
    leave_route(request);
    tell_gone(request);
}

void rpc_request_abandon_all(struct rpc_connection *connection)
{
    while (connection->requests != NULL) {
        struct rpc_request *request = connection->requests;
        leave_route(request);
        leave_connection(request);
        tell_gone(request);
    }
}

/* What the handler answers inside on_gone still goes out; if it answers nothing, the server does:
 * a plain program has no deadline of its own to hear. */
static void on_deadline(void *arg)
{
    struct rpc_request *request = arg;
    struct rpc_server *server = request->server;
    server->expiring = request;
    tell_gone(request);
    if (server->expiring != request) return; /* ended */
    server->expiring = NULL;
    struct rpc_status status = {.reason = REASON_OUTCOME_UNKNOWN};
    rpc_status_set_message(&status, "the deadline passed while the call was being executed");
    Answer head = QUORATE__RPC__V1__ANSWER__INIT;
    head.call_id = request->key.call_id;
    head.number = request->sent;
    answer_status(server, (struct rpc_route *)request->key.route, &head, &status);
    leave_route(request);
}

void rpc_request_start_deadline(struct rpc_request *request, uint64_t deadline_us)
{
    timer_start(&request->deadline, loop_timers(request->server->loop), deadline_us, on_deadline,
                request);
}

/* --- what a handler may ask --- */

uint64_t rpc_request_arrived_us(const struct rpc_request *request)
{
    return request->arrived_us;
}

uint64_t rpc_request_deadline_us(const struct rpc_request *request)
{
    return request->deadline.due_us;
}

struct span rpc_request_id(const struct rpc_request *request)
{
    return span_of(request->id);
}

struct span rpc_request_traceparent(const struct rpc_request *request)
{
    return span_of(request->traceparent);
}

void rpc_request_on_gone(struct rpc_request *request, void (*on_gone)(void *arg), void *arg)
{
    request->on_gone = on_gone;
    request->on_gone_arg = arg;
}

void rpc_request_on_ready(struct rpc_request *request, void (*on_ready)(void *arg), void *arg)
{
    request->on_ready = on_ready;
    request->on_ready_arg = arg;
}

bool rpc_request_gone(const struct rpc_request *request)
{
    return request->gone;
}
