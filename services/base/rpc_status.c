#include "base/rpc_status.h"

#include "base/utf8.h"

ProtobufCMessage *rpc_status_detail(const struct rpc_status *status,
                                    const ProtobufCMessageDescriptor *type)
{
    if (!span_equal(status->detail_type, span_of(type->name))) return NULL;
    return protobuf_c_message_unpack(type, NULL, status->detail.bytes,
                                     (const uint8_t *)status->detail.at);
}

void rpc_status_set_message(struct rpc_status *status, const char *text)
{
    struct span rest = span_of(text);
    size_t used = 0;
    while (rest.bytes > 0) {
        size_t bytes = utf8_character(rest.at, rest.bytes);
        size_t taken = bytes == 0 ? 1 : bytes;
        if (used + taken > RPC_MESSAGE_BYTES_MAX) break;
        memcpy(status->message + used, bytes == 0 ? "?" : rest.at, taken);
        used += taken;
        rest.at += taken;
        rest.bytes -= taken;
    }
    status->message[used] = '\0';
}
