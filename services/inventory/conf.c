#include "inventory/conf.h"

#include "base/healthcheck.h"
#include "base/log.h"
#include "inventory/conninfo.h"
#include "inventory/sale.h"

#ifndef QUORATE_VERSION
#define QUORATE_VERSION "unknown"
#endif

static const struct conf_entry table[] = {
    CONF_CHECKED(struct inventory_conf, listen, "INVENTORY_LISTEN", "tcp://127.0.0.1:7002",
                 "where the RPC listens: tcp://, ipc:// or tls+tcp://", conf_check_url),
    CONF_LIST(struct inventory_conf, lockd_urls, "LOCKD_URL", "tcp://127.0.0.1:7001", 1, 8,
              "the lockds, in order of preference", conf_check_url),
    CONF_LIST(struct inventory_conf, redis_nodes, "REDIS_NODES", NULL, 1, STOCK_NODES_MAX,
              "the independent Redis nodes, host:port,…; the same as lockd's",
              conf_check_host_port),
    CONF_CHECKED(struct inventory_conf, database_url, "DATABASE_URL",
                 "postgresql://quorate@127.0.0.1:5433/quorate",
                 "Postgres, as libpq takes it; several hosts and TLS settings too", conninfo_check),
    CONF_SECRET(struct inventory_conf, database_password, "DATABASE_PASSWORD", "", 0,
                "password for DATABASE_URL; empty: as the URL says"),
    CONF_INTEGER(struct inventory_conf, database_connections, "DATABASE_CONNECTIONS", "48", 2, 64,
                 "connections to Postgres; a third of them, rounded down but at least one, is for "
                 "reads. Postgres takes max_connections (100) from all inventories together"),
    CONF_INTEGER(struct inventory_conf, database_timeout_ms, "DATABASE_TIMEOUT_MS", "2000", 50,
                 60000, "a statement without an answer for this long is given up, in ms"),
    CONF_INTEGER(struct inventory_conf, batch_max, "PURCHASE_BATCH_MAX", "128", 1, SALE_ORDERS_MAX,
                 "purchases under one lock and one commit; 1: a lock and a commit for each"),
    CONF_INTEGER(struct inventory_conf, lock_timeout_s, "LOCK_TIMEOUT_SECONDS", "10", 1, 3600,
                 "lease of a product's lock, in seconds"),
    CONF_INTEGER(struct inventory_conf, lock_wait_ms, "LOCK_WAIT_MS", "1000", 1, 3600000,
                 "how long a purchase waits for a lock that others hold, or for a service that is "
                 "down, in ms"),
    CONF_INTEGER(struct inventory_conf, orders_max, "PURCHASE_QUEUE_MAX", "32768", 1, 10000000,
                 "open purchases of all products; more are OVERLOADED"),
    CONF_INTEGER(struct inventory_conf, lane_orders_max, "PURCHASE_QUEUE_PRODUCT_MAX", "16384", 1,
                 10000000, "open purchases of one product; more are OVERLOADED"),
    CONF_INTEGER(struct inventory_conf, lanes_max, "LANES_MAX", "20000", 1, 10000000,
                 "products with a lane at once; past it idle ones make room, or OVERLOADED"),
    CONF_INTEGER(struct inventory_conf, lane_idle_s, "LANE_IDLE_SECONDS", "60", 1, 86400,
                 "a lane without purchases closes after this, in seconds"),
    CONF_CHOICE(struct inventory_conf, log_level, "LOG_LEVEL", "info", LOG_LEVEL_CHOICES,
                "what is logged"),
};

static const struct conf_mode modes[] = {HEALTHCHECK_MODE};

const struct conf_program inventory_program = {
    .name = "inventory",
    .version = QUORATE_VERSION,
    .summary = "products, stock, purchases and accounts in Postgres; live stock on the Redis nodes",
    .table = table,
    .entries = sizeof table / sizeof table[0],
    .modes = modes,
    .mode_count = sizeof modes / sizeof modes[0]};

bool inventory_conf_fits(const struct inventory_conf *conf, FILE *faults)
{
    if (conf->lane_orders_max <= conf->orders_max) return true;
    fprintf(faults, "PURCHASE_QUEUE_PRODUCT_MAX: must not be above PURCHASE_QUEUE_MAX\n");
    return false;
}
