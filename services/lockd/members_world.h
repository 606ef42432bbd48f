/* members_world.h - lockds' members over a network of fake nodes, for tests: admission, votes and
 * kept releases on fake clocks.
 */
#ifndef QUORATE_LOCKD_MEMBERS_WORLD_H
#define QUORATE_LOCKD_MEMBERS_WORLD_H

#include "base/metrics.h"
#include "lockd/fake_net.h"
#include "lockd/members.h"

enum { SECOND = 1000000, TTL_MAX_MS = 60000, QUARANTINE_MS = 61200 };

struct world;

/* What of a lockd knows the nodes. */
struct lockd {
    struct world *world;
    struct members *members;
    struct metrics *metrics;
    const struct transport *transport;
    const char *names[TRANSPORT_NODES_MAX];
};

struct world {
    struct fake_net net;
    struct lockd lockd;
};

/* A cluster whose nodes vote. Without it: fake_net_init, then lockd_open. */
void world_open(struct world *world, unsigned nodes);
void world_close(struct world *world);

void world_run_ms(struct world *world, uint64_t ms);
void world_restart(struct world *world, unsigned node, bool keep_data);

/* The token that lockd's wall clock would give now. */
uint64_t world_token(const struct world *world);

/* "n:1" to "n:9", as the network numbers its servers. */
extern const char *const plain_names[TRANSPORT_NODES_MAX];

void lockd_open(struct world *world, struct lockd *lockd, const char *const *names, unsigned count,
                bool init_empty);
void lockd_close(struct lockd *lockd);

enum members_state lockd_state(const struct lockd *lockd, unsigned node);
const char *lockd_why(const struct lockd *lockd, unsigned node);

struct answer {
    bool there;
    struct vote vote;
};

/* Of the resource "r". False: the node is not asked. The answer comes when the world runs. */
bool lockd_post(struct lockd *lockd, unsigned node, enum order_kind kind, const char *value,
                uint64_t token, struct answer *answer);

/* Waits for the vote. */
struct vote lockd_ask(struct lockd *lockd, unsigned node, enum order_kind kind, const char *value,
                      uint64_t token);

/* How many nodes granted it. */
unsigned lockd_grant(struct lockd *lockd, const char *value, uint64_t token);
/* All nodes take it. */
void lockd_release(struct lockd *lockd, const char *value, uint64_t token);

#endif
