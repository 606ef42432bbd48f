#include "base/rpc_slots.h"

#include "base/check.h"

#include <stdlib.h>

#define PLACE_BITS 16

_Static_assert(RPC_SLOTS_MAX == 1u << PLACE_BITS, "every place has an id");

struct rpc_slot {
    struct rpc_call *call; /* NULL: free */
    uint64_t uses;         /* of this place; at one a microsecond it lasts nine years */
    uint32_t next_free;
};

void rpc_slots_init(struct rpc_slots *slots, uint32_t capacity)
{
    CHECK(capacity > 0 && capacity <= RPC_SLOTS_MAX);
    *slots = (struct rpc_slots){.capacity = capacity};
    slots->at = xcalloc(capacity, sizeof *slots->at);
    for (uint32_t i = 0; i < capacity; i++)
        slots->at[i].next_free = i + 1;
}

void rpc_slots_fini(struct rpc_slots *slots)
{
    free(slots->at);
    *slots = (struct rpc_slots){0};
}

uint64_t rpc_slots_take(struct rpc_slots *slots, struct rpc_call *call)
{
    CHECK(call != NULL);
    uint32_t place = slots->free;
    if (place == slots->capacity) return 0;
    struct rpc_slot *slot = &slots->at[place];
    slots->free = slot->next_free;
    slots->taken++;
    slot->call = call;
    slot->uses++;
    return slot->uses << PLACE_BITS | place;
}

static struct rpc_slot *slot_of(const struct rpc_slots *slots, uint64_t call_id)
{
    uint64_t place = call_id & (RPC_SLOTS_MAX - 1);
    if (place >= slots->capacity) return NULL;
    struct rpc_slot *slot = &slots->at[place];
    return slot->call != NULL && slot->uses == call_id >> PLACE_BITS ? slot : NULL;
}

struct rpc_call *rpc_slots_find(const struct rpc_slots *slots, uint64_t call_id)
{
    const struct rpc_slot *slot = slot_of(slots, call_id);
    return slot == NULL ? NULL : slot->call;
}

void rpc_slots_give(struct rpc_slots *slots, uint64_t call_id)
{
    struct rpc_slot *slot = slot_of(slots, call_id);
    CHECK(slot != NULL);
    slot->call = NULL;
    slot->next_free = slots->free;
    slots->free = (uint32_t)(slot - slots->at);
    slots->taken--;
}
