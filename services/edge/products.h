/* products.h - the calls of /api/products. */
#ifndef QUORATE_EDGE_PRODUCTS_H
#define QUORATE_EDGE_PRODUCTS_H

#include "edge/exchange.h"

exchange_fn products_create;
exchange_fn products_list;
exchange_fn products_get;
exchange_fn products_stock;

void products_write(struct json *json, const struct product *product);
void products_write_stock(struct json *json, const struct stock *stock);

#endif
