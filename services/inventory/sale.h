/* sale.h - what a lane asks Postgres about a batch of orders, and what it hears.
 *
 * Plain values: the lane decides what to ask, the store carries it there.
 *
 * Units     prices are whole currency units; `_us` after a date is since 1970-01-01 UTC.
 */
#ifndef QUORATE_INVENTORY_SALE_H
#define QUORATE_INVENTORY_SALE_H

#include "base/span.h"
#include "inventory/stock_view.h"

#define SALE_ORDERS_MAX    1024 /* in one batch */
#define SALE_KEY_BYTES_MAX 255
#define QUANTITY_MAX       INT64_C(1000000)
#define PRICE_MAX          INT64_C(1000000000000)
#define STOCK_MAX          INT64_C(1000000000000)

struct purchase {
    int64_t id;
    int64_t user_id;
    int64_t product_id;
    int64_t quantity;
    int64_t total_price;
    int64_t remaining_stock; /* right after this purchase */
    int64_t purchased_at_us;
};

/* Valid by the limits above; (user_id, key) differs from that of every other order of its sale. */
struct sale_order {
    int64_t user_id;
    struct span key; /* 1 to SALE_KEY_BYTES_MAX bytes */
    int64_t quantity;
};

struct sale {
    int64_t product_id;
    uint64_t token; /* of the lease it is sold under; a look has none */
    const struct sale_order *orders;
    size_t count; /* 1 to SALE_ORDERS_MAX */
};

enum sale_outcome {
    SALE_DONE,   /* committed; a look: read */
    SALE_FENCED, /* nothing changed: the product has seen last_token, which is higher than ours */
    SALE_NO_PRODUCT, /* nothing changed: there is none with this id */
    SALE_AGAIN, /* rolled back for a reason that may be gone at once (another's key, a deadlock) */
    SALE_DOWN,  /* nothing changed: not sent, or refused; `message` says why */
    SALE_UNKNOWN, /* sent, and no answer came: it may have happened, or may yet */
};

enum sale_verdict {
    SALE_SOLD,    /* now */
    SALE_KNOWN,   /* before: the key is recorded, maybe with another product or quantity */
    SALE_NO_USER, /* looks only: there is no such account */
};

/* What is said of one order. Orders of which nothing is said: see lane.h. */
struct sale_row {
    size_t place; /* in sale.orders */
    enum sale_verdict verdict;
    struct purchase purchase; /* SOLD, KNOWN; user_id is the order's and not filled in */
};

struct sale_answer {
    enum sale_outcome outcome;
    uint64_t last_token; /* FENCED */
    bool whole; /* DONE: nobody committed between the statement's snapshot and its lock on the
                   product; otherwise it must refuse no one */
    struct stock_value now;      /* DONE: after this sale */
    const struct sale_row *rows; /* DONE and FENCED (KNOWN only), in any order */
    size_t count;
    const char *message; /* DOWN: for people, else NULL */
};

/* The answer is borrowed while this runs. */
typedef void sale_answer_fn(void *arg, const struct sale_answer *answer);

#endif
