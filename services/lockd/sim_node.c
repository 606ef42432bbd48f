#include "lockd/sim_node.h"

#include "base/check.h"

#define US_PER_MS UINT64_C(1000)

static bool keeps(const struct sim_node *node, enum sim_rule rule)
{
    return (node->broken_rules & (unsigned)rule) == 0;
}

static struct sim_resource *find(struct sim_node *node, struct span name, uint64_t now_us)
{
    struct sim_resource *found = NULL;
    for (unsigned i = 0; i < node->resource_count && found == NULL; i++) {
        if (span_equal(span_of(node->resources[i].name), name)) found = &node->resources[i];
    }
    if (found == NULL) {
        CHECK(node->resource_count < SIM_RESOURCES_MAX);
        found = &node->resources[node->resource_count++];
        *found = (struct sim_resource){0};
        memcpy(found->name, name.at, name.bytes);
    }
    if (found->until_us <= now_us) found->value_bytes = 0;
    if (found->fence_until_us <= now_us) found->fence = 0;
    if (found->mark_until_us <= now_us) found->mark[0] = '\0';
    return found;
}

static uint64_t bound_of(const struct sim_node *node, const struct sim_resource *resource)
{
    uint64_t bound = resource->fence;
    if (bound == 0 && keeps(node, SIM_RULE_HIGH)) bound = node->high;
    return bound > node->floor ? bound : node->floor;
}

static void raise(struct sim_node *node, struct sim_resource *resource, uint64_t token,
                  uint64_t now_us)
{
    uint64_t fence = bound_of(node, resource);
    resource->fence = token > fence ? token : fence;
    resource->fence_until_us = now_us + node->fence_life_us;
    if (token > node->high) node->high = token;
}

static bool is_value(const struct sim_resource *resource, struct span value)
{
    return resource->value_bytes > 0 && value.bytes > 0 &&
           span_equal((struct span){resource->value, resource->value_bytes}, value);
}

static void set_end(const struct sim_node *node, struct sim_resource *resource, uint32_t ttl_ms,
                    uint64_t now_us)
{
    uint64_t until_us = now_us + ttl_ms * US_PER_MS;
    if (until_us > resource->until_us || !keeps(node, SIM_RULE_NEVER_SHORTEN)) {
        resource->until_us = until_us;
    }
}

static void set(struct sim_resource *resource, const struct order *order, uint64_t now_us)
{
    CHECK(order->value.bytes <= VALUE_BYTES_MAX);
    memcpy(resource->value, order->value.at, order->value.bytes);
    resource->value_bytes = order->value.bytes;
    resource->until_us = now_us + order->ttl_ms * US_PER_MS;
}

static bool starts_with_id(const struct sim_resource *resource, struct span id)
{
    return resource->value_bytes > id.bytes && resource->value[id.bytes] == ' ' &&
           memcmp(resource->value, id.at, id.bytes) == 0;
}

/* The lockd in a value; empty: none there. */
static struct span instance_of(struct span value)
{
    const char *first = memchr(value.at, ' ', value.bytes);
    if (first == NULL) return (struct span){NULL, 0};
    size_t rest = value.bytes - (size_t)(first + 1 - value.at);
    const char *second = memchr(first + 1, ' ', rest);
    if (second == NULL) return (struct span){NULL, 0};
    return (struct span){first + 1, (size_t)(second - first - 1)};
}

/* Until it comes again, which is when the key has ended at the latest. */
static void leave_mark(const struct sim_node *node, struct sim_resource *resource,
                       struct span value, uint64_t now_us)
{
    struct span instance = instance_of(value);
    struct span holder = instance_of((struct span){resource->value, resource->value_bytes});
    if (span_equal(instance, holder) || !keeps(node, SIM_RULE_MARK)) return;
    CHECK(instance.at != NULL && instance.bytes <= INSTANCE_BYTES);
    memset(resource->mark, 0, sizeof resource->mark);
    memcpy(resource->mark, instance.at, instance.bytes);
    uint64_t left_ms = (resource->until_us - now_us) / US_PER_MS;
    resource->mark_until_us = now_us + (left_ms + 1000) * US_PER_MS;
}

static bool others_wait(struct sim_resource *resource, struct span value)
{
    bool own = span_equal(span_of(resource->mark), instance_of(value));
    if (own) resource->mark[0] = '\0';
    return resource->mark[0] != '\0';
}

/* The key is gone: whoever waits is told. */
static void tell_waiting(struct sim_node *node, const struct sim_resource *resource,
                         struct span value)
{
    bool own = span_equal(span_of(resource->mark), instance_of(value));
    node->told = resource->mark[0] != '\0' && !own && keeps(node, SIM_RULE_HINT);
}

static void say_held(const struct sim_resource *resource, uint64_t now_us, struct vote *vote)
{
    vote->verdict = VERDICT_HELD;
    vote->remaining_ms = (uint32_t)((resource->until_us - now_us) / US_PER_MS);
    const char *space = memchr(resource->value, ' ', resource->value_bytes);
    CHECK(space != NULL);
    memcpy(vote->holder, resource->value, (size_t)(space - resource->value));
}

static void grant(struct sim_node *node, struct sim_resource *resource, const struct order *order,
                  uint64_t now_us, struct vote *vote)
{
    if (is_value(resource, order->value)) {
        set_end(node, resource, order->ttl_ms, now_us);
        vote->verdict = VERDICT_YES;
    } else if (resource->value_bytes > 0 && !is_value(resource, order->from) &&
               keeps(node, SIM_RULE_THIRD_OWNER)) {
        leave_mark(node, resource, order->value, now_us);
        say_held(resource, now_us, vote);
    } else if (order->token <= bound_of(node, resource) && keeps(node, SIM_RULE_FENCE)) {
        vote->verdict = VERDICT_STALE;
    } else {
        set(resource, order, now_us);
        raise(node, resource, order->token, now_us);
        vote->verdict = VERDICT_YES;
    }
}

static void extend(struct sim_node *node, struct sim_resource *resource, const struct order *order,
                   uint64_t now_us, struct vote *vote)
{
    bool bound_allows =
        bound_of(node, resource) <= order->token || !keeps(node, SIM_RULE_EXTEND_FENCE);
    if (is_value(resource, order->value)) {
        set_end(node, resource, order->ttl_ms, now_us);
        raise(node, resource, order->token, now_us);
        vote->verdict = VERDICT_YES;
    } else if (resource->value_bytes == 0 && bound_allows) {
        set(resource, order, now_us);
        raise(node, resource, order->token, now_us);
        vote->verdict = keeps(node, SIM_RULE_HEAL_ONLY) ? VERDICT_HEALED : VERDICT_YES;
    } else {
        vote->verdict = VERDICT_LOST;
    }
}

static void release(struct sim_node *node, struct sim_resource *resource, const struct order *order,
                    uint64_t now_us, struct vote *vote)
{
    bool own = is_value(resource, order->value);
    if (!keeps(node, SIM_RULE_EXACT_OWNER)) {
        const char *space = memchr(order->value.at, ' ', order->value.bytes);
        CHECK(space != NULL);
        own = starts_with_id(resource,
                             (struct span){order->value.at, (size_t)(space - order->value.at)});
    }
    if (own) {
        tell_waiting(node, resource, (struct span){resource->value, resource->value_bytes});
        resource->value_bytes = 0;
    }
    if (keeps(node, SIM_RULE_TOMBSTONE)) raise(node, resource, order->token + 1, now_us);
    vote->verdict = VERDICT_YES;
}

void sim_node_execute(struct sim_node *node, const struct order *order, uint64_t now_us,
                      struct vote *vote)
{
    *vote = (struct vote){.verdict = VERDICT_EXCLUDED};
    node->told = false;
    if (!node->epoch) return;
    struct sim_resource *resource = find(node, order->resource, now_us);
    switch (order->kind) {
    case ORDER_GRANT:
        grant(node, resource, order, now_us, vote);
        break;
    case ORDER_EXTEND:
        extend(node, resource, order, now_us, vote);
        break;
    case ORDER_RELEASE:
        release(node, resource, order, now_us, vote);
        break;
    case ORDER_FORGET:
        if (starts_with_id(resource, order->value)) {
            tell_waiting(node, resource, (struct span){resource->value, resource->value_bytes});
            resource->value_bytes = 0;
        }
        vote->verdict = VERDICT_YES;
        break;
    }
    bool asks = order->kind == ORDER_GRANT || order->kind == ORDER_EXTEND;
    if (asks && vote->verdict == VERDICT_YES)
        vote->others_wait = others_wait(resource, order->value);
    vote->bound = bound_of(node, resource);
}

void sim_node_forget(struct sim_node *node)
{
    node->resource_count = 0;
    node->epoch = false;
    node->epoch_run = 0;
    node->high = 0;
    node->floor = 0;
}

struct span sim_node_value(struct sim_node *node, const char *resource, uint64_t now_us)
{
    struct sim_resource *found = find(node, span_of(resource), now_us);
    return (struct span){found->value, found->value_bytes};
}

uint32_t sim_node_remaining_ms(struct sim_node *node, const char *resource, uint64_t now_us)
{
    struct sim_resource *found = find(node, span_of(resource), now_us);
    return found->value_bytes == 0 ? 0 : (uint32_t)((found->until_us - now_us) / US_PER_MS);
}

uint64_t sim_node_bound(struct sim_node *node, const char *resource, uint64_t now_us)
{
    return bound_of(node, find(node, span_of(resource), now_us));
}

struct span sim_node_mark(struct sim_node *node, const char *resource, uint64_t now_us)
{
    return span_of(find(node, span_of(resource), now_us)->mark);
}
