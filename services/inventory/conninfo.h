/* conninfo.h - how to reach Postgres: DATABASE_URL and what we add to it, as libpq takes it.
 *
 * Thread    any.
 * Ownership a conninfo owns its texts; conninfo_free wipes them (a password is among them).
 */
#ifndef QUORATE_INVENTORY_CONNINFO_H
#define QUORATE_INVENTORY_CONNINFO_H

#define CONNINFO_MAX 16

struct conninfo {
    const char *keywords[CONNINFO_MAX]; /* ends with NULL */
    const char *values[CONNINFO_MAX];
};

/* `password` may be NULL or empty: as the URL says. `options` are settings for the server
 * ("-c jit=off"), added to the URL's own. The URL must be good. */
struct conninfo *conninfo_new(const char *url, const char *password, const char *options);
void conninfo_free(struct conninfo *info);

/* A conf_check_fn: what is wrong with the URL, or NULL. */
const char *conninfo_check(const char *url);

#endif
