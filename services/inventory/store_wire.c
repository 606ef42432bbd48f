#include "inventory/store_wire.h"

#include "base/check.h"

#include <endian.h>
#include <stdlib.h>

#define OID_INT8 20
#define OID_TEXT 25

/* 2000-01-01 in us since 1970: what Postgres counts from. */
#define POSTGRES_EPOCH_US INT64_C(946684800000000)

void wire_fini(struct wire *wire)
{
    free(wire->bytes);
    *wire = (struct wire){0};
}

void wire_begin(struct wire *wire)
{
    wire->used = 0;
    wire->count = 0;
}

static char *reserve(struct wire *wire, size_t bytes)
{
    if (wire->room - wire->used < bytes) {
        wire->room = 2 * (wire->used + bytes);
        wire->bytes = xrealloc(wire->bytes, wire->room);
    }
    char *at = wire->bytes + wire->used;
    wire->used += bytes;
    return at;
}

static size_t begin_field(struct wire *wire)
{
    CHECK(wire->count < LINK_PARAMS_MAX);
    wire->fields[wire->count].null = false;
    wire->fields[wire->count].at = wire->used;
    return wire->count++;
}

static void end_field(struct wire *wire, size_t field)
{
    wire->fields[field].bytes = wire->used - wire->fields[field].at;
}

static char *put_u32(char *at, uint32_t value)
{
    uint32_t big = htobe32(value);
    memcpy(at, &big, sizeof big);
    return at + sizeof big;
}

static char *put_u64(char *at, uint64_t value)
{
    uint64_t big = htobe64(value);
    memcpy(at, &big, sizeof big);
    return at + sizeof big;
}

void wire_int64(struct wire *wire, int64_t value)
{
    size_t field = begin_field(wire);
    put_u64(reserve(wire, 8), (uint64_t)value);
    end_field(wire, field);
}

void wire_bool(struct wire *wire, bool value)
{
    size_t field = begin_field(wire);
    *reserve(wire, 1) = value ? 1 : 0;
    end_field(wire, field);
}

void wire_text(struct wire *wire, struct span text)
{
    size_t field = begin_field(wire);
    if (text.bytes > 0) memcpy(reserve(wire, text.bytes), text.at, text.bytes);
    end_field(wire, field);
}

void wire_null(struct wire *wire)
{
    size_t field = begin_field(wire);
    wire->fields[field].null = true;
    end_field(wire, field);
}

/* One dimension, no nulls, counted from 1. */
static void put_array_head(struct wire *wire, uint32_t oid, size_t count)
{
    char *at = reserve(wire, 20);
    at = put_u32(at, 1);
    at = put_u32(at, 0);
    at = put_u32(at, oid);
    at = put_u32(at, (uint32_t)count);
    put_u32(at, 1);
}

void wire_int64s(struct wire *wire, const int64_t *values, size_t count)
{
    size_t field = begin_field(wire);
    put_array_head(wire, OID_INT8, count);
    char *at = reserve(wire, 12 * count);
    for (size_t i = 0; i < count; i++) {
        at = put_u32(at, 8);
        at = put_u64(at, (uint64_t)values[i]);
    }
    end_field(wire, field);
}

void wire_users(struct wire *wire, const struct sale *sale)
{
    size_t field = begin_field(wire);
    put_array_head(wire, OID_INT8, sale->count);
    char *at = reserve(wire, 12 * sale->count);
    for (size_t i = 0; i < sale->count; i++) {
        at = put_u32(at, 8);
        at = put_u64(at, (uint64_t)sale->orders[i].user_id);
    }
    end_field(wire, field);
}

void wire_quantities(struct wire *wire, const struct sale *sale)
{
    size_t field = begin_field(wire);
    put_array_head(wire, OID_INT8, sale->count);
    char *at = reserve(wire, 12 * sale->count);
    for (size_t i = 0; i < sale->count; i++) {
        at = put_u32(at, 8);
        at = put_u64(at, (uint64_t)sale->orders[i].quantity);
    }
    end_field(wire, field);
}

void wire_keys(struct wire *wire, const struct sale *sale)
{
    size_t field = begin_field(wire);
    put_array_head(wire, OID_TEXT, sale->count);
    for (size_t i = 0; i < sale->count; i++) {
        struct span key = sale->orders[i].key;
        char *at = put_u32(reserve(wire, 4 + key.bytes), (uint32_t)key.bytes);
        memcpy(at, key.at, key.bytes);
    }
    end_field(wire, field);
}

const struct link_param *wire_params(struct wire *wire)
{
    static const char empty[1] = "";
    for (size_t i = 0; i < wire->count; i++) {
        const char *at = wire->fields[i].bytes == 0 ? empty : wire->bytes + wire->fields[i].at;
        wire->params[i] =
            (struct link_param){wire->fields[i].null ? NULL : at, wire->fields[i].bytes};
    }
    return wire->params;
}

int64_t wire_read_int64(const struct link_rows *rows, size_t row, size_t column)
{
    struct span bytes = link_rows_bytes(rows, row, column);
    CHECK(bytes.bytes == sizeof(uint64_t));
    uint64_t big;
    memcpy(&big, bytes.at, sizeof big);
    return (int64_t)be64toh(big);
}

bool wire_read_bool(const struct link_rows *rows, size_t row, size_t column)
{
    if (link_rows_null(rows, row, column)) return false;
    struct span bytes = link_rows_bytes(rows, row, column);
    CHECK(bytes.bytes == 1);
    return bytes.at[0] != 0;
}

int64_t wire_read_time_us(const struct link_rows *rows, size_t row, size_t column)
{
    return wire_read_int64(rows, row, column) + POSTGRES_EPOCH_US;
}
