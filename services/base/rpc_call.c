/* A call from its stub to its end. It is answered by exactly one of: the server's answer, its
 * deadline, the loss of the connection, the tick after it was refused. Whichever comes first
 * forgets the call before it runs the closure, so that the others find nothing. */
#include "base/check.h"
#include "base/rpc_client_parts.h"

#include <stdio.h>
#include <stdlib.h>

typedef Quorate__Rpc__V1__Call Call;
typedef Quorate__Rpc__V1__Answer Answer;

#define READ_EVERY 8 /* messages of a stream, of the 32 that may be unread */
#define REFUSED    UINT64_MAX
#define BODY_FIELD 8

/* "/package.Service/Method" of each method, made once per service. */
struct rpc_names {
    const ProtobufCServiceDescriptor *service;
    char **methods;
    struct rpc_names *next;
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
    (void)!rpc_client_put(client, &frame);
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
    struct rpc_names *names = client->names;
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
        head.timeout_ms = RPC_HELLO_WAIT_US / 1000;
    } else {
        head.instance = client->instance;
        head.expires_us = rpc_clock_theirs(&client->clock, call->deadline_us);
    }
    head.call_id = rpc_slots_take(&client->slots, call);
    CHECK(head.call_id != 0);
    struct rpc_frame frame = {.head = &head.base, .body = input, .body_field = BODY_FIELD};
    bool fits = rpc_frame_measure(&frame) <= RPC_FRAME_BYTES_MAX;
    if (!fits || !rpc_client_put(client, &frame)) {
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

void rpc_call_on_answer(struct rpc_client *client, const Answer *answer)
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

void rpc_calls_lost(struct rpc_client *client, const char *message)
{
    /* What the answers call anew is refused, so this ends. */
    while (client->open != NULL) {
        struct rpc_call *call = client->open;
        call_fail(call, unanswered(call, REASON_DOWN), message);
    }
}

void rpc_calls_refused(struct rpc_client *client)
{
    while (client->refused != NULL)
        call_end(client->refused, NULL);
}

void rpc_names_free(struct rpc_names *names)
{
    while (names != NULL) {
        struct rpc_names *next = names->next;
        for (unsigned i = 0; i < names->service->n_methods; i++)
            free(names->methods[i]);
        free(names->methods);
        free(names);
        names = next;
    }
}
