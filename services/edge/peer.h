/* peer.h - one server that the edge calls: its connection, whether it serves, what it counts.
 *
 * Asks grpc.health.v1.Health/Check every half second, so that /health is answered at once and a
 * call goes to a server that can do its job; fetches the server's metrics when asked. The calls
 * that make up the shop are in inventory_client.h.
 *
 * Thread    the loop's only.
 * Answers   peer_fetch_metrics answers exactly once, never before it returns, unless cancelled.
 * Borrows   the url, for the peer's life.
 * Units     absolute microseconds of CLOCK_BOOTTIME.
 */
#ifndef QUORATE_EDGE_PEER_H
#define QUORATE_EDGE_PEER_H

#include "base/rpc_client.h"

#define PEER_ASKS_EVERY_US 500000
#define PEER_PATIENCE_US   1000000

enum peer_state {
    PEER_DOWN,        /* not connected */
    PEER_SILENT,      /* connected, and did not answer the last question in time */
    PEER_NOT_SERVING, /* answers that it can't do its job now */
    PEER_SERVING,
};

struct peer;

/* NULL: the address is malformed (said in the log). */
struct peer *peer_open(struct loop *loop, const char *url, struct metrics *metrics);

/* NULL is harmless. */
void peer_close(struct peer *peer);

const char *peer_url(const struct peer *peer);
struct rpc_client *peer_rpc(const struct peer *peer);
enum peer_state peer_state(const struct peer *peer);
const char *peer_state_name(enum peer_state state);

/* NULL, or told when the connection comes up or goes. */
void peer_on_change(struct peer *peer, void (*on_change)(void *arg, bool up), void *arg);

/* `text` is borrowed for the call, empty if the server did not answer. */
typedef void peer_metrics_fn(void *arg, struct span text);

struct peer_metrics_call {
    struct rpc_call rpc;
    peer_metrics_fn *on_answer;
    void *arg;
};

void peer_fetch_metrics(struct peer *peer, struct peer_metrics_call *call, uint64_t deadline_us,
                        peer_metrics_fn *on_answer, void *arg);
void peer_metrics_cancel(struct peer_metrics_call *call);

#endif
