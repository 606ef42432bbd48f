/* rpc_status.h - how a call ended, on both sides of the RPC.
 *
 * Units     texts are at most RPC_MESSAGE_BYTES_MAX bytes, longer ones are cut.
 */
#ifndef QUORATE_BASE_RPC_STATUS_H
#define QUORATE_BASE_RPC_STATUS_H

#include "base/reason.h"
#include "base/span.h"

#include <protobuf-c/protobuf-c.h>

#define RPC_MESSAGE_BYTES_MAX 512

/* REASON_NONE is success; the rest is empty then. */
struct rpc_status {
    enum reason reason;
    char message[RPC_MESSAGE_BYTES_MAX + 1];
    /* Received: packed, borrowed as long as the status is valid. To send one: rpc_request_fail's
     * parameter. */
    struct span detail_type;
    struct span detail;
};

/* Unpacks the detail if it is a message of this type, else NULL. Free with
 * protobuf_c_message_free_unpacked. */
ProtobufCMessage *rpc_status_detail(const struct rpc_status *status,
                                    const ProtobufCMessageDescriptor *type);

/* Copies the text, cut at a character's boundary; what is no UTF-8 becomes '?', because protobuf's
 * readers refuse it. NULL is empty. */
void rpc_status_set_message(struct rpc_status *status, const char *text);

#endif
