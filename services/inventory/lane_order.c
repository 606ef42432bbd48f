#include "inventory/lane_parts.h"

#include "base/check.h"
#include "base/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void lane_queue_init(struct lane_queue *queue)
{
    *queue = (struct lane_queue){.tail = &queue->first};
}

void lane_queue_push(struct lane_queue *queue, struct lane_order *order)
{
    order->next = NULL;
    order->back = queue->tail;
    *queue->tail = order;
    queue->tail = &order->next;
    queue->count++;
}

void lane_queue_push_front(struct lane_queue *queue, struct lane_order *order)
{
    order->next = queue->first;
    order->back = &queue->first;
    if (queue->first != NULL) {
        queue->first->back = &order->next;
    } else {
        queue->tail = &order->next;
    }
    queue->first = order;
    queue->count++;
}

void lane_queue_remove(struct lane_queue *queue, struct lane_order *order)
{
    *order->back = order->next;
    if (order->next != NULL) {
        order->next->back = order->back;
    } else {
        queue->tail = order->back;
    }
    order->next = NULL;
    order->back = NULL;
    queue->count--;
}

struct lane_order *lane_order_new(const struct lane_buy *buy, lane_answer_fn *on_answer, void *arg)
{
    struct lane_order *order = xcalloc(1, sizeof *order + buy->key.bytes);
    order->on_answer = on_answer;
    order->arg = arg;
    order->user_id = buy->user_id;
    order->product_id = buy->product_id;
    order->quantity = buy->quantity;
    order->key_bytes = buy->key.bytes;
    memcpy(order->key, buy->key.at, buy->key.bytes);
    return order;
}

void lane_order_free(struct lane_order *order)
{
    timer_stop(&order->deadline);
    lane_text_drop(order->text);
    free(order);
}

void lane_order_decide(struct lane_order *order, enum reason reason, struct lane_text *text)
{
    struct lane *lane = order->lane;
    struct lanes *lanes = lane->lanes;
    order->batched = false;
    if (order->on_answer == NULL) {
        lane_order_free(order);
        return;
    }
    timer_stop(&order->deadline);
    order->reason = reason;
    order->text = lane_text_hold(text);
    lane->orders--;
    lanes->orders--;
    order->lane = NULL; /* which may be closed before this is told */
    if (lanes->metrics.orders != NULL) {
        (*lanes->metrics.answers[reason])++;
        (*lanes->metrics.open)--;
        histogram_add(lanes->metrics.wait, lanes_now_us(lanes) - order->arrived_us);
    }
    lane_queue_push(&lanes->decided, order);
}

static void describe(const struct lane_order *order, char *into, size_t room)
{
    const char *text = order->text == NULL ? "" : order->text->text;
    int64_t product = order->product_id;
    switch (order->reason) {
    case REASON_INSUFFICIENT:
        snprintf(into, room,
                 "Insufficient stock for product %" PRId64 ": requested %" PRId64
                 ", available %" PRId64,
                 product, order->quantity, order->available);
        return;
    case REASON_NOT_FOUND:
        snprintf(into, room, "Product with id %" PRId64 " not found", product);
        return;
    case REASON_KEY_REUSED:
        snprintf(into, room, "The idempotency key was used for another purchase");
        return;
    case REASON_UNAUTHENTICATED:
        snprintf(into, room, "The account no longer exists");
        return;
    case REASON_BUSY:
        snprintf(into, room, "Failed to acquire lock for resource: stock:%" PRId64 "%s%.400s",
                 product, *text == '\0' ? "" : ": ", text);
        return;
    case REASON_EXPIRED:
        snprintf(into, room,
                 "The deadline passed in the queue of product %" PRId64 "; nothing was bought",
                 product);
        return;
    case REASON_OUTCOME_UNKNOWN:
        snprintf(into, room,
                 "The purchase may or may not have been recorded; ask again with the "
                 "same idempotency key");
        return;
    default:
        snprintf(into, room, "%s", *text == '\0' ? reason_name(order->reason) : text);
    }
}

void lane_order_deliver(struct lane_order *order)
{
    char message[LANE_MESSAGE_BYTES_MAX];
    struct purchase purchase;
    struct lane_answer answer = {.reason = order->reason, .available = order->available};
    if (order->reason == REASON_NONE) {
        purchase = order->purchase;
        answer.purchase = &purchase;
    } else {
        describe(order, message, sizeof message);
        answer.message = message;
    }
    lane_answer_fn *on_answer = order->on_answer;
    void *arg = order->arg;
    lane_order_free(order);
    if (on_answer != NULL) on_answer(arg, &answer); /* else cancelled after it was decided */
}

struct lane_text *lane_text_new(const char *text)
{
    if (text == NULL) return NULL;
    size_t bytes = strlen(text);
    struct lane_text *made = xcalloc(1, sizeof *made + bytes + 1);
    made->holders = 1;
    memcpy(made->text, text, bytes);
    return made;
}

struct lane_text *lane_text_hold(struct lane_text *text)
{
    if (text != NULL) text->holders++;
    return text;
}

void lane_text_drop(struct lane_text *text)
{
    if (text != NULL && --text->holders == 0) free(text);
}
