/* reply.h - answers that several calls give: failures of inventory, and what is wrong with input.
 *
 * Thread    the loop's only.
 * Answers   each function answers the exchange; see exchange.h.
 */
#ifndef QUORATE_EDGE_REPLY_H
#define QUORATE_EDGE_REPLY_H

#include "edge/exchange.h"
#include "edge/fault.h"

/* A failure as HTTP: status by reason.h, the sentence by `product_id` (0: not about a product)
 * where clients know one, else inventory's own. */
void reply_failure(struct exchange *exchange, const struct failure *failure, int64_t product_id);

/* 422 with the faults, which were collected in the exchange's `out`. */
void reply_faults(struct exchange *exchange, struct faults *faults);

/* 401. */
void reply_unauthenticated(struct exchange *exchange, const char *detail);

/* Prepares the exchange's call: its deadline, its ids. */
void reply_await(struct exchange *exchange, inventory_answer_fn *on_answer);

#endif
