#include "base/rpc_status.h"

#include <stdint.h>

ProtobufCMessage *rpc_status_detail(const struct rpc_status *status,
                                    const ProtobufCMessageDescriptor *type)
{
    if (!span_equal(status->detail_type, span_of(type->name))) return NULL;
    return protobuf_c_message_unpack(type, NULL, status->detail.bytes,
                                     (const uint8_t *)status->detail.at);
}

/* Bytes of the character that begins here; 0: it is no UTF-8 (overlong and surrogates included). */
static size_t character_bytes(const unsigned char *at)
{
    if (at[0] < 0x80) return 1;
    size_t bytes = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4) return 0;
    for (size_t i = 1; i < bytes; i++) {
        if ((at[i] & 0xc0) != 0x80) return 0; /* stops at the final NUL too */
    }
    if (at[0] == 0xe0 && at[1] < 0xa0) return 0;
    if (at[0] == 0xed && at[1] > 0x9f) return 0;
    if (at[0] == 0xf0 && at[1] < 0x90) return 0;
    if (at[0] == 0xf4 && at[1] > 0x8f) return 0;
    return bytes;
}

void rpc_status_set_message(struct rpc_status *status, const char *text)
{
    size_t used = 0;
    const unsigned char *at = (const unsigned char *)(text == NULL ? "" : text);
    while (*at != '\0') {
        size_t bytes = character_bytes(at);
        if (used + (bytes == 0 ? 1 : bytes) > RPC_MESSAGE_BYTES_MAX) break;
        if (bytes == 0) {
            status->message[used++] = '?';
            at++;
            continue;
        }
        memcpy(status->message + used, at, bytes);
        used += bytes;
        at += bytes;
    }
    status->message[used] = '\0';
}
