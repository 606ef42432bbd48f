/* conf.h - inventory's settings, read once from the environment (base/conf.h). */
#ifndef QUORATE_INVENTORY_CONF_H
#define QUORATE_INVENTORY_CONF_H

#include "base/conf.h"

struct inventory_conf {
    const char *listen;
    struct conf_list lockd_urls;
    struct conf_list redis_nodes;
    const char *database_url;
    const char *database_password;
    int64_t database_connections;
    int64_t database_timeout_ms;
    int64_t batch_max;
    int64_t lock_timeout_s;
    int64_t lock_wait_ms;
    int64_t orders_max;
    int64_t lane_orders_max;
    int64_t lanes_max;
    int64_t lane_idle_s;
    int64_t log_level;
};

extern const struct conf_program inventory_program;

/* What no single setting can tell; false: said to `faults`. */
bool inventory_conf_fits(const struct inventory_conf *conf, FILE *faults);

#endif
