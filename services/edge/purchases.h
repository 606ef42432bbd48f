/* purchases.h - POST /api/purchases and its other names, GET /api/purchases/me. */
#ifndef QUORATE_EDGE_PURCHASES_H
#define QUORATE_EDGE_PURCHASES_H

#include "edge/exchange.h"

exchange_fn purchases_create;
exchange_fn purchases_mine;

#define IDEMPOTENCY_KEY_BYTES_MAX 255
#define QUANTITY_MAX              1000000

/* The client's Idempotency-Key as a C string in the exchange's memory; `made` if it sent none.
 * NULL, and a fault, if it is unusable. */
struct faults;
const char *purchases_key(struct exchange *exchange, bool make, struct faults *faults);

void purchases_write(struct json *json, const struct purchase *purchase);

#endif
