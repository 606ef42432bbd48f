/* How a batch is made up from a lane's queue, and what its answer means for each order. */
#include "inventory/lane_parts.h"

#include "base/check.h"
#include "base/metrics.h"

#include <stdlib.h>

static uint64_t key_hash(uint64_t seed, const struct lane_order *order)
{
    uint64_t hash = seed ^ ((uint64_t)order->user_id * UINT64_C(0x9e3779b97f4a7c15));
    for (size_t i = 0; i < order->key_bytes; i++) {
        hash = (hash ^ (unsigned char)order->key[i]) * UINT64_C(0x100000001b3);
    }
    hash ^= hash >> 29;
    return hash * UINT64_C(0xbf58476d1ce4e5b9) >> 20;
}

static bool same_key(const struct lane_order *a, const struct lane_order *b)
{
    return a->user_id == b->user_id && a->key_bytes == b->key_bytes &&
           memcmp(a->key, b->key, a->key_bytes) == 0;
}

/* The batch's order with the same user and key, or the table's free place for this one. */
static uint16_t *find(const struct lanes *lanes, const struct lane_batch *batch, size_t mask,
                      const struct lane_order *order)
{
    size_t at = (size_t)key_hash(lanes->key_seed, order) & mask;
    while (lanes->keys[at] != 0 && !same_key(batch->slots[lanes->keys[at] - 1], order)) {
        at = (at + 1) & mask;
    }
    return &lanes->keys[at];
}

/* Equal keys travel once: a repeat of the same order becomes its twin and shares its answer, one
 * with another quantity is refused. */
static void take(struct lane *lane, size_t max)
{
    struct lanes *lanes = lane->lanes;
    struct lane_batch *batch = lane->batch;
    size_t places = 4;
    while (places < 2 * max)
        places *= 2;
    memset(lanes->keys, 0, places * sizeof lanes->keys[0]);
    while (lane->waiting.first != NULL) {
        struct lane_order *order = lane->waiting.first;
        uint16_t *place = find(lanes, batch, places - 1, order);
        if (*place == 0 && batch->count == max) break;
        lane_take(lane, order);
        if (*place == 0) {
            batch->slots[batch->count++] = order;
            *place = (uint16_t)batch->count;
            order->place = batch->count - 1;
            order->batched = true;
            continue;
        }
        struct lane_order *first = batch->slots[*place - 1];
        if (first->quantity != order->quantity) {
            lane_order_decide(order, REASON_KEY_REUSED, NULL);
            continue;
        }
        order->place = first->place;
        order->batched = true;
        order->twin = first->twin;
        first->twin = order;
    }
}

/* What a row (or none) means for the orders of a slot. */
struct fate {
    bool again; /* runs again; the rest is not read */
    enum reason reason;
    const struct purchase *purchase;
    int64_t available;
};

static void settle(struct lane *lane, size_t place, const struct fate *fate)
{
    struct lane_order *order = lane->batch->slots[place];
    lane->batch->slots[place] = NULL;
    while (order != NULL) {
        struct lane_order *twin = order->twin;
        order->twin = NULL;
        if (fate->reason == REASON_NONE) {
            order->purchase = *fate->purchase;
            order->purchase.user_id = order->user_id;
        }
        order->available = fate->available;
        lane_order_decide(order, fate->reason, NULL);
        order = twin;
    }
}

static struct fate recorded(const struct lane_order *order, const struct purchase *purchase)
{
    bool same = purchase->product_id == order->product_id && purchase->quantity == order->quantity;
    return (struct fate){.reason = same ? REASON_NONE : REASON_KEY_REUSED, .purchase = purchase};
}

/* Where the statement stands while its orders are gone through in order of place. */
struct tally {
    int64_t before; /* the stock that the statement found */
    int64_t ahead;  /* at most this much was asked for by orders that count before this place */
};

/* An order of which a committed statement said nothing. The statement lets an order count against
 * the stock if its account exists and it alone would fit, whether or not it was then accepted. */
static struct fate unsaid(const struct sale_answer *answer, struct tally *tally,
                          const struct lane_order *order)
{
    if (!answer->whole) return (struct fate){.again = true};
    bool counts = order->quantity <= tally->before;
    if (counts && tally->ahead + order->quantity <= tally->before) {
        return (struct fate){.reason = REASON_UNAUTHENTICATED};
    }
    if (counts) tally->ahead += order->quantity;
    if (order->quantity > answer->now.stock) {
        return (struct fate){.reason = REASON_INSUFFICIENT, .available = answer->now.stock};
    }
    return (struct fate){.again = true};
}

static struct fate judge(const struct sale_answer *answer, struct tally *tally,
                         const struct sale_row *row, const struct lane_order *order)
{
    if (row == NULL) return unsaid(answer, tally, order);
    switch (row->verdict) {
    case SALE_SOLD:
        tally->ahead += row->purchase.quantity;
        return (struct fate){.reason = REASON_NONE, .purchase = &row->purchase};
    case SALE_KNOWN:
        return recorded(order, &row->purchase);
    case SALE_NO_USER:
        return (struct fate){.reason = REASON_UNAUTHENTICATED};
    }
    CHECK(false);
}

static const struct sale_row **rows_by_place(struct lane *lane, const struct sale_answer *answer)
{
    const struct sale_row **rows = lane->lanes->rows;
    memset(rows, 0, lane->batch->count * sizeof(struct sale_row *));
    for (size_t i = 0; i < answer->count; i++) {
        const struct sale_row *row = &answer->rows[i];
        CHECK(row->place < lane->batch->count);
        rows[row->place] = row;
    }
    return rows;
}

/* Every order of a committed statement, or of a look. What stays in its slot runs again. */
static void judge_all(struct lane *lane, const struct sale_answer *answer)
{
    const struct sale_row **rows = rows_by_place(lane, answer);
    struct tally tally = {.before = answer->now.stock};
    for (size_t i = 0; i < answer->count; i++) {
        const struct sale_row *row = &answer->rows[i];
        if (row->verdict == SALE_SOLD) tally.before += row->purchase.quantity;
    }
    for (size_t place = 0; place < lane->batch->count; place++) {
        struct lane_order *order = lane->batch->slots[place];
        struct fate fate = judge(answer, &tally, rows[place], order);
        if (!fate.again) {
            settle(lane, place, &fate);
        } else if (answer->whole) {
            for (; order != NULL; order = order->twin)
                order->maybe = false; /* it was not sold */
        }
    }
}

/* A look sells nothing, so an order of which it says nothing either does not fit or can be tried.
 */
static void judge_look(struct lane *lane, const struct sale_answer *answer)
{
    const struct sale_row **rows = rows_by_place(lane, answer);
    for (size_t place = 0; place < lane->batch->count; place++) {
        const struct lane_order *order = lane->batch->slots[place];
        struct fate fate = {.again = true};
        if (rows[place] != NULL) {
            struct tally none = {0};
            fate = judge(answer, &none, rows[place], order);
        } else if (order->quantity > answer->now.stock) {
            fate = (struct fate){.reason = REASON_INSUFFICIENT, .available = answer->now.stock};
        }
        if (!fate.again) settle(lane, place, &fate);
    }
}

static void settle_all(struct lane *lane, enum reason reason)
{
    struct fate fate = {.reason = reason};
    for (size_t place = 0; place < lane->batch->count; place++)
        settle(lane, place, &fate);
}

/* A refused token sold nothing, but what was recorded before is recorded. */
static void settle_known(struct lane *lane, const struct sale_answer *answer)
{
    for (size_t i = 0; i < answer->count; i++) {
        const struct sale_row *row = &answer->rows[i];
        CHECK(row->place < lane->batch->count && row->verdict == SALE_KNOWN);
        struct fate fate = recorded(lane->batch->slots[row->place], &row->purchase);
        settle(lane, row->place, &fate);
    }
}

/* What is left in the batch goes back to the head of the queue, in its old order. */
static void dissolve(struct lane *lane, bool unknown)
{
    struct lane_batch *batch = lane->batch;
    for (size_t place = batch->count; place-- > 0;) {
        struct lane_order *order = batch->slots[place];
        while (order != NULL) {
            struct lane_order *twin = order->twin;
            order->twin = NULL;
            order->batched = false;
            order->maybe |= unknown;
            if (order->on_answer == NULL) {
                lane_order_free(order);
            } else {
                lane_requeue(lane, order);
            }
            order = twin;
        }
    }
    lane->batch = NULL;
    free(batch);
}

static void on_looked(void *arg, const struct sale_answer *answer)
{
    struct lane *lane = arg;
    CHECK(lane->waits == LANE_FOR_STORE && lane->batch != NULL && lane->batch->look);
    lane->waits = LANE_FOR_NOTHING;
    switch (answer->outcome) {
    case SALE_DONE:
        lane->found = true;
        lane->sold_out = answer->now.stock == 0;
        if (lanes_quorum(lane->lanes) == LANES_QUORUM_YES) judge_look(lane, answer);
        break;
    case SALE_NO_PRODUCT:
        lane->found = false;
        settle_all(lane, REASON_NOT_FOUND);
        break;
    case SALE_DOWN:
        break;
    case SALE_FENCED:
    case SALE_AGAIN:
    case SALE_UNKNOWN:
        CHECK(false); /* a look changes nothing and has no token */
    }
    dissolve(lane, false);
    if (answer->outcome == SALE_DOWN) lane_trouble(lane, REASON_DOWN, answer->message);
    lanes_wake(lane->lanes, lane);
}

#define AGAINS_MAX 5 /* in a row, before the lane takes a breath */

static void on_sold(void *arg, const struct sale_answer *answer)
{
    struct lane *lane = arg;
    struct lanes *lanes = lane->lanes;
    CHECK(lane->waits == LANE_FOR_STORE && lane->batch != NULL && !lane->batch->look);
    CHECK(lane->leased);
    lane->waits = LANE_FOR_NOTHING;
    if (lanes->metrics.statement != NULL) {
        histogram_add(lanes->metrics.statement, lanes_now_us(lanes) - lane->batch->began_us);
        *lanes->metrics.unknowns += answer->outcome == SALE_UNKNOWN;
    }
    lanes->options.stock.ended(lanes->options.stock.arg, lane->product_id,
                               answer->outcome == SALE_DONE ? &answer->now : NULL);
    lane->agains = answer->outcome == SALE_AGAIN ? lane->agains + 1 : 0;
    switch (answer->outcome) {
    case SALE_DONE:
        lane->sold_out = answer->now.stock == 0;
        lane->min_token = 0; /* claimed: nothing older can come any more */
        judge_all(lane, answer);
        break;
    case SALE_FENCED:
        settle_known(lane, answer);
        if (answer->last_token > lane->min_token) lane->min_token = answer->last_token;
        break;
    case SALE_NO_PRODUCT:
        lane->found = false;
        settle_all(lane, REASON_NOT_FOUND);
        break;
    case SALE_UNKNOWN:
        if (lane->lease.token > lane->min_token) lane->min_token = lane->lease.token;
        break;
    case SALE_AGAIN:
    case SALE_DOWN:
        break;
    }
    dissolve(lane, answer->outcome == SALE_UNKNOWN);
    if (answer->outcome == SALE_FENCED || answer->outcome == SALE_UNKNOWN) lane_give_up_lease(lane);
    if (answer->outcome == SALE_DOWN || lane->agains > AGAINS_MAX) {
        lane_trouble(lane, REASON_DOWN, answer->message);
    }
    lanes_wake(lanes, lane);
}

void lane_batch_begin(struct lane *lane, bool look)
{
    struct lanes *lanes = lane->lanes;
    size_t max = look ? SALE_ORDERS_MAX : lanes->options.batch_max;
    if (max > lane->waiting.count) max = lane->waiting.count;
    CHECK(lane->batch == NULL && max > 0);
    lane->batch = xcalloc(1, sizeof *lane->batch + max * sizeof(struct lane_order *));
    lane->batch->look = look;
    lane->batch->began_us = lanes_now_us(lanes);
    take(lane, max);
    for (size_t i = 0; i < lane->batch->count; i++) {
        const struct lane_order *order = lane->batch->slots[i];
        lanes->sale_orders[i] =
            (struct sale_order){order->user_id, {order->key, order->key_bytes}, order->quantity};
    }
    struct sale sale = {lane->product_id, look ? 0 : lane->lease.token, lanes->sale_orders,
                        lane->batch->count};
    lane->waits = LANE_FOR_STORE;
    if (look) {
        if (lanes->metrics.looks != NULL) ++*lanes->metrics.looks;
        lanes->options.store.look(lanes->options.store.arg, &sale, on_looked, lane);
        return;
    }
    if (lanes->metrics.batches != NULL) ++*lanes->metrics.batches;
    lane->lease_batches++;
    lanes->options.stock.began(lanes->options.stock.arg, lane->product_id);
    lanes->options.store.sell(lanes->options.store.arg, &sale, on_sold, lane);
}
