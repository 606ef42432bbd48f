#include "base/rpc_frame.h"

#include "base/check.h"

#include <stdlib.h>

#define KEPT_BYTES_MAX  (64 * 1024)
#define FIRST_BYTES     1024
#define WIRE_TYPE_BYTES 2 /* protobuf's number for length-delimited fields */

_Static_assert(RPC_FRAME_BYTES_MAX + RPC_FRAME_HEAD_BYTES <= RPC_ENVELOPE_BYTES_MAX,
               "every frame fits into an empty envelope");

static uint32_t read_u32(const char *at)
{
    const unsigned char *byte = (const unsigned char *)at;
    return (uint32_t)byte[0] << 24 | (uint32_t)byte[1] << 16 | (uint32_t)byte[2] << 8 | byte[3];
}

static void write_u32(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

bool rpc_frames_whole(struct span message)
{
    if (message.bytes == 0) return false;
    while (message.bytes > 0) {
        if (message.bytes < RPC_FRAME_HEAD_BYTES) return false;
        size_t frame_bytes = read_u32(message.at);
        if (frame_bytes == 0 || frame_bytes > message.bytes - RPC_FRAME_HEAD_BYTES) return false;
        message.at += RPC_FRAME_HEAD_BYTES + frame_bytes;
        message.bytes -= RPC_FRAME_HEAD_BYTES + frame_bytes;
    }
    return true;
}

bool rpc_frames_next(struct span *message, struct span *frame)
{
    if (message->bytes == 0) return false;
    CHECK(message->bytes > RPC_FRAME_HEAD_BYTES);
    size_t frame_bytes = read_u32(message->at);
    CHECK(frame_bytes > 0 && frame_bytes <= message->bytes - RPC_FRAME_HEAD_BYTES);
    *frame = (struct span){message->at + RPC_FRAME_HEAD_BYTES, frame_bytes};
    message->at += RPC_FRAME_HEAD_BYTES + frame_bytes;
    message->bytes -= RPC_FRAME_HEAD_BYTES + frame_bytes;
    return true;
}

static size_t varint_bytes(size_t value)
{
    size_t bytes = 1;
    for (; value >= 0x80; value >>= 7)
        bytes++;
    return bytes;
}

static size_t write_varint(uint8_t *at, size_t value)
{
    size_t bytes = 0;
    for (; value >= 0x80; value >>= 7)
        at[bytes++] = (uint8_t)(value | 0x80);
    at[bytes++] = (uint8_t)value;
    return bytes;
}

size_t rpc_frame_measure(struct rpc_frame *frame)
{
    frame->bytes = protobuf_c_message_get_packed_size(frame->head);
    frame->body_bytes = frame->body == NULL ? 0 : protobuf_c_message_get_packed_size(frame->body);
    /* proto3 leaves empty fields out. */
    if (frame->body_bytes > 0)
        frame->bytes += 1 + varint_bytes(frame->body_bytes) + frame->body_bytes;
    return frame->bytes;
}

static void reserve(struct rpc_envelope *envelope, size_t bytes)
{
    size_t needed = envelope->used + bytes;
    if (needed <= envelope->capacity) return;
    size_t capacity = envelope->capacity == 0 ? FIRST_BYTES : envelope->capacity;
    while (capacity < needed)
        capacity *= 2;
    envelope->bytes = xrealloc(envelope->bytes, capacity);
    envelope->capacity = capacity;
}

bool rpc_envelope_add(struct rpc_envelope *envelope, const struct rpc_frame *frame)
{
    CHECK(frame->bytes > 0 && frame->bytes <= RPC_FRAME_BYTES_MAX);
    size_t needed = RPC_FRAME_HEAD_BYTES + frame->bytes;
    if (envelope->frames == RPC_FRAMES_MAX) return false;
    if (needed > RPC_ENVELOPE_BYTES_MAX - envelope->used) return false;
    reserve(envelope, needed);
    uint8_t *start = envelope->bytes + envelope->used;
    uint8_t *at = start;
    write_u32(at, (uint32_t)frame->bytes);
    at += RPC_FRAME_HEAD_BYTES;
    at += protobuf_c_message_pack(frame->head, at);
    if (frame->body_bytes > 0) {
        CHECK(frame->body_field > 0 && frame->body_field < 16);
        *at++ = (uint8_t)(frame->body_field << 3 | WIRE_TYPE_BYTES);
        at += write_varint(at, frame->body_bytes);
        at += protobuf_c_message_pack(frame->body, at);
    }
    CHECK((size_t)(at - start) == needed);
    envelope->used += needed;
    envelope->frames++;
    return true;
}

void rpc_envelope_clear(struct rpc_envelope *envelope)
{
    envelope->used = 0;
    envelope->frames = 0;
    if (envelope->capacity <= KEPT_BYTES_MAX) return;
    free(envelope->bytes);
    envelope->bytes = NULL;
    envelope->capacity = 0;
}

void rpc_envelope_fini(struct rpc_envelope *envelope)
{
    free(envelope->bytes);
    *envelope = (struct rpc_envelope){0};
}
