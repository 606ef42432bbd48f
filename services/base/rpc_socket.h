/* rpc_socket.h - one raw NNG request or reply socket on the loop: pipes come and go, messages
 * arrive in order.
 *
 * NNG's threads take a result, put it into the inbox, wake the loop; everything else runs on the
 * loop. One receive is under way at a time, because two change the order. The inbox is bounded:
 * when it is full the next receive waits until the loop has emptied it, and NNG holds the peers
 * back.
 *
 * Thread    the loop's only.
 * Answers   events come from the loop, never from open, send or close; pipes and messages in the
 * order in which they happened: a pipe is up before its messages. What arrives after its pipe went
 * down may still be told.
 * Borrows   url until open returns (the dialling side: until close); events' functions and arg
 * until close; a message's bytes while its event runs. Units     header words as NNG has them, 4
 * bytes each: a reply socket's begins with the pipe.
 */
#ifndef QUORATE_BASE_RPC_SOCKET_H
#define QUORATE_BASE_RPC_SOCKET_H

#include "base/loop.h"
#include "base/rpc_frame.h"

/* The pipe and what a chain of at most eight devices adds. */
#define RPC_HEADER_BYTES_MAX 36

struct rpc_socket;

enum rpc_socket_side {
    RPC_SOCKET_DIALS,   /* req: one peer; dials for ever, 50 ms to 1 s between tries */
    RPC_SOCKET_LISTENS, /* rep: any number of peers */
};

struct rpc_message {
    uint32_t pipe;
    struct span header;
    struct span body;
};

struct rpc_socket_events {
    void (*on_pipe)(void *arg, uint32_t pipe, bool up);
    void (*on_message)(void *arg, const struct rpc_message *message);
    void *arg;
};

/* NULL: the address is malformed, or can't be listened on (said in the log). */
struct rpc_socket *rpc_socket_open(struct loop *loop, enum rpc_socket_side side, const char *url,
                                   const struct rpc_socket_events *events);

/* No event follows. Allowed inside one. What was sent just before may be lost. */
void rpc_socket_close(struct rpc_socket *socket);

/* Hands the envelope's bytes to NNG. False: its queue is full, nothing was sent; try again later.
 */
bool rpc_socket_send(struct rpc_socket *socket, struct span header,
                     const struct rpc_envelope *envelope) __attribute__((warn_unused_result));

/* Breaks one connection; the dialling side dials again. False: it is already gone. */
bool rpc_socket_drop(struct rpc_socket *socket, uint32_t pipe);

/* The dialling side: forgets the attempt under way and begins anew. */
void rpc_socket_redial(struct rpc_socket *socket);

#endif
