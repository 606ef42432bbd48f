#include "edge/reply.h"

#include "base/check.h"
#include "edge/edge.h"

#include <inttypes.h>
#include <stdio.h>

#define DETAIL_BYTES 640

static void reply_422(struct exchange *exchange, const struct failure *failure)
{
    struct faults faults;
    faults_init(&faults, &exchange->out);
    if (failure->reason == REASON_KEY_REUSED) {
        faults_add(&faults, "header", "idempotency-key", "key_reused",
                   "This Idempotency-Key was used with another product or quantity");
    } else {
        faults_add(&faults, "body", NULL, "invalid",
                   *failure->message == '\0' ? "Invalid request" : failure->message);
    }
    faults_close(&faults, reason_name(failure->reason));
    exchange_answer(exchange, reason_http_status(failure->reason));
}

/* The sentence for this reason; "" if inventory's own will do. */
static void sentence(const struct failure *failure, int64_t product_id, char into[DETAIL_BYTES])
{
    into[0] = '\0';
    switch (failure->reason) {
    case REASON_INSUFFICIENT:
        if (failure->has_shortage)
            snprintf(into, DETAIL_BYTES,
                     "Insufficient stock for product %" PRId64 ": requested %" PRId64
                     ", available %" PRId64,
                     product_id, failure->requested, failure->available);
        return;
    case REASON_BUSY:
        if (product_id > 0) {
            snprintf(into, DETAIL_BYTES, "Failed to acquire lock for resource: stock:%" PRId64,
                     product_id);
        } else {
            snprintf(into, DETAIL_BYTES, "Failed to acquire lock for resource: %s",
                     failure->message);
        }
        return;
    case REASON_NOT_FOUND:
        if (product_id > 0)
            snprintf(into, DETAIL_BYTES, "Product with id %" PRId64 " not found", product_id);
        return;
    case REASON_OUTCOME_UNKNOWN:
        snprintf(into, DETAIL_BYTES,
                 "The outcome is unknown: ask again with the same Idempotency-Key");
        return;
    case REASON_UNAUTHENTICATED:
        snprintf(into, DETAIL_BYTES, "The account of this token does not exist any more");
        return;
    case REASON_NO_QUORUM:
        snprintf(into, DETAIL_BYTES, "No quorum: too few lock nodes vote, nothing was changed%s%s",
                 *failure->message == '\0' ? "" : ": ", failure->message);
        return;
    case REASON_DOWN:
        snprintf(into, DETAIL_BYTES, "Inventory is not reachable, nothing was changed");
        return;
    case REASON_OVERLOADED:
    case REASON_CANCELLED:
        snprintf(into, DETAIL_BYTES, "Too much to do at the moment, nothing was changed");
        return;
    case REASON_EXPIRED:
        snprintf(into, DETAIL_BYTES, "No answer in time, nothing was changed");
        return;
    case REASON_NONE:
    case REASON_LOST:
    case REASON_FENCED:
    case REASON_INVALID:
    case REASON_KEY_REUSED:
    case REASON_EXISTS:
    case REASON_DENIED:
    case REASON_NO_METHOD:
        return;
    }
}

void reply_failure(struct exchange *exchange, const struct failure *failure, int64_t product_id)
{
    CHECK(failure->reason != REASON_NONE);
    if (reason_http_status(failure->reason) == 422) {
        reply_422(exchange, failure);
        return;
    }
    char detail[DETAIL_BYTES];
    sentence(failure, product_id, detail);
    const char *own = *failure->message == '\0' ? reason_name(failure->reason) : failure->message;
    exchange_fail(exchange, failure->reason, detail[0] == '\0' ? own : detail);
}

void reply_faults(struct exchange *exchange, struct faults *faults)
{
    faults_close(faults, reason_name(REASON_INVALID));
    exchange_answer(exchange, reason_http_status(REASON_INVALID));
}

void reply_unauthenticated(struct exchange *exchange, const char *detail)
{
    exchange_fail(exchange, REASON_UNAUTHENTICATED, detail);
}

void reply_await(struct exchange *exchange, inventory_answer_fn *on_answer)
{
    inventory_call_init(&exchange->call,
                        &(struct inventory_terms){.client = exchange->edge->inventory,
                                                  .deadline_us = exchange->deadline_us,
                                                  .request_id = exchange->request_id,
                                                  .traceparent = exchange->traceparent},
                        on_answer, exchange);
}
