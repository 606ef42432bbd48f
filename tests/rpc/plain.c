#include "plain.h"

#include "base/check.h"
#include "base/rpc_frame.h"

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static nng_socket socket_of(const struct plain *plain)
{
    return (nng_socket){plain->socket};
}

void plain_dial(struct plain *plain, struct world *world, int recv_queue)
{
    nng_socket socket;
    CHECK(nng_req0_open_raw(&socket) == 0);
    CHECK(nng_socket_set_int(socket, NNG_OPT_RECVBUF, recv_queue) == 0);
    CHECK(nng_dial(socket, world->url, NULL, 0) == 0);
    *plain = (struct plain){.world = world, .socket = socket.id};
}

void plain_listen(struct plain *plain, struct world *world)
{
    nng_socket socket;
    CHECK(nng_rep0_open_raw(&socket) == 0);
    CHECK(nng_listen(socket, world->url, NULL, 0) == 0);
    *plain = (struct plain){.world = world, .socket = socket.id};
}

void plain_close(struct plain *plain)
{
    /* NNG 1.5.2 may never come back when it closes while it reads (base/exit_guard.h says why). The
     * world stands still meanwhile, so what was sent is soon read. */
    usleep(5000);
    nng_close(socket_of(plain));
    free(plain->heard);
    *plain = (struct plain){0};
}

void bytes_add(struct bytes *bytes, const void *at, size_t count)
{
    if (count == 0) return;
    bytes->at = xrealloc(bytes->at, bytes->count + count);
    memcpy(bytes->at + bytes->count, at, count);
    bytes->count += count;
}

void bytes_add_frame(struct bytes *bytes, const ProtobufCMessage *message)
{
    size_t count = protobuf_c_message_get_packed_size(message);
    unsigned char length[4] = {(unsigned char)(count >> 24), (unsigned char)(count >> 16),
                               (unsigned char)(count >> 8), (unsigned char)count};
    uint8_t *packed = xcalloc(1, count);
    protobuf_c_message_pack(message, packed);
    bytes_add(bytes, length, sizeof length);
    bytes_add(bytes, packed, count);
    free(packed);
}

void bytes_add_call(struct bytes *bytes, uint64_t call_id, const char *method,
                    const ProtobufCMessage *body)
{
    Quorate__Rpc__V1__Call call = QUORATE__RPC__V1__CALL__INIT;
    char name[128];
    snprintf(name, sizeof name, "/quorate.probe.v1.Probe/%s", method);
    uint8_t *packed = NULL;
    call.call_id = call_id;
    call.method = name;
    if (body != NULL) {
        packed = xcalloc(1, protobuf_c_message_get_packed_size(body));
        call.body = (ProtobufCBinaryData){protobuf_c_message_pack(body, packed), packed};
    }
    bytes_add_frame(bytes, &call.base);
    free(packed);
}

void bytes_free(struct bytes *bytes)
{
    free(bytes->at);
    *bytes = (struct bytes){0};
}

/* Named in rpc_socket.c's list of leaks that are NNG's. */
static void plain_send_message(const struct plain *plain, const void *header, size_t header_bytes,
                               struct bytes *bytes)
{
    nng_msg *message;
    CHECK(nng_msg_alloc(&message, 0) == 0);
    CHECK(nng_msg_append(message, bytes->at, bytes->count) == 0);
    CHECK(nng_msg_header_append(message, header, header_bytes) == 0);
    CHECK(nng_sendmsg(socket_of(plain), message, 0) == 0);
    bytes_free(bytes);
}

void plain_send(struct plain *plain, uint32_t id, struct bytes *bytes)
{
    unsigned char header[4] = {(unsigned char)(id >> 24), (unsigned char)(id >> 16),
                               (unsigned char)(id >> 8), (unsigned char)id};
    plain_send_message(plain, header, sizeof header, bytes);
}

void plain_answer(struct plain *plain, struct bytes *bytes)
{
    plain_send_message(plain, plain->header, plain->header_bytes, bytes);
}

static bool hears(struct plain *plain)
{
    if (plain->rest.bytes > 0) return true;
    nng_msg *message;
    if (nng_recvmsg(socket_of(plain), &message, NNG_FLAG_NONBLOCK) != 0) return false;
    plain->header_bytes = nng_msg_header_len(message);
    CHECK(plain->header_bytes <= sizeof plain->header);
    memcpy(plain->header, nng_msg_header(message), plain->header_bytes);
    plain->heard_bytes = nng_msg_len(message);
    plain->heard = xrealloc(plain->heard, plain->heard_bytes);
    memcpy(plain->heard, nng_msg_body(message), plain->heard_bytes);
    nng_msg_free(message);
    plain->rest = (struct span){plain->heard, plain->heard_bytes};
    CHECK(rpc_frames_whole(plain->rest));
    return true;
}

static bool hear(struct plain *plain, uint64_t ms, struct span *frame)
{
    uint64_t end_us = loop_now_us(plain->world->loop) + 1000 * ms;
    while (!hears(plain)) {
        if (loop_now_us(plain->world->loop) >= end_us) return false;
        world_run_ms(plain->world, 1);
    }
    return rpc_frames_next(&plain->rest, frame);
}

Quorate__Rpc__V1__Answer *plain_hear(struct plain *plain, uint64_t ms)
{
    struct span frame;
    if (!hear(plain, ms, &frame)) return NULL;
    return quorate__rpc__v1__answer__unpack(NULL, frame.bytes, (const uint8_t *)frame.at);
}

Quorate__Rpc__V1__Call *plain_hear_call(struct plain *plain, uint64_t ms)
{
    struct span frame;
    if (!hear(plain, ms, &frame)) return NULL;
    return quorate__rpc__v1__call__unpack(NULL, frame.bytes, (const uint8_t *)frame.at);
}

enum reason plain_reason(struct plain *plain, uint64_t call_id)
{
    Quorate__Rpc__V1__Answer *answer = plain_hear(plain, 5000);
    CHECK(answer != NULL && answer->call_id == call_id);
    enum reason reason = REASON_NONE;
    if (answer->status != NULL) {
        reason = reason_from_number((uint32_t)answer->status->reason);
        CHECK((uint32_t)answer->status->code == reason_grpc_code(reason));
    }
    quorate__rpc__v1__answer__free_unpacked(answer, NULL);
    return reason;
}

enum reason plain_ask(struct plain *plain, struct bytes *bytes)
{
    plain_send(plain, PLAIN_ID, bytes);
    return plain_reason(plain, 1);
}
