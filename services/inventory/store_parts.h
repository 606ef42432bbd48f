/* store_parts.h - what the files of the store share. */
#ifndef QUORATE_INVENTORY_STORE_PARTS_H
#define QUORATE_INVENTORY_STORE_PARTS_H

#include "inventory/database.h"
#include "inventory/store.h"
#include "inventory/store_wire.h"

enum store_statement {
    STORE_SELL,
    STORE_SELL_ONE,
    STORE_LOOK,
    STORE_LEVELS_OF,
    STORE_LEVELS_AFTER,
    STORE_PRODUCT_CREATE,
    STORE_PRODUCT_GET,
    STORE_PRODUCTS_AFTER,
    STORE_PURCHASES_OF,
    STORE_ACCOUNT_CREATE,
    STORE_ACCOUNT_FIND,
    STORE_ACCOUNT_GET,
    STORE_STATEMENTS,
};

struct store {
    struct database *database;
    struct wire wire;
    struct sale_row *rows; /* of the answer at hand */
    size_t rows_room;
};

/* Executes what was written to store->wire. */
void store_execute(struct store *store, enum store_statement statement,
                   database_answer_fn *on_answer, void *arg);

#endif
