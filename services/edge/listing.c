#include "edge/listing.h"

#include "base/check.h"
#include "edge/edge.h"
#include "edge/form.h"
#include "edge/products.h"
#include "edge/purchases.h"
#include "edge/reply.h"

#define PAGE_ROWS      500
#define LIMIT_MAX      1000
#define RETRY_AFTER_US 100000

#define LISTINGS_BYTES_MAX ((size_t)24 << 20)

struct listing {
    struct exchange *exchange;
    enum listing_kind kind;
    int64_t after;
    bool limited;
    int64_t rows_left; /* when limited */
    int64_t rows;      /* written so far */
    uint64_t page_deadline_us;
    struct timer retry;
    size_t held_bytes; /* of the page's buffer, counted in edge->listing_bytes */
};

static void ask(void *arg);

static bool read_query(struct listing *listing, struct faults *faults)
{
    struct span query = listing->exchange->query;
    int64_t number;
    enum form_outcome outcome = form_integer(query, "limit", &number);
    if (outcome == FORM_FOUND && number >= 1 && number <= LIMIT_MAX) {
        listing->limited = true;
        listing->rows_left = number;
    } else if (outcome == FORM_FOUND) {
        faults_add(faults, "query", "limit", number < 1 ? "greater_than_equal" : "less_than_equal",
                   number < 1 ? "Input should be greater than or equal to 1"
                              : "Input should be less than or equal to 1000");
    } else if (outcome != FORM_ABSENT) {
        faults_add(faults, "query", "limit", "int_parsing", "Input should be a valid integer");
    }
    outcome = form_integer(query, "after", &number);
    if (outcome == FORM_FOUND && number >= 0) {
        listing->after = number;
    } else if (outcome == FORM_FOUND) {
        faults_add(faults, "query", "after", "greater_than_equal",
                   "Input should be greater than or equal to 0");
    } else if (outcome != FORM_ABSENT) {
        faults_add(faults, "query", "after", "int_parsing", "Input should be a valid integer");
    }
    return faults->count == 0;
}

static void on_end(struct exchange *exchange)
{
    struct listing *listing = exchange->state;
    timer_stop(&listing->retry);
    exchange->edge->listing_bytes -= listing->held_bytes;
}

/* Whoever asks for lists and does not read them holds a page each: all of them together hold no
 * more than LISTINGS_BYTES_MAX. False: the list that just begins is one too many. */
static bool hold_page(struct listing *listing)
{
    struct edge *edge = listing->exchange->edge;
    size_t bytes = listing->exchange->out.on_heap ? listing->exchange->out.room : 0;
    bool begins = listing->held_bytes == 0;
    edge->listing_bytes += bytes - listing->held_bytes;
    listing->held_bytes = bytes;
    return !begins || edge->listing_bytes <= LISTINGS_BYTES_MAX;
}

static void on_failure(struct listing *listing, const struct failure *failure)
{
    struct exchange *exchange = listing->exchange;
    struct loop *loop = exchange->edge->loop;
    if (!exchange->streaming) {
        reply_failure(exchange, failure, 0);
        return;
    }
    uint64_t again_us = loop_now_us(loop) + RETRY_AFTER_US;
    if (again_us < listing->page_deadline_us) {
        timer_start(&listing->retry, loop_timers(loop), again_us, ask, listing);
        return;
    }
    exchange_stream_break(exchange);
}

/* Writes the rows, at most those that are left. */
static void write_rows(struct listing *listing, const struct inventory_answer *answer)
{
    struct json *out = &listing->exchange->out;
    out->comma = listing->rows > 0;
    for (size_t i = 0; i < answer->count; i++) {
        if (listing->limited && listing->rows_left == 0) return;
        if (listing->kind == LISTING_PRODUCTS) {
            products_write(out, &answer->products[i]);
            listing->after = answer->products[i].id;
        } else {
            purchases_write(out, &answer->purchases[i]);
            listing->after = answer->purchases[i].id;
        }
        listing->rows++;
        listing->rows_left--;
    }
}

static void on_proceed(struct exchange *exchange)
{
    struct listing *listing = exchange->state;
    listing->page_deadline_us = loop_now_us(exchange->edge->loop) +
                                (uint64_t)exchange->edge->conf->request_timeout_ms * 1000;
    ask(listing);
}

static void on_page(void *arg, const struct inventory_answer *answer)
{
    struct listing *listing = arg;
    struct exchange *exchange = listing->exchange;
    if (answer->failure != NULL) {
        on_failure(listing, answer->failure);
        return;
    }
    struct json *out = &exchange->out;
    if (!exchange->streaming) json_open_array(out);
    write_rows(listing, answer);
    if (!hold_page(listing)) {
        exchange_fail(exchange, REASON_OVERLOADED, "Too many lists are being read at the moment");
        return;
    }
    bool last = !answer->more || (listing->limited && listing->rows_left == 0);
    if (last) json_close_array(out);
    if (last && !exchange->streaming) {
        exchange_answer(exchange, 200);
        return;
    }
    if (!exchange->streaming) exchange_stream(exchange, 200, on_proceed);
    exchange_stream_send(exchange, last);
}

static void ask(void *arg)
{
    struct listing *listing = arg;
    struct exchange *exchange = listing->exchange;
    int64_t rows =
        listing->limited && listing->rows_left < PAGE_ROWS ? listing->rows_left : PAGE_ROWS;
    struct page page = {listing->after, (uint32_t)rows};
    inventory_call_init(&exchange->call,
                        &(struct inventory_terms){.client = exchange->edge->inventory,
                                                  .deadline_us = listing->page_deadline_us,
                                                  .request_id = exchange->request_id,
                                                  .traceparent = exchange->traceparent},
                        on_page, listing);
    if (listing->kind == LISTING_PRODUCTS) {
        inventory_list_products(&exchange->call, page);
    } else {
        inventory_list_purchases(&exchange->call, exchange->user_id, page);
    }
}

void listing_answer(struct exchange *exchange, enum listing_kind kind)
{
    struct listing *listing = exchange_alloc(exchange, sizeof *listing);
    listing->exchange = exchange;
    listing->kind = kind;
    listing->page_deadline_us = exchange->deadline_us;
    struct faults faults;
    faults_init(&faults, &exchange->out);
    if (!read_query(listing, &faults)) {
        reply_faults(exchange, &faults);
        return;
    }
    exchange->state = listing;
    exchange->on_end = on_end;
    ask(listing);
}
