#include "base/conf.h"

#include "base/check.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static char *read_secret_file(const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) return NULL;
    char *line = NULL;
    size_t room = 0;
    ssize_t bytes = getline(&line, &room, file);
    fclose(file);
    if (bytes < 0) {
        free(line);
        return xstrdup("");
    }
    line[strcspn(line, "\r\n")] = '\0';
    return line;
}

/* What was set, or the default (the caller frees it); NULL with a fault said when there is neither.
 * An empty value counts as not set, because compose files pass empty variables on. */
static char *raw_value(const struct conf_entry *entry, FILE *faults)
{
    const char *value = getenv(entry->name);
    if (value != NULL && *value != '\0') return xstrdup(value);
    if (entry->type == CONF_TYPE_SECRET) {
        char name[256];
        snprintf(name, sizeof name, "%s_FILE", entry->name);
        const char *path = getenv(name);
        if (path != NULL && *path != '\0') {
            char *secret = read_secret_file(path);
            if (secret == NULL)
                fprintf(faults, "%s: can't read %s: %s\n", name, path, strerror(errno));
            return secret;
        }
    }
    if (entry->fallback != NULL) return xstrdup(entry->fallback);
    fprintf(faults, "%s: must be set (%s)\n", entry->name, entry->meaning);
    return NULL;
}

static bool read_text(const struct conf_entry *entry, const char *value, const char **into,
                      FILE *faults)
{
    const char *wrong = entry->check == NULL ? NULL : entry->check(value);
    int64_t bytes = (int64_t)strlen(value);
    if (wrong != NULL) {
        fprintf(faults, "%s: %s: '%s'\n", entry->name, wrong, value);
    } else if (bytes < entry->min || bytes > entry->max) {
        fprintf(faults, "%s: must have %" PRId64 " to %" PRId64 " bytes, has %" PRId64 "\n",
                entry->name, entry->min, entry->max, bytes);
    } else {
        *into = xstrdup(value);
        return true;
    }
    return false;
}

static bool read_integer(const struct conf_entry *entry, const char *value, int64_t *into,
                         FILE *faults)
{
    char *end;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (end == value || *end != '\0' || errno == ERANGE) {
        fprintf(faults, "%s: not a whole number: '%s'\n", entry->name, value);
    } else if (number < entry->min || number > entry->max) {
        fprintf(faults, "%s: must be %" PRId64 " to %" PRId64 ", is %lld\n", entry->name,
                entry->min, entry->max, number);
    } else {
        *into = number;
        return true;
    }
    return false;
}

static bool read_boolean(const struct conf_entry *entry, const char *value, bool *into,
                         FILE *faults)
{
    static const char *const words[] = {"false", "true", "0", "1", "no", "yes", "off", "on"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(value, words[i]) == 0) {
            *into = i % 2 == 1;
            return true;
        }
    }
    fprintf(faults, "%s: must be true or false: '%s'\n", entry->name, value);
    return false;
}

static bool read_choice(const struct conf_entry *entry, const char *value, int64_t *into,
                        FILE *faults)
{
    size_t bytes = strlen(value);
    int64_t place = 0;
    for (const char *choice = entry->choices; *choice != '\0'; place++) {
        size_t length = strcspn(choice, "|");
        if (length == bytes && strncasecmp(choice, value, bytes) == 0) {
            *into = place;
            return true;
        }
        choice += length + (choice[length] == '|');
    }
    fprintf(faults, "%s: must be one of %s: '%s'\n", entry->name, entry->choices, value);
    return false;
}

static bool read_list(const struct conf_entry *entry, const char *value, struct conf_list *into,
                      FILE *faults)
{
    const char **items = NULL;
    size_t count = 0;
    bool good = true;
    char *copy = xstrdup(value);
    char *rest = copy;
    for (char *item = strsep(&rest, ","); item != NULL; item = strsep(&rest, ",")) {
        item += strspn(item, " ");
        item[strcspn(item, " ")] = '\0';
        if (*item == '\0') continue;
        const char *wrong = entry->check == NULL ? NULL : entry->check(item);
        if (wrong != NULL) {
            fprintf(faults, "%s: %s: '%s'\n", entry->name, wrong, item);
            good = false;
        }
        for (size_t i = 0; i < count; i++) {
            if (strcmp(items[i], item) != 0) continue;
            fprintf(faults, "%s: '%s' is there twice\n", entry->name, item);
            good = false;
        }
        items = xrealloc(items, (count + 1) * sizeof *items);
        items[count++] = xstrdup(item);
    }
    free(copy);
    if ((int64_t)count < entry->min || (int64_t)count > entry->max) {
        fprintf(faults, "%s: must list %" PRId64 " to %" PRId64 ", lists %zu\n", entry->name,
                entry->min, entry->max, count);
        good = false;
    }
    *into = (struct conf_list){items, count};
    return good;
}

static bool read_secret(const struct conf_entry *entry, const char *value, const char **into,
                        FILE *faults)
{
    int64_t bytes = (int64_t)strlen(value);
    if (bytes > 0 && (bytes < entry->min || bytes > entry->max)) {
        fprintf(faults, "%s: must have %" PRId64 " to %" PRId64 " bytes\n", entry->name, entry->min,
                entry->max);
        return false;
    }
    *into = xstrdup(value);
    return true;
}

static bool read_value(const struct conf_entry *entry, const char *value, void *field, FILE *faults)
{
    switch (entry->type) {
    case CONF_TYPE_TEXT:
        return read_text(entry, value, field, faults);
    case CONF_TYPE_SECRET:
        return read_secret(entry, value, field, faults);
    case CONF_TYPE_INTEGER:
        return read_integer(entry, value, field, faults);
    case CONF_TYPE_BOOLEAN:
        return read_boolean(entry, value, field, faults);
    case CONF_TYPE_CHOICE:
        return read_choice(entry, value, field, faults);
    case CONF_TYPE_LIST:
        return read_list(entry, value, field, faults);
    }
    CHECK(!"a known type");
    return false;
}

bool conf_read(const struct conf_program *program, void *into, FILE *faults)
{
    bool good = true;
    for (size_t i = 0; i < program->entries; i++) {
        const struct conf_entry *entry = &program->table[i];
        char *value = raw_value(entry, faults);
        if (value == NULL || !read_value(entry, value, (char *)into + entry->offset, faults))
            good = false;
        free(value);
    }
    return good;
}

void conf_free(const struct conf_program *program, void *from)
{
    for (size_t i = 0; i < program->entries; i++) {
        const struct conf_entry *entry = &program->table[i];
        void *field = (char *)from + entry->offset;
        if (entry->type == CONF_TYPE_TEXT || entry->type == CONF_TYPE_SECRET) {
            free((void *)*(const char **)field);
            *(const char **)field = NULL;
        } else if (entry->type == CONF_TYPE_LIST) {
            struct conf_list *list = field;
            for (size_t j = 0; j < list->count; j++)
                free((void *)list->items[j]);
            free((void *)list->items);
            *list = (struct conf_list){NULL, 0};
        }
    }
}

void conf_help(const struct conf_program *program, FILE *out)
{
    fprintf(out, "%s %s - %s\n\nUsage: %s [--help | --version", program->name, program->version,
            program->summary, program->name);
    for (size_t i = 0; i < program->mode_count; i++)
        fprintf(out, " | %s", program->modes[i].flag);
    fprintf(out, "]\n");
    for (size_t i = 0; i < program->mode_count; i++)
        fprintf(out, "  %s\n      %s\n", program->modes[i].flag, program->modes[i].meaning);
    fprintf(out, "\nSettings (environment):\n");
    for (size_t i = 0; i < program->entries; i++) {
        const struct conf_entry *entry = &program->table[i];
        fprintf(out, "  %s=%s\n      %s", entry->name,
                entry->fallback == NULL ? "" : entry->fallback, entry->meaning);
        if (entry->type == CONF_TYPE_INTEGER) {
            fprintf(out, " (%" PRId64 " to %" PRId64 ")", entry->min, entry->max);
        }
        if (entry->type == CONF_TYPE_CHOICE) fprintf(out, " (%s)", entry->choices);
        if (entry->type == CONF_TYPE_SECRET)
            fprintf(out, " (or %s_FILE: a file that holds it)", entry->name);
        if (entry->fallback == NULL) fprintf(out, "; must be set");
        fputc('\n', out);
    }
}

static const char *find_mode(const struct conf_program *program, const char *flag)
{
    for (size_t i = 0; i < program->mode_count; i++) {
        if (strcmp(flag, program->modes[i].flag) == 0) return program->modes[i].flag;
    }
    return NULL;
}

const char *conf_start(const struct conf_program *program, int argc, char **argv, void *into)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        conf_help(program, stdout);
        exit(0);
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("%s %s\n", program->name, program->version);
        exit(0);
    }
    const char *mode = argc == 2 ? find_mode(program, argv[1]) : NULL;
    if (argc > 1 && mode == NULL) {
        fprintf(stderr, "%s: unknown argument '%s'; see %s --help\n", program->name,
                argv[argc > 2 ? 2 : 1], program->name);
        exit(2);
    }
    if (!conf_read(program, into, stderr)) {
        fprintf(stderr, "%s: not started; see %s --help\n", program->name, program->name);
        exit(2);
    }
    return mode;
}

static void print_value(const struct conf_entry *entry, const void *field, FILE *out)
{
    switch (entry->type) {
    case CONF_TYPE_TEXT:
        fputs(*(const char *const *)field, out);
        return;
    case CONF_TYPE_SECRET:
        fputs(**(const char *const *)field == '\0' ? "unset" : "set", out);
        return;
    case CONF_TYPE_INTEGER:
        fprintf(out, "%" PRId64, *(const int64_t *)field);
        return;
    case CONF_TYPE_BOOLEAN:
        fputs(*(const bool *)field ? "true" : "false", out);
        return;
    case CONF_TYPE_CHOICE: {
        const char *choice = entry->choices;
        for (int64_t i = *(const int64_t *)field; i > 0; i--)
            choice += strcspn(choice, "|") + 1;
        fprintf(out, "%.*s", (int)strcspn(choice, "|"), choice);
        return;
    }
    case CONF_TYPE_LIST: {
        const struct conf_list *list = field;
        for (size_t i = 0; i < list->count; i++)
            fprintf(out, "%s%s", i == 0 ? "" : ",", list->items[i]);
        return;
    }
    }
}

void conf_log(const struct conf_program *program, const void *from)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    CHECK(out != NULL);
    for (size_t i = 0; i < program->entries; i++) {
        fprintf(out, " %s=", program->table[i].name);
        print_value(&program->table[i], (const char *)from + program->table[i].offset, out);
    }
    fclose(out);
    LOG_INFO("settings", "program=%s version=%s%s", program->name, program->version, text);
    free(text);
}

bool conf_host_port(const char *text, char host[256], uint16_t *port)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text) return false;
    const char *from = text;
    size_t bytes = (size_t)(colon - text);
    if (*from == '[') {
        if (bytes < 3 || colon[-1] != ']') return false;
        from++;
        bytes -= 2;
    } else if (memchr(from, ':', bytes) != NULL) {
        return false;
    }
    if (bytes > 255 || colon[1] < '0' || colon[1] > '9') return false;
    char *end;
    unsigned long number = strtoul(colon + 1, &end, 10);
    if (*end != '\0' || number < 1 || number > 65535) return false;
    memcpy(host, from, bytes);
    host[bytes] = '\0';
    *port = (uint16_t)number;
    return true;
}

const char *conf_check_host_port(const char *value)
{
    char host[256];
    uint16_t port;
    return conf_host_port(value, host, &port) ? NULL : "not of the form host:port";
}

const char *conf_check_url(const char *value)
{
    if (strncmp(value, "ipc://", 6) == 0 && value[6] != '\0') return NULL;
    size_t skip = strncmp(value, "tcp://", 6) == 0        ? 6
                  : strncmp(value, "tls+tcp://", 10) == 0 ? 10
                                                          : 0;
    if (skip == 0) return "not an address like tcp://host:port or ipc:///path";
    return conf_check_host_port(value + skip);
}
