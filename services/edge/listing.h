/* listing.h - lists as JSON arrays, fetched from inventory a page at a time.
 *
 * A list of a million rows costs no more memory than one page: the next page is asked for when the
 * client has taken the last one. A list that fits into one page is an ordinary answer with a
 * length. A page that fails in the middle is asked for again for as long as a request may take; if
 * that does not help, the stream is broken off, so that nobody takes half a list for all of it.
 *
 * All pages that wait for their clients are bounded together; past the bound a list is refused.
 *
 * Query: `limit` 1-1000 (none: everything) and `after`, the id behind which the page begins.
 *
 * Thread    the loop's only.
 */
#ifndef QUORATE_EDGE_LISTING_H
#define QUORATE_EDGE_LISTING_H

#include "edge/exchange.h"

enum listing_kind {
    LISTING_PRODUCTS,  /* by id */
    LISTING_PURCHASES, /* of the exchange's account, newest first */
};

/* Answers the exchange. */
void listing_answer(struct exchange *exchange, enum listing_kind kind);

#endif
