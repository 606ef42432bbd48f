#include "edge/exposition.h"

#include "base/check.h"

#include <stdlib.h>

struct family {
    char *name;
    struct json head; /* HELP and TYPE */
    bool has_help;
    bool has_type;
    struct json samples; /* lines */
    struct family *next;
};

struct exposition {
    struct family *first;
    struct family **tail;
};

struct exposition *exposition_new(void)
{
    struct exposition *exposition = xcalloc(1, sizeof *exposition);
    exposition->tail = &exposition->first;
    return exposition;
}

void exposition_free(struct exposition *exposition)
{
    if (exposition == NULL) return;
    while (exposition->first != NULL) {
        struct family *family = exposition->first;
        exposition->first = family->next;
        json_fini(&family->head);
        json_fini(&family->samples);
        free(family->name);
        free(family);
    }
    free(exposition);
}

static struct family *family_of(struct exposition *exposition, struct span name)
{
    for (struct family *family = exposition->first; family != NULL; family = family->next)
        if (span_equal(span_of(family->name), name)) return family;
    struct family *family = xcalloc(1, sizeof *family);
    family->name = xstrndup(name.at, name.bytes);
    *exposition->tail = family;
    exposition->tail = &family->next;
    return family;
}

static struct span word(struct span *rest)
{
    size_t bytes = 0;
    while (bytes < rest->bytes && rest->at[bytes] != ' ' && rest->at[bytes] != '{')
        bytes++;
    struct span found = {rest->at, bytes};
    rest->at += bytes;
    rest->bytes -= bytes;
    return found;
}

/* name_bucket, name_sum and name_count are samples of the histogram `name`. */
static bool belongs(struct span sample, struct span name)
{
    if (sample.bytes < name.bytes || memcmp(sample.at, name.at, name.bytes) != 0) return false;
    struct span suffix = {sample.at + name.bytes, sample.bytes - name.bytes};
    return suffix.bytes == 0 || span_equal(suffix, span_of("_bucket")) ||
           span_equal(suffix, span_of("_sum")) || span_equal(suffix, span_of("_count"));
}

static bool begins_with(struct span text, struct span with)
{
    return text.bytes >= with.bytes && memcmp(text.at, with.at, with.bytes) == 0;
}

/* "# HELP name …": the family that follows. The first process that names it says what it is. */
static struct family *add_comment(struct exposition *exposition, struct span line)
{
    struct span rest = {line.at + 7, line.bytes - 7};
    struct family *family = family_of(exposition, word(&rest));
    bool *has = line.at[2] == 'H' ? &family->has_help : &family->has_type;
    if (!*has) {
        *has = true;
        json_put_raw(&family->head, line);
        json_put_raw(&family->head, span_of("\n"));
    }
    return family;
}

static void add_sample(struct family *family, struct span line, const char *labels)
{
    struct json *out = &family->samples;
    struct span rest = line;
    json_put_raw(out, word(&rest));
    json_put_raw(out, span_of("{"));
    json_put_raw(out, span_of(labels));
    if (rest.bytes > 1 && rest.at[0] == '{') {
        if (rest.at[1] != '}') json_put_raw(out, span_of(","));
        rest.at++;
        rest.bytes--;
    } else {
        json_put_raw(out, span_of("}"));
    }
    json_put_raw(out, rest);
    json_put_raw(out, span_of("\n"));
}

void exposition_add(struct exposition *exposition, struct span text, const char *labels)
{
    struct family *current = NULL;
    while (text.bytes > 0) {
        const char *end = memchr(text.at, '\n', text.bytes);
        struct span line = {text.at, end == NULL ? text.bytes : (size_t)(end - text.at)};
        size_t taken = line.bytes + (end == NULL ? 0 : 1);
        text.at += taken;
        text.bytes -= taken;
        if (begins_with(line, span_of("# HELP ")) || begins_with(line, span_of("# TYPE "))) {
            current = add_comment(exposition, line);
        } else if (line.bytes > 0 && line.at[0] != '#') {
            struct span rest = line;
            struct span name = word(&rest);
            if (rest.bytes == 0) continue;
            bool ours = current != NULL && belongs(name, span_of(current->name));
            add_sample(ours ? current : family_of(exposition, name), line, labels);
        }
    }
}

void exposition_write(const struct exposition *exposition, struct json *out)
{
    for (const struct family *family = exposition->first; family != NULL; family = family->next) {
        json_put_raw(out, json_span(&family->head));
        json_put_raw(out, json_span(&family->samples));
    }
}
