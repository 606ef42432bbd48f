#include "inventory/lane_world.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t now_us(void *arg)
{
    const struct world *world = arg;
    return world->now_us;
}

static void run_later(void *arg)
{
    struct world *world = arg;
    world->run_wanted = true;
}

static void copy_sale(struct sale *into, const struct sale *sale)
{
    struct sale_order *orders = xcalloc(sale->count, sizeof *orders);
    for (size_t i = 0; i < sale->count; i++) {
        orders[i] = sale->orders[i];
        orders[i].key.at = xstrndup(sale->orders[i].key.at, sale->orders[i].key.bytes);
    }
    *into = *sale;
    into->orders = orders;
}

static void drop_sale(struct sale *sale)
{
    for (size_t i = 0; i < sale->count; i++)
        free((char *)sale->orders[i].key.at);
    free((void *)sale->orders);
    *sale = (struct sale){0};
}

static void hand_over(struct world *world, const struct sale *sale, bool look,
                      sale_answer_fn *on_answer, void *arg)
{
    for (size_t i = 0; i < WORLD_CALLS_MAX; i++) {
        struct world_call *call = &world->calls[i];
        if (call->open) continue;
        *call = (struct world_call){.open = true, .look = look, .on_answer = on_answer, .arg = arg};
        copy_sale(&call->sale, sale);
        return;
    }
    CHECK(false);
}

static void sell(void *arg, const struct sale *sale, sale_answer_fn *on_answer, void *answer_arg)
{
    struct world *world = arg;
    world->sells++;
    hand_over(world, sale, false, on_answer, answer_arg);
}

static void look(void *arg, const struct sale *sale, sale_answer_fn *on_answer, void *answer_arg)
{
    struct world *world = arg;
    world->looks++;
    hand_over(world, sale, true, on_answer, answer_arg);
}

static void acquire(void *arg, int64_t product_id, uint64_t min_token, uint64_t wait_us,
                    lane_lock_fn *on_answer, void *answer_arg)
{
    struct world *world = arg;
    CHECK(wait_us > 0);
    world->last_min_token = min_token;
    for (size_t i = 0; i < WORLD_CALLS_MAX; i++) {
        struct world_acquire *call = &world->acquires[i];
        if (call->open) continue;
        *call = (struct world_acquire){true,          product_id, min_token,
                                       world->now_us, on_answer,  answer_arg};
        return;
    }
    CHECK(false);
}

static void release(void *arg, int64_t product_id, const struct lane_lease *lease)
{
    struct world *world = arg;
    CHECK(strcmp(world->held[product_id], lease->request_id) == 0);
    world->held[product_id][0] = '\0';
    world->released++;
    for (size_t i = 0; i < WORLD_CALLS_MAX; i++)
        world->handed_on += world->acquires[i].open && world->acquires[i].product_id == product_id;
    world->open_leases--;
}

static void ask(void *arg)
{
    struct world *world = arg;
    CHECK(!world->asked);
    world->asks++;
    world->asked = true;
    world->asked_us = world->now_us;
}

static void began(void *arg, int64_t product_id)
{
    struct world *world = arg;
    CHECK(product_id > 0);
    world->began++;
}

static void ended(void *arg, int64_t product_id, const struct stock_value *now)
{
    struct world *world = arg;
    world->ended++;
    if (now != NULL) world->put[product_id] = *now;
}

struct lanes_options world_options(void)
{
    return (struct lanes_options){
        .quorum = 3,
        .nodes = 5,
        .batch_max = 128,
        .orders_max = 4096,
        .lane_orders_max = 2048,
        .lanes_max = 16,
        .patience_us = 1000000,
        .idle_us = 10000000,
    };
}

void world_open(struct world *world, const struct lanes_options *options)
{
    *world = (struct world){.now_us = 1000000000,
                            .clock = {now_us, now_us, world},
                            .user_max = WORLD_USERS,
                            .auto_store = true,
                            .auto_locks = true,
                            .voting = 5,
                            .token = 1000,
                            .ttl_us = 10000000};
    world->records = xcalloc(WORLD_SOLD_MAX, sizeof *world->records);
    timers_init(&world->timers, &world->clock);
    struct lanes_options all = *options;
    all.timers = &world->timers;
    all.store = (struct lane_store){sell, look, world};
    all.locks = (struct lane_locks){acquire, release, ask, world};
    all.stock = (struct lane_stock){began, ended, world};
    all.run_later = run_later;
    all.run_arg = world;
    world->lanes = lanes_new(&all);
    world_product_add(world, 1, 100);
}

void world_close(struct world *world)
{
    lanes_free(world->lanes);
    timers_fini(&world->timers);
    free(world->records);
    CHECK(world->open_leases == 0);
    CHECK(world->began == world->ended);
}

void world_product_add(struct world *world, int64_t id, int64_t stock)
{
    world->products[id] = (struct world_product){true, stock, stock, 100, 0};
}

static const struct world_record *record_of(const struct world *world,
                                            const struct sale_order *order)
{
    for (size_t i = 0; i < world->record_count; i++) {
        const struct world_record *record = &world->records[i];
        if (record->purchase.user_id == order->user_id &&
            span_equal(span_of(record->key), order->key)) {
            return record;
        }
    }
    return NULL;
}

static void sell_one(struct world *world, const struct sale *sale, size_t place,
                     struct world_result *result, int64_t left)
{
    const struct sale_order *order = &sale->orders[place];
    struct world_product *product = &world->products[sale->product_id];
    CHECK(world->record_count < WORLD_SOLD_MAX);
    struct world_record *record = &world->records[world->record_count];
    *record = (struct world_record){
        .token = sale->token,
        .version = product->version + 1,
        .place = place,
        .purchase = {(int64_t)++world->record_count, order->user_id, sale->product_id,
                     order->quantity, order->quantity * 10, left, (int64_t)world->now_us}};
    memcpy(record->key, order->key.at, order->key.bytes);
    result->rows[result->answer.count++] = (struct sale_row){place, SALE_SOLD, record->purchase};
}

void world_execute(struct world *world, const struct world_call *call, struct world_result *result)
{
    const struct sale *sale = &call->sale;
    struct world_product *product =
        &world->products[sale->product_id <= WORLD_PRODUCTS ? sale->product_id : 0];
    result->answer = (struct sale_answer){.outcome = SALE_DONE, .whole = true};
    result->answer.rows = result->rows;
    if (!product->exists) {
        result->answer.outcome = SALE_NO_PRODUCT;
        return;
    }
    bool fenced = !call->look && product->last_token > sale->token;
    int64_t running = product->stock;
    int64_t stock = product->stock;
    for (size_t place = 0; place < sale->count; place++) {
        const struct sale_order *order = &sale->orders[place];
        const struct world_record *record = record_of(world, order);
        if (record != NULL) {
            result->rows[result->answer.count++] =
                (struct sale_row){place, SALE_KNOWN, record->purchase};
            continue;
        }
        if (call->look) {
            if (order->user_id > world->user_max) {
                result->rows[result->answer.count++] = (struct sale_row){place, SALE_NO_USER, {0}};
            }
            continue;
        }
        if (fenced || order->user_id > world->user_max || order->quantity > product->stock)
            continue;
        running -= order->quantity;
        if (running < 0) continue;
        stock -= order->quantity;
        sell_one(world, sale, place, result, running);
    }
    if (fenced) {
        result->answer.outcome = SALE_FENCED;
        result->answer.last_token = product->last_token;
        return;
    }
    if (!call->look) {
        product->stock = stock;
        product->version++;
        product->last_token = sale->token;
    }
    result->answer.now = (struct stock_value){sale->product_id, product->stock, product->version};
}

static void answer_call(struct world_call *call, const struct sale_answer *answer)
{
    struct world_call was = *call;
    *call = (struct world_call){0};
    was.on_answer(was.arg, answer);
    drop_sale(&was.sale);
}

void world_answer(struct world *world, struct world_call *call, const struct sale_answer *answer)
{
    CHECK(call->open);
    answer_call(call, answer);
    world_settle(world);
}

void world_complete(struct world *world, struct world_call *call)
{
    struct world_result *result = xcalloc(1, sizeof *result);
    world_execute(world, call, result);
    answer_call(call, &result->answer);
    free(result);
    world_settle(world);
}

static void hear(struct world *world, uint64_t asked_us, bool asked)
{
    struct lane_voting voting = {!world->lockd_down, world->voting, asked_us,
                                 world->lockd_down ? "lockd is down" : NULL};
    lanes_hear_voting(world->lanes, &voting, asked);
}

static void answer_acquire(struct world *world, struct world_acquire *call,
                           enum lane_lock_outcome outcome)
{
    struct world_acquire was = *call;
    *call = (struct world_acquire){0};
    struct lane_lock_answer answer = {.outcome = outcome, .message = "no lock"};
    if (outcome == LANE_LOCK_GRANTED) {
        uint64_t above = was.min_token > world->token ? was.min_token : world->token;
        world->token = above + 1;
        answer.lease = (struct lane_lease){.token = world->token,
                                           .began_us = was.asked_us,
                                           .ends_us = was.asked_us + world->ttl_us,
                                           .waiters = world->waiters};
        snprintf(answer.lease.request_id, sizeof answer.lease.request_id, "r%" PRIu64,
                 world->token);
        CHECK(world->held[was.product_id][0] == '\0');
        memcpy(world->held[was.product_id], answer.lease.request_id,
               sizeof answer.lease.request_id);
        world->acquired++;
        world->open_leases++;
    }
    if (outcome != LANE_LOCK_DOWN && outcome != LANE_LOCK_AGAIN) hear(world, was.asked_us, false);
    was.on_answer(was.arg, &answer);
}

void world_grant(struct world *world, struct world_acquire *acquire_call)
{
    answer_acquire(world, acquire_call, LANE_LOCK_GRANTED);
    world_settle(world);
}

void world_refuse(struct world *world, struct world_acquire *acquire_call,
                  enum lane_lock_outcome outcome)
{
    answer_acquire(world, acquire_call, outcome);
    world_settle(world);
}

static bool auto_answer(struct world *world)
{
    bool moved = false;
    for (size_t i = 0; i < WORLD_CALLS_MAX && world->auto_store; i++) {
        struct world_call *call = &world->calls[i];
        if (!call->open) continue;
        moved = true;
        if (world->store_down) {
            struct sale_answer down = {.outcome = SALE_DOWN, .message = "no connection"};
            answer_call(call, &down);
            continue;
        }
        struct world_result *result = xcalloc(1, sizeof *result);
        world_execute(world, call, result);
        answer_call(call, &result->answer);
        free(result);
    }
    for (size_t i = 0; i < WORLD_CALLS_MAX && world->auto_locks; i++) {
        if (!world->acquires[i].open) continue;
        moved = true;
        enum lane_lock_outcome outcome = world->lockd_down   ? LANE_LOCK_DOWN
                                         : world->voting < 3 ? LANE_LOCK_NO_QUORUM
                                                             : LANE_LOCK_GRANTED;
        answer_acquire(world, &world->acquires[i], outcome);
    }
    if (world->asked && world->auto_locks) {
        moved = true;
        world->asked = false;
        hear(world, world->asked_us, true);
    }
    return moved;
}

void world_settle(struct world *world)
{
    bool moved = true;
    for (unsigned turns = 0; moved; turns++) {
        CHECK(turns < 10000); /* or the lanes go round in circles */
        moved = false;
        if (timers_next_us(&world->timers) <= world->now_us) {
            timers_run(&world->timers);
            moved = true;
        }
        if (world->run_wanted) {
            world->run_wanted = false;
            lanes_run(world->lanes);
            moved = true;
        }
        moved |= auto_answer(world);
    }
}

void world_pass(struct world *world, uint64_t us)
{
    uint64_t until_us = world->now_us + us;
    while (world->now_us < until_us) {
        uint64_t left_us = until_us - world->now_us;
        world->now_us += left_us < 10000 ? left_us : 10000;
        world_settle(world);
    }
}

static void on_answer(void *arg, const struct lane_answer *answer)
{
    struct buyer *buyer = arg;
    buyer->answers++;
    buyer->answered_us = buyer->world->now_us;
    buyer->reason = answer->reason;
    if (answer->purchase != NULL) buyer->purchase = *answer->purchase;
    buyer->available = answer->available;
    snprintf(buyer->message, sizeof buyer->message, "%s",
             answer->message == NULL ? "" : answer->message);
}

bool world_buy(struct world *world, struct buyer *buyer, const struct world_buy *buy)
{
    *buyer = (struct buyer){.world = world};
    struct lane_buy all = {.user_id = buy->user_id,
                           .product_id = buy->product_id == 0 ? 1 : buy->product_id,
                           .quantity = buy->quantity == 0 ? 1 : buy->quantity,
                           .key = span_of(buy->key),
                           .deadline_us =
                               world->now_us + (buy->within_us == 0 ? 5000000 : buy->within_us)};
    buyer->order = lanes_buy(world->lanes, &all, on_answer, buyer);
    return buyer->order != NULL;
}

static struct world_call *call_open(struct world *world, bool looks)
{
    for (size_t i = 0; i < WORLD_CALLS_MAX; i++) {
        if (world->calls[i].open && world->calls[i].look == looks) return &world->calls[i];
    }
    return NULL;
}

struct world_call *world_sell_open(struct world *world)
{
    return call_open(world, false);
}

struct world_call *world_look_open(struct world *world)
{
    return call_open(world, true);
}

struct world_acquire *world_acquire_open(struct world *world)
{
    for (size_t i = 0; i < WORLD_CALLS_MAX; i++) {
        if (world->acquires[i].open) return &world->acquires[i];
    }
    return NULL;
}

int64_t world_sold(const struct world *world, int64_t product_id)
{
    int64_t sold = 0;
    for (size_t i = 0; i < world->record_count; i++) {
        const struct purchase *purchase = &world->records[i].purchase;
        if (purchase->product_id == product_id) sold += purchase->quantity;
    }
    return sold;
}
