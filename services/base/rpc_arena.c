#include "base/rpc_arena.h"

#include "base/check.h"

#include <stdlib.h>

#define BLOCK_BYTES (32 * 1024)
#define ALIGNMENT   (sizeof(max_align_t))

struct rpc_arena_block {
    struct rpc_arena_block *older;
    size_t bytes;
    max_align_t memory[];
};

static struct rpc_arena_block *block_new(struct rpc_arena *arena, size_t bytes)
{
    struct rpc_arena_block *block = xcalloc(1, sizeof *block + bytes);
    block->bytes = bytes;
    block->older = arena->blocks;
    arena->blocks = block;
    arena->used = 0;
    arena->total += bytes;
    return block;
}

static void *arena_alloc(void *arg, size_t bytes)
{
    struct rpc_arena *arena = arg;
    if (bytes > RPC_ARENA_BYTES_MAX) return NULL;
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    struct rpc_arena_block *block = arena->blocks;
    if (bytes > block->bytes - arena->used) {
        size_t block_bytes = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
        if (block_bytes > RPC_ARENA_BYTES_MAX - arena->total) return NULL;
        block = block_new(arena, block_bytes);
    }
    void *memory = (char *)block->memory + arena->used;
    arena->used += bytes;
    return memory;
}

static void arena_free(void *arg, void *memory)
{
    (void)arg;
    (void)memory;
}

void rpc_arena_init(struct rpc_arena *arena)
{
    *arena = (struct rpc_arena){.allocator = {arena_alloc, arena_free, arena}};
    block_new(arena, BLOCK_BYTES);
}

void rpc_arena_clear(struct rpc_arena *arena)
{
    while (arena->blocks->older != NULL) {
        struct rpc_arena_block *block = arena->blocks;
        arena->blocks = block->older;
        arena->total -= block->bytes;
        free(block);
    }
    arena->used = 0;
}

void rpc_arena_fini(struct rpc_arena *arena)
{
    rpc_arena_clear(arena);
    free(arena->blocks);
    *arena = (struct rpc_arena){0};
}
