#include "base/rpc_arena.h"

#include "proto/lock.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void pieces_are_aligned_and_do_not_overlap(void **state)
{
    (void)state;
    struct rpc_arena arena;
    rpc_arena_init(&arena);
    char *pieces[300];
    for (size_t i = 0; i < 300; i++) {
        pieces[i] = arena.allocator.alloc(&arena, 1 + i * 7);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
        memset(pieces[i], (int)i, 1 + i * 7);
    }
    for (size_t i = 0; i < 300; i++) {
        assert_int_equal((unsigned char)pieces[i][0], i & 0xff);
        assert_int_equal((unsigned char)pieces[i][i * 7], i & 0xff);
    }
    rpc_arena_fini(&arena);
}

static void clearing_keeps_one_ordinary_block(void **state)
{
    (void)state;
    struct rpc_arena arena;
    rpc_arena_init(&arena);
    size_t ordinary = arena.total;
    assert_non_null(arena.allocator.alloc(&arena, 1000000));
    assert_true(arena.total > 1000000);
    rpc_arena_clear(&arena);
    assert_int_equal(arena.total, ordinary);
    rpc_arena_fini(&arena);
}

static void past_its_bound_there_is_no_memory(void **state)
{
    (void)state;
    struct rpc_arena arena;
    rpc_arena_init(&arena);
    assert_null(arena.allocator.alloc(&arena, SIZE_MAX));
    assert_null(arena.allocator.alloc(&arena, RPC_ARENA_BYTES_MAX + 1));
    while (arena.allocator.alloc(&arena, 100000) != NULL)
        assert_true(arena.total <= RPC_ARENA_BYTES_MAX);
    rpc_arena_clear(&arena);
    assert_non_null(arena.allocator.alloc(&arena, 100000));
    rpc_arena_fini(&arena);
}

/* Two bytes make a node of a hundred: a message of them would take fifty times its size. */
static void a_message_that_swells_is_malformed(void **state)
{
    (void)state;
    struct rpc_arena arena;
    rpc_arena_init(&arena);
    size_t count = 1000000;
    uint8_t *bytes = malloc(count);
    for (size_t i = 0; i < count; i += 2) {
        bytes[i] = 0x22; /* NodesReply.nodes */
        bytes[i + 1] = 0;
    }
    assert_null(quorate__lock__v1__nodes_reply__unpack(&arena.allocator, count, bytes));
    assert_true(arena.total <= RPC_ARENA_BYTES_MAX);
    rpc_arena_clear(&arena);
    Quorate__Lock__V1__NodesReply *reply =
        quorate__lock__v1__nodes_reply__unpack(&arena.allocator, 2000, bytes);
    assert_non_null(reply);
    assert_int_equal(reply->n_nodes, 1000);
    free(bytes);
    rpc_arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_do_not_overlap),
        cmocka_unit_test(clearing_keeps_one_ordinary_block),
        cmocka_unit_test(past_its_bound_there_is_no_memory),
        cmocka_unit_test(a_message_that_swells_is_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
