#include "base/rpc_server.h"

#include "base/check.h"
#include "base/log.h"
#include "base/rpc_server_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <utlist.h>

typedef Quorate__Rpc__V1__Call Call;

#define CALLS_DEFAULT       1024
#define CALLS_TOTAL_DEFAULT 65536
#define TIMEOUT_DEFAULT_MS  5000
#define TIMEOUT_MAX_MS      3600000
/* How long the last answers of a draining server get to leave NNG's queues, which say nothing. */
#define LINGER_US 50000

void rpc_drop(struct rpc_server *server, enum rpc_drop why)
{
    if (server->dropped[why] != NULL) (*server->dropped[why])++;
}

/* --- calls --- */

static void refuse(struct rpc_server *server, struct rpc_route *route, uint64_t call_id,
                   struct rpc_method *method, enum reason reason, const char *message)
{
    struct rpc_status status = {.reason = reason};
    rpc_status_set_message(&status, message);
    rpc_refuse(server, method, route, call_id, &status);
}

struct judgement {
    struct rpc_method *method; /* NULL: not known */
    uint64_t deadline_us;
    enum reason reason; /* NONE: to be executed */
    const char *message;
};

static struct judgement judge(struct rpc_server *server, const struct rpc_connection *connection,
                              const Call *call, uint64_t now_us)
{
    struct judgement it = {.reason = REASON_INVALID};
    HASH_FIND_STR(server->methods, call->method, it.method);
    if (call->call_id == 0 || call->kind != QUORATE__RPC__V1__CALL__KIND__START) {
        it.message = call->call_id == 0 ? "call_id is 0" : "no such kind of call";
        return it;
    }
    if (it.method == NULL) {
        it.reason = REASON_NO_METHOD;
        it.message = "no such method here";
        return it;
    }
    uint64_t timeout_ms = call->timeout_ms == 0 ? TIMEOUT_DEFAULT_MS : call->timeout_ms;
    if (timeout_ms > TIMEOUT_MAX_MS) timeout_ms = TIMEOUT_MAX_MS;
    it.deadline_us = call->expires_us == 0 ? now_us + 1000 * timeout_ms : call->expires_us;
    bool late = it.deadline_us <= now_us;
    bool meant = call->instance == 0 || call->instance == server->instance;
    if (it.method->runs_late) {
        if (late || !meant) it.deadline_us = now_us + 1000 * TIMEOUT_DEFAULT_MS;
    } else if (late || !meant) {
        it.reason = REASON_EXPIRED;
        it.message = meant ? "came after its deadline" : "meant for another instance";
        return it;
    }
    if (server->draining && !it.method->own) {
        it.reason = REASON_DOWN;
        it.message = "the server drains";
        return it;
    }
    bool full = connection->open >= server->calls_max || server->open >= server->calls_total_max;
    if (full && !it.method->at_once) {
        it.reason = REASON_OVERLOADED;
        it.message = "too many calls are open";
        return it;
    }
    const Quorate__Rpc__V1__Metadata *metadata = call->metadata;
    if (metadata != NULL && (strlen(metadata->request_id) > RPC_REQUEST_ID_BYTES_MAX ||
                             strlen(metadata->traceparent) > RPC_TRACEPARENT_BYTES_MAX)) {
        it.message = "the metadata is too long";
        return it;
    }
    it.reason = REASON_NONE;
    return it;
}

static void on_start(struct rpc_server *server, struct rpc_route *route, const Call *call)
{
    uint64_t now_us = loop_now_us(server->loop);
    struct judgement it = judge(server, route->connection, call, now_us);
    if (it.reason != REASON_NONE) {
        refuse(server, route, call->call_id, it.method, it.reason, it.message);
        return;
    }
    if (rpc_request_find(server, route, call->call_id) != NULL) {
        rpc_drop(server, RPC_DROP_DUPLICATE); /* the first one's answer answers both */
        return;
    }
    ProtobufCService *service = it.method->service;
    const ProtobufCMethodDescriptor *method = &service->descriptor->methods[it.method->index];
    ProtobufCMessage *input = protobuf_c_message_unpack(method->input, &server->arena.allocator,
                                                        call->body.len, call->body.data);
    if (input == NULL) {
        refuse(server, route, call->call_id, it.method, REASON_INVALID,
               "the body is no message of the method");
        return;
    }
    struct rpc_request *request = rpc_request_new(server, it.method, route, call->call_id);
    request->arrived_us = now_us;
    if (call->metadata != NULL) {
        snprintf(request->id, sizeof request->id, "%s", call->metadata->request_id);
        snprintf(request->traceparent, sizeof request->traceparent, "%s",
                 call->metadata->traceparent);
    }
    rpc_request_start_deadline(request, it.deadline_us);
    service->invoke(service, it.method->index, input, rpc_request_reply, request);
}

/* The call of this id, preferably of this route: a plain req0 program has another request id when
 * it says CANCEL than when it called. */
static struct rpc_request *meant(struct rpc_server *server, struct rpc_route *route,
                                 uint64_t call_id)
{
    struct rpc_request *request = rpc_request_find(server, route, call_id);
    struct rpc_route *other = route->connection->routes;
    for (; request == NULL && other != NULL; other = other->next) {
        if (other->open > 0) request = rpc_request_find(server, other, call_id);
    }
    return request;
}

static void on_call(struct rpc_server *server, struct rpc_route *route, const Call *call)
{
    bool cancels = call->kind == QUORATE__RPC__V1__CALL__KIND__CANCEL;
    if (!cancels && call->kind != QUORATE__RPC__V1__CALL__KIND__READ) {
        on_start(server, route, call);
        return;
    }
    struct rpc_request *request = meant(server, route, call->call_id);
    if (request == NULL) return; /* it has ended meanwhile */
    if (cancels) {
        rpc_request_abandon(request);
    } else {
        rpc_request_on_read(request, call->read);
    }
}

static void on_frame(struct rpc_server *server, struct rpc_route *route, struct span frame,
                     unsigned place)
{
    Call *call = quorate__rpc__v1__call__unpack(&server->arena.allocator, frame.bytes,
                                                (const uint8_t *)frame.at);
    if (call == NULL) {
        rpc_drop(server, RPC_DROP_MALFORMED);
    } else if (frame.bytes > RPC_FRAME_BYTES_MAX) {
        refuse(server, route, call->call_id, NULL, REASON_OVERLOADED, "the frame is too large");
    } else if (place >= RPC_FRAMES_MAX) {
        refuse(server, route, call->call_id, NULL, REASON_OVERLOADED,
               "too many frames in one message");
    } else {
        on_call(server, route, call);
    }
    rpc_arena_clear(&server->arena);
}

static void on_message(void *arg, const struct rpc_message *message)
{
    struct rpc_server *server = arg;
    struct span rest = message->body;
    struct rpc_connection *connection = rpc_connection_find(&server->connections, message->pipe);
    if (connection == NULL || message->header.bytes > RPC_HEADER_BYTES_MAX) {
        rpc_drop(server, RPC_DROP_STRANGER);
        return;
    }
    if (!rpc_frames_whole(rest)) {
        rpc_drop(server, RPC_DROP_MALFORMED);
        return;
    }
    rpc_connection_heard(connection);
    struct rpc_route *route = rpc_route_get(connection, message->header);
    route->open++; /* it stays while we are here, whatever the handlers do */
    struct span frame;
    for (unsigned place = 0; !server->closed && rpc_frames_next(&rest, &frame); place++)
        on_frame(server, route, frame, place);
    route->open--;
    rpc_route_settle(route);
}

static void on_pipe(void *arg, uint32_t pipe, bool up)
{
    struct rpc_server *server = arg;
    if (server->connections_gauge != NULL) *server->connections_gauge += up ? 1 : -1;
    if (up) {
        rpc_connection_add(&server->connections, pipe);
        return;
    }
    struct rpc_connection *connection = rpc_connection_find(&server->connections, pipe);
    if (connection == NULL) return;
    rpc_request_abandon_all(connection);
    rpc_connection_remove(connection);
}

/* --- methods --- */

// NOLINTNEXTLINE(readability-function-size): uthash's macros
static void add_method(struct rpc_server *server, ProtobufCService *service, unsigned index)
{
    const ProtobufCServiceDescriptor *descriptor = service->descriptor;
    struct rpc_method *method = xcalloc(1, sizeof *method);
    char name[RPC_METHOD_BYTES_MAX + 1];
    int bytes =
        snprintf(name, sizeof name, "/%s/%s", descriptor->name, descriptor->methods[index].name);
    CHECK(bytes > 0 && (size_t)bytes < sizeof name);
    struct rpc_method *known;
    HASH_FIND_STR(server->methods, name, known);
    CHECK(known == NULL);
    method->name = xstrdup(name);
    method->service = service;
    method->index = index;
    method->at_once = service == &server->peer.base.base;
    method->own = method->at_once || service == &server->health.base.base;
    if (server->metrics != NULL) {
        char labels[RPC_METHOD_BYTES_MAX + 16];
        snprintf(labels, sizeof labels, "method=\"%s\"", name);
        method->seconds = metrics_histogram(server->metrics, "quorate_rpc_call_seconds", labels,
                                            "Time from a call's arrival to its answer");
    }
    HASH_ADD_KEYPTR(hh, server->methods, method->name, strlen(method->name), method);
}

void rpc_server_add(struct rpc_server *server, ProtobufCService *service)
{
    for (unsigned i = 0; i < service->descriptor->n_methods; i++)
        add_method(server, service, i);
    rpc_health_add(&server->health, service->descriptor->name);
}

void rpc_server_runs_late(struct rpc_server *server, const char *method)
{
    struct rpc_method *found;
    HASH_FIND_STR(server->methods, method, found);
    CHECK(found != NULL);
    found->runs_late = true;
}

/* --- the server --- */

static uint64_t draw_instance(void)
{
    uint64_t instance = 0;
    while (instance == 0)
        CHECK(getrandom(&instance, sizeof instance, 0) == sizeof instance);
    return instance;
}

static void counters_init(struct rpc_server *server, struct metrics *metrics)
{
    static const char *const whys[] = {"why=\"malformed\"", "why=\"stranger\"", "why=\"duplicate\"",
                                       "why=\"unread\""};
    server->metrics = metrics;
    if (metrics == NULL) return;
    for (size_t i = 0; i < sizeof whys / sizeof whys[0]; i++) {
        server->dropped[i] = metrics_counter(metrics, "quorate_rpc_dropped_total", whys[i],
                                             "Messages and frames dropped without an answer");
    }
    server->connections_gauge =
        metrics_gauge(metrics, "quorate_rpc_connections", NULL, "Connections of callers");
    server->open_gauge =
        metrics_gauge(metrics, "quorate_rpc_open_calls", NULL, "Calls that are being executed");
}

struct rpc_server *rpc_server_open(struct loop *loop, const struct rpc_server_options *options)
{
    struct rpc_server *server = xcalloc(1, sizeof *server);
    struct rpc_socket_events events = {on_pipe, on_message, server};
    rpc_connections_init(&server->connections, loop);
    server->connections.socket = rpc_socket_open(loop, RPC_SOCKET_LISTENS, options->url, &events);
    if (server->connections.socket == NULL) {
        free(server);
        return NULL;
    }
    server->loop = loop;
    server->program = xstrdup(options->program == NULL ? "" : options->program);
    server->version = xstrdup(options->version == NULL ? "" : options->version);
    server->calls_max = options->calls_max == 0 ? CALLS_DEFAULT : options->calls_max;
    server->calls_total_max =
        options->calls_total_max == 0 ? CALLS_TOTAL_DEFAULT : options->calls_total_max;
    server->instance = draw_instance();
    server->started_us = loop_now_us(loop);
    rpc_arena_init(&server->arena);
    counters_init(server, options->metrics);
    rpc_health_init(&server->health);
    rpc_peer_init(&server->peer, server);
    rpc_server_add(server, &server->peer.base.base);
    rpc_server_add(server, &server->health.base.base);
    LOG_INFO("rpc.listening", "url=%s instance=%016" PRIx64, options->url, server->instance);
    return server;
}

static void server_free(struct rpc_server *server)
{
    struct rpc_method *method;
    struct rpc_method *next;
    HASH_ITER(hh, server->methods, method, next)
    {
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it believes in two heads of one list
        HASH_DELETE(hh, server->methods, method);
        free(method->name);
        free(method);
    }
    struct rpc_request *request = server->spare;
    while (request != NULL) {
        struct rpc_request *older = request->next;
        free(request);
        request = older;
    }
    rpc_health_fini(&server->health);
    rpc_arena_fini(&server->arena);
    free(server->program);
    free(server->version);
    free(server);
}

static void on_ending(void *arg)
{
    struct rpc_server *server = arg;
    rpc_health_close(&server->health);
    CHECK(server->open == 0);
    rpc_connections_fini(&server->connections);
    rpc_socket_close(server->connections.socket);
    server_free(server);
}

void rpc_server_close(struct rpc_server *server)
{
    if (server == NULL) return;
    CHECK(!server->closed && server->open == server->owned);
    server->closed = true;
    timer_stop(&server->linger);
    tick_init(&server->ending, on_ending, server);
    loop_at_tick_end(server->loop, &server->ending);
}

uint64_t rpc_server_instance(const struct rpc_server *server)
{
    return server->instance;
}

void rpc_server_set_serving(struct rpc_server *server, const char *service, bool serving)
{
    rpc_health_set(&server->health, service, serving);
}

static void on_linger(void *arg)
{
    struct rpc_server *server = arg;
    CHECK(server->open == server->owned); /* draining lets none in */
    void (*on_empty)(void *) = server->on_empty;
    server->on_empty = NULL;
    on_empty(server->on_empty_arg);
}

void rpc_server_settle(struct rpc_server *server)
{
    if (server->open_gauge != NULL) *server->open_gauge = server->open;
    if (!server->draining || server->closed || server->on_empty == NULL) return;
    if (server->open > server->owned || timer_running(&server->linger)) return;
    timer_start(&server->linger, loop_timers(server->loop), loop_now_us(server->loop) + LINGER_US,
                on_linger, server);
}

void rpc_server_drain(struct rpc_server *server, void (*on_empty)(void *arg), void *arg)
{
    CHECK(!server->draining && on_empty != NULL);
    server->draining = true;
    server->on_empty = on_empty;
    server->on_empty_arg = arg;
    rpc_health_drain(&server->health);
    rpc_server_settle(server);
}
