/* world.h - a client and, in the same loop, a server with the Probe service, for tests of the RPC.
 *
 * Thread    the loop's only.
 */
#ifndef QUORATE_TESTS_RPC_WORLD_H
#define QUORATE_TESTS_RPC_WORLD_H

#include "base/metrics.h"
#include "base/rpc_client.h"
#include "base/rpc_server.h"
#include "probe.h"

struct world {
    struct loop *loop;
    char directory[64];
    char url[96];
    struct metrics *server_metrics;
    struct metrics *client_metrics;
    struct rpc_server *server;
    struct probe probe;
    struct rpc_client *client;
    int changes; /* of the client's being up */
    bool up;     /* as last told */
    int ended;   /* asks, so far */
};

/* A loop and an address (ipc), nobody there yet. */
void world_init(struct world *world);

/* Zero in the options' numbers is the default. */
void world_serve(struct world *world, uint32_t calls_max, uint32_t calls_total_max);
void world_stop_server(struct world *world);

/* Dials world->url. */
void world_dial(struct world *world, uint32_t calls_max);

/* World, server and client, which is up. */
void world_open(struct world *world);
void world_close(struct world *world);

/* Runs the loop until it is true; false after ten seconds. */
bool world_until(struct world *world, bool (*is_true)(void *arg), void *arg);
void world_run_ms(struct world *world, uint64_t ms);

/* The value of a series as Prometheus would read it; 0 if there is none. */
uint64_t counted(const struct metrics *metrics, const char *series);

/* One call and what became of it. */
struct ask {
    struct rpc_call call;
    struct world *world;
    unsigned messages; /* of a stream */
    unsigned ends;     /* must become 1 */
    int place;         /* in the order of ends, from 1 */
    enum reason reason;
    uint64_t ended_us;
    char text[1024]; /* EchoReply */
    size_t text_bytes;
    char request_id[256];
    char traceparent[64];
    uint64_t left_us;
    uint64_t bumps; /* CountReply */
    uint64_t gone;
    uint64_t open;
    uint64_t detail_bumps; /* the status's detail, a CountReply */
};

void ask_init(struct ask *ask, struct world *world, uint64_t wait_ms);
void ask_echo(struct ask *ask, const char *text);
void ask_echo_bytes(struct ask *ask, uint32_t bytes);
void ask_bump(struct ask *ask, uint32_t hold_ms);
void ask_bump_late(struct ask *ask);
void ask_count(struct ask *ask);
void ask_fail(struct ask *ask, uint32_t reason, const char *message, uint32_t detail_bumps);
void ask_stream(struct ask *ask, uint32_t count, enum reason fail, bool pushy);
bool ask_ended(void *ask);

/* Asks, waits, and returns how it ended. */
enum reason world_bump(struct world *world, uint32_t hold_ms, uint64_t wait_ms);
struct counts {
    uint64_t bumps;
    uint64_t gone;
    uint64_t open;
};
struct counts world_count(struct world *world);

#endif
