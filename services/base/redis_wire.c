#include "base/redis_wire.h"

#include "base/check.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uv.h>

struct redis_wire {
    uv_poll_t poll; /* first: what libuv hands back when it is closed */
    struct loop *loop;
    redisContext *redis; /* NULL once closed */
    struct redis_wire_events events;
    void (*on_end)(void *arg); /* set by redis_wire_finish */
    void *on_end_arg;
    struct tick flush;
    int watched; /* UV_READABLE, UV_WRITABLE */
    bool open;
    bool lost;
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct redis_wire *wire, int events)
{
    if (wire->watched == events) return;
    wire->watched = events;
    CHECK(uv_poll_start(&wire->poll, events, on_poll) == 0);
}

/* A dead socket stays readable for ever, so polling ends here. */
static void lose(struct redis_wire *wire, const char *why)
{
    if (wire->lost) return;
    wire->lost = true;
    tick_cancel(&wire->flush);
    uv_poll_stop(&wire->poll);
    char reason[128]; /* closing frees what `why` may point into */
    snprintf(reason, sizeof reason, "%s", why);
    wire->events.on_lost(wire->events.arg, reason);
}

/* What the kernel knows about why the socket failed; 0: nothing. */
static int socket_error(const struct redis_wire *wire)
{
    int error = 0;
    socklen_t bytes = sizeof error;
    getsockopt(wire->redis->fd, SOL_SOCKET, SO_ERROR, &error, &bytes);
    return error;
}

static void write_some(struct redis_wire *wire)
{
    int done = 1;
    if (sdslen(wire->redis->obuf) > 0 && redisBufferWrite(wire->redis, &done) != REDIS_OK) {
        lose(wire, wire->redis->errstr);
        return;
    }
    watch(wire, done ? UV_READABLE : UV_READABLE | UV_WRITABLE);
}

static void on_flush(void *arg)
{
    struct redis_wire *wire = arg;
    if (wire->open && !wire->lost) write_some(wire);
}

/* on_reply may close the wire; its memory lives until libuv has closed the handle, which is later.
 */
static void read_some(struct redis_wire *wire)
{
    if (redisBufferRead(wire->redis) != REDIS_OK) {
        lose(wire, wire->redis->errstr);
        return;
    }
    while (wire->redis != NULL && !wire->lost) {
        void *reply = NULL;
        if (redisGetReplyFromReader(wire->redis, &reply) != REDIS_OK) {
            lose(wire, wire->redis->errstr);
            return;
        }
        if (reply == NULL) return;
        wire->events.on_reply(wire->events.arg, reply);
        freeReplyObject(reply);
    }
}

/* libuv reports EPOLLERR as UV_EBADF and stops polling. What the server said before it died is
 * still read. */
static void on_poll_error(struct redis_wire *wire)
{
    int error = socket_error(wire);
    if (wire->open) read_some(wire);
    if (wire->redis == NULL) return;
    lose(wire, error != 0 ? strerror(error) : "the socket failed");
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct redis_wire *wire = (struct redis_wire *)poll;
    if (status < 0) {
        wire->watched = 0;
        on_poll_error(wire);
        return;
    }
    if (!wire->open) {
        int error = socket_error(wire);
        if (error != 0) {
            lose(wire, strerror(error));
            return;
        }
        wire->open = true;
        watch(wire, UV_READABLE);
        loop_at_tick_end(wire->loop, &wire->flush);
        wire->events.on_open(wire->events.arg);
        return;
    }
    if ((events & UV_WRITABLE) != 0) write_some(wire);
    if (wire->redis == NULL || wire->lost) return;
    if ((events & UV_READABLE) != 0) read_some(wire);
}

struct redis_wire *redis_wire_dial(struct loop *loop, const char *address, uint16_t port,
                                   const struct redis_wire_events *events, char *why)
{
    redisContext *redis = redisConnectNonBlock(address, port);
    CHECK(redis != NULL);
    if (redis->err != 0) {
        snprintf(why, 128, "%s", redis->errstr);
        redisFree(redis);
        return NULL;
    }
    struct redis_wire *wire = xcalloc(1, sizeof *wire);
    wire->loop = loop;
    wire->redis = redis;
    wire->events = *events;
    tick_init(&wire->flush, on_flush, wire);
    CHECK(uv_poll_init(loop_uv(loop), &wire->poll, redis->fd) == 0);
    watch(wire, UV_WRITABLE);
    return wire;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

void redis_wire_close(struct redis_wire *wire)
{
    CHECK(wire->redis != NULL);
    tick_cancel(&wire->flush);
    uv_close((uv_handle_t *)&wire->poll, on_closed); /* before its descriptor is closed */
    redisFree(wire->redis);
    wire->redis = NULL;
}

void redis_wire_append(struct redis_wire *wire, int arg_count, const char **args,
                       const size_t *arg_bytes)
{
    CHECK(redisAppendCommandArgv(wire->redis, arg_count, args, arg_bytes) == REDIS_OK);
    loop_at_tick_end(wire->loop, &wire->flush);
}

size_t redis_wire_unsent_bytes(const struct redis_wire *wire)
{
    return sdslen(wire->redis->obuf);
}

/* As far as the socket takes it. */
static void push(struct redis_wire *wire)
{
    size_t before = 0;
    while (sdslen(wire->redis->obuf) != before) {
        before = sdslen(wire->redis->obuf);
        int done = 0;
        if (before == 0 || redisBufferWrite(wire->redis, &done) != REDIS_OK || done) return;
    }
}

static void end_on_lost(void *arg, const char *why)
{
    (void)why;
    struct redis_wire *wire = arg;
    wire->on_end(wire->on_end_arg);
}

static void drop_reply(void *arg, const struct redisReply *reply)
{
    (void)arg;
    (void)reply;
}

void redis_wire_finish(struct redis_wire *wire, void (*on_end)(void *arg), void *arg)
{
    CHECK(wire->open && !wire->lost);
    tick_cancel(&wire->flush);
    push(wire);
    shutdown(wire->redis->fd, SHUT_WR);
    wire->on_end = on_end;
    wire->on_end_arg = arg;
    wire->events =
        (struct redis_wire_events){.on_reply = drop_reply, .on_lost = end_on_lost, .arg = wire};
    watch(wire, UV_READABLE);
}
