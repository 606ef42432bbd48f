/* inventory: wires the loop, the RPC, the database and the ports together, and takes them apart
 * again. */
#include "base/check.h"
#include "base/exit_guard.h"
#include "base/healthcheck.h"
#include "base/log.h"
#include "base/metrics.h"
#include "inventory/conf.h"
#include "inventory/database.h"
#include "inventory/server.h"

#include <stdlib.h>

enum {
    HEALTH_MS = 500,
    SILENT_TICKS_MAX = 2, /* of HEALTH_MS: then Postgres counts as gone, whatever its links think */
    DRAIN_MS_MAX = 8000,
    QUIET_MS = 10,
    EXIT_DATABASE_REFUSED = 3, /* starting again does not help */
};

static const char inventory_service[] = "quorate.inventory.v1.Inventory";
static const char accounts_service[] = "quorate.inventory.v1.Accounts";

struct inventory {
    struct inventory_conf conf;
    struct loop *loop;
    struct metrics *metrics;
    struct rpc_server *rpc;
    struct database *database;
    struct ports *ports;
    struct server *server;
    struct timer health;
    struct timer stop;
    unsigned silent_ticks; /* since the open probe of Postgres was sent */
    bool probing;
    bool stopping;
    int code;
};

static void tell_health(struct inventory *inventory)
{
    if (inventory->stopping || inventory->ports == NULL) return;
    bool stored = database_up(inventory->database) && inventory->silent_ticks < SILENT_TICKS_MAX;
    bool sells = stored && lanes_have_quorum(ports_lanes(inventory->ports));
    rpc_server_set_serving(inventory->rpc, "", sells);
    rpc_server_set_serving(inventory->rpc, inventory_service, sells);
    rpc_server_set_serving(inventory->rpc, accounts_service, stored);
}

static void on_probed(void *arg, enum store_outcome outcome, const struct stock_value *found,
                      size_t count)
{
    (void)outcome; /* links that are down tell it themselves */
    (void)found;
    (void)count;
    struct inventory *inventory = arg;
    inventory->probing = false;
    inventory->silent_ticks = 0;
    tell_health(inventory);
}

/* A server that is frozen keeps its connections: only a question shows it, and while nobody buys
 * nobody else asks one. */
static void probe_database(struct inventory *inventory)
{
    if (inventory->probing) {
        inventory->silent_ticks++;
        return;
    }
    inventory->probing = true;
    store_levels_after(ports_store(inventory->ports), 0, 1, on_probed, inventory);
}

static void check_health(void *arg)
{
    struct inventory *inventory = arg;
    probe_database(inventory);
    tell_health(inventory);
    lanes_ask_voting(ports_lanes(inventory->ports));
    timer_start(&inventory->health, loop_timers(inventory->loop),
                loop_now_us(inventory->loop) + UINT64_C(1000) * HEALTH_MS, check_health, inventory);
}

static void on_database_change(void *arg, bool up)
{
    (void)up;
    tell_health(arg);
}

static void on_database_refused(void *arg, const char *why)
{
    (void)why; /* in the log already */
    struct inventory *inventory = arg;
    inventory->code = EXIT_DATABASE_REFUSED;
    loop_stop(inventory->loop);
}

static void stop_now(void *arg)
{
    struct inventory *inventory = arg;
    LOG_WARN("inventory.hurry", "why=\"requests or leases are still open\"");
    inventory->code = 1;
    loop_stop(inventory->loop);
}

/* All requests are answered; leases are on their way back. */
static void stop_when_quiet(void *arg)
{
    struct inventory *inventory = arg;
    if (ports_quiet(inventory->ports)) {
        loop_stop(inventory->loop);
        return;
    }
    timer_start(&inventory->health, loop_timers(inventory->loop),
                loop_now_us(inventory->loop) + UINT64_C(1000) * QUIET_MS, stop_when_quiet,
                inventory);
}

/* The first signal drains: what was begun is finished, new requests hear DOWN. The second one does
 * not wait. */
static void on_signal(void *arg, int number)
{
    struct inventory *inventory = arg;
    if (inventory->stopping) {
        inventory->code = 1;
        loop_stop(inventory->loop);
        return;
    }
    LOG_INFO("inventory.stopping", "signal=%d", number);
    inventory->stopping = true;
    timer_stop(&inventory->health);
    timer_start(&inventory->stop, loop_timers(inventory->loop),
                loop_now_us(inventory->loop) + UINT64_C(1000) * DRAIN_MS_MAX, stop_now, inventory);
    rpc_server_drain(inventory->rpc, stop_when_quiet, inventory);
}

static struct database *open_database(struct inventory *inventory)
{
    const struct inventory_conf *conf = &inventory->conf;
    unsigned connections = (unsigned)conf->database_connections;
    unsigned readers = connections < 6 ? 1 : connections / 3;
    struct database_options options = {
        .url = conf->database_url,
        .password = conf->database_password,
        .writers = connections - readers,
        .readers = readers,
        .timeout_us = (uint64_t)conf->database_timeout_ms * 1000,
        .calls_max = 4096,
        .statements = store_statements,
        .statement_count = store_statement_count,
        .migrations = migrations_all,
        .migration_count = migrations_count,
        .metrics = inventory->metrics,
        .on_change = on_database_change,
        .on_refused = on_database_refused,
        .arg = inventory,
    };
    return database_open(inventory->loop, &options);
}

static struct ports *open_ports(struct inventory *inventory)
{
    const struct inventory_conf *conf = &inventory->conf;
    struct ports_options options = {
        .database = inventory->database,
        .redis_nodes = &conf->redis_nodes,
        .lockd_urls = &conf->lockd_urls,
        .lease_ttl_ms = (uint32_t)conf->lock_timeout_s * 1000,
        .lanes = {.batch_max = (size_t)conf->batch_max,
                  .orders_max = (size_t)conf->orders_max,
                  .lane_orders_max = (size_t)conf->lane_orders_max,
                  .lanes_max = (size_t)conf->lanes_max,
                  .patience_us = (uint64_t)conf->lock_wait_ms * 1000,
                  .idle_us = (uint64_t)conf->lane_idle_s * 1000000},
        .metrics = inventory->metrics,
    };
    return ports_open(inventory->loop, &options);
}

static bool start(struct inventory *inventory)
{
    inventory->loop = loop_new();
    inventory->metrics = metrics_new();
    struct rpc_server_options rpc = {.url = inventory->conf.listen,
                                     .program = inventory_program.name,
                                     .version = inventory_program.version,
                                     .calls_max = 16384,
                                     .metrics = inventory->metrics};
    inventory->rpc = rpc_server_open(inventory->loop, &rpc);
    if (inventory->rpc == NULL) return false;
    inventory->database = open_database(inventory);
    inventory->ports = open_ports(inventory);
    if (inventory->ports == NULL) return false;
    inventory->server = server_new(inventory->rpc, inventory->ports);
    loop_on_signal(inventory->loop, on_signal, inventory);
    check_health(inventory);
    return true;
}

/* From the outside in: what answers callers ends before what it asks. Only when all is quiet: the
 * rest is the kernel's to take back. */
static void finish(struct inventory *inventory)
{
    timer_stop(&inventory->health);
    timer_stop(&inventory->stop);
    rpc_server_close(inventory->rpc);
    database_close(inventory->database);
    ports_close(inventory->ports);
    loop_free(inventory->loop); /* here the RPC server ends, and with it the use of what it had */
    server_free(inventory->server);
    metrics_free(inventory->metrics);
}

int main(int argc, char **argv)
{
    struct inventory inventory = {.code = 0};
    const char *mode = conf_start(&inventory_program, argc, argv, &inventory.conf);
    if (!inventory_conf_fits(&inventory.conf, stderr)) return 2;
    log_set_level((enum log_level)inventory.conf.log_level);
    if (mode != NULL) healthcheck_rpc(inventory.conf.listen);
    conf_log(&inventory_program, &inventory.conf);
    bool started = start(&inventory);
    if (started) loop_run(inventory.loop);
    int code = started ? inventory.code : 1;
    /* Requests, leases or statements are still open: they end with the process. */
    if (started && code != 0) _Exit(code);
    exit_guard_start(code);
    finish(&inventory);
    LOG_INFO("inventory.stopped", "code=%d", code);
    conf_free(&inventory_program, &inventory.conf);
    return code;
}
