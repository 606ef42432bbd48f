/* rendezvous.h - which server leads for a key: highest random weight.
 *
 * Every edge that knows the same servers picks the same one, without talking to the others; when a
 * server goes, only its own keys move. Pure.
 */
#ifndef QUORATE_EDGE_RENDEZVOUS_H
#define QUORATE_EDGE_RENDEZVOUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rendezvous {
    uint64_t seed; /* of the server's name, rendezvous_seed */
    bool usable;
};

uint64_t rendezvous_seed(const char *name);

/* The place of the usable server that ranks highest for this key; of all, if none is usable.
 * count > 0. */
size_t rendezvous_pick(const struct rendezvous *servers, size_t count, uint64_t key);

#endif
