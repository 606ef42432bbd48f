/* members.h - the nodes of the quorum, as a transport for the protocol.
 *
 * Opens one connection to each, admits those that may vote (admission.h), carries orders to them
 * and votes back, keeps releases for nodes that are away. What needs more than one node is decided
 * here: that no server votes under two names, the floor of a node that comes out of quarantine,
 * and the first epoch of a new cluster.
 *
 * Thread    the loop's only.
 * Answers   as transport.h says; open votes are answered UNKNOWN by members_close.
 * Borrows   names and metrics for the members' life.
 * Units     milliseconds.
 */
#ifndef QUORATE_LOCKD_MEMBERS_H
#define QUORATE_LOCKD_MEMBERS_H

#include "base/conf.h"
#include "base/loop.h"
#include "lockd/admission.h"
#include "lockd/transport.h"

struct members;
struct metrics;

/* How long a node remembers the fence of a resource that nobody touches. */
#define MEMBERS_FENCE_MS 600000

struct members_options {
    struct loop *loop;
    struct timers *timers;  /* normally the loop's */
    struct conf_list names; /* host:port; their order and spelling identify the cluster */
    struct metrics *metrics;
    uint32_t node_timeout_ms;
    uint32_t ttl_max_ms;
    uint32_t fence_ms; /* 0: MEMBERS_FENCE_MS */
    bool init_empty;   /* may declare a new cluster by itself when no node has ever voted */
    void (*on_change)(void *arg); /* NULL, or: votes or reasons may have changed */
    void *arg;
};

struct members *members_open(const struct members_options *options);
void members_close(struct members *members);

const struct transport *members_transport(const struct members *members);

enum members_state {
    MEMBERS_DOWN,
    MEMBERS_JOINING,
    MEMBERS_QUARANTINE,
    MEMBERS_REFUSED,
    MEMBERS_VOTING,
};

struct members_node {
    const char *name;
    enum members_state state;
    const char *why; /* "" when it votes */
    uint32_t quarantine_ms;
    uint64_t grants;
    uint64_t timeouts;
    uint64_t reconnects;
    uint64_t incidents;
    uint64_t grant_p50_us;
    uint64_t grant_p95_us;
    uint64_t grant_p99_us;
    uint64_t grant_max_us;
};
struct members_node members_node(const struct members *members, unsigned node);

/* The epoch id of one node: which cluster it belongs to, and where in it. */
void members_epoch_id(const struct conf_list *names, unsigned node, uint32_t ttl_max_ms,
                      char id[EPOCH_ID_BYTES + 1]);

#endif
