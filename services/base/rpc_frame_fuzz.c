/* libFuzzer's target for whatever parses a message of the RPC: the frames, and the Call or Answer
 * in each. What can be read can be written again, as the one frame of an envelope. (Not byte by
 * byte the same: protobuf-c keeps unknown fields in a form of its own.)
 *
 *     cmake -B build/fuzz -G Ninja -DCMAKE_C_COMPILER=clang -DQUORATE_FUZZ=ON
 *           -DQUORATE_TESTS=OFF -DQUORATE_SANITIZE=address,undefined
 *     cmake --build build/fuzz --target rpc_frame_fuzz
 *     build/fuzz/services/base/rpc_frame_fuzz -max_total_time=60
 */
#include "base/check.h"
#include "base/rpc_arena.h"
#include "base/rpc_frame.h"
#include "proto/rpc.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void write_again(const ProtobufCMessage *message)
{
    struct rpc_envelope envelope = {0};
    struct rpc_frame frame = {.head = message};
    size_t frame_bytes = rpc_frame_measure(&frame);
    if (frame_bytes > 0 && frame_bytes <= RPC_FRAME_BYTES_MAX) {
        CHECK(rpc_envelope_add(&envelope, &frame));
        struct span rest = {(const char *)envelope.bytes, envelope.used};
        struct span again;
        CHECK(rpc_frames_whole(rest) && rpc_frames_next(&rest, &again));
        CHECK(again.bytes == frame_bytes && rest.bytes == 0);
    }
    rpc_envelope_fini(&envelope);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const ProtobufCMessageDescriptor *const types[] = {
        &quorate__rpc__v1__call__descriptor, &quorate__rpc__v1__answer__descriptor};
    struct span rest = {(const char *)bytes, count};
    if (!rpc_frames_whole(rest)) return 0;
    struct rpc_arena arena;
    rpc_arena_init(&arena);
    struct span frame;
    while (rpc_frames_next(&rest, &frame)) {
        for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
            ProtobufCMessage *message = protobuf_c_message_unpack(
                types[i], &arena.allocator, frame.bytes, (const uint8_t *)frame.at);
            if (message != NULL) write_again(message);
        }
        rpc_arena_clear(&arena);
    }
    rpc_arena_fini(&arena);
    return 0;
}
