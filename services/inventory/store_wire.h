/* store_wire.h - Postgres' binary forms of what our statements take and return.
 *
 * Parameters are written into a buffer that grows and is used again, and become pointers when all
 * are written. Reading trusts the server as far as types go: a column of another length is a bug in
 * a statement of ours.
 *
 * Units     times are us since 1970-01-01 UTC.
 */
#ifndef QUORATE_INVENTORY_STORE_WIRE_H
#define QUORATE_INVENTORY_STORE_WIRE_H

#include "inventory/link.h"
#include "inventory/sale.h"

struct wire {
    char *bytes;
    size_t used;
    size_t room;
    struct {
        size_t at;
        size_t bytes;
        bool null;
    } fields[LINK_PARAMS_MAX];
    size_t count;
    struct link_param params[LINK_PARAMS_MAX];
};

void wire_fini(struct wire *wire);

void wire_begin(struct wire *wire);
void wire_int64(struct wire *wire, int64_t value);
void wire_bool(struct wire *wire, bool value);
void wire_text(struct wire *wire, struct span text);
void wire_null(struct wire *wire);
void wire_int64s(struct wire *wire, const int64_t *values, size_t count);
/* The three columns of a sale's orders, as arrays. */
void wire_users(struct wire *wire, const struct sale *sale);
void wire_keys(struct wire *wire, const struct sale *sale);
void wire_quantities(struct wire *wire, const struct sale *sale);
/* The parameters, valid until the next wire_begin. */
const struct link_param *wire_params(struct wire *wire);

int64_t wire_read_int64(const struct link_rows *rows, size_t row, size_t column);
bool wire_read_bool(const struct link_rows *rows, size_t row, size_t column); /* null is false */
int64_t wire_read_time_us(const struct link_rows *rows, size_t row, size_t column);

#endif
