/* conf.h - lockd's settings. What each means: `lockd --help`. */
#ifndef QUORATE_LOCKD_CONF_H
#define QUORATE_LOCKD_CONF_H

#include "base/conf.h"

#define LOCKD_RECONFIGURE "--reconfigure"

enum lockd_init { LOCKD_INIT_NONE, LOCKD_INIT_EMPTY };

struct lockd_conf {
    struct conf_list redis_nodes;
    const char *listen;
    int64_t timeout_s;
    int64_t ttl_max_s;
    int64_t wait_ms;
    int64_t node_timeout_ms;
    int64_t init; /* enum lockd_init */
    int64_t waiters_max;
    int64_t resources_max;
    int64_t log_level;
};

extern const struct conf_program lockd_program;

/* What no single setting can tell; each fault a line. False: there was one. */
bool lockd_conf_fits(const struct lockd_conf *conf, FILE *faults);

#endif
