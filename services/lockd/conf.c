#include "lockd/conf.h"

#include "base/healthcheck.h"
#include "base/log.h"
#include "lockd/transport.h"

#include <inttypes.h>

#ifndef QUORATE_VERSION
#define QUORATE_VERSION "unknown"
#endif

static const struct conf_entry table[] = {
    CONF_LIST(struct lockd_conf, redis_nodes, "REDIS_NODES", NULL, 1, TRANSPORT_NODES_MAX,
              "the independent Redis nodes, host:port,…; spelling and order identify the cluster",
              conf_check_host_port),
    CONF_CHECKED(struct lockd_conf, listen, "LOCKD_LISTEN", "tcp://127.0.0.1:7001",
                 "where the RPC listens: tcp://, ipc:// or tls+tcp://", conf_check_url),
    CONF_INTEGER(struct lockd_conf, timeout_s, "LOCK_TIMEOUT_SECONDS", "10", 1, 3600,
                 "lease of a request that names none, in seconds"),
    CONF_INTEGER(
        struct lockd_conf, ttl_max_s, "LOCK_TTL_MAX_SECONDS", "60", 1, 3600,
        "longest lease, in seconds; also how long a node that may have forgotten something "
        "does not vote. The same at every lockd; to change it: lockd --reconfigure"),
    CONF_INTEGER(struct lockd_conf, wait_ms, "LOCK_WAIT_MS", "1000", 1, 3600000,
                 "how long a request that names no wait waits for its turn, in ms"),
    CONF_INTEGER(struct lockd_conf, node_timeout_ms, "LOCK_NODE_TIMEOUT_MS", "50", 1, 10000,
                 "a node that takes longer is a no for the round, in ms"),
    CONF_CHOICE(struct lockd_conf, init, "LOCK_INIT", "none", "none|empty",
                "empty: when all nodes are there and none has ever voted, vote at once instead of "
                "after LOCK_TTL_MAX_SECONDS. The danger: should all nodes lose their data while "
                "leases run and lockd restarts, those are forgotten"),
    CONF_INTEGER(struct lockd_conf, waiters_max, "LOCK_WAITERS_MAX", "1024", 1, 1000000,
                 "waiting requests per resource; more are OVERLOADED"),
    CONF_INTEGER(struct lockd_conf, resources_max, "LOCK_RESOURCES_MAX", "100000", 1, 10000000,
                 "resources held or waited for at once; more are OVERLOADED"),
    CONF_CHOICE(struct lockd_conf, log_level, "LOG_LEVEL", "info", LOG_LEVEL_CHOICES,
                "what is logged"),
};

static const struct conf_mode modes[] = {
    HEALTHCHECK_MODE,
    {LOCKD_RECONFIGURE,
     "adopts changed REDIS_NODES or LOCK_TTL_MAX_SECONDS, with all lockds stopped"},
};

const struct conf_program lockd_program = {
    .name = "lockd",
    .version = QUORATE_VERSION,
    .summary = "leases with fencing tokens over independent Redis nodes",
    .table = table,
    .entries = sizeof table / sizeof table[0],
    .modes = modes,
    .mode_count = sizeof modes / sizeof modes[0]};

bool lockd_conf_fits(const struct lockd_conf *conf, FILE *faults)
{
    bool fits = true;
    if (conf->timeout_s > conf->ttl_max_s) {
        fprintf(faults,
                "LOCK_TIMEOUT_SECONDS: must not be above LOCK_TTL_MAX_SECONDS (%" PRId64
                "), is %" PRId64 "\n",
                conf->ttl_max_s, conf->timeout_s);
        fits = false;
    }
    if (conf->node_timeout_ms >= conf->timeout_s * 1000) {
        fprintf(faults, "LOCK_NODE_TIMEOUT_MS: must be below LOCK_TIMEOUT_SECONDS\n");
        fits = false;
    }
    return fits;
}
