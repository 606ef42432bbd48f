/* lockd: wires the loop, the RPC, the leases and the nodes together, and takes them apart again. */
#include "base/check.h"
#include "base/exit_guard.h"
#include "base/healthcheck.h"
#include "base/log.h"
#include "base/metrics.h"
#include "lockd/conf.h"
#include "lockd/hints.h"
#include "lockd/reconfigure.h"
#include "lockd/server.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum {
    DRAIN_MS_MAX = 5000,
    LAST_RELEASES_MS = 100,
    DEAD_MAX = 65536, /* released ids remembered */
};

struct lockd {
    struct lockd_conf conf;
    struct loop *loop;
    struct metrics *metrics;
    struct rpc_server *rpc;
    struct members *members;
    struct leases *leases;
    struct hints *hints;
    struct lock_server *server;
    struct timer stop;
    bool stopping;
};

static uint64_t draw(void *arg)
{
    (void)arg;
    uint64_t bits;
    randombytes_buf(&bits, sizeof bits);
    return bits;
}

static void on_nodes(void *arg)
{
    struct lockd *lockd = arg;
    if (lockd->server != NULL) lock_server_on_nodes(lockd->server);
}

static void on_hint(void *arg, unsigned node, struct span resource)
{
    struct lockd *lockd = arg;
    if (lockd->leases != NULL) leases_hint(lockd->leases, node, resource); /* NULL: stopping */
}

static void stop_now(void *arg)
{
    struct lockd *lockd = arg;
    loop_stop(lockd->loop);
}

static void stop_in(struct lockd *lockd, uint64_t ms)
{
    timer_start(&lockd->stop, loop_timers(lockd->loop), loop_now_us(lockd->loop) + ms * 1000,
                stop_now, lockd);
}

/* All answers are out; the releases of given-up rounds are still on their way to the nodes. */
static void on_drained(void *arg)
{
    stop_in(arg, LAST_RELEASES_MS);
}

/* The first signal drains: who waits is told DOWN at once and can go to another lockd; granted
 * leases stay on the nodes until their end. The second one does not wait. */
static void on_signal(void *arg, int number)
{
    struct lockd *lockd = arg;
    if (lockd->stopping) {
        loop_stop(lockd->loop);
        return;
    }
    LOG_INFO("lockd.stopping", "signal=%d", number);
    lockd->stopping = true;
    stop_in(lockd, DRAIN_MS_MAX);
    lock_server_drain(lockd->server);
    leases_free(lockd->leases);
    lockd->leases = NULL;
    rpc_server_drain(lockd->rpc, on_drained, lockd);
}

static bool start(struct lockd *lockd)
{
    const struct lockd_conf *conf = &lockd->conf;
    lockd->loop = loop_new();
    lockd->metrics = metrics_new();
    struct rpc_server_options rpc = {.url = conf->listen,
                                     .program = lockd_program.name,
                                     .version = lockd_program.version,
                                     .metrics = lockd->metrics};
    lockd->rpc = rpc_server_open(lockd->loop, &rpc);
    if (lockd->rpc == NULL) return false;
    struct members_options members = {.loop = lockd->loop,
                                      .timers = loop_timers(lockd->loop),
                                      .names = conf->redis_nodes,
                                      .metrics = lockd->metrics,
                                      .node_timeout_ms = (uint32_t)conf->node_timeout_ms,
                                      .ttl_max_ms = (uint32_t)conf->ttl_max_s * 1000,
                                      .init_empty = conf->init == LOCKD_INIT_EMPTY,
                                      .on_change = on_nodes,
                                      .arg = lockd};
    lockd->members = members_open(&members);
    struct leases_options leases = {.timers = loop_timers(lockd->loop),
                                    .transport = members_transport(lockd->members),
                                    .metrics = lockd->metrics,
                                    .random = draw,
                                    .instance = rpc_server_instance(lockd->rpc),
                                    .ttl_default_ms = (uint32_t)conf->timeout_s * 1000,
                                    .ttl_max_ms = (uint32_t)conf->ttl_max_s * 1000,
                                    .wait_default_ms = (uint32_t)conf->wait_ms,
                                    .node_timeout_ms = (uint32_t)conf->node_timeout_ms,
                                    .waiters_max = (uint32_t)conf->waiters_max,
                                    .resources_max = (uint32_t)conf->resources_max,
                                    .dead_max = DEAD_MAX};
    lockd->leases = leases_new(&leases);
    lockd->hints = hints_open(lockd->loop, &conf->redis_nodes, on_hint, lockd);
    struct lock_server_options server = {.rpc = lockd->rpc,
                                         .leases = lockd->leases,
                                         .members = lockd->members,
                                         .timers = loop_timers(lockd->loop),
                                         .instance = rpc_server_instance(lockd->rpc)};
    lockd->server = lock_server_new(&server);
    loop_on_signal(lockd->loop, on_signal, lockd);
    return true;
}

/* From the outside in: what answers callers ends before what it asks. */
static void finish(struct lockd *lockd)
{
    timer_stop(&lockd->stop);
    hints_close(lockd->hints); /* before the leases, which it tells */
    if (lockd->leases != NULL) leases_free(lockd->leases);
    rpc_server_close(lockd->rpc);
    members_close(lockd->members);
    loop_free(lockd->loop); /* here the RPC server ends, and with it the use of what it was given */
    if (lockd->server != NULL) lock_server_free(lockd->server);
    metrics_free(lockd->metrics);
}

static int serve(struct lockd *lockd)
{
    conf_log(&lockd_program, &lockd->conf);
    bool started = start(lockd);
    if (started) loop_run(lockd->loop);
    int code = started ? 0 : 1;
    exit_guard_start(code);
    finish(lockd);
    if (started) LOG_INFO("lockd.stopped", "code=0");
    return code;
}

static int reconfigure(const struct lockd_conf *conf)
{
    struct reconfigure_options options = {.names = conf->redis_nodes,
                                          .ttl_max_ms = (uint32_t)conf->ttl_max_s * 1000};
    return reconfigure_run(&options) ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct lockd lockd = {.stopping = false};
    const char *mode = conf_start(&lockd_program, argc, argv, &lockd.conf);
    if (!lockd_conf_fits(&lockd.conf, stderr)) {
        conf_free(&lockd_program, &lockd.conf);
        return 2;
    }
    log_set_level((enum log_level)lockd.conf.log_level);
    CHECK(sodium_init() >= 0);
    int code;
    if (mode == NULL) {
        code = serve(&lockd);
    } else if (strcmp(mode, HEALTHCHECK) == 0) {
        healthcheck_rpc(lockd.conf.listen);
    } else {
        code = reconfigure(&lockd.conf);
    }
    conf_free(&lockd_program, &lockd.conf);
    return code;
}
