#include "edge/fault.h"

#include "base/check.h"

void faults_init(struct faults *faults, struct json *json)
{
    *faults = (struct faults){.json = json};
}

static void open_fault(struct faults *faults, const char *place)
{
    struct json *json = faults->json;
    if (faults->count++ == 0) {
        json_clear(json);
        json_open_object(json);
        JSON_KEY(json, "detail");
        json_open_array(json);
    }
    json_open_object(json);
    JSON_KEY(json, "loc");
    json_open_array(json);
    json_put_text(json, span_of(place));
}

static void close_fault(struct faults *faults, const char *type, const char *message)
{
    struct json *json = faults->json;
    json_close_array(json);
    JSON_KEY(json, "msg");
    json_put_text(json, span_of(message));
    JSON_KEY(json, "type");
    json_put_text(json, span_of(type));
    json_close_object(json);
}

void faults_add(struct faults *faults, const char *place, const char *field, const char *type,
                const char *message)
{
    open_fault(faults, place);
    if (field != NULL) json_put_text(faults->json, span_of(field));
    close_fault(faults, type, message);
}

void faults_add_at(struct faults *faults, size_t position, const char *message)
{
    open_fault(faults, "body");
    json_put_integer(faults->json, (int64_t)position);
    close_fault(faults, "json_invalid", message);
}

void faults_close(struct faults *faults, const char *code)
{
    CHECK(faults->count > 0);
    json_close_array(faults->json);
    JSON_KEY(faults->json, "code");
    json_put_text(faults->json, span_of(code));
    json_close_object(faults->json);
}
