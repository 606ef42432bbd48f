#include "inventory/conninfo.h"

#include "base/check.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(struct conninfo *info, const char *keyword, const char *value)
{
    size_t at = 0;
    while (info->keywords[at] != NULL)
        at++;
    CHECK(at + 1 < CONNINFO_MAX);
    info->keywords[at] = keyword;
    info->values[at] = xstrdup(value);
}

static void add_options(struct conninfo *info, const char *url, const char *options)
{
    const char *own = "";
    PQconninfoOption *parsed = PQconninfoParse(url, NULL);
    CHECK(parsed != NULL);
    for (const PQconninfoOption *option = parsed; option->keyword != NULL; option++) {
        if (strcmp(option->keyword, "options") == 0 && option->val != NULL) own = option->val;
    }
    size_t bytes = strlen(own) + strlen(options) + 2;
    char *both = xcalloc(1, bytes);
    snprintf(both, bytes, "%s %s", own, options);
    add(info, "options", both);
    free(both);
    PQconninfoFree(parsed);
}

/* libpq lets later keywords win: what stands before the URL is a default, what stands behind it is
 * ours to say. */
struct conninfo *conninfo_new(const char *url, const char *password, const char *options)
{
    struct conninfo *info = xcalloc(1, sizeof *info);
    add(info, "connect_timeout", "3");
    add(info, "keepalives_idle", "10");
    add(info, "keepalives_interval", "5");
    add(info, "keepalives_count", "3");
    add(info, "dbname", url);
    if (password != NULL && *password != '\0') add(info, "password", password);
    add_options(info, url, options);
    add(info, "fallback_application_name", "quorate-inventory");
    add(info, "client_encoding", "UTF8");
    return info;
}

void conninfo_free(struct conninfo *info)
{
    if (info == NULL) return;
    for (size_t i = 0; info->keywords[i] != NULL; i++) {
        char *value = (char *)info->values[i];
        explicit_bzero(value, strlen(value));
        free(value);
    }
    free(info);
}

const char *conninfo_check(const char *url)
{
    if (strncmp(url, "postgresql://", 13) != 0 && strncmp(url, "postgres://", 11) != 0) {
        return "is not postgresql://user@host:port/database";
    }
    PQconninfoOption *parsed = PQconninfoParse(url, NULL);
    if (parsed == NULL) return "is not a connection URL that libpq understands";
    bool secret = false;
    for (const PQconninfoOption *option = parsed; option->keyword != NULL; option++)
        secret |= strcmp(option->keyword, "password") == 0 && option->val != NULL;
    PQconninfoFree(parsed);
    /* Settings are logged at start. */
    return secret ? "must not hold a password: set DATABASE_PASSWORD or DATABASE_PASSWORD_FILE"
                  : NULL;
}
