/* rpc_client.h - calls to one server: deadlines, cancellation, exactly one answer. The bytes:
 * proto/rpc.proto.
 *
 * One client is one raw req0 socket to one address; frames of one turn of the loop travel in one
 * message. It dials for ever; on each new pipe it says Hello and is up when that is answered. While
 * it is not up, every call is answered with DOWN (nothing is ever queued for a peer that is away,
 * and nothing is ever sent twice).
 *
 *     struct rpc_call call;        // part of the operation that waits for it
 *
 *     rpc_call_init(&call, client, &quorate__lock__v1__lock__descriptor, deadline_us);
 *     call.request_id = ...;
 *     quorate__lock__v1__lock__acquire(&call.service, &request, on_acquired, operation);
 *
 *     static void on_acquired(const Quorate__Lock__V1__AcquireReply *reply, void *operation)
 *     {                            // reply == NULL: see call.status
 *
 * Thread    the loop's only.
 * Answers   every call is answered exactly once, never before the stub returns, also those refused
 * here. A streaming call hears each message with call->more set and then NULL with the status,
 * whose reason is NONE if the stream ended well. After rpc_call_cancel nothing is heard any more.
 *
 * Reasons made here, beside those that the server answers:
 *   DOWN             not up, or the connection was lost before the call was sent; or, for a call
 *                    with reads_only, after it was sent
 *   EXPIRED          the deadline passed before the call was sent; or, with reads_only, after it
 *   OUTCOME_UNKNOWN  it was sent, may have changed something, and then the connection was lost, the
 *                    deadline passed or the reply could not be read. Never with reads_only: there a
 *                    server's OUTCOME_UNKNOWN is heard as EXPIRED
 *   OVERLOADED       too many calls are open, or the socket takes no more; not sent. With
 *                    reads_only also: messages of a stream were lost because they were not read in
 *                    time
 *   INVALID          the request is larger than a frame may be, or its metadata too long; not sent
 *
 * Borrows   the request message and the metadata until the stub returns; the call until it was
 * answered or cancelled. The reply and the status's detail are borrowed to the closure while it
 * runs; status.reason and message stay until the call is used again.
 * Units     absolute microseconds of CLOCK_BOOTTIME.
 */
#ifndef QUORATE_BASE_RPC_CLIENT_H
#define QUORATE_BASE_RPC_CLIENT_H

#include "base/loop.h"
#include "base/rpc_status.h"

struct rpc_client;
struct metrics;

struct rpc_client_options {
    const char *url;                       /* tcp://host:port, ipc:///path */
    const char *program;                   /* who we are, for the peer's log */
    uint32_t calls_max;                    /* open calls, at most 65535; 0: 1024 */
    struct metrics *metrics;               /* borrowed for the client's life; NULL: not counted. One
                                              client per address and metrics */
    void (*on_change)(void *arg, bool up); /* NULL, or told on each change of rpc_client_up */
    void *arg;
};

/* NULL: the address is malformed (said in the log). */
struct rpc_client *rpc_client_open(struct loop *loop, const struct rpc_client_options *options);

/* Answers open calls at the end of this turn of the loop, as when the connection is lost, then
 * frees. Allowed inside an answer; no stub may be called with this client any more. NULL is
 * harmless. */
void rpc_client_close(struct rpc_client *client);

/* Connected, and Hello was answered. */
bool rpc_client_up(const struct rpc_client *client);

/* The server's instance; 0 when not up. */
uint64_t rpc_client_instance(const struct rpc_client *client);

/* A moment on the server's clock (the end of a lease) as a moment of ours that comes no later. 0:
 * when not up, or when the instance is another one. */
uint64_t rpc_client_local_us(const struct rpc_client *client, uint64_t instance,
                             uint64_t server_us);

struct rpc_call {
    ProtobufCService service; /* first: what the generated stubs take */
    struct rpc_client *client;
    /* Set after rpc_call_init, before the stub. */
    uint64_t deadline_us;
    bool reads_only; /* changes nothing at the server, so "no answer" is no unknown outcome */
    struct span request_id;
    struct span traceparent;
    /* Set when answered. */
    bool more; /* a message of a stream; others follow */
    struct rpc_status status;
    /* The client's own. */
    uint64_t call_id; /* 0: not open */
    uint64_t sent_in; /* number of the message that carries it */
    uint64_t opened_us;
    uint64_t messages; /* of the stream, so far */
    unsigned method_index;
    ProtobufCClosure closure;
    void *closure_data;
    struct timer deadline;
    struct tick refused;
    struct rpc_call *next;
    struct rpc_call **back;
};

/* The call may be used for one stub call; init again for the next. */
void rpc_call_init(struct rpc_call *call, struct rpc_client *client,
                   const ProtobufCServiceDescriptor *service, uint64_t deadline_us);

/* Tells the server to stop, and hears nothing any more. Harmless on a call that is not open. */
void rpc_call_cancel(struct rpc_call *call);

static inline bool rpc_call_open(const struct rpc_call *call)
{
    return call->call_id != 0;
}

#endif
