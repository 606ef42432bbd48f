/* A binary heap in which each timer knows its place, so that stopping one is O(log n) and
 * immediate. */
#include "base/timer.h"

#include "base/check.h"

#include <stdlib.h>

#define HEAP_NONE SIZE_MAX

void timers_init(struct timers *timers, const struct clock *clock)
{
    CHECK(clock != NULL);
    *timers = (struct timers){.clock = clock};
}

void timers_fini(struct timers *timers)
{
    for (size_t i = 0; i < timers->count; i++)
        timers->heap[i]->in = NULL;
    free(timers->heap);
    *timers = (struct timers){.clock = timers->clock};
}

uint64_t timers_next_us(const struct timers *timers)
{
    return timers->count == 0 ? TIMER_NEVER : timers->heap[0]->due_us;
}

static void put(struct timers *timers, size_t place, struct timer *timer)
{
    timers->heap[place] = timer;
    timer->place = place;
}

static void sift_up(struct timers *timers, size_t place, struct timer *timer)
{
    while (place > 0) {
        size_t parent = (place - 1) / 2;
        if (timers->heap[parent]->due_us <= timer->due_us) break;
        put(timers, place, timers->heap[parent]);
        place = parent;
    }
    put(timers, place, timer);
}

static void sift_down(struct timers *timers, size_t place, struct timer *timer)
{
    for (;;) {
        size_t child = 2 * place + 1;
        if (child >= timers->count) break;
        if (child + 1 < timers->count &&
            timers->heap[child + 1]->due_us < timers->heap[child]->due_us) {
            child++;
        }
        if (timer->due_us <= timers->heap[child]->due_us) break;
        put(timers, place, timers->heap[child]);
        place = child;
    }
    put(timers, place, timer);
}

static void heap_remove(struct timers *timers, size_t place)
{
    struct timer *last = timers->heap[--timers->count];
    if (place == timers->count) return;
    if (place > 0 && last->due_us < timers->heap[(place - 1) / 2]->due_us) {
        sift_up(timers, place, last);
    } else {
        sift_down(timers, place, last);
    }
}

void timer_start(struct timer *timer, struct timers *timers, uint64_t due_us, timer_due_fn *on_due,
                 void *arg)
{
    CHECK(on_due != NULL);
    timer_stop(timer);
    if (timers->count == timers->capacity) {
        timers->capacity = timers->capacity == 0 ? 64 : 2 * timers->capacity;
        timers->heap = xrealloc(timers->heap, timers->capacity * sizeof(struct timer *));
    }
    timer->in = timers;
    timer->due_us = due_us;
    timer->on_due = on_due;
    timer->arg = arg;
    sift_up(timers, timers->count++, timer);
}

void timer_stop(struct timer *timer)
{
    if (timer->in == NULL) return;
    if (timer->place == HEAP_NONE) {
        *timer->back = timer->next;
        if (timer->next != NULL) timer->next->back = timer->back;
    } else {
        heap_remove(timer->in, timer->place);
    }
    timer->in = NULL;
}

/* What is due is gathered before it is run: a callback sees every other due timer as still running
 * (and can stop it), and a callback that starts a timer in the past can't keep this loop going for
 * ever. */
void timers_run(struct timers *timers)
{
    CHECK(timers->gathered == NULL);
    uint64_t now_us = timers_now_us(timers);
    struct timer **tail = &timers->gathered;
    while (timers->count > 0 && timers->heap[0]->due_us <= now_us) {
        struct timer *timer = timers->heap[0];
        heap_remove(timers, 0);
        timer->place = HEAP_NONE;
        timer->next = NULL;
        timer->back = tail;
        *tail = timer;
        tail = &timer->next;
    }
    while (timers->gathered != NULL) {
        struct timer *timer = timers->gathered;
        timer_stop(timer);
        timer->on_due(timer->arg);
    }
}
