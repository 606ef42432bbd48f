/* rpc_server.h - answers calls of many clients, dispatched through protobuf-c's service
 * descriptors. The bytes: proto/rpc.proto.
 *
 * A service is implemented as protobuf-c generates it: a struct of functions, here with its state
 * behind it.
 *
 *     struct lock_service { Quorate__Lock__V1__Lock_Service base; struct locks *locks; };
 *
 *     static void acquire(Quorate__Lock__V1__Lock_Service *service,
 *                         const Quorate__Lock__V1__AcquireRequest *input,
 *                         Quorate__Lock__V1__AcquireReply_Closure closure, void *closure_data)
 *     {
 *         struct rpc_request *request = closure_data;        // deadline, ids; answer now or later:
 *         closure(&reply, request);                          // success, or
 *         rpc_request_fail(request, REASON_BUSY, "held by others", &refusal.base);
 *     }
 *
 * The server itself answers quorate.rpc.v1.Peer (Hello, Metrics) and grpc.health.v1.Health (Check,
 * Watch). Before a handler runs, the server has refused what is malformed (INVALID), unknown
 * (NO_METHOD), past its deadline or for another instance (EXPIRED), and beyond a window
 * (OVERLOADED). Messages that can't be parsed are dropped and counted.
 *
 * Thread    the loop's only.
 * Answers   a handler ends each request exactly once: through its closure or rpc_request_fail, at
 * once or later, also when the caller is gone (the answer is dropped then). A streaming handler
 * calls rpc_request_send any number of times and ends with rpc_request_end or rpc_request_fail.
 * A reply that does not fit into a frame reaches the caller as OUTCOME_UNKNOWN.
 * Borrows   the input message until the handler returns; options' metrics and added services until
 * the turn of rpc_server_close is over.
 * Units     absolute microseconds of CLOCK_BOOTTIME.
 */
#ifndef QUORATE_BASE_RPC_SERVER_H
#define QUORATE_BASE_RPC_SERVER_H

#include "base/loop.h"
#include "base/rpc_status.h"

struct rpc_server;
struct rpc_request;
struct metrics;

struct rpc_server_options {
    const char *url;
    const char *program; /* for Hello */
    const char *version;
    uint32_t calls_max;       /* open calls per connection; 0: 1024 */
    uint32_t calls_total_max; /* open calls of all connections; 0: 65536 */
    struct metrics *metrics;
};

/* NULL: can't listen there (said in the log). */
struct rpc_server *rpc_server_open(struct loop *loop, const struct rpc_server_options *options);

/* Every request must have been ended. Sends what waits and frees at the end of this turn of the
 * loop; drain first, so that the last answers arrive. NULL is harmless. */
void rpc_server_close(struct rpc_server *server);

void rpc_server_add(struct rpc_server *server, ProtobufCService *service);

/* This method ("/quorate.lock.v1.Lock/Release") is executed whatever its instance and deadline. */
void rpc_server_runs_late(struct rpc_server *server, const char *method);

/* Drawn at start, never 0. */
uint64_t rpc_server_instance(const struct rpc_server *server);

/* What Health answers for a service that was added, or for "" (the server as a whole). Initially
 * serving. */
void rpc_server_set_serving(struct rpc_server *server, const char *service, bool serving);

/* From now on new calls are answered with DOWN; Hello, Metrics and Health go on (and say not
 * serving). Calls on_empty from the loop once no request is open and the answers had time to leave.
 */
void rpc_server_drain(struct rpc_server *server, void (*on_empty)(void *arg), void *arg);

uint64_t rpc_request_arrived_us(const struct rpc_request *request);
uint64_t rpc_request_deadline_us(const struct rpc_request *request);
struct span
rpc_request_id(const struct rpc_request *request); /* metadata.request_id; empty if none */
struct span rpc_request_traceparent(const struct rpc_request *request);

/* Called once when nobody waits for the answer any more: cancelled, connection lost, or deadline
 * passed. The handler should stop and must still end the request, there or later. At the deadline,
 * what it answers inside on_gone is still sent; if it answers nothing there, the server answers
 * OUTCOME_UNKNOWN in its place. Replaces an earlier one; NULL removes it. Not called for a request
 * that ended. */
void rpc_request_on_gone(struct rpc_request *request, void (*on_gone)(void *arg), void *arg);

/* True from on_gone on. */
bool rpc_request_gone(const struct rpc_request *request);

/* `detail` is packed at once; NULL for none. */
void rpc_request_fail(struct rpc_request *request, enum reason reason, const char *message,
                      const ProtobufCMessage *detail);

/* Streaming methods. False: the window of unread messages is full or the caller is gone; nothing
 * was sent. One message fits into a frame with a few bytes to spare (256 KiB - 64). */
bool rpc_request_send(struct rpc_request *request, const ProtobufCMessage *message);
void rpc_request_end(struct rpc_request *request);

/* Called each time that the window has room again after a send that it refused. NULL removes it. */
void rpc_request_on_ready(struct rpc_request *request, void (*on_ready)(void *arg), void *arg);

#endif
