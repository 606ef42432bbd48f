/* The table of lanes: bounds, turns, and what lockd last said of its nodes. */
#include "inventory/lane_parts.h"

#include "base/check.h"
#include "base/log.h"
#include "base/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* How old the knowledge that enough nodes vote may be, and the knowledge that too few do. */
#define VOTING_FRESH_US       UINT64_C(1000000)
#define VOTING_SHORT_FRESH_US UINT64_C(200000)

static void register_metrics(struct lanes *lanes, struct metrics *metrics)
{
    struct lane_metrics *own = &lanes->metrics;
    for (unsigned reason = 0; reason <= REASON_CANCELLED; reason++) {
        char label[64];
        snprintf(label, sizeof label, "reason=\"%s\"", reason_name((enum reason)reason));
        own->answers[reason] = metrics_counter(metrics, "quorate_orders_answered_total", label,
                                               "Orders answered, NONE being sold");
    }
    own->orders = metrics_counter(metrics, "quorate_orders_total", NULL, "Orders accepted");
    own->batches = metrics_counter(metrics, "quorate_batches_total", NULL, "Batches begun");
    own->looks = metrics_counter(metrics, "quorate_looks_total", NULL,
                                 "Reads for sold-out and for unknown products");
    own->unknowns = metrics_counter(metrics, "quorate_batches_unknown_total", NULL,
                                    "Batches whose statement got no answer");
    own->lanes = metrics_gauge(metrics, "quorate_lanes", NULL, "Open lanes");
    own->open = metrics_gauge(metrics, "quorate_orders_open", NULL, "Orders not answered yet");
    own->statement = metrics_histogram(metrics, "quorate_batch_seconds", NULL,
                                       "From a batch's statement to its answer");
    own->lock = metrics_histogram(metrics, "quorate_lock_seconds", NULL,
                                  "From asking for a lease to lockd's answer");
    own->wait = metrics_histogram(metrics, "quorate_order_seconds", NULL,
                                  "From an order's arrival to its answer");
}

struct lanes *lanes_new(const struct lanes_options *options)
{
    CHECK(options->quorum >= 1 && options->quorum <= options->nodes);
    CHECK(options->batch_max >= 1 && options->batch_max <= SALE_ORDERS_MAX);
    CHECK(options->orders_max > 0 && options->lane_orders_max > 0 && options->lanes_max > 0);
    struct lanes *lanes = xcalloc(1, sizeof *lanes);
    lanes->options = *options;
    lanes->ready_tail = &lanes->ready;
    lanes->idle_tail = &lanes->idle;
    lane_queue_init(&lanes->decided);
    lanes->sale_orders = xcalloc(SALE_ORDERS_MAX, sizeof lanes->sale_orders[0]);
    lanes->rows = xcalloc(SALE_ORDERS_MAX, sizeof(struct sale_row *));
    lanes->keys = xcalloc((size_t)2 * SALE_ORDERS_MAX, sizeof lanes->keys[0]);
    lanes->key_seed = clock_wall_us(options->timers->clock) * UINT64_C(0x9e3779b97f4a7c15);
    if (options->metrics != NULL) register_metrics(lanes, options->metrics);
    return lanes;
}

static void unlink_idle(struct lanes *lanes, struct lane *lane)
{
    if (lane->idle_back == NULL) return;
    *lane->idle_back = lane->idle_next;
    if (lane->idle_next != NULL) {
        lane->idle_next->idle_back = lane->idle_back;
    } else {
        lanes->idle_tail = lane->idle_back;
    }
    lane->idle_back = NULL;
    lane->idle_next = NULL;
}

static void close_lane(struct lanes *lanes, struct lane *lane)
{
    CHECK(lane->waits == LANE_FOR_NOTHING && lane->orders == 0 && lane->waiting.count == 0);
    CHECK(!lane->leased && !lane->ready && lane->batch == NULL);
    unlink_idle(lanes, lane);
    HASH_DEL(lanes->table, lane);
    lanes->lane_count--;
    if (lanes->metrics.lanes != NULL) --*lanes->metrics.lanes;
    free(lane);
}

bool lanes_quiet(const struct lanes *lanes)
{
    if (lanes->orders > 0 || lanes->decided.count > 0 || lanes->asking) return false;
    for (const struct lane *lane = lanes->table; lane != NULL; lane = lane->hh.next) {
        if (lane->waits != LANE_FOR_NOTHING || lane->leased || lane->ready) return false;
    }
    return true;
}

void lanes_free(struct lanes *lanes)
{
    if (lanes == NULL) return;
    CHECK(lanes_quiet(lanes) && !lanes->running);
    while (lanes->idle != NULL)
        close_lane(lanes, lanes->idle);
    CHECK(lanes->table == NULL);
    timer_stop(&lanes->idle_check);
    lane_text_drop(lanes->voting_text);
    free(lanes->sale_orders);
    free(lanes->rows);
    free(lanes->keys);
    free(lanes);
}

static void on_idle_check(void *arg)
{
    struct lanes *lanes = arg;
    uint64_t now_us = lanes_now_us(lanes);
    while (lanes->idle != NULL && lanes->idle->idle_since_us + lanes->options.idle_us <= now_us)
        close_lane(lanes, lanes->idle);
    if (lanes->idle == NULL) return;
    timer_start(&lanes->idle_check, lanes->options.timers,
                lanes->idle->idle_since_us + lanes->options.idle_us, on_idle_check, lanes);
}

void lanes_idle(struct lanes *lanes, struct lane *lane)
{
    if (!lane->found &&
        lane->orders == 0) { /* nothing to remember of a product that is not there */
        close_lane(lanes, lane);
        return;
    }
    if (lane->idle_back != NULL) return;
    lane->idle_since_us = lanes_now_us(lanes);
    lane->idle_next = NULL;
    lane->idle_back = lanes->idle_tail;
    *lanes->idle_tail = lane;
    lanes->idle_tail = &lane->idle_next;
    if (timer_running(&lanes->idle_check)) return;
    timer_start(&lanes->idle_check, lanes->options.timers,
                lane->idle_since_us + lanes->options.idle_us, on_idle_check, lanes);
}

static struct lane *open_lane(struct lanes *lanes, int64_t product_id)
{
    struct lane *lane = NULL;
    HASH_FIND(hh, lanes->table, &product_id, sizeof product_id, lane);
    if (lane != NULL) return lane;
    if (lanes->lane_count == lanes->options.lanes_max) {
        if (lanes->idle == NULL) return NULL;
        close_lane(lanes, lanes->idle);
    }
    lane = xcalloc(1, sizeof *lane);
    lane->lanes = lanes;
    lane->product_id = product_id;
    lane_queue_init(&lane->waiting);
    HASH_ADD(hh, lanes->table, product_id, sizeof product_id, lane);
    lanes->lane_count++;
    if (lanes->metrics.lanes != NULL) ++*lanes->metrics.lanes;
    return lane;
}

/* The batch under way keeps a mute copy in the order's place: its quantity still counts when the
 * statement's answer is judged. */
static void leave_copy(struct lane_batch *batch, struct lane_order *order)
{
    size_t bytes = sizeof *order + order->key_bytes;
    struct lane_order *copy = xcalloc(1, bytes);
    memcpy(copy, order, bytes);
    copy->on_answer = NULL;
    copy->deadline = (struct timer){0};
    struct lane_order **at = &batch->slots[order->place];
    while (*at != order)
        at = &(*at)->twin;
    *at = copy;
    order->twin = NULL;
    order->batched = false;
}

static void on_deadline(void *arg)
{
    struct lane_order *order = arg;
    struct lane *lane = order->lane;
    bool handed_over = order->batched && !lane->batch->look;
    enum reason reason = handed_over || order->maybe ? REASON_OUTCOME_UNKNOWN : REASON_EXPIRED;
    if (order->batched) {
        leave_copy(lane->batch, order);
    } else {
        lane_take(lane, order);
    }
    lane_order_decide(order, reason, NULL);
    lanes_wake(lane->lanes, lane);
}

struct lane_order *lanes_buy(struct lanes *lanes, const struct lane_buy *buy,
                             lane_answer_fn *on_answer, void *arg)
{
    CHECK(buy->user_id > 0 && buy->product_id > 0 && on_answer != NULL);
    CHECK(buy->quantity >= 1 && buy->quantity <= QUANTITY_MAX);
    CHECK(buy->key.bytes >= 1 && buy->key.bytes <= SALE_KEY_BYTES_MAX);
    if (lanes->orders >= lanes->options.orders_max) return NULL;
    struct lane *lane = open_lane(lanes, buy->product_id);
    if (lane == NULL || lane->orders >= lanes->options.lane_orders_max) return NULL;
    unlink_idle(lanes, lane);
    struct lane_order *order = lane_order_new(buy, on_answer, arg);
    order->lane = lane;
    order->arrived_us = lanes_now_us(lanes);
    timer_start(&order->deadline, lanes->options.timers, buy->deadline_us, on_deadline, order);
    lane_queue_push(&lane->waiting, order);
    lane->orders++;
    lanes->orders++;
    if (lanes->metrics.orders != NULL) {
        ++*lanes->metrics.orders;
        ++*lanes->metrics.open;
    }
    lanes_wake(lanes, lane);
    return order;
}

void lanes_cancel(struct lanes *lanes, struct lane_order *order)
{
    struct lane *lane = order->lane;
    CHECK(order->on_answer != NULL);
    order->on_answer = NULL;
    timer_stop(&order->deadline);
    if (lane == NULL) return; /* decided: freed instead of told */
    lane->orders--;
    lanes->orders--;
    if (lanes->metrics.open != NULL) --*lanes->metrics.open;
    if (order->batched) return; /* mute, freed when the batch is judged */
    lane_take(lane, order);
    lane_order_free(order);
    lanes_wake(lanes, lane);
}

void lanes_wake(struct lanes *lanes, struct lane *lane)
{
    if (!lane->ready) {
        lane->ready = true;
        lane->ready_next = NULL;
        *lanes->ready_tail = lane;
        lanes->ready_tail = &lane->ready_next;
    }
    if (!lanes->stepping) lanes->options.run_later(lanes->options.run_arg);
}

/* All lanes move before anyone is told: the next statements are on their way while answers go out.
 */
void lanes_run(struct lanes *lanes)
{
    CHECK(!lanes->running);
    lanes->running = true;
    lanes->stepping = true;
    while (lanes->ready != NULL) {
        struct lane *lane = lanes->ready;
        lanes->ready = lane->ready_next;
        if (lanes->ready == NULL) lanes->ready_tail = &lanes->ready;
        lane->ready = false;
        lane_step(lane); /* may close it */
    }
    lanes->stepping = false;
    while (lanes->decided.first != NULL) {
        struct lane_order *order = lanes->decided.first;
        lane_queue_remove(&lanes->decided, order);
        lane_order_deliver(order);
    }
    lanes->running = false;
}

enum lanes_quorum lanes_quorum(const struct lanes *lanes)
{
    if (!lanes->voting_known) return LANES_QUORUM_STALE;
    bool enough = lanes->voting >= lanes->options.quorum;
    uint64_t fresh_us = enough ? VOTING_FRESH_US : VOTING_SHORT_FRESH_US;
    if (lanes_now_us(lanes) - lanes->voting_asked_us > fresh_us) return LANES_QUORUM_STALE;
    return enough ? LANES_QUORUM_YES : LANES_QUORUM_NO;
}

bool lanes_have_quorum(const struct lanes *lanes)
{
    return lanes_quorum(lanes) == LANES_QUORUM_YES;
}

void lanes_ask_voting(struct lanes *lanes)
{
    if (lanes->asking) return;
    lanes->asking = true;
    lanes->options.locks.ask(lanes->options.locks.arg);
}

static void note_voting(struct lanes *lanes, const struct lane_voting *voting)
{
    if (lanes->voting_known && voting->asked_us < lanes->voting_asked_us) return;
    bool was_enough = lanes->voting_known && lanes->voting >= lanes->options.quorum;
    bool enough = voting->voting >= lanes->options.quorum;
    bool news = !lanes->voting_known || was_enough != enough;
    lanes->voting_known = true;
    lanes->voting = voting->voting;
    lanes->voting_asked_us = voting->asked_us;
    if (enough) {
        if (news) LOG_INFO("quorum.there", "voting=%u of=%u", voting->voting, lanes->options.nodes);
        return;
    }
    char text[LANE_MESSAGE_BYTES_MAX];
    snprintf(text, sizeof text, "%u of %u lock nodes vote, %u are needed%s%.400s", voting->voting,
             lanes->options.nodes, lanes->options.quorum, voting->message == NULL ? "" : ": ",
             voting->message == NULL ? "" : voting->message);
    lane_text_drop(lanes->voting_text);
    lanes->voting_text = lane_text_new(text);
    if (news) LOG_WARN("quorum.lost", "%s", text);
}

void lanes_hear_voting(struct lanes *lanes, const struct lane_voting *voting, bool asked)
{
    if (voting->heard) note_voting(lanes, voting);
    if (!asked) return;
    lanes->asking = false;
    for (struct lane *lane = lanes->table; lane != NULL; lane = lane->hh.next) {
        if (lane->waits != LANE_FOR_VOTING) continue;
        lane->waits = LANE_FOR_NOTHING;
        if (!voting->heard) lane_trouble(lane, REASON_DOWN, voting->message);
        lanes_wake(lanes, lane);
    }
}

struct lanes_counts lanes_counts(const struct lanes *lanes)
{
    return (struct lanes_counts){lanes->lane_count, lanes->orders};
}
