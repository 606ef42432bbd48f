/* edge_conf.h - the edge's settings. */
#ifndef QUORATE_EDGE_EDGE_CONF_H
#define QUORATE_EDGE_EDGE_CONF_H

#include "base/conf.h"

#define EDGE_BODY_BYTES_MAX 65536

struct edge_conf {
    const char *listen;
    struct conf_list inventory_urls;
    struct conf_list lockd_urls;
    const char *jwt_secret;
    int64_t jwt_minutes;
    bool open_catalog;
    const char *admin_username;
    const char *admin_password;
    int64_t request_timeout_ms;
    int64_t client_timeout_ms;
    int64_t idle_timeout_ms;
    int64_t connections_max;
    int64_t password_queue_max;
    bool http2;
    int64_t log_level;
};

extern const struct conf_program edge_program;

/* What the table alone can't tell; NULL if nothing is wrong. */
const char *edge_conf_fault(const struct edge_conf *conf);

#endif
