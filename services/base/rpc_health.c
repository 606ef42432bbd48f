/* gRPC's health protocol. A watcher hears the state now and each change; of changes that come
 * faster than it reads it hears the last. */
#include "base/check.h"
#include "base/rpc_server_parts.h"

#include <stdlib.h>
#include <utlist.h>

typedef Grpc__Health__V1__HealthCheckResponse Response;
typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus ServingStatus;

struct rpc_watcher {
    struct rpc_health *health;
    struct rpc_request *request;
    char *service;
    bool told;
    ServingStatus last; /* what it was told */
    struct rpc_watcher *prev, *next;
};

static struct rpc_health_entry *find(const struct rpc_health *health, const char *service)
{
    struct rpc_health_entry *entry = health->entries;
    while (entry != NULL && strcmp(entry->service, service) != 0)
        entry = entry->next;
    return entry;
}

static ServingStatus state_of(const struct rpc_health *health, const char *service)
{
    const struct rpc_health_entry *entry = find(health, service);
    if (entry == NULL)
        return GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN;
    if (!entry->serving || health->draining) {
        return GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
    }
    return GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
}

/* --- methods --- */

static void check(Grpc__Health__V1__Health_Service *service,
                  const Grpc__Health__V1__HealthCheckRequest *input,
                  Grpc__Health__V1__HealthCheckResponse_Closure closure, void *closure_data)
{
    struct rpc_health *health = (struct rpc_health *)service;
    if (find(health, input->service) == NULL) {
        rpc_request_fail(closure_data, REASON_NOT_FOUND, "no such service here", NULL);
        return;
    }
    Response response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    response.status = state_of(health, input->service);
    closure(&response, closure_data);
}

/* If it can't be told now, on_ready or the next change does. */
static void tell(void *arg)
{
    struct rpc_watcher *watcher = arg;
    Response response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    response.status = state_of(watcher->health, watcher->service);
    if (watcher->told && watcher->last == response.status) return;
    if (!rpc_request_send(watcher->request, &response.base)) return;
    watcher->told = true;
    watcher->last = response.status;
}

static void watcher_end(void *arg)
{
    struct rpc_watcher *watcher = arg;
    struct rpc_request *request = watcher->request;
    DL_DELETE(watcher->health->watchers, watcher);
    free(watcher->service);
    free(watcher);
    rpc_request_end(request);
}

static void watch(Grpc__Health__V1__Health_Service *service,
                  const Grpc__Health__V1__HealthCheckRequest *input,
                  Grpc__Health__V1__HealthCheckResponse_Closure closure, void *closure_data)
{
    (void)closure; /* a stream */
    struct rpc_health *health = (struct rpc_health *)service;
    struct rpc_watcher *watcher = xcalloc(1, sizeof *watcher);
    watcher->health = health;
    watcher->request = closure_data;
    watcher->service = xstrdup(input->service);
    DL_APPEND(health->watchers, watcher);
    rpc_request_on_gone(watcher->request, watcher_end, watcher);
    rpc_request_on_ready(watcher->request, tell, watcher);
    tell(watcher);
}

/* --- the server's side --- */

static void tell_all(struct rpc_health *health)
{
    struct rpc_watcher *watcher;
    DL_FOREACH(health->watchers, watcher) tell(watcher);
}

void rpc_health_init(struct rpc_health *health)
{
    *health = (struct rpc_health){0};
    grpc__health__v1__health__init(&health->base, NULL);
    health->base.check = check;
    health->base.watch = watch;
    rpc_health_add(health, "");
}

void rpc_health_fini(struct rpc_health *health)
{
    CHECK(health->watchers == NULL);
    while (health->entries != NULL) {
        struct rpc_health_entry *entry = health->entries;
        health->entries = entry->next;
        free(entry->service);
        free(entry);
    }
}

void rpc_health_add(struct rpc_health *health, const char *service)
{
    CHECK(find(health, service) == NULL);
    struct rpc_health_entry *entry = xcalloc(1, sizeof *entry);
    entry->service = xstrdup(service);
    entry->serving = true;
    entry->next = health->entries;
    health->entries = entry;
    tell_all(health);
}

void rpc_health_set(struct rpc_health *health, const char *service, bool serving)
{
    struct rpc_health_entry *entry = find(health, service);
    CHECK(entry != NULL);
    entry->serving = serving;
    if (serving && *service == '\0') health->has_served = true;
    tell_all(health);
}

void rpc_health_drain(struct rpc_health *health)
{
    health->draining = true;
    tell_all(health);
}

void rpc_health_close(struct rpc_health *health)
{
    struct rpc_watcher *watcher;
    struct rpc_watcher *next;
    DL_FOREACH_SAFE(health->watchers, watcher, next) watcher_end(watcher);
}
