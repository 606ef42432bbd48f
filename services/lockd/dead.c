/* uthash keeps its entries in the order in which they were added, and all live equally long: the
 * first is always the next to go, so there is no timer and no scan. */
#include "lockd/dead.h"

#include "base/check.h"
#include "lockd/transport.h"

#include <stdlib.h>

#define uthash_fatal(text) check_fail(text, __FILE__, __LINE__)
#include <uthash.h>

#define KEY_BYTES_MAX (RESOURCE_BYTES_MAX + 1 + REQUEST_ID_BYTES_MAX)

struct dead_id {
    UT_hash_handle hh;
    uint64_t until_us;
    char key[]; /* "<resource> <request id>": neither holds a space */
};

static size_t make_key(char key[KEY_BYTES_MAX], struct span resource, struct span request_id)
{
    CHECK(resource.bytes <= RESOURCE_BYTES_MAX && request_id.bytes <= REQUEST_ID_BYTES_MAX);
    memcpy(key, resource.at, resource.bytes);
    key[resource.bytes] = ' ';
    memcpy(key + resource.bytes + 1, request_id.at, request_id.bytes);
    return resource.bytes + 1 + request_id.bytes;
}

/* The analyser loses track of who is first after a deletion.
 * NOLINTBEGIN(clang-analyzer-core.NullDereference,clang-analyzer-unix.Malloc) */
static void forget_first(struct dead *dead)
{
    struct dead_id *first = dead->ids;
    HASH_DEL(dead->ids, first);
    free(first);
    dead->count--;
}

void dead_init(struct dead *dead, uint64_t life_us, uint32_t max)
{
    CHECK(max > 0);
    *dead = (struct dead){.life_us = life_us, .max = max};
}

void dead_fini(struct dead *dead)
{
    while (dead->ids != NULL)
        forget_first(dead);
}

// NOLINTNEXTLINE(readability-function-size): counts what uthash expands to
void dead_add(struct dead *dead, struct span resource, struct span request_id, uint64_t now_us)
{
    char key[KEY_BYTES_MAX];
    size_t bytes = make_key(key, resource, request_id);
    while (dead->ids != NULL && dead->ids->until_us <= now_us)
        forget_first(dead);
    struct dead_id *id = NULL;
    HASH_FIND(hh, dead->ids, key, bytes, id);
    if (id != NULL) return;
    if (dead->count == dead->max) forget_first(dead);
    id = xcalloc(1, sizeof *id + bytes);
    id->until_us = now_us + dead->life_us;
    memcpy(id->key, key, bytes);
    HASH_ADD_KEYPTR(hh, dead->ids, id->key, bytes, id);
    dead->count++;
}
/* NOLINTEND(clang-analyzer-core.NullDereference,clang-analyzer-unix.Malloc) */

bool dead_has(const struct dead *dead, struct span resource, struct span request_id,
              uint64_t now_us)
{
    char key[KEY_BYTES_MAX];
    size_t bytes = make_key(key, resource, request_id);
    struct dead_id *id = NULL;
    HASH_FIND(hh, dead->ids, key, bytes, id);
    return id != NULL && id->until_us > now_us;
}
