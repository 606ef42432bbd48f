/* rpc_slots.h - the call ids of one client, and the calls behind them.
 *
 * An id is a place in a table and how often the place was used: finding a call is one look, and the
 * id of a call that ended is never that of another. A reply that comes too late finds nothing.
 *
 * Thread    the loop's only.
 * Ownership rpc_slots_fini frees the table; calls are others'.
 */
#ifndef QUORATE_BASE_RPC_SLOTS_H
#define QUORATE_BASE_RPC_SLOTS_H

#include <stdint.h>

#define RPC_SLOTS_MAX 65536

struct rpc_call;
struct rpc_slot;

struct rpc_slots {
    struct rpc_slot *at;
    uint32_t capacity;
    uint32_t taken;
    uint32_t free; /* first free place; capacity: none */
};

void rpc_slots_init(struct rpc_slots *slots, uint32_t capacity);
void rpc_slots_fini(struct rpc_slots *slots);

/* 0: all are taken. Never UINT64_MAX. */
uint64_t rpc_slots_take(struct rpc_slots *slots, struct rpc_call *call);

/* NULL: not the id of a call that is open. Any number may be asked for. */
struct rpc_call *rpc_slots_find(const struct rpc_slots *slots, uint64_t call_id);

/* The id is that of an open call. */
void rpc_slots_give(struct rpc_slots *slots, uint64_t call_id);

#endif
