#include "base/rpc_client.h"

#include "base/check.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/rpc_arena.h"
#include "base/rpc_clock.h"
#include "base/rpc_frame.h"
#include "base/rpc_slots.h"
#include "base/rpc_socket.h"
#include "proto/rpc.pb-c.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef Quorate__Rpc__V1__Call Call;
typedef Quorate__Rpc__V1__Answer Answer;

#define CALLS_DEFAULT  1024
#define HELLO_AGAIN_US 5000000 /* how old the server's clock gets */
#define HELLO_WAIT_US  5000000 /* longer without an answer: the peer does not work */
#define SEND_AGAIN_US  1000
#define READ_EVERY     8 /* messages of a stream, of the 32 that may be unread */
#define REFUSED        UINT64_MAX
#define BODY_FIELD     8
#define REASONS_COUNT  (REASON_CANCELLED + 1)

/* The request id of every message: our calls are told apart by their own ids. NNG wants the top bit
 * set. */
static const char request_header[4] = {(char)0x80, 0, 0, 1};

/* "/package.Service/Method" of each method, made once per service. */
struct names {
    const ProtobufCServiceDescriptor *service;
    char **methods;
    struct names *next;
};

struct rpc_client {
    struct loop *loop;
    struct rpc_socket *socket;
    char *url;
    char *program;
    void (*on_change)(void *arg, bool up);
    void *arg;
    bool closed;
    struct tick ending;
    /* The peer. */
    uint32_t pipe; /* 0: none */
    bool up;
    uint64_t instance;
    struct rpc_clock clock;
    struct rpc_call hello;
    uint64_t hello_us; /* when it was sent */
    struct timer hello_again;
    /* Calls. */
    uint32_t calls_max;
    uint32_t window; /* calls_max, or less if the server says so */
    struct rpc_slots slots;
    struct rpc_call *open; /* accepted; newest first */
    struct rpc_call *refused;
    struct names *names;
    /* What goes out. */
    struct rpc_envelope envelope;
    uint64_t message; /* number of the one in the envelope */
    struct tick flush;
    struct timer flush_again;
    struct rpc_arena arena; /* what came in */
    /* What is counted. */
    struct metrics *metrics;
    struct histogram *seconds;
    uint64_t *counts[REASONS_COUNT];
    uint64_t *dropped;
    int64_t *up_gauge;
};

/* --- lists, counts --- */

static void call_link(struct rpc_call *call, struct rpc_call **list)
{
    call->next = *list;
    call->back = list;
    if (call->next != NULL) call->next->back = &call->next;
    *list = call;
}

static void call_unlink(struct rpc_call *call)
{
    *call->back = call->next;
    if (call->next != NULL) call->next->back = call->back;
}

static void count(struct rpc_client *client, const struct rpc_call *call)
{
    if (client->metrics == NULL || call == &client->hello) return;
    enum reason reason = call->status.reason;
    if (client->counts[reason] == NULL) {
        char labels[512];
        snprintf(labels, sizeof labels, "peer=\"%s\",reason=\"%s\"", client->url,
                 reason_name(reason));
        client->counts[reason] = metrics_counter(client->metrics, "quorate_rpc_client_calls_total",
                                                 labels, "Calls made, by how they ended");
    }
    (*client->counts[reason])++;
    if (call->opened_us == 0) return;
    histogram_add(client->seconds, loop_now_us(client->loop) - call->opened_us);
}

static void counters_init(struct rpc_client *client, struct metrics *metrics)
{
    client->metrics = metrics;
    if (metrics == NULL) return;
    char labels[512];
    snprintf(labels, sizeof labels, "peer=\"%s\"", client->url);
    client->seconds = metrics_histogram(metrics, "quorate_rpc_client_call_seconds", labels,
                                        "Time from call to answer");
    client->dropped = metrics_counter(metrics, "quorate_rpc_client_dropped_total", labels,
                                      "Messages from the peer that could not be read");
    client->up_gauge =
        metrics_gauge(metrics, "quorate_rpc_client_up", labels, "1 while calls can be made");
}

/* --- sending --- */

/* False: NNG takes nothing now; the envelope waits. */
static bool flush(struct rpc_client *client)
{
    if (client->envelope.frames == 0) return true;
    struct span header = {request_header, sizeof request_header};
    if (!rpc_socket_send(client->socket, header, &client->envelope)) return false;
    rpc_envelope_clear(&client->envelope);
    client->message++;
    return true;
}

static void on_flush(void *arg)
{
    struct rpc_client *client = arg;
    if (flush(client)) return;
    timer_start(&client->flush_again, loop_timers(client->loop),
                loop_now_us(client->loop) + SEND_AGAIN_US, on_flush, client);
}

static bool put(struct rpc_client *client, const struct rpc_frame *frame)
{
    if (!rpc_envelope_add(&client->envelope, frame)) {
        if (!flush(client)) return false;
        CHECK(rpc_envelope_add(&client->envelope, frame));
    }
    loop_at_tick_end(client->loop, &client->flush);
    return true;
}

/* CANCEL and READ. If there is no room the server's deadline, or its window, must do. */
static void put_word(const struct rpc_call *call, Quorate__Rpc__V1__Call__Kind kind)
{
    struct rpc_client *client = call->client;
    if (client->pipe == 0 || client->closed) return;
    Call head = QUORATE__RPC__V1__CALL__INIT;
    head.call_id = call->call_id;
    head.kind = kind;
    if (kind == QUORATE__RPC__V1__CALL__KIND__READ) head.read = call->messages;
    struct rpc_frame frame = {.head = &head.base};
    rpc_frame_measure(&frame);
    (void)put(client, &frame);
}

/* --- the end of a call --- */

/* From here on the call is its owner's again. */
static void call_forget(struct rpc_call *call)
{
    if (call->call_id != REFUSED) rpc_slots_give(&call->client->slots, call->call_id);
    call_unlink(call);
    timer_stop(&call->deadline);
    tick_cancel(&call->refused);
    call->call_id = 0;
}

static void set_status(struct rpc_call *call, enum reason reason, const char *message)
{
    call->status.reason = reason;
    rpc_status_set_message(&call->status, message);
    call->status.detail_type = call->status.detail = (struct span){NULL, 0};
}

/* Its status was set. Runs the closure: the last thing to do with the call. */
static void call_end(struct rpc_call *call, const ProtobufCMessage *reply)
{
    call_forget(call);
    count(call->client, call);
    call->more = false;
    call->closure(reply, call->closure_data);
}

static void call_fail(struct rpc_call *call, enum reason reason, const char *message)
{
    set_status(call, reason, message);
    call_end(call, NULL);
}

/* What was sent and might have changed something has an unknown outcome. */
static enum reason unanswered(const struct rpc_call *call, enum reason harmless)
{
    bool sent = call->sent_in < call->client->message;
    return sent && !call->reads_only ? REASON_OUTCOME_UNKNOWN : harmless;
}

static void call_on_deadline(void *arg)
{
    struct rpc_call *call = arg;
    call_fail(call, unanswered(call, REASON_EXPIRED), "no answer before the deadline");
}

static void call_on_refused(void *arg)
{
    call_end(arg, NULL);
}

static void call_refuse(struct rpc_call *call, enum reason reason, const char *message)
{
    set_status(call, reason, message);
    call->call_id = REFUSED;
    call_link(call, &call->client->refused);
    tick_init(&call->refused, call_on_refused, call);
    loop_at_tick_end(call->client->loop, &call->refused);
}

/* --- the start of a call --- */

static const char *method_name(struct rpc_client *client, const ProtobufCServiceDescriptor *service,
                               unsigned method)
{
    struct names *names = client->names;
    while (names != NULL && names->service != service)
        names = names->next;
    if (names == NULL) {
        names = xcalloc(1, sizeof *names);
        names->service = service;
        names->methods = xcalloc(service->n_methods, sizeof *names->methods);
        for (unsigned i = 0; i < service->n_methods; i++) {
            char name[RPC_METHOD_BYTES_MAX + 1];
            int bytes =
                snprintf(name, sizeof name, "/%s/%s", service->name, service->methods[i].name);
            CHECK(bytes > 0 && (size_t)bytes < sizeof name);
            names->methods[i] = xstrdup(name);
        }
        names->next = client->names;
        client->names = names;
    }
    return names->methods[method];
}

/* Metadata as protobuf-c wants it. */
struct texts {
    Quorate__Rpc__V1__Metadata metadata;
    char request_id[RPC_REQUEST_ID_BYTES_MAX + 1];
    char traceparent[RPC_TRACEPARENT_BYTES_MAX + 1];
};

static bool texts_set(struct texts *texts, const struct rpc_call *call, Call *head)
{
    struct span id = call->request_id;
    struct span trace = call->traceparent;
    if (id.bytes > RPC_REQUEST_ID_BYTES_MAX || trace.bytes > RPC_TRACEPARENT_BYTES_MAX)
        return false;
    if (id.bytes == 0 && trace.bytes == 0) return true;
    quorate__rpc__v1__metadata__init(&texts->metadata);
    head->metadata = &texts->metadata;
    if (id.bytes > 0) {
        memcpy(texts->request_id, id.at, id.bytes);
        texts->request_id[id.bytes] = '\0';
        texts->metadata.request_id = texts->request_id;
    }
    if (trace.bytes > 0) {
        memcpy(texts->traceparent, trace.at, trace.bytes);
        texts->traceparent[trace.bytes] = '\0';
        texts->metadata.traceparent = texts->traceparent;
    }
    return true;
}

/* Packs and accepts the call, or says why not. */
static enum reason call_send(struct rpc_call *call, const ProtobufCMessage *input, const char **why)
{
    struct rpc_client *client = call->client;
    bool greets = call == &client->hello;
    Call head = QUORATE__RPC__V1__CALL__INIT;
    struct texts texts;
    *why = "the metadata is too long";
    if (!texts_set(&texts, call, &head)) return REASON_INVALID;
    head.method = (char *)method_name(client, call->service.descriptor, call->method_index);
    if (greets) {
        head.timeout_ms = HELLO_WAIT_US / 1000;
    } else {
        head.instance = client->instance;
        head.expires_us = rpc_clock_theirs(&client->clock, call->deadline_us);
    }
    head.call_id = rpc_slots_take(&client->slots, call);
    CHECK(head.call_id != 0);
    struct rpc_frame frame = {.head = &head.base, .body = input, .body_field = BODY_FIELD};
    bool fits = rpc_frame_measure(&frame) <= RPC_FRAME_BYTES_MAX;
    if (!fits || !put(client, &frame)) {
        rpc_slots_give(&client->slots, head.call_id);
        *why = fits ? "the socket takes no more" : "the request is too large";
        return fits ? REASON_OVERLOADED : REASON_INVALID;
    }
    call->call_id = head.call_id;
    call->sent_in = client->message;
    return REASON_NONE;
}

static uint32_t open_calls(const struct rpc_client *client)
{
    return client->slots.taken - (client->hello.call_id != 0);
}

/* What the generated stubs call. */
static void call_invoke(ProtobufCService *service, unsigned method, const ProtobufCMessage *input,
                        ProtobufCClosure closure, void *closure_data)
{
    struct rpc_call *call = (struct rpc_call *)service;
    struct rpc_client *client = call->client;
    CHECK(!client->closed && call->call_id == 0 && closure != NULL);
    CHECK(method < service->descriptor->n_methods);
    call->method_index = method;
    call->closure = closure;
    call->closure_data = closure_data;
    bool greets = call == &client->hello;
    if (!greets && !client->up) {
        call_refuse(call, REASON_DOWN, "the peer is not connected");
        return;
    }
    if (!greets && open_calls(client) >= client->window) {
        call_refuse(call, REASON_OVERLOADED, "too many calls are open");
        return;
    }
    call->opened_us = loop_now_us(client->loop);
    if (call->deadline_us <= call->opened_us) {
        call_refuse(call, REASON_EXPIRED, "the deadline has passed");
        return;
    }
    const char *why;
    enum reason reason = call_send(call, input, &why);
    if (reason != REASON_NONE) {
        call_refuse(call, reason, why);
        return;
    }
    call_link(call, &client->open);
    timer_start(&call->deadline, loop_timers(client->loop), call->deadline_us, call_on_deadline,
                call);
}

void rpc_call_init(struct rpc_call *call, struct rpc_client *client,
                   const ProtobufCServiceDescriptor *service, uint64_t deadline_us)
{
    *call = (struct rpc_call){.service = {.descriptor = service, .invoke = call_invoke},
                              .client = client,
                              .deadline_us = deadline_us};
}

void rpc_call_cancel(struct rpc_call *call)
{
    if (call->call_id == 0) return;
    if (call->call_id != REFUSED) put_word(call, QUORATE__RPC__V1__CALL__KIND__CANCEL);
    call_forget(call);
}

/* --- answers --- */

static ProtobufCMessage *unpack_reply(const struct rpc_call *call, const ProtobufCBinaryData *body)
{
    const ProtobufCServiceDescriptor *service = call->service.descriptor;
    return protobuf_c_message_unpack(service->methods[call->method_index].output,
                                     &call->client->arena.allocator, body->len, body->data);
}

static void call_on_gap(struct rpc_call *call)
{
    put_word(call, QUORATE__RPC__V1__CALL__KIND__CANCEL);
    call_fail(call, unanswered(call, REASON_OVERLOADED), "messages of the stream were lost");
}

static void call_on_unreadable(struct rpc_call *call)
{
    put_word(call, QUORATE__RPC__V1__CALL__KIND__CANCEL);
    call_fail(call, unanswered(call, REASON_EXPIRED), "the reply can't be read");
}

static void call_on_message(struct rpc_call *call, const Answer *answer)
{
    if (answer->number != call->messages + 1) {
        call_on_gap(call);
        return;
    }
    ProtobufCMessage *reply = unpack_reply(call, &answer->body);
    if (reply == NULL) {
        call_on_unreadable(call);
        return;
    }
    call->messages++;
    if (call->messages % READ_EVERY == 0) put_word(call, QUORATE__RPC__V1__CALL__KIND__READ);
    call->more = true;
    call->closure(reply, call->closure_data);
}

static void call_on_status(struct rpc_call *call, const Answer *answer)
{
    const Quorate__Rpc__V1__Status *status = answer->status;
    enum reason reason = reason_from_number((uint32_t)status->reason);
    if (reason == REASON_NONE && status->code != QUORATE__RPC__V1__CODE__OK) {
        reason = REASON_OUTCOME_UNKNOWN; /* a code that no reason of ours stands behind */
    }
    if (reason == REASON_NONE && answer->number != call->messages) {
        call_on_gap(call);
        return;
    }
    if (reason == REASON_OUTCOME_UNKNOWN) reason = unanswered(call, REASON_EXPIRED);
    set_status(call, reason, status->message);
    if (reason != REASON_NONE) {
        call->status.detail_type = span_of(status->detail_type);
        call->status.detail = (struct span){(const char *)status->detail.data, status->detail.len};
    }
    call_end(call, NULL);
}

static void on_answer(struct rpc_client *client, const Answer *answer)
{
    struct rpc_call *call = rpc_slots_find(&client->slots, answer->call_id);
    if (call == NULL) return; /* too late, or cancelled */
    if (answer->more) {
        call_on_message(call, answer);
        return;
    }
    if (answer->status != NULL) {
        call_on_status(call, answer);
        return;
    }
    ProtobufCMessage *reply = unpack_reply(call, &answer->body);
    if (reply == NULL) {
        call_on_unreadable(call);
        return;
    }
    set_status(call, REASON_NONE, NULL);
    call_end(call, reply);
}

static void drop(struct rpc_client *client)
{
    if (client->dropped != NULL) (*client->dropped)++;
}

static void on_message(void *arg, const struct rpc_message *message)
{
    struct rpc_client *client = arg;
    struct span header = {request_header, sizeof request_header};
    struct span rest = message->body;
    if (!span_equal(message->header, header) || !rpc_frames_whole(rest)) {
        drop(client);
        return;
    }
    struct span frame;
    while (!client->closed && rpc_frames_next(&rest, &frame)) {
        Answer *answer = quorate__rpc__v1__answer__unpack(&client->arena.allocator, frame.bytes,
                                                          (const uint8_t *)frame.at);
        if (answer == NULL) {
            drop(client);
        } else {
            on_answer(client, answer);
        }
        rpc_arena_clear(&client->arena);
    }
}

/* --- the peer comes and goes --- */

static void set_up(struct rpc_client *client, bool up)
{
    client->up = up;
    if (client->up_gauge != NULL) *client->up_gauge = up;
}

static void say_hello(void *arg);

static void on_hello(const Quorate__Rpc__V1__HelloReply *reply, void *arg)
{
    struct rpc_client *client = arg;
    if (reply == NULL || reply->instance == 0) {
        LOG_WARN("rpc.no_hello", "peer=%s why=\"%s\"", client->url, client->hello.status.message);
        rpc_socket_drop(client->socket, client->pipe); /* its going down ends the calls */
        return;
    }
    if (reply->instance != client->instance) client->clock = (struct rpc_clock){0};
    client->instance = reply->instance;
    rpc_clock_learn(&client->clock, client->hello_us, loop_now_us(client->loop),
                    reply->boottime_us);
    uint32_t theirs = reply->calls_max == 0 ? client->calls_max : reply->calls_max;
    client->window = theirs < client->calls_max ? theirs : client->calls_max;
    timer_start(&client->hello_again, loop_timers(client->loop),
                loop_now_us(client->loop) + HELLO_AGAIN_US, say_hello, client);
    if (client->up) return;
    set_up(client, true);
    LOG_INFO("rpc.up", "peer=%s program=\"%s\" version=\"%s\" instance=%016" PRIx64, client->url,
             reply->program, reply->version, client->instance);
    if (client->on_change != NULL) client->on_change(client->arg, true);
}

static void say_hello(void *arg)
{
    struct rpc_client *client = arg;
    client->hello_us = loop_now_us(client->loop);
    Quorate__Rpc__V1__HelloRequest request = QUORATE__RPC__V1__HELLO_REQUEST__INIT;
    request.program = client->program;
    rpc_call_init(&client->hello, client, &quorate__rpc__v1__peer__descriptor,
                  client->hello_us + HELLO_WAIT_US);
    client->hello.reads_only = true;
    quorate__rpc__v1__peer__hello(&client->hello.service, &request, on_hello, client);
}

static void on_peer_lost(struct rpc_client *client)
{
    bool was_up = client->up;
    client->pipe = 0;
    client->instance = 0;
    client->clock = (struct rpc_clock){0};
    set_up(client, false);
    rpc_call_cancel(&client->hello);
    timer_stop(&client->hello_again);
    timer_stop(&client->flush_again);
    rpc_envelope_clear(&client->envelope); /* its calls were not sent */
    if (was_up) LOG_WARN("rpc.lost", "peer=%s open=%" PRIu32, client->url, client->slots.taken);
    /* What the answers call anew is refused, so this ends. */
    while (!client->closed && client->open != NULL) {
        call_fail(client->open, unanswered(client->open, REASON_DOWN), "the connection was lost");
    }
    if (was_up && !client->closed && client->on_change != NULL)
        client->on_change(client->arg, false);
}

static void on_pipe(void *arg, uint32_t pipe, bool up)
{
    struct rpc_client *client = arg;
    if (!up) {
        if (pipe == client->pipe) on_peer_lost(client);
        return;
    }
    if (client->pipe != 0) on_peer_lost(client);
    if (client->closed) return;
    client->pipe = pipe;
    say_hello(client);
}

/* --- the client --- */

struct rpc_client *rpc_client_open(struct loop *loop, const struct rpc_client_options *options)
{
    struct rpc_client *client = xcalloc(1, sizeof *client);
    struct rpc_socket_events events = {on_pipe, on_message, client};
    client->socket = rpc_socket_open(loop, RPC_SOCKET_DIALS, options->url, &events);
    if (client->socket == NULL) {
        free(client);
        return NULL;
    }
    client->loop = loop;
    client->url = xstrdup(options->url);
    client->program = xstrndup(options->program == NULL ? "" : options->program, 64);
    client->on_change = options->on_change;
    client->arg = options->arg;
    client->calls_max = options->calls_max == 0 ? CALLS_DEFAULT : options->calls_max;
    client->window = client->calls_max;
    client->message = 1;
    tick_init(&client->flush, on_flush, client);
    rpc_slots_init(&client->slots, client->calls_max + 1); /* Hello needs no place in the window */
    rpc_arena_init(&client->arena);
    counters_init(client, options->metrics);
    return client;
}

static void client_free(struct rpc_client *client)
{
    while (client->names != NULL) {
        struct names *names = client->names;
        client->names = names->next;
        for (unsigned i = 0; i < names->service->n_methods; i++)
            free(names->methods[i]);
        free(names->methods);
        free(names);
    }
    rpc_arena_fini(&client->arena);
    rpc_envelope_fini(&client->envelope);
    rpc_slots_fini(&client->slots);
    free(client->url);
    free(client->program);
    free(client);
}

static void on_ending(void *arg)
{
    struct rpc_client *client = arg;
    while (client->refused != NULL)
        call_end(client->refused, NULL);
    while (client->open != NULL)
        call_fail(client->open, unanswered(client->open, REASON_DOWN), "the client was closed");
    client_free(client);
}

void rpc_client_close(struct rpc_client *client)
{
    if (client == NULL) return;
    CHECK(!client->closed);
    client->closed = true;
    set_up(client, false);
    rpc_call_cancel(&client->hello);
    timer_stop(&client->hello_again);
    timer_stop(&client->flush_again);
    tick_cancel(&client->flush);
    rpc_socket_close(client->socket);
    tick_init(&client->ending, on_ending, client);
    loop_at_tick_end(client->loop, &client->ending);
}

bool rpc_client_up(const struct rpc_client *client)
{
    return client->up;
}

uint64_t rpc_client_instance(const struct rpc_client *client)
{
    return client->up ? client->instance : 0;
}

uint64_t rpc_client_local_us(const struct rpc_client *client, uint64_t instance, uint64_t server_us)
{
    if (!client->up || instance != client->instance) return 0;
    return rpc_clock_ours(&client->clock, server_us);
}
