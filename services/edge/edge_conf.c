#include "edge/edge_conf.h"

#include "base/healthcheck.h"
#include "base/log.h"
#include "base/utf8.h"

#include <string.h>

static const struct conf_entry table[] = {
    CONF_CHECKED(struct edge_conf, listen, "EDGE_LISTEN", "127.0.0.1:8080",
                 "where HTTP is served, host:port", conf_check_host_port),
    CONF_LIST(struct edge_conf, inventory_urls, "INVENTORY_URL", "tcp://127.0.0.1:7002", 1, 16,
              "inventories, comma separated; a product stays with one of them while it serves",
              conf_check_url),
    CONF_LIST(struct edge_conf, lockd_urls, "LOCKD_URL", "tcp://127.0.0.1:7001", 1, 16,
              "lockds, comma separated; asked for health and metrics", conf_check_url),
    CONF_SECRET(struct edge_conf, jwt_secret, "JWT_SECRET_KEY", "", 32,
                "signs the tokens; unset: drawn at start, and tokens end with the process"),
    CONF_INTEGER(struct edge_conf, jwt_minutes, "JWT_EXPIRATION_MINUTES", "30", 1, 525600,
                 "life of a token, minutes"),
    CONF_BOOLEAN(struct edge_conf, open_catalog, "OPEN_CATALOG", "false",
                 "true: every account may create products; false: administrators only"),
    CONF_TEXT(struct edge_conf, admin_username, "ADMIN_USERNAME", "",
              "the first administrator, created when inventory is up; empty: none"),
    CONF_SECRET(struct edge_conf, admin_password, "ADMIN_PASSWORD", "", 6, "and its password"),
    CONF_INTEGER(struct edge_conf, request_timeout_ms, "REQUEST_TIMEOUT_MS", "5000", 100, 60000,
                 "every request is answered within this, ms"),
    CONF_INTEGER(struct edge_conf, client_timeout_ms, "CLIENT_TIMEOUT_MS", "10000", 100, 600000,
                 "how long a request may take to arrive, and a client to read nothing, ms"),
    CONF_INTEGER(struct edge_conf, idle_timeout_ms, "IDLE_TIMEOUT_MS", "75000", 100, 3600000,
                 "how long a connection is kept without a request, ms"),
    CONF_INTEGER(struct edge_conf, connections_max, "CONNECTIONS_MAX", "8192", 1, 1000000,
                 "open client connections"),
    CONF_INTEGER(struct edge_conf, password_queue_max, "PASSWORD_QUEUE_MAX", "200", 1, 10000,
                 "logins and registrations that wait for the password thread (50 a second)"),
    CONF_BOOLEAN(struct edge_conf, http2, "HTTP2", "false", "HTTP/2 in clear text, too"),
    CONF_CHOICE(struct edge_conf, log_level, "LOG_LEVEL", "info", LOG_LEVEL_CHOICES,
                "how much is logged"),
};

static const struct conf_mode modes[] = {HEALTHCHECK_MODE};

const struct conf_program edge_program = {
    .name = "edge",
    .version = QUORATE_VERSION,
    .summary = "HTTP for browsers and programs: parses, authenticates, translates, answers",
    .table = table,
    .entries = sizeof table / sizeof table[0],
    .modes = modes,
    .mode_count = sizeof modes / sizeof modes[0],
};

static bool overlap(const struct conf_list *a, const struct conf_list *b)
{
    for (size_t i = 0; i < a->count; i++) {
        for (size_t j = 0; j < b->count; j++) {
            if (strcmp(a->items[i], b->items[j]) == 0) return true;
        }
    }
    return false;
}

const char *edge_conf_fault(const struct edge_conf *conf)
{
    if (overlap(&conf->inventory_urls, &conf->lockd_urls))
        return "INVENTORY_URL, LOCKD_URL: an address can't be both";
    struct span username = span_of(conf->admin_username);
    struct span password = span_of(conf->admin_password);
    if (username.bytes == 0 && password.bytes == 0) return NULL;
    if (username.bytes == 0) return "ADMIN_USERNAME: must be set when ADMIN_PASSWORD is";
    if (password.bytes == 0) return "ADMIN_PASSWORD: must be set when ADMIN_USERNAME is";
    long characters = utf8_length(username);
    if (characters < 3 || characters > 50) return "ADMIN_USERNAME: must have 3 to 50 characters";
    characters = utf8_length(password);
    if (characters < 6 || characters > 100) return "ADMIN_PASSWORD: must have 6 to 100 characters";
    return NULL;
}
