/* rpc_arena.h - memory for what protobuf-c unpacks: taken piece by piece, given back at once.
 *
 * Unpacking a frame makes an allocation for every string and submessage. Here that is a pointer
 * moved along, and nothing is freed but the whole. Its bound is what keeps a hostile message from
 * taking more memory than its size allows: past it unpacking fails like any other malformed input.
 *
 * Thread    the loop's only.
 * Ownership rpc_arena_fini frees; what was taken is valid until rpc_arena_clear.
 */
#ifndef QUORATE_BASE_RPC_ARENA_H
#define QUORATE_BASE_RPC_ARENA_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

#define RPC_ARENA_BYTES_MAX (16 * 1024 * 1024)

struct rpc_arena_block;

struct rpc_arena {
    ProtobufCAllocator allocator;   /* for protobuf_c_message_unpack; its free does nothing */
    struct rpc_arena_block *blocks; /* the newest first */
    size_t used;                    /* of the newest */
    size_t total;                   /* of all */
};

void rpc_arena_init(struct rpc_arena *arena);
void rpc_arena_fini(struct rpc_arena *arena);

/* Keeps one block of ordinary size. */
void rpc_arena_clear(struct rpc_arena *arena);

#endif
