/* routes.h - the table of calls: which method and path goes to which function.
 *
 * routes_match is pure; routes_dispatch is where every exchange begins: it finds the call, checks
 * the token where one is asked for, and counts.
 *
 * Thread    the loop's only.
 */
#ifndef QUORATE_EDGE_ROUTES_H
#define QUORATE_EDGE_ROUTES_H

#include "edge/exchange.h"

struct metrics;

struct route {
    const char *method;
    const char *path; /* a segment in braces stands for one of the request's: a number */
    bool bearer;      /* asks for a token */
    exchange_fn *handler;
};

enum routes_outcome {
    ROUTES_FOUND,
    ROUTES_BAD_ID,    /* found, but the segment in braces is no int64 */
    ROUTES_NO_METHOD, /* the path has other methods: `allow` */
    ROUTES_NO_PATH,
};

struct routes_match {
    const struct route *route;
    int64_t id;
    char allow[64]; /* "GET, HEAD, POST" */
};

/* HEAD goes where GET goes. */
enum routes_outcome routes_find(struct span method, struct span path, struct routes_match *match);

/* Counters and times of each route. */
struct route_stats *route_stats_new(struct metrics *metrics);
void route_stats_free(struct route_stats *stats);

/* Answers the exchange, now or later. */
void routes_dispatch(struct exchange *exchange);

/* For the server, each time an answer is sent. */
void routes_on_answered(struct exchange *exchange, unsigned status);

#endif
