/* Values on the nodes: made with a token of their own, so that no two are ever the same, and
 * released everywhere. */
#include "lockd/resource.h"

#include <inttypes.h>
#include <stdio.h>

/* The tokens of all resources share one measure, as those of the nodes do in `high`: it costs eight
 * bytes where a table of resources gone cold would be needed, so that a lockd with a slow clock is
 * not refused once for each. One resource whose fence is absurd (set by hand, say) stays alone. */
void resource_learn(struct resource *resource, uint64_t token)
{
    struct leases *leases = resource->leases;
    if (token > resource->token_seen) resource->token_seen = token;
    if (token <= leases->token_seen) return;
    uint64_t wall_us = clock_wall_us(leases->options.timers->clock);
    if (token <= wall_us + REDLOCK_AHEAD_MAX_US) leases->token_seen = token;
}

bool resource_stake(struct resource *resource, const struct waiter *waiter)
{
    const struct leases *leases = resource->leases;
    uint64_t token = clock_wall_us(leases->options.timers->clock);
    if (token <= resource->token_seen) token = resource->token_seen + 1;
    if (token <= leases->token_seen) token = leases->token_seen + 1;
    if (token <= waiter->min_token) token = waiter->min_token + 1;
    if (token >= TOKEN_MAX) return false; /* its tombstone is one more */
    struct stake *next = &resource->next;
    int bytes = snprintf(next->text, sizeof next->text, "%s %016" PRIx64 " %" PRIu64,
                         waiter->request_id, leases->options.instance, token);
    CHECK(bytes > 0 && (size_t)bytes < sizeof next->text);
    next->bytes = (size_t)bytes;
    next->token = token;
    next->ttl_ms = waiter->ttl_ms;
    resource_learn(resource, token);
    return true;
}

/* Also where it was never granted: the tombstone keeps a grant that is still under way
 * from settling after us. */
void stake_release(struct resource *resource, struct stake *stake)
{
    if (stake->bytes == 0) return;
    struct order order = {
        .kind = ORDER_RELEASE,
        .resource = resource_name(resource),
        .value = {stake->text, stake->bytes},
        .token = stake->token,
        .ttl_ms = stake->ttl_ms,
    };
    resource_learn(resource, stake->token + 1);
    stake->bytes = 0;
    redlock_tell(resource->leases->options.transport, &order);
}
