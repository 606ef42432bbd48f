/* plain.h - a peer that speaks NNG and no more: it sends whatever bytes it is told to and hands out
 * what it hears. On either side of the RPC, for tests of what a decent peer never does.
 *
 * Thread    the loop's only.
 */
#ifndef QUORATE_TESTS_RPC_PLAIN_H
#define QUORATE_TESTS_RPC_PLAIN_H

#include "world.h"

#include "proto/rpc.pb-c.h"

#define PLAIN_ID 0x80000007u

struct plain {
    struct world *world;
    uint32_t socket;
    char header[64]; /* of the last message heard */
    size_t header_bytes;
    char *heard; /* its frames */
    size_t heard_bytes;
    struct span rest; /* of them, not handed out yet */
};

/* `recv_queue` messages are read ahead: many by a caller in a hurry, none by one that is deaf. */
void plain_dial(struct plain *plain, struct world *world, int recv_queue);
void plain_listen(struct plain *plain, struct world *world);
void plain_close(struct plain *plain);

/* Bytes gathered for one message. */
struct bytes {
    char *at;
    size_t count;
};
void bytes_add(struct bytes *bytes, const void *at, size_t count);
void bytes_add_frame(struct bytes *bytes, const ProtobufCMessage *message);

/* A Call of Probe's `method` with this body (NULL: none), everything else unset. */
void bytes_add_call(struct bytes *bytes, uint64_t call_id, const char *method,
                    const ProtobufCMessage *body);
void bytes_free(struct bytes *bytes);

/* The dialling side, with this NNG request id; `bytes` are freed. */
void plain_send(struct plain *plain, uint32_t id, struct bytes *bytes);

/* The listening side, to who was heard last. */
void plain_answer(struct plain *plain, struct bytes *bytes);

/* Runs the loop until a frame came, at most this long; NULL: none came. Free with
 * quorate__rpc__v1__answer__free_unpacked and …call__free_unpacked. */
Quorate__Rpc__V1__Answer *plain_hear(struct plain *plain, uint64_t ms);
Quorate__Rpc__V1__Call *plain_hear_call(struct plain *plain, uint64_t ms);

/* The reason of the next answer, which must be to this call id; REASON_NONE: it went well. */
enum reason plain_reason(struct plain *plain, uint64_t call_id);

/* Sends what was gathered and returns the reason of the answer to call id 1. */
enum reason plain_ask(struct plain *plain, struct bytes *bytes);

#endif
