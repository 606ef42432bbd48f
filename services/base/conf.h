/* conf.h - a service's settings: one table, the environment as the only source.
 *
 * Each service has one table: name, type, default, bounds, one line of meaning. It is read once
 * into a const struct; all faults are reported together and the program exits with 2; --help prints
 * the table; the effective values are logged at start, secrets not. A secret NAME may also be given
 * as NAME_FILE, a file whose first line is the value.
 *
 *     struct lockd_conf { const char *listen; int64_t ttl_s; ... };
 *     static const struct conf_entry table[] = {
 *         CONF_TEXT(struct lockd_conf, listen, "LOCKD_LISTEN", "tcp://127.0.0.1:7001", "where to
 * listen"),
 *
 * Ownership conf_free frees the texts and lists that conf_read made, also those of a read that
 * failed; `into` starts zeroed.
 */
#ifndef QUORATE_BASE_CONF_H
#define QUORATE_BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum conf_type {
    CONF_TYPE_TEXT,    /* const char *; min and max bound its bytes */
    CONF_TYPE_SECRET,  /* const char *; never shown; NAME_FILE works too */
    CONF_TYPE_INTEGER, /* int64_t */
    CONF_TYPE_BOOLEAN, /* bool; true false 1 0 yes no on off */
    CONF_TYPE_CHOICE,  /* int64_t: place in choices "a|b|c" */
    CONF_TYPE_LIST,    /* struct conf_list; min and max bound its length */
};

struct conf_list {
    const char *const *items; /* none empty */
    size_t count;
};

/* Says what is wrong with a value ("no port"), or NULL. For what a type alone can't tell. */
typedef const char *conf_check_fn(const char *value);

struct conf_entry {
    const char *name;
    enum conf_type type;
    const char *fallback; /* NULL: must be set. A default as it would be written */
    int64_t min;
    int64_t max;
    const char *choices;
    const char *meaning; /* with the unit */
    size_t offset;
    conf_check_fn *check;
};

#define CONF_TEXT(type, field, name, fallback, meaning)                                            \
    {                                                                                              \
        name, CONF_TYPE_TEXT, fallback, 0, 4096, NULL, meaning, offsetof(type, field), NULL        \
    }
#define CONF_CHECKED(type, field, name, fallback, meaning, check)                                  \
    {                                                                                              \
        name, CONF_TYPE_TEXT, fallback, 1, 4096, NULL, meaning, offsetof(type, field), check       \
    }
#define CONF_SECRET(type, field, name, fallback, min_bytes, meaning)                               \
    {                                                                                              \
        name, CONF_TYPE_SECRET, fallback, min_bytes, 4096, NULL, meaning, offsetof(type, field),   \
            NULL                                                                                   \
    }
#define CONF_INTEGER(type, field, name, fallback, min, max, meaning)                               \
    {                                                                                              \
        name, CONF_TYPE_INTEGER, fallback, min, max, NULL, meaning, offsetof(type, field), NULL    \
    }
#define CONF_BOOLEAN(type, field, name, fallback, meaning)                                         \
    {                                                                                              \
        name, CONF_TYPE_BOOLEAN, fallback, 0, 1, NULL, meaning, offsetof(type, field), NULL        \
    }
#define CONF_CHOICE(type, field, name, fallback, choices, meaning)                                 \
    {                                                                                              \
        name, CONF_TYPE_CHOICE, fallback, 0, 0, choices, meaning, offsetof(type, field), NULL      \
    }
#define CONF_LIST(type, field, name, fallback, min, max, meaning, check)                           \
    {                                                                                              \
        name, CONF_TYPE_LIST, fallback, min, max, NULL, meaning, offsetof(type, field), check      \
    }

/* Something else that a program can be asked to do, with the same settings. */
struct conf_mode {
    const char *flag; /* "--healthcheck" */
    const char *meaning;
};

struct conf_program {
    const char *name; /* "lockd" */
    const char *version;
    const char *summary; /* one line */
    const struct conf_entry *table;
    size_t entries;
    const struct conf_mode *modes; /* NULL: none */
    size_t mode_count;
};

/* Reads all settings into `into`; writes each fault as a line to `faults`. False: there was one. */
bool conf_read(const struct conf_program *program, void *into, FILE *faults);
void conf_free(const struct conf_program *program, void *from);

/* Handles --help and --version (exit 0), unknown arguments and faulty settings (all said on
 * standard error, exit 2). Returns the flag of the mode that was asked for, NULL: to serve. */
const char *conf_start(const struct conf_program *program, int argc, char **argv, void *into);

void conf_help(const struct conf_program *program, FILE *out);

/* One line with the effective values; secrets as "set" or "unset". */
void conf_log(const struct conf_program *program, const void *from);

/* Splits "host:port"; the port is 1-65535, an IPv6 host stands in brackets. False: malformed. */
bool conf_host_port(const char *text, char host[256], uint16_t *port);

/* A conf_check_fn for it. */
const char *conf_check_host_port(const char *value);

/* A conf_check_fn for addresses of the RPC: tcp://host:port, ipc:///path, tls+tcp://host:port. */
const char *conf_check_url(const char *value);

#endif
