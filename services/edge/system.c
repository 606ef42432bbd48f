#include "edge/system.h"

#include "base/check.h"
#include "edge/edge.h"
#include "edge/exposition.h"
#include "edge/http.h"
#include "edge/reply.h"

#include <stdio.h>
#include <stdlib.h>

#define METRICS_PATIENCE_US 1000000

/* ---- health ---- */

struct health {
    bool inventory; /* one serves */
    bool lockd;     /* one answers */
    struct quorum quorum;
};

static bool enough_votes(const struct health *health)
{
    return health->quorum.known && health->quorum.voting >= health->quorum.needed;
}

static void write_peer(struct json *out, const struct peer *peer)
{
    json_open_object(out);
    JSON_KEY(out, "address");
    json_put_text(out, span_of(peer_url(peer)));
    JSON_KEY(out, "state");
    json_put_text(out, span_of(peer_state_name(peer_state(peer))));
    json_close_object(out);
}

static struct health look(const struct edge *edge)
{
    struct health health = {.quorum = lockd_client_quorum(edge->lockd)};
    for (size_t i = 0; i < inventory_client_peers(edge->inventory); i++)
        health.inventory |= peer_state(inventory_client_peer(edge->inventory, i)) == PEER_SERVING;
    health.lockd = health.quorum.known;
    return health;
}

static void write_missing(struct json *out, const struct health *health)
{
    char text[640];
    JSON_KEY(out, "missing");
    json_open_array(out);
    if (!health->inventory) json_put_text(out, span_of("no inventory serves"));
    if (!health->lockd) json_put_text(out, span_of("no lockd answers"));
    if (health->lockd && !enough_votes(health)) {
        snprintf(text, sizeof text, "quorum: %u of %u nodes vote, %u are needed; missing: %s",
                 health->quorum.voting, health->quorum.nodes, health->quorum.needed,
                 health->quorum.missing);
        json_put_text(out, span_of(text));
    }
    json_close_array(out);
}

void system_health(struct exchange *exchange)
{
    struct edge *edge = exchange->edge;
    struct health health = look(edge);
    bool votes = enough_votes(&health);
    bool draining = http_draining(edge->http);
    bool healthy = health.inventory && votes && !draining;
    edge->was_healthy |= healthy;
    struct json *out = &exchange->out;
    json_open_object(out);
    JSON_KEY(out, "status");
    json_put_text(out, span_of(healthy ? "healthy" : "unhealthy"));
    if (!healthy) {
        JSON_KEY(out, "detail");
        json_put_text(out, span_of(draining ? "Shutting down" : "Can't sell at the moment"));
        JSON_KEY(out, "code");
        bool only_votes = health.inventory && health.lockd && !draining;
        json_put_text(out, span_of(reason_name(only_votes ? REASON_NO_QUORUM : REASON_DOWN)));
        write_missing(out, &health);
    }
    JSON_KEY(out, "inventory");
    json_open_array(out);
    for (size_t i = 0; i < inventory_client_peers(edge->inventory); i++)
        write_peer(out, inventory_client_peer(edge->inventory, i));
    json_close_array(out);
    JSON_KEY(out, "lockd");
    json_open_array(out);
    for (size_t i = 0; i < lockd_client_peers(edge->lockd); i++)
        write_peer(out, lockd_client_peer(edge->lockd, i));
    json_close_array(out);
    JSON_KEY(out, "quorum");
    json_open_object(out);
    JSON_KEY(out, "voting");
    json_put_integer(out, health.quorum.voting);
    JSON_KEY(out, "needed");
    json_put_integer(out, health.quorum.needed);
    JSON_KEY(out, "nodes");
    json_put_integer(out, health.quorum.nodes);
    json_close_object(out);
    json_close_object(out);
    if (!healthy) exchange_header(exchange, span_of("retry-after"), span_of("1"));
    exchange_answer(exchange, healthy ? 200 : 503);
}

void system_live(struct exchange *exchange)
{
    struct json *out = &exchange->out;
    json_open_object(out);
    JSON_KEY(out, "status");
    json_put_text(out, span_of("alive"));
    JSON_KEY(out, "uptime_s");
    json_put_integer(out, (int64_t)((exchange->arrived_us - exchange->edge->started_us) / 1000000));
    JSON_KEY(out, "was_healthy");
    json_put_boolean(out, exchange->edge->was_healthy);
    json_close_object(out);
    exchange_answer(exchange, 200);
}

void system_root(struct exchange *exchange)
{
    struct json *out = &exchange->out;
    json_open_object(out);
    JSON_KEY(out, "name");
    json_put_text(out, span_of("quorate"));
    JSON_KEY(out, "version");
    json_put_text(out, span_of(edge_program.version));
    JSON_KEY(out, "calls");
    json_open_array(out);
    static const char *const calls[] = {"/api/auth", "/api/products", "/api/purchases", "/health",
                                        "/metrics"};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        json_put_text(out, span_of(calls[i]));
    json_close_array(out);
    json_close_object(out);
    exchange_answer(exchange, 200);
}

/* ---- metrics ---- */

struct scrape;

/* One peer's part of a scrape. */
struct part {
    struct peer_metrics_call call;
    struct scrape *scrape;
    struct peer *peer;
    const char *service;
};

struct scrape {
    struct exchange *exchange;
    struct exposition *exposition;
    size_t waiting;
    size_t count;
    struct part parts[];
};

static void on_end(struct exchange *exchange)
{
    struct scrape *scrape = exchange->state;
    for (size_t i = 0; i < scrape->count; i++)
        peer_metrics_cancel(&scrape->parts[i].call);
    exposition_free(scrape->exposition);
}

static void finish(struct scrape *scrape)
{
    struct exchange *exchange = scrape->exchange;
    exposition_write(scrape->exposition, &exchange->out);
    exchange_answer_text(exchange, 200, "text/plain; version=0.0.4; charset=utf-8");
}

static void on_part(void *arg, struct span text)
{
    struct part *part = arg;
    struct scrape *scrape = part->scrape;
    char labels[512];
    snprintf(labels, sizeof labels, "service=\"%s\",address=\"%s\"", part->service,
             peer_url(part->peer));
    char up[768];
    snprintf(up, sizeof up,
             "# HELP quorate_up Whether this service answered the edge.\n"
             "# TYPE quorate_up gauge\nquorate_up %d\n",
             text.bytes > 0 ? 1 : 0);
    exposition_add(scrape->exposition, span_of(up), labels);
    exposition_add(scrape->exposition, text, labels);
    if (--scrape->waiting == 0) finish(scrape);
}

static void add_own(struct exchange *exchange, struct exposition *exposition)
{
    const struct edge *edge = exchange->edge;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    CHECK(out != NULL);
    metrics_print(edge->metrics, out);
    fprintf(out,
            "# HELP quorate_edge_tokens_remembered_total Tokens that were known from before.\n"
            "# TYPE quorate_edge_tokens_remembered_total counter\n"
            "quorate_edge_tokens_remembered_total %llu\n"
            "# HELP quorate_edge_password_jobs Passwords that wait for their hash.\n"
            "# TYPE quorate_edge_password_jobs gauge\n"
            "quorate_edge_password_jobs %zu\n",
            (unsigned long long)auth_remembered(edge->auth), passwords_open(edge->passwords));
    fclose(out);
    exposition_add(exposition, (struct span){text, bytes}, "service=\"edge\"");
    free(text);
}

static void ask(struct scrape *scrape, struct peer *peer, const char *service, uint64_t deadline_us)
{
    struct part *part = &scrape->parts[scrape->count++];
    part->scrape = scrape;
    part->peer = peer;
    part->service = service;
    scrape->waiting++;
    peer_fetch_metrics(peer, &part->call, deadline_us, on_part, part);
}

void system_metrics(struct exchange *exchange)
{
    const struct edge *edge = exchange->edge;
    size_t inventories = inventory_client_peers(edge->inventory);
    size_t lockds = lockd_client_peers(edge->lockd);
    struct scrape *scrape =
        exchange_alloc(exchange, sizeof *scrape + (inventories + lockds) * sizeof(struct part));
    scrape->exchange = exchange;
    scrape->exposition = exposition_new();
    exchange->state = scrape;
    exchange->on_end = on_end;
    add_own(exchange, scrape->exposition);
    uint64_t deadline_us = exchange->arrived_us + METRICS_PATIENCE_US;
    if (deadline_us > exchange->deadline_us) deadline_us = exchange->deadline_us;
    for (size_t i = 0; i < inventories; i++)
        ask(scrape, inventory_client_peer(edge->inventory, i), "inventory", deadline_us);
    for (size_t i = 0; i < lockds; i++)
        ask(scrape, lockd_client_peer(edge->lockd, i), "lockd", deadline_us);
}
