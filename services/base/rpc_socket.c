#include "base/rpc_socket.h"

#include "base/check.h"
#include "base/log.h"

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_MESSAGES   1024 /* NNG's own, each way */
#define REDIAL_MIN_MS    50
#define REDIAL_MAX_MS    1000
#define INBOX_BYTES_MAX  (8 * 1024 * 1024)
#define INBOX_ITEMS_MAX  1024
#define IPC_PERMISSIONS  0600
#define FIRST_INBOX_SIZE 64

#if defined(__SANITIZE_ADDRESS__)
/* NNG 1.5.2 forgets a message that it was about to hand to a pipe which closes at that moment (its
 * send is refused without a callback), so LeakSanitizer sometimes finds the last one sent. Messages
 * that NNG does not take are freed below. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:rpc_socket_send\nleak:plain_send_message\n";
}
#endif

/* A message, or (message NULL) a pipe that came or went. */
struct item {
    nng_msg *message;
    uint32_t pipe;
    bool up;
};

struct items {
    struct item *at;
    size_t count;
    size_t capacity;
};

struct rpc_socket {
    struct loop *loop;
    struct rpc_socket_events events;
    nng_socket nng;
    nng_dialer dialer;
    const char *url;
    nng_aio *receive;
    struct letter letter;
    bool closed;
    bool delivering;      /* the letter runs: close must not free */
    struct items batch;   /* what the letter has taken */
    pthread_mutex_t lock; /* guards what follows, shared with NNG's threads */
    struct items inbox;
    size_t inbox_bytes;
    bool posted; /* the letter is on its way */
    bool parked; /* the inbox was full: no receive is under way */
};

/* Under the lock. True: the letter must be posted. */
static bool inbox_push(struct rpc_socket *socket, struct item item)
{
    struct items *inbox = &socket->inbox;
    if (inbox->count == inbox->capacity) {
        inbox->capacity = inbox->capacity == 0 ? FIRST_INBOX_SIZE : 2 * inbox->capacity;
        inbox->at = xrealloc(inbox->at, inbox->capacity * sizeof *inbox->at);
    }
    inbox->at[inbox->count++] = item;
    bool first = !socket->posted;
    socket->posted = true;
    return first;
}

/* On a thread of NNG's. */
static void on_received(void *arg)
{
    struct rpc_socket *socket = arg;
    if (nng_aio_result(socket->receive) != 0) return; /* the socket is closing */
    nng_msg *message = nng_aio_get_msg(socket->receive);
    struct item item = {message, (uint32_t)nng_pipe_id(nng_msg_get_pipe(message)), true};
    pthread_mutex_lock(&socket->lock);
    socket->inbox_bytes += nng_msg_len(message);
    bool first = inbox_push(socket, item);
    bool full = socket->inbox_bytes > INBOX_BYTES_MAX || socket->inbox.count >= INBOX_ITEMS_MAX;
    socket->parked = full;
    pthread_mutex_unlock(&socket->lock);
    if (first) loop_post(socket->loop, &socket->letter);
    if (!full) nng_recv_aio(socket->nng, socket->receive);
}

/* On a thread of NNG's. Not bounded by the inbox's limits: a pipe costs a connection. */
static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct rpc_socket *socket = arg;
    struct item item = {NULL, (uint32_t)nng_pipe_id(pipe), event != NNG_PIPE_EV_REM_POST};
    pthread_mutex_lock(&socket->lock);
    bool first = inbox_push(socket, item);
    pthread_mutex_unlock(&socket->lock);
    if (first) loop_post(socket->loop, &socket->letter);
}

static void socket_free(struct rpc_socket *socket)
{
    for (size_t i = 0; i < socket->inbox.count; i++) {
        if (socket->inbox.at[i].message != NULL) nng_msg_free(socket->inbox.at[i].message);
    }
    free(socket->inbox.at);
    free(socket->batch.at);
    nng_aio_free(socket->receive);
    pthread_mutex_destroy(&socket->lock);
    free(socket);
}

static void deliver(struct rpc_socket *socket, struct item *item)
{
    if (item->message == NULL) {
        if (!socket->closed) socket->events.on_pipe(socket->events.arg, item->pipe, item->up);
        return;
    }
    if (!socket->closed) {
        struct rpc_message message = {
            .pipe = item->pipe,
            .header = {nng_msg_header(item->message), nng_msg_header_len(item->message)},
            .body = {nng_msg_body(item->message), nng_msg_len(item->message)}};
        socket->events.on_message(socket->events.arg, &message);
    }
    nng_msg_free(item->message);
}

static void on_letter(void *arg)
{
    struct rpc_socket *socket = arg;
    pthread_mutex_lock(&socket->lock);
    struct items batch = socket->inbox;
    socket->inbox = socket->batch;
    socket->inbox.count = 0;
    socket->inbox_bytes = 0;
    socket->posted = false;
    bool parked = socket->parked;
    socket->parked = false;
    pthread_mutex_unlock(&socket->lock);
    if (parked && !socket->closed) nng_recv_aio(socket->nng, socket->receive);

    socket->batch = batch;
    socket->delivering = true;
    for (size_t i = 0; i < batch.count; i++)
        deliver(socket, &batch.at[i]);
    socket->delivering = false;
    /* Closed meanwhile: if that posted the letter once more, then that one is the last. */
    if (socket->closed && !socket->posted) socket_free(socket);
}

static void set_options(struct rpc_socket *socket)
{
    nng_socket nng = socket->nng;
    CHECK(nng_socket_set_int(nng, NNG_OPT_SENDBUF, QUEUE_MESSAGES) == 0);
    CHECK(nng_socket_set_int(nng, NNG_OPT_RECVBUF, QUEUE_MESSAGES) == 0);
    /* NNG counts the header, which is not the peer's to count. */
    CHECK(nng_socket_set_size(nng, NNG_OPT_RECVMAXSZ,
                              RPC_ENVELOPE_BYTES_MAX + RPC_HEADER_BYTES_MAX) == 0);
    CHECK(nng_socket_set_ms(nng, NNG_OPT_RECONNMINT, REDIAL_MIN_MS) == 0);
    CHECK(nng_socket_set_ms(nng, NNG_OPT_RECONNMAXT, REDIAL_MAX_MS) == 0);
}

static int dial(struct rpc_socket *socket)
{
    int fault = nng_dialer_create(&socket->dialer, socket->nng, socket->url);
    return fault != 0 ? fault : nng_dialer_start(socket->dialer, NNG_FLAG_NONBLOCK);
}

static int start(struct rpc_socket *socket, enum rpc_socket_side side, const char *url)
{
    /* A listener must know a pipe before its first message, which NNG may receive before
     * ADD_POST. A dialler speaks first, once the pipe works. */
    nng_pipe_ev up = side == RPC_SOCKET_DIALS ? NNG_PIPE_EV_ADD_POST : NNG_PIPE_EV_ADD_PRE;
    CHECK(nng_pipe_notify(socket->nng, up, on_pipe, socket) == 0);
    CHECK(nng_pipe_notify(socket->nng, NNG_PIPE_EV_REM_POST, on_pipe, socket) == 0);
    if (side == RPC_SOCKET_DIALS) return dial(socket);
    nng_listener listener;
    int fault = nng_listener_create(&listener, socket->nng, url);
    if (fault != 0) return fault;
    if (strncmp(url, "ipc://", 6) == 0) {
        fault = nng_listener_set_int(listener, NNG_OPT_IPC_PERMISSIONS, IPC_PERMISSIONS);
        if (fault != 0) return fault;
    }
    return nng_listener_start(listener, 0);
}

struct rpc_socket *rpc_socket_open(struct loop *loop, enum rpc_socket_side side, const char *url,
                                   const struct rpc_socket_events *events)
{
    struct rpc_socket *socket = xcalloc(1, sizeof *socket);
    socket->loop = loop;
    socket->events = *events;
    socket->url = url;
    socket->letter = (struct letter){on_letter, socket, NULL};
    pthread_mutex_init(&socket->lock, NULL);
    CHECK(nng_aio_alloc(&socket->receive, on_received, socket) == 0);
    nng_aio_set_timeout(socket->receive, NNG_DURATION_INFINITE);
    CHECK((side == RPC_SOCKET_DIALS ? nng_req0_open_raw : nng_rep0_open_raw)(&socket->nng) == 0);
    set_options(socket);
    int fault = start(socket, side, url);
    if (fault != 0) {
        LOG_ERROR("rpc.unusable", "url=\"%s\" why=\"%s\"", url, nng_strerror(fault));
        rpc_socket_close(socket);
        return NULL;
    }
    nng_recv_aio(socket->nng, socket->receive);
    return socket;
}

void rpc_socket_close(struct rpc_socket *socket)
{
    CHECK(!socket->closed);
    socket->closed = true;
    /* First the receive, while the queue that it may wait in still exists: NNG's cancel otherwise
     * locks a mutex that nng_close has destroyed, and panics. */
    nng_aio_stop(socket->receive);
    nng_close(socket->nng);
    /* No thread of NNG's knows the socket any more; a letter may still be on its way. */
    if (!socket->posted && !socket->delivering) socket_free(socket);
}

bool rpc_socket_send(struct rpc_socket *socket, struct span header,
                     const struct rpc_envelope *envelope)
{
    nng_msg *message = NULL;
    CHECK(nng_msg_alloc(&message, envelope->used) == 0);
    memcpy(nng_msg_body(message), envelope->bytes, envelope->used);
    CHECK(nng_msg_header_append(message, header.at, header.bytes) == 0);
    int fault = nng_sendmsg(socket->nng, message, NNG_FLAG_NONBLOCK);
    if (fault == 0) return true;
    nng_msg_free(message);
    return false;
}

bool rpc_socket_drop(struct rpc_socket *socket, uint32_t pipe)
{
    (void)socket;
    return nng_pipe_close((nng_pipe){pipe}) == 0;
}

void rpc_socket_redial(struct rpc_socket *socket)
{
    CHECK(!socket->closed);
    nng_dialer_close(socket->dialer);
    CHECK(dial(socket) == 0);
}
