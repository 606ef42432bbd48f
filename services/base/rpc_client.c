#include "base/rpc_client.h"

#include "base/check.h"
#include "base/log.h"
#include "base/rpc_client_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef Quorate__Rpc__V1__Answer Answer;

#define CALLS_DEFAULT  1024
#define HELLO_AGAIN_US 5000000 /* how old the server's clock gets */
#define SEND_AGAIN_US  1000
#define REDIAL_US      2000000

/* The request id of every message: our calls are told apart by their own ids. NNG wants the top bit
 * set. */
static const char request_header[4] = {(char)0x80, 0, 0, 1};

/* --- sending --- */

/* False: NNG takes nothing now; the envelope waits. */
static bool flush(struct rpc_client *client)
{
    if (client->envelope.frames == 0) return true;
    struct span header = {request_header, sizeof request_header};
    if (!rpc_socket_send(client->socket, header, &client->envelope)) return false;
    rpc_envelope_clear(&client->envelope);
    client->message++;
    return true;
}

static void on_flush(void *arg)
{
    struct rpc_client *client = arg;
    if (flush(client)) return;
    timer_start(&client->flush_again, loop_timers(client->loop),
                loop_now_us(client->loop) + SEND_AGAIN_US, on_flush, client);
}

bool rpc_client_put(struct rpc_client *client, const struct rpc_frame *frame)
{
    if (!rpc_envelope_add(&client->envelope, frame)) {
        if (!flush(client)) return false;
        CHECK(rpc_envelope_add(&client->envelope, frame));
    }
    loop_at_tick_end(client->loop, &client->flush);
    return true;
}

/* --- receiving --- */

static void drop(struct rpc_client *client)
{
    if (client->dropped != NULL) (*client->dropped)++;
}

static void on_message(void *arg, const struct rpc_message *message)
{
    struct rpc_client *client = arg;
    struct span header = {request_header, sizeof request_header};
    struct span rest = message->body;
    if (!span_equal(message->header, header) || !rpc_frames_whole(rest)) {
        drop(client);
        return;
    }
    struct span frame;
    while (!client->closed && rpc_frames_next(&rest, &frame)) {
        Answer *answer = quorate__rpc__v1__answer__unpack(&client->arena.allocator, frame.bytes,
                                                          (const uint8_t *)frame.at);
        if (answer == NULL) {
            drop(client);
        } else {
            rpc_call_on_answer(client, answer);
        }
        rpc_arena_clear(&client->arena);
    }
}

/* --- the peer comes and goes --- */

static void set_up(struct rpc_client *client, bool up)
{
    client->up = up;
    if (client->up_gauge != NULL) *client->up_gauge = up;
}

static void say_hello(void *arg);
static void on_peer_lost(struct rpc_client *client);

static void on_hello(const Quorate__Rpc__V1__HelloReply *reply, void *arg)
{
    struct rpc_client *client = arg;
    if (reply == NULL || reply->instance == 0) {
        LOG_WARN("rpc.no_hello", "peer=%s why=\"%s\"", client->url, client->hello.status.message);
        /* Its going down ends the calls. NNG may tell of a pipe's coming after its going, though.
         */
        if (!rpc_socket_drop(client->socket, client->pipe)) on_peer_lost(client);
        return;
    }
    if (reply->instance != client->instance) client->clock = (struct rpc_clock){0};
    client->instance = reply->instance;
    rpc_clock_learn(&client->clock, client->hello_us, loop_now_us(client->loop),
                    reply->boottime_us);
    uint32_t theirs = reply->calls_max == 0 ? client->calls_max : reply->calls_max;
    client->window = theirs < client->calls_max ? theirs : client->calls_max;
    timer_start(&client->hello_again, loop_timers(client->loop),
                loop_now_us(client->loop) + HELLO_AGAIN_US, say_hello, client);
    if (client->up) return;
    set_up(client, true);
    LOG_INFO("rpc.up", "peer=%s program=\"%s\" version=\"%s\" instance=%016" PRIx64, client->url,
             reply->program, reply->version, client->instance);
    if (client->on_change != NULL) client->on_change(client->arg, true);
}

static void say_hello(void *arg)
{
    struct rpc_client *client = arg;
    client->hello_us = loop_now_us(client->loop);
    Quorate__Rpc__V1__HelloRequest request = QUORATE__RPC__V1__HELLO_REQUEST__INIT;
    request.program = client->program;
    rpc_call_init(&client->hello, client, &quorate__rpc__v1__peer__descriptor,
                  client->hello_us + RPC_HELLO_WAIT_US);
    client->hello.reads_only = true;
    quorate__rpc__v1__peer__hello(&client->hello.service, &request, on_hello, client);
}

/* NNG dials for ever, but not quite: when the peer dies in the middle of the handshake, so that
 * writing to it gives EPIPE, NNG 1.5.2 takes that for its own closing and never dials again. (Seen
 * with a server that was killed; one in a hundred.) And a handshake that gets no answer holds it up
 * for ten seconds. */
static void on_redial(void *arg)
{
    struct rpc_client *client = arg;
    rpc_socket_redial(client->socket);
    timer_start(&client->redial, loop_timers(client->loop), loop_now_us(client->loop) + REDIAL_US,
                on_redial, client);
}

static void on_peer_lost(struct rpc_client *client)
{
    bool was_up = client->up;
    client->pipe = 0;
    client->instance = 0;
    client->clock = (struct rpc_clock){0};
    set_up(client, false);
    rpc_call_cancel(&client->hello);
    timer_stop(&client->hello_again);
    timer_stop(&client->flush_again);
    timer_start(&client->redial, loop_timers(client->loop), loop_now_us(client->loop) + REDIAL_US,
                on_redial, client);
    rpc_envelope_clear(&client->envelope); /* its calls were not sent */
    if (was_up) LOG_WARN("rpc.lost", "peer=%s open=%" PRIu32, client->url, client->slots.taken);
    rpc_calls_lost(client, "the connection was lost");
    if (was_up && !client->closed && client->on_change != NULL)
        client->on_change(client->arg, false);
}

static void on_pipe(void *arg, uint32_t pipe, bool up)
{
    struct rpc_client *client = arg;
    if (!up) {
        if (pipe == client->pipe) on_peer_lost(client);
        return;
    }
    if (client->pipe != 0) on_peer_lost(client);
    if (client->closed) return;
    client->pipe = pipe;
    timer_stop(&client->redial);
    say_hello(client);
}

/* --- the client --- */

static void counters_init(struct rpc_client *client, struct metrics *metrics)
{
    client->metrics = metrics;
    if (metrics == NULL) return;
    char labels[512];
    snprintf(labels, sizeof labels, "peer=\"%s\"", client->url);
    client->seconds = metrics_histogram(metrics, "quorate_rpc_client_call_seconds", labels,
                                        "Time from call to answer");
    client->dropped = metrics_counter(metrics, "quorate_rpc_client_dropped_total", labels,
                                      "Messages from the peer that could not be read");
    client->up_gauge =
        metrics_gauge(metrics, "quorate_rpc_client_up", labels, "1 while calls can be made");
}

struct rpc_client *rpc_client_open(struct loop *loop, const struct rpc_client_options *options)
{
    struct rpc_client *client = xcalloc(1, sizeof *client);
    struct rpc_socket_events events = {on_pipe, on_message, client};
    client->url = xstrdup(options->url);
    client->socket = rpc_socket_open(loop, RPC_SOCKET_DIALS, client->url, &events);
    if (client->socket == NULL) {
        free(client->url);
        free(client);
        return NULL;
    }
    client->loop = loop;
    timer_start(&client->redial, loop_timers(loop), loop_now_us(loop) + REDIAL_US, on_redial,
                client);
    client->program = xstrndup(options->program == NULL ? "" : options->program, 64);
    client->on_change = options->on_change;
    client->arg = options->arg;
    client->calls_max = options->calls_max == 0 ? CALLS_DEFAULT : options->calls_max;
    client->window = client->calls_max;
    client->message = 1;
    tick_init(&client->flush, on_flush, client);
    rpc_slots_init(&client->slots, client->calls_max + 1); /* Hello needs no place in the window */
    rpc_arena_init(&client->arena);
    counters_init(client, options->metrics);
    return client;
}

static void client_free(struct rpc_client *client)
{
    rpc_names_free(client->names);
    rpc_arena_fini(&client->arena);
    rpc_envelope_fini(&client->envelope);
    rpc_slots_fini(&client->slots);
    free(client->url);
    free(client->program);
    free(client);
}

static void on_ending(void *arg)
{
    struct rpc_client *client = arg;
    rpc_calls_refused(client);
    rpc_calls_lost(client, "the client was closed");
    client_free(client);
}

void rpc_client_close(struct rpc_client *client)
{
    if (client == NULL) return;
    CHECK(!client->closed);
    client->closed = true;
    set_up(client, false);
    rpc_call_cancel(&client->hello);
    timer_stop(&client->hello_again);
    timer_stop(&client->redial);
    timer_stop(&client->flush_again);
    tick_cancel(&client->flush);
    rpc_socket_close(client->socket);
    tick_init(&client->ending, on_ending, client);
    loop_at_tick_end(client->loop, &client->ending);
}

bool rpc_client_up(const struct rpc_client *client)
{
    return client->up;
}

uint64_t rpc_client_instance(const struct rpc_client *client)
{
    return client->up ? client->instance : 0;
}

uint64_t rpc_client_local_us(const struct rpc_client *client, uint64_t instance, uint64_t server_us)
{
    if (!client->up || instance != client->instance) return 0;
    return rpc_clock_ours(&client->clock, server_us);
}
