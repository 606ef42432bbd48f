#include "edge/body.h"

#include "base/check.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

/* struct body is jansson's json_t under a name of our own: nobody else needs to know. */

/* jansson itself would recurse 2048 levels deep. */
static bool too_deep(struct span bytes)
{
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < bytes.bytes; i++) {
        char byte = bytes.at[i];
        if (in_string) {
            if (byte == '\\') i++;
            if (byte == '"') in_string = false;
        } else if (byte == '"') {
            in_string = true;
        } else if (byte == '{' || byte == '[') {
            if (++depth > BODY_DEPTH_MAX) return true;
        } else if ((byte == '}' || byte == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

struct body *body_parse(struct span bytes, struct faults *faults)
{
    if (bytes.bytes == 0) {
        faults_add(faults, "body", NULL, "missing", "Field required");
        return NULL;
    }
    if (too_deep(bytes)) {
        faults_add_at(faults, 0, "JSON is nested too deeply");
        return NULL;
    }
    json_error_t error;
    json_t *root =
        json_loadb(bytes.at, bytes.bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (root == NULL) {
        char message[JSON_ERROR_TEXT_LENGTH + 32];
        snprintf(message, sizeof message, "JSON decode error: %s", error.text);
        faults_add_at(faults, error.position < 0 ? 0 : (size_t)error.position, message);
        return NULL;
    }
    if (!json_is_object(root)) {
        json_decref(root);
        faults_add(faults, "body", NULL, "model_attributes_type",
                   "Input should be a valid dictionary or object to extract fields from");
        return NULL;
    }
    return (struct body *)root;
}

void body_free(struct body *body)
{
    json_decref((json_t *)body);
}

/* "<before> <limit><after>" */
struct sentence {
    const char *type;
    const char *before;
    int64_t limit;
    const char *after;
};

static void say(struct faults *faults, const char *field, struct sentence sentence)
{
    char message[128];
    snprintf(message, sizeof message, "%s %" PRId64 "%s", sentence.before, sentence.limit,
             sentence.after);
    faults_add(faults, "body", field, sentence.type, message);
}

bool body_integer(const struct body *body, struct body_integer_rule rule, struct faults *faults,
                  int64_t *into)
{
    const json_t *value = json_object_get((const json_t *)body, rule.field);
    if (value == NULL) {
        faults_add(faults, "body", rule.field, "missing", "Field required");
        return false;
    }
    if (!json_is_integer(value)) {
        faults_add(faults, "body", rule.field, "int_type", "Input should be a valid integer");
        return false;
    }
    int64_t number = json_integer_value(value);
    if (number < rule.min && rule.min == 1) { /* "greater than 0" is what clients know */
        say(faults, rule.field,
            (struct sentence){"greater_than", "Input should be greater than", 0, ""});
        return false;
    }
    if (number < rule.min) {
        say(faults, rule.field,
            (struct sentence){"greater_than_equal", "Input should be greater than or equal to",
                              rule.min, ""});
        return false;
    }
    if (number > rule.max) {
        say(faults, rule.field,
            (struct sentence){"less_than_equal", "Input should be less than or equal to", rule.max,
                              ""});
        return false;
    }
    *into = number;
    return true;
}

bool body_text(const struct body *body, const struct body_text_rule *rule, struct faults *faults,
               struct span *into)
{
    *into = (struct span){NULL, 0};
    const json_t *value = json_object_get((const json_t *)body, rule->field);
    if (rule->optional && (value == NULL || json_is_null(value))) return true;
    if (value == NULL) {
        faults_add(faults, "body", rule->field, "missing", "Field required");
        return false;
    }
    if (!json_is_string(value)) {
        faults_add(faults, "body", rule->field, "string_type", "Input should be a valid string");
        return false;
    }
    struct span text = {json_string_value(value), json_string_length(value)};
    long characters = utf8_length(text);
    CHECK(characters >= 0); /* jansson has checked */
    if (characters < rule->min) {
        say(faults, rule->field,
            (struct sentence){"string_too_short", "String should have at least", rule->min,
                              " characters"});
        return false;
    }
    if (characters > rule->max) {
        say(faults, rule->field,
            (struct sentence){"string_too_long", "String should have at most", rule->max,
                              " characters"});
        return false;
    }
    if (rule->bytes_max > 0 && text.bytes > rule->bytes_max) {
        say(faults, rule->field,
            (struct sentence){"string_too_long", "String should have at most",
                              (int64_t)rule->bytes_max, " bytes"});
        return false;
    }
    *into = text;
    return true;
}
