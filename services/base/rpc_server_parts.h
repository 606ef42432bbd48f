/* rpc_server_parts.h - what rpc_server.c, rpc_request.c, rpc_peer.c and rpc_health.c share; no one
 * else includes it. */
#ifndef QUORATE_BASE_RPC_SERVER_PARTS_H
#define QUORATE_BASE_RPC_SERVER_PARTS_H

#include "base/metrics.h"
#include "base/rpc_arena.h"
#include "base/rpc_connection.h"
#include "base/rpc_server.h"
#include "proto/health.pb-c.h"
#include "proto/rpc.pb-c.h"

#define RPC_REASONS       (REASON_CANCELLED + 1)
#define RPC_STREAM_WINDOW 32

struct rpc_method {
    char *name; /* "/package.Service/Method" */
    ProtobufCService *service;
    unsigned index;
    bool runs_late;
    bool own;     /* Peer's or Health's: not refused when draining, does not keep the server open */
    bool at_once; /* Peer's: answered before the handler returns, so it needs no window */
    struct histogram *seconds;
    uint64_t *counts[RPC_REASONS];
    UT_hash_handle hh; /* in server->methods, by name */
};

/* Unique among open requests. */
struct rpc_request_key {
    const struct rpc_route *route;
    uint64_t call_id;
};

struct rpc_request {
    struct rpc_server *server;
    struct rpc_method *method;
    struct rpc_connection *connection; /* NULL: lost */
    struct rpc_request_key key;        /* route NULL: nobody hears the answer */
    uint64_t arrived_us;
    struct timer deadline;
    bool gone;
    bool blocked;  /* a message of the stream was refused for want of room */
    uint64_t sent; /* messages of the stream */
    uint64_t read;
    void (*on_gone)(void *arg);
    void *on_gone_arg;
    void (*on_ready)(void *arg);
    void *on_ready_arg;
    struct rpc_request *prev, *next; /* in connection->requests; next also in server->spare */
    UT_hash_handle hh;               /* in server->requests, by key */
    char id[RPC_REQUEST_ID_BYTES_MAX + 1];
    char traceparent[RPC_TRACEPARENT_BYTES_MAX + 1];
};

struct rpc_peer {
    Quorate__Rpc__V1__Peer_Service base;
    struct rpc_server *server;
};

/* One per service that Health knows, and "" for the server. */
struct rpc_health_entry {
    char *service;
    bool serving;
    struct rpc_health_entry *next;
};

struct rpc_health {
    Grpc__Health__V1__Health_Service base;
    struct rpc_health_entry *entries;
    struct rpc_watcher *watchers;
    bool draining;   /* nothing serves, whatever the entries say */
    bool has_served; /* the whole was said to serve, at some time */
};

struct rpc_server {
    struct loop *loop;
    char *program;
    char *version;
    uint32_t calls_max;
    uint32_t calls_total_max;
    uint64_t instance;
    uint64_t started_us;
    bool closed;
    struct tick ending;
    struct rpc_connections connections;
    struct rpc_method *methods;
    struct rpc_request *requests;
    uint32_t open;  /* requests not ended */
    uint32_t owned; /* of these, of Peer and Health */
    struct rpc_request *spare;
    uint32_t spare_count;
    struct rpc_request *expiring; /* its on_gone runs because the deadline passed */
    struct rpc_arena arena;
    bool draining;
    void (*on_empty)(void *arg);
    void *on_empty_arg;
    struct timer linger;
    struct rpc_peer peer;
    struct rpc_health health;
    struct metrics *metrics;
    uint64_t *dropped[4]; /* by enum rpc_drop */
    int64_t *open_gauge;
    int64_t *connections_gauge;
};

enum rpc_drop {
    RPC_DROP_MALFORMED, /* a message or frame that can't be parsed */
    RPC_DROP_STRANGER,  /* from a connection that is already lost */
    RPC_DROP_DUPLICATE, /* a call id that is open: NNG of a plain program asked again */
    RPC_DROP_UNREAD,    /* an answer to a caller that does not read */
};

void rpc_drop(struct rpc_server *server, enum rpc_drop why);

/* rpc_request.c: the life of a request. */

struct rpc_request *rpc_request_new(struct rpc_server *server, struct rpc_method *method,
                                    struct rpc_route *route, uint64_t call_id);
struct rpc_request *rpc_request_find(struct rpc_server *server, const struct rpc_route *route,
                                     uint64_t call_id);
void rpc_request_start_deadline(struct rpc_request *request, uint64_t deadline_us);

/* What the generated code calls as the closure; arg is the request. */
void rpc_request_reply(const ProtobufCMessage *reply, void *arg);

/* Nobody hears the answer: told to the handler once. */
void rpc_request_abandon(struct rpc_request *request);
void rpc_request_abandon_all(struct rpc_connection *connection);

/* The caller has read this many messages. */
void rpc_request_on_read(struct rpc_request *request, uint64_t read);

/* Answers what never became a request. `method` NULL: not known. */
void rpc_refuse(struct rpc_server *server, struct rpc_method *method, struct rpc_route *route,
                uint64_t call_id, const struct rpc_status *status);

/* Once nothing of the added services is open, and a draining server's answers had time to leave. */
void rpc_server_settle(struct rpc_server *server);

void rpc_peer_init(struct rpc_peer *peer, struct rpc_server *server);

void rpc_health_init(struct rpc_health *health);
void rpc_health_fini(struct rpc_health *health);
void rpc_health_add(struct rpc_health *health, const char *service);
void rpc_health_set(struct rpc_health *health, const char *service, bool serving);
void rpc_health_drain(struct rpc_health *health);

/* Ends all watches. */
void rpc_health_close(struct rpc_health *health);

#endif
