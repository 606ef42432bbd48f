#include "edge/rendezvous.h"

#include "base/check.h"

/* The finisher of SplitMix64: every bit of the input moves half of the output's. */
static uint64_t mix(uint64_t number)
{
    number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9U;
    number = (number ^ (number >> 27)) * 0x94d049bb133111ebU;
    return number ^ (number >> 31);
}

/* FNV-1a, mixed: the same in every edge, on every machine. */
uint64_t rendezvous_seed(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325U;
    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3U;
    return mix(hash);
}

size_t rendezvous_pick(const struct rendezvous *servers, size_t count, uint64_t key)
{
    CHECK(count > 0);
    bool any_usable = false;
    for (size_t i = 0; i < count; i++)
        any_usable |= servers[i].usable;
    size_t best = 0;
    uint64_t best_weight = 0;
    bool found = false;
    for (size_t i = 0; i < count; i++) {
        if (any_usable && !servers[i].usable) continue;
        uint64_t weight = mix(servers[i].seed ^ mix(key));
        if (found && weight <= best_weight) continue;
        best = i;
        best_weight = weight;
        found = true;
    }
    return best;
}
