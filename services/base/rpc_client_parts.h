/* rpc_client_parts.h - what rpc_client.c and rpc_call.c share; no one else includes it. */
#ifndef QUORATE_BASE_RPC_CLIENT_PARTS_H
#define QUORATE_BASE_RPC_CLIENT_PARTS_H

#include "base/metrics.h"
#include "base/rpc_arena.h"
#include "base/rpc_client.h"
#include "base/rpc_clock.h"
#include "base/rpc_frame.h"
#include "base/rpc_slots.h"
#include "base/rpc_socket.h"
#include "proto/rpc.pb-c.h"

#define RPC_HELLO_WAIT_US 5000000 /* longer without an answer: the peer does not work */

struct rpc_names;

struct rpc_client {
    struct loop *loop;
    struct rpc_socket *socket;
    char *url;
    char *program;
    void (*on_change)(void *arg, bool up);
    void *arg;
    bool closed;
    struct tick ending;
    /* The peer. */
    uint32_t pipe; /* 0: none */
    bool up;
    uint64_t instance;
    struct rpc_clock clock;
    struct rpc_call hello;
    uint64_t hello_us; /* when it was sent */
    struct timer hello_again;
    struct timer redial; /* runs while there is no pipe */
    /* Calls. */
    uint32_t calls_max;
    uint32_t window; /* calls_max, or less if the server says so */
    struct rpc_slots slots;
    struct rpc_call *open; /* accepted; newest first */
    struct rpc_call *refused;
    struct rpc_names *names; /* of methods */
    /* What goes out. */
    struct rpc_envelope envelope;
    uint64_t message; /* number of the one in the envelope */
    struct tick flush;
    struct timer flush_again;
    struct rpc_arena arena; /* what came in */
    /* What is counted. */
    struct metrics *metrics;
    struct histogram *seconds;
    uint64_t *counts[REASON_CANCELLED + 1];
    uint64_t *dropped;
    int64_t *up_gauge;
};

/* Queues a measured frame for the end of the turn; called for many frames, it sends in between.
 * False: NNG takes nothing now, and the envelope is full. */
bool rpc_client_put(struct rpc_client *client, const struct rpc_frame *frame)
    __attribute__((warn_unused_result));

/* Ends the calls that are open, as after the loss of the connection. */
void rpc_calls_lost(struct rpc_client *client, const char *message);

/* Answers the calls that were refused in this turn, before their time. */
void rpc_calls_refused(struct rpc_client *client);

void rpc_call_on_answer(struct rpc_client *client, const Quorate__Rpc__V1__Answer *answer);

void rpc_names_free(struct rpc_names *names);

#endif
