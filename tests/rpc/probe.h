/* probe.h - the service of probe.proto: what tests and benchmarks of the RPC call.
 *
 * Thread    the loop's only.
 * Ownership probe_init before rpc_server_add; probe_fini answers what is still held.
 */
#ifndef QUORATE_TESTS_RPC_PROBE_H
#define QUORATE_TESTS_RPC_PROBE_H

#include "base/rpc_server.h"
#include "probe.pb-c.h"

struct probe_held;

struct probe {
    Quorate__Probe__V1__Probe_Service base; /* first */
    struct loop *loop;
    uint64_t bumps;
    uint64_t gone;
    uint64_t open;
    struct probe_held *held;
};

void probe_init(struct probe *probe, struct loop *loop);

/* Adds it to a server. */
void probe_serve(struct probe *probe, struct rpc_server *server);

/* Every request that is still held ends with DOWN. */
void probe_fini(struct probe *probe);

#endif
