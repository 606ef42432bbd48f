/* rpc_frame.h - the bytes of a message: frames one after the other, read and written.
 *
 * A frame is a length (4 bytes, big-endian) and one packed protobuf message; proto/rpc.proto says
 * it for people. Reading never trusts a length, writing goes straight from protobuf-c into the
 * envelope, without a buffer between. It knows nothing of sockets or calls.
 *
 * Thread    the loop's only.
 * Borrows   the bytes that are read, as long as frames of them are used.
 * Ownership rpc_envelope_fini frees the buffer; zero-initialised is empty.
 */
#ifndef QUORATE_BASE_RPC_FRAME_H
#define QUORATE_BASE_RPC_FRAME_H

#include "base/span.h"

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

#define RPC_ENVELOPE_BYTES_MAX (1024 * 1024)
#define RPC_FRAME_BYTES_MAX    (256 * 1024)
#define RPC_FRAMES_MAX         32
#define RPC_FRAME_HEAD_BYTES   4

/* Texts in a Call. */
#define RPC_METHOD_BYTES_MAX      255
#define RPC_REQUEST_ID_BYTES_MAX  128
#define RPC_TRACEPARENT_BYTES_MAX 55

/* True if the lengths add up exactly and there is at least one frame; none is empty. Says nothing
 * of their number or size: who sent too much shall hear of it. */
bool rpc_frames_whole(struct span message);

/* Takes the first frame off a message that is whole. False: there is none left. */
bool rpc_frames_next(struct span *message, struct span *frame);

/* Frames on their way out. */
struct rpc_envelope {
    uint8_t *bytes;
    size_t used;
    size_t capacity;
    uint32_t frames;
};

/* A frame before it is packed: `head` with its bytes field `body_field` unset, and the message to
 * be packed there; NULL for none. protobuf reads the two parts as one message. */
struct rpc_frame {
    const ProtobufCMessage *head;
    const ProtobufCMessage *body;
    uint32_t body_field; /* below 16 */
    /* Set by rpc_frame_measure: */
    size_t bytes; /* packed, without the length before it */
    size_t body_bytes;
};

/* Returns frame->bytes. */
size_t rpc_frame_measure(struct rpc_frame *frame);

/* The frame was measured and is not above RPC_FRAME_BYTES_MAX. False: it does not fit any more,
 * send first; into an empty envelope it always fits. */
bool rpc_envelope_add(struct rpc_envelope *envelope, const struct rpc_frame *frame);

/* Empties it. A buffer that has grown large is given back. */
void rpc_envelope_clear(struct rpc_envelope *envelope);
void rpc_envelope_fini(struct rpc_envelope *envelope);

#endif
