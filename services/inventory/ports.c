#include "inventory/ports.h"

#include "base/check.h"

#include <stdlib.h>

struct ports {
    struct loop *loop;
    struct lanes *lanes;
    struct locks *locks;
    struct live *live;
    struct store *store;
    struct tick run_lanes;
};

static void sell(void *arg, const struct sale *sale, sale_answer_fn *on_answer, void *answer_arg)
{
    const struct ports *ports = arg;
    store_sell(ports->store, sale, on_answer, answer_arg);
}

static void look(void *arg, const struct sale *sale, sale_answer_fn *on_answer, void *answer_arg)
{
    const struct ports *ports = arg;
    store_look(ports->store, sale, on_answer, answer_arg);
}

static void acquire(void *arg, int64_t product_id, uint64_t min_token, uint64_t wait_us,
                    lane_lock_fn *on_answer, void *answer_arg)
{
    const struct ports *ports = arg;
    locks_acquire(ports->locks, product_id, min_token, wait_us, on_answer, answer_arg);
}

static void release(void *arg, int64_t product_id, const struct lane_lease *lease)
{
    const struct ports *ports = arg;
    locks_release(ports->locks, product_id, lease);
}

static void ask(void *arg)
{
    const struct ports *ports = arg;
    locks_ask(ports->locks);
}

static void on_voting(void *arg, const struct lane_voting *voting, bool asked)
{
    const struct ports *ports = arg;
    if (ports->lanes != NULL) lanes_hear_voting(ports->lanes, voting, asked);
}

static void run_later(void *arg)
{
    struct ports *ports = arg;
    loop_at_tick_end(ports->loop, &ports->run_lanes);
}

static void on_run_lanes(void *arg)
{
    const struct ports *ports = arg;
    lanes_run(ports->lanes);
}

static void open_lanes(struct ports *ports, const struct ports_options *options)
{
    struct lanes_options lanes = options->lanes;
    lanes.timers = loop_timers(ports->loop);
    lanes.store = (struct lane_store){sell, look, ports};
    lanes.locks = (struct lane_locks){acquire, release, ask, ports};
    lanes.stock = live_lane_stock(ports->live);
    lanes.run_later = run_later;
    lanes.run_arg = ports;
    lanes.nodes = (unsigned)options->redis_nodes->count;
    lanes.quorum = lanes.nodes / 2 + 1;
    lanes.metrics = options->metrics;
    ports->lanes = lanes_new(&lanes);
}

struct ports *ports_open(struct loop *loop, const struct ports_options *options)
{
    struct ports *ports = xcalloc(1, sizeof *ports);
    ports->loop = loop;
    tick_init(&ports->run_lanes, on_run_lanes, ports);
    struct locks_options locks = {.urls = options->lockd_urls,
                                  .metrics = options->metrics,
                                  .ttl_ms = options->lease_ttl_ms,
                                  .on_voting = on_voting,
                                  .arg = ports};
    ports->locks = locks_open(loop, &locks);
    if (ports->locks == NULL) {
        free(ports);
        return NULL;
    }
    ports->store = store_new(options->database);
    struct live_options live = {options->redis_nodes, ports->store, options->metrics};
    ports->live = live_open(loop, &live);
    open_lanes(ports, options);
    return ports;
}

struct lanes *ports_lanes(struct ports *ports)
{
    return ports->lanes;
}

struct live *ports_live(struct ports *ports)
{
    return ports->live;
}

struct store *ports_store(struct ports *ports)
{
    return ports->store;
}

bool ports_quiet(const struct ports *ports)
{
    return lanes_quiet(ports->lanes) && locks_quiet(ports->locks);
}

void ports_close(struct ports *ports)
{
    if (ports == NULL) return;
    CHECK(ports_quiet(ports));
    locks_close(ports->locks);
    lanes_free(ports->lanes);
    live_close(ports->live);
    tick_cancel(&ports->run_lanes);
    store_free(ports->store);
    free(ports);
}
