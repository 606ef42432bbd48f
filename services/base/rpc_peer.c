/* What every server answers for itself: who it is and what its clock says, and what it counted. */
#include "base/check.h"
#include "base/log.h"
#include "base/rpc_server_parts.h"

#include <inttypes.h>
#include <stdlib.h>

/* Room for the Answer around it. */
#define TEXT_BYTES_MAX (RPC_FRAME_BYTES_MAX - 256)

static void hello(Quorate__Rpc__V1__Peer_Service *service,
                  const Quorate__Rpc__V1__HelloRequest *input,
                  Quorate__Rpc__V1__HelloReply_Closure closure, void *closure_data)
{
    struct rpc_server *server = ((struct rpc_peer *)service)->server;
    LOG_DEBUG("rpc.hello", "program=\"%.64s\"", input->program);
    Quorate__Rpc__V1__HelloReply reply = QUORATE__RPC__V1__HELLO_REPLY__INIT;
    reply.instance = server->instance;
    reply.message_bytes_max = RPC_ENVELOPE_BYTES_MAX;
    reply.frame_bytes_max = RPC_FRAME_BYTES_MAX;
    reply.frames_max = RPC_FRAMES_MAX;
    reply.calls_max = server->calls_max;
    reply.program = server->program;
    reply.version = server->version;
    reply.started_us = server->started_us;
    reply.has_served = server->health.has_served;
    reply.boottime_us = loop_now_us(server->loop);
    closure(&reply, closure_data);
}

static void print_metrics(Quorate__Rpc__V1__Peer_Service *service,
                          const Quorate__Rpc__V1__MetricsRequest *input,
                          Quorate__Rpc__V1__MetricsReply_Closure closure, void *closure_data)
{
    (void)input;
    struct rpc_server *server = ((struct rpc_peer *)service)->server;
    Quorate__Rpc__V1__MetricsReply reply = QUORATE__RPC__V1__METRICS_REPLY__INIT;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    CHECK(out != NULL);
    if (server->metrics != NULL) metrics_print(server->metrics, out);
    CHECK(fclose(out) == 0);
    if (bytes > TEXT_BYTES_MAX) { /* whole lines, as many as fit */
        LOG_ERROR("rpc.metrics_too_large", "bytes=%zu", bytes);
        for (bytes = TEXT_BYTES_MAX; bytes > 0 && text[bytes - 1] != '\n';)
            bytes--;
        text[bytes] = '\0';
    }
    reply.text = text;
    closure(&reply, closure_data);
    free(text);
}

void rpc_peer_init(struct rpc_peer *peer, struct rpc_server *server)
{
    quorate__rpc__v1__peer__init(&peer->base, NULL);
    peer->base.hello = hello;
    peer->base.metrics = print_metrics;
    peer->server = server;
}
