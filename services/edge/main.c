/* The edge: HTTP in, RPC out. Everything is opened here, run, and closed in reverse order. */
#include "base/check.h"
#include "base/exit_guard.h"
#include "base/log.h"
#include "edge/admin.h"
#include "edge/edge.h"
#include "edge/healthcheck.h"
#include "edge/http.h"
#include "edge/routes.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

/* Descriptors for other things than clients: peers, the loop, the log, lingering connections. */
#define OTHER_DESCRIPTORS 512

/* Requests end by their deadline; connections that still don't let go then are cut. */
#define DRAIN_GRACE_US 2000000

struct process {
    struct edge edge;
    struct timer patience; /* while draining */
    bool draining;
};

static void on_empty(void *arg)
{
    struct process *process = arg;
    LOG_INFO("drained", "connections=0");
    loop_stop(process->edge.loop);
}

static void on_patience_over(void *arg)
{
    struct process *process = arg;
    LOG_WARN("drain.cut", "text=\"connections that did not end are cut\"");
    http_cut(process->edge.http);
}

static void on_signal(void *arg, int signal_number)
{
    struct process *process = arg;
    struct edge *edge = &process->edge;
    if (process->draining) {
        http_cut(edge->http);
        return;
    }
    process->draining = true;
    LOG_INFO("draining", "signal=%d", signal_number);
    uint64_t due_us =
        loop_now_us(edge->loop) + (uint64_t)edge->conf->request_timeout_ms * 1000 + DRAIN_GRACE_US;
    timer_start(&process->patience, loop_timers(edge->loop), due_us, on_patience_over, process);
    http_drain(edge->http, on_empty, process);
}

/* As many descriptors as connections may be open; what the system allows, if that is less. */
static size_t allow_connections(size_t wanted)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    rlim_t needed = (rlim_t)wanted + OTHER_DESCRIPTORS;
    if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= needed) return wanted;
    size_t possible =
        limit.rlim_cur > 2 * OTHER_DESCRIPTORS ? limit.rlim_cur - OTHER_DESCRIPTORS : 256;
    LOG_WARN("descriptors",
             "text=\"CONNECTIONS_MAX is above what the system allows\" wanted=%zu "
             "possible=%zu",
             wanted, possible);
    return possible;
}

static struct auth *make_auth(const struct edge_conf *conf)
{
    struct span secret = span_of(conf->jwt_secret);
    char drawn[32];
    if (secret.bytes == 0) {
        LOG_WARN("jwt.secret", "text=\"JWT_SECRET_KEY is unset: tokens end with this process, and "
                               "no other edge takes them\"");
        randombytes_buf(drawn, sizeof drawn);
        secret = (struct span){drawn, sizeof drawn};
    }
    return auth_new(secret, conf->jwt_minutes * 60, &clock_system);
}

static struct http *open_http(struct edge *edge)
{
    const struct edge_conf *conf = edge->conf;
    char host[256];
    uint16_t port;
    CHECK(conf_host_port(conf->listen, host, &port)); /* the table has checked */
    struct http_options options = {
        .host = host,
        .port = port,
        .http2 = conf->http2,
        .body_bytes_max = EDGE_BODY_BYTES_MAX,
        .request_timeout_us = (uint64_t)conf->request_timeout_ms * 1000,
        .limits = {.max = allow_connections((size_t)conf->connections_max),
                   .patience_us = (uint64_t)conf->client_timeout_ms * 1000,
                   .idle_us = (uint64_t)conf->idle_timeout_ms * 1000},
        .metrics = edge->metrics,
        .edge = edge,
        .on_request = routes_dispatch,
        .on_answered = routes_on_answered,
    };
    return http_open(edge->loop, &options);
}

static bool open_all(struct edge *edge)
{
    const struct edge_conf *conf = edge->conf;
    edge->auth = make_auth(conf);
    edge->passwords = passwords_new(edge->loop, (size_t)conf->password_queue_max);
    edge->stats = route_stats_new(edge->metrics);
    randombytes_buf(&edge->key_seed, sizeof edge->key_seed);
    edge->inventory = inventory_client_open(edge->loop, &conf->inventory_urls, edge->metrics);
    if (edge->inventory == NULL) return false;
    edge->lockd = lockd_client_open(edge->loop, &conf->lockd_urls, edge->metrics);
    if (edge->lockd == NULL) return false;
    edge->http = open_http(edge);
    return edge->http != NULL;
}

static void close_all(struct edge *edge)
{
    http_close(edge->http);
    passwords_free(edge->passwords);
    inventory_client_close(edge->inventory);
    lockd_client_close(edge->lockd);
    route_stats_free(edge->stats);
    auth_free(edge->auth);
}

/* Returns the mode, as conf_start does. */
static const char *read_settings(int argc, char **argv, struct edge_conf *conf)
{
    const char *mode = conf_start(&edge_program, argc, argv, conf);
    const char *fault = edge_conf_fault(conf);
    if (fault == NULL) return mode;
    fprintf(stderr, "%s\nedge: not started; see edge --help\n", fault);
    exit(2);
}

static int ask_health(struct edge_conf *conf)
{
    struct healthcheck found = healthcheck_http(conf->listen);
    conf_free(&edge_program, conf);
    return healthcheck_verdict(&found);
}

int main(int argc, char **argv)
{
    struct edge_conf conf = {0};
    if (read_settings(argc, argv, &conf) != NULL) return ask_health(&conf);
    log_set_level((enum log_level)conf.log_level);
    conf_log(&edge_program, &conf);
    CHECK(sodium_init() >= 0);
    json_object_seed(0);
    /* One worker: passwords come one at a time, and nothing else uses libuv's threads. */
    setenv("UV_THREADPOOL_SIZE", "1", 0);

    struct process process = {
        .edge = {.conf = &conf, .loop = loop_new(), .metrics = metrics_new()}};
    struct edge *edge = &process.edge;
    edge->started_us = loop_now_us(edge->loop);
    bool good = open_all(edge);
    if (good) {
        struct admin *admin = admin_start(edge);
        loop_on_signal(edge->loop, on_signal, &process);
        LOG_INFO("started", "listen=%s", conf.listen);
        loop_run(edge->loop);
        timer_stop(&process.patience);
        admin_stop(admin);
    }
    int code = good ? 0 : 1;
    exit_guard_start(code);
    close_all(edge);
    loop_free(edge->loop);
    metrics_free(edge->metrics);
    conf_free(&edge_program, &conf);
    return code;
}
