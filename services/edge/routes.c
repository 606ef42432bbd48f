#include "edge/routes.h"

#include "base/check.h"
#include "base/log.h"
#include "edge/accounts.h"
#include "edge/edge.h"
#include "edge/products.h"
#include "edge/purchases.h"
#include "edge/reply.h"
#include "edge/system.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* The busiest first: the table is searched from the top. */
static const struct route routes[] = {
    {"POST", "/api/purchases", true, purchases_create},
    {"POST", "/api/purchases/redlock-aioredlock", true, purchases_create},
    {"POST", "/api/purchases/redlock-manual", true, purchases_create},
    {"POST", "/api/purchases/redlock-manual-async", true, purchases_create},
    {"GET", "/api/purchases/me", true, purchases_mine},
    {"GET", "/api/products/{id}/stock", true, products_stock},
    {"GET", "/api/products/{id}", true, products_get},
    {"GET", "/api/products", true, products_list},
    {"POST", "/api/products", true, products_create},
    {"POST", "/api/auth/login", false, accounts_login},
    {"POST", "/api/auth/register", false, accounts_register},
    {"GET", "/api/auth/me", true, accounts_me},
    {"GET", "/health", false, system_health},
    {"GET", "/health/live", false, system_live},
    {"GET", "/metrics", false, system_metrics},
    {"GET", "/", false, system_root},
};
#define ROUTES (sizeof routes / sizeof routes[0])

enum path_match { PATH_OTHER, PATH_SAME, PATH_BAD_ID };

static bool parse_id(struct span digits, int64_t *id)
{
    bool negative = digits.bytes > 0 && digits.at[0] == '-';
    size_t from = negative ? 1 : 0;
    if (digits.bytes == from) return false;
    int64_t number = 0;
    for (size_t i = from; i < digits.bytes; i++) {
        char digit = digits.at[i];
        if (digit < '0' || digit > '9' || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, digit - '0', &number))
            return false;
    }
    *id = negative ? -number : number;
    return true;
}

static enum path_match match_path(const char *pattern, struct span path, int64_t *id)
{
    enum path_match match = PATH_SAME;
    size_t i = 0;
    while (*pattern != '\0') {
        if (*pattern != '{') {
            if (i == path.bytes || path.at[i] != *pattern) return PATH_OTHER;
            i++;
            pattern++;
            continue;
        }
        size_t from = i;
        while (i < path.bytes && path.at[i] != '/')
            i++;
        if (i == from) return PATH_OTHER;
        if (!parse_id((struct span){path.at + from, i - from}, id)) match = PATH_BAD_ID;
        pattern = strchr(pattern, '}') + 1;
    }
    return i == path.bytes ? match : PATH_OTHER;
}

static void allow(struct routes_match *match, const char *method)
{
    size_t used = strlen(match->allow);
    snprintf(match->allow + used, sizeof match->allow - used, "%s%s", used == 0 ? "" : ", ",
             method);
    if (strcmp(method, "GET") == 0) allow(match, "HEAD");
}

enum routes_outcome routes_find(struct span method, struct span path, struct routes_match *match)
{
    if (span_equal(method, (struct span){"HEAD", 4})) method = (struct span){"GET", 3};
    *match = (struct routes_match){.route = NULL};
    for (size_t i = 0; i < ROUTES; i++) {
        enum path_match same = match_path(routes[i].path, path, &match->id);
        if (same == PATH_OTHER) continue;
        if (span_equal(method, span_of(routes[i].method))) {
            match->route = &routes[i];
            return same == PATH_BAD_ID ? ROUTES_BAD_ID : ROUTES_FOUND;
        }
        allow(match, routes[i].method);
    }
    return match->allow[0] == '\0' ? ROUTES_NO_PATH : ROUTES_NO_METHOD;
}

/* ---- what is counted ---- */

#define CLASSES 3 /* 2xx, 4xx, 5xx */

struct one_route {
    uint64_t *answers[CLASSES];
    struct histogram *times;
};

struct route_stats {
    struct one_route routes[ROUTES + 1]; /* the last: paths that there are not */
};

struct route_stats *route_stats_new(struct metrics *metrics)
{
    struct route_stats *stats = xcalloc(1, sizeof *stats);
    for (size_t i = 0; i <= ROUTES; i++) {
        const char *method = i < ROUTES ? routes[i].method : "any";
        const char *path = i < ROUTES ? routes[i].path : "other";
        char labels[128];
        static const char *const names[CLASSES] = {"2xx", "4xx", "5xx"};
        for (unsigned class = 0; class < CLASSES; class ++) {
            snprintf(labels, sizeof labels, "method=\"%s\",route=\"%s\",status=\"%s\"", method,
                     path, names[class]);
            stats->routes[i].answers[class] = metrics_counter(
                metrics, "quorate_edge_requests_total", labels, "Requests answered.");
        }
        snprintf(labels, sizeof labels, "method=\"%s\",route=\"%s\"", method, path);
        stats->routes[i].times =
            metrics_histogram(metrics, "quorate_edge_request_seconds", labels,
                              "From a request's arrival to the beginning of its answer.");
    }
    return stats;
}

void route_stats_free(struct route_stats *stats)
{
    free(stats);
}

void routes_on_answered(struct exchange *exchange, unsigned status)
{
    struct edge *edge = exchange->edge;
    size_t place = exchange->route == NULL ? ROUTES : (size_t)(exchange->route - routes);
    struct one_route *one = &edge->stats->routes[place];
    ++*one->answers[status < 400 ? 0 : status < 500 ? 1 : 2];
    uint64_t took_us = loop_now_us(edge->loop) - exchange->arrived_us;
    histogram_add(one->times, took_us);
    LOG_DEBUG("request", "req=%.*s method=%.*s path=%.*s status=%u user=%" PRId64 " us=%" PRIu64,
              SPAN_ARGS(exchange->request_id), SPAN_ARGS(exchange->method),
              SPAN_ARGS(exchange->path), status, exchange->user_id, took_us);
}

/* ---- the beginning of every exchange ---- */

static void reply_bad_id(struct exchange *exchange)
{
    struct faults faults;
    faults_init(&faults, &exchange->out);
    faults_add(&faults, "path", "id", "int_parsing",
               "Input should be a valid integer, unable to parse string as an integer");
    reply_faults(exchange, &faults);
}

static void reply_no_method(struct exchange *exchange, const char *methods)
{
    size_t room = strlen(methods) + 1;
    char *allowed = exchange_alloc(exchange, room);
    memcpy(allowed, methods, room);
    exchange_header(exchange, span_of("allow"), span_of(allowed));
    exchange_refuse(exchange, 405, "METHOD_NOT_ALLOWED", "Method Not Allowed");
}

/* False: it was answered. */
static bool admit(struct exchange *exchange)
{
    switch (auth_check(exchange->edge->auth, exchange->authorization, &exchange->user_id)) {
    case AUTH_GOOD:
        return true;
    case AUTH_MISSING:
        reply_unauthenticated(exchange, "Not authenticated");
        return false;
    case AUTH_INVALID:
        reply_unauthenticated(exchange, "Could not validate credentials");
        return false;
    case AUTH_EXPIRED:
        reply_unauthenticated(exchange, "The token has expired");
        return false;
    }
    CHECK(!"a known outcome");
    return false;
}

void routes_dispatch(struct exchange *exchange)
{
    struct routes_match match;
    enum routes_outcome outcome = routes_find(exchange->method, exchange->path, &match);
    exchange->route = match.route;
    exchange->id = match.id;
    switch (outcome) {
    case ROUTES_NO_PATH:
        exchange_fail(exchange, REASON_NOT_FOUND, "Not Found");
        return;
    case ROUTES_NO_METHOD:
        reply_no_method(exchange, match.allow);
        return;
    case ROUTES_FOUND:
    case ROUTES_BAD_ID:
        break;
    }
    if (match.route->bearer && !admit(exchange)) return;
    if (outcome == ROUTES_BAD_ID) {
        reply_bad_id(exchange);
        return;
    }
    match.route->handler(exchange);
}
