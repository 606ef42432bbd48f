#include "base/loop.h"

#include "base/check.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <uv.h>

struct loop {
    uv_loop_t uv;
    struct timers timers;
    uv_timer_t alarm;     /* rings for the first of the timers */
    uint64_t alarm_us;    /* what it is set to; TIMER_NEVER: off */
    bool rang;            /* timers are due, and run when polling is over */
    uv_prepare_t prepare; /* tick end of what ran before polling */
    uv_check_t check;     /* timers, and the tick end of them and of what polling ran */
    struct tick *ticks;
    struct tick **ticks_tail;
    uv_async_t wake;
    pthread_mutex_t letters_lock; /* guards the two fields below */
    struct letter *letters;
    struct letter **letters_tail;
    uv_signal_t terminate;
    uv_signal_t interrupt;
    loop_signal_fn *on_signal;
    void *on_signal_arg;
};

/* Deadlines wait until what has arrived was read: libuv rings before it polls, and after a turn
 * that took long (a burst, a busy machine) the answers that came in time are still in their
 * sockets. It does not sleep meanwhile, because the alarm is set again, to now. */
static void on_alarm(uv_timer_t *alarm)
{
    struct loop *loop = alarm->data;
    loop->alarm_us = TIMER_NEVER;
    loop->rang = true;
}

/* libuv's timers count whole milliseconds from a cached time: one more, so that the alarm never
 * rings early. */
static void set_alarm(struct loop *loop)
{
    uint64_t next_us = timers_next_us(&loop->timers);
    if (next_us == loop->alarm_us) return;
    loop->alarm_us = next_us;
    if (next_us == TIMER_NEVER) {
        uv_timer_stop(&loop->alarm);
        return;
    }
    uint64_t now_us = timers_now_us(&loop->timers);
    uint64_t wait_ms = next_us <= now_us ? 0 : (next_us - now_us + 999) / 1000;
    uv_update_time(&loop->uv);
    uv_timer_start(&loop->alarm, on_alarm, wait_ms, 0);
}

static void end_tick(struct loop *loop)
{
    while (loop->ticks != NULL) {
        struct tick *tick = loop->ticks;
        tick_cancel(tick);
        tick->on_end(tick->arg);
    }
    set_alarm(loop);
}

static void on_prepare(uv_prepare_t *prepare)
{
    end_tick(prepare->data);
}

static void on_check(uv_check_t *check)
{
    struct loop *loop = check->data;
    if (loop->rang) {
        loop->rang = false;
        timers_run(&loop->timers);
    }
    end_tick(loop);
}

/* False: there were none. */
static bool run_letters(struct loop *loop)
{
    pthread_mutex_lock(&loop->letters_lock);
    struct letter *letter = loop->letters;
    loop->letters = NULL;
    loop->letters_tail = &loop->letters;
    pthread_mutex_unlock(&loop->letters_lock);
    bool any = letter != NULL;
    while (letter != NULL) {
        struct letter *next = letter->next;
        letter->on_loop(letter->arg); /* may free the letter */
        letter = next;
    }
    return any;
}

static void on_wake(uv_async_t *wake)
{
    run_letters(wake->data);
}

static void on_uv_signal(uv_signal_t *handle, int number)
{
    struct loop *loop = handle->data;
    if (loop->on_signal != NULL) loop->on_signal(loop->on_signal_arg, number);
}

/* A server's heap breathes with every burst of requests. By default glibc gives its top back to the
 * kernel at each breath and faults it in again at the next: 7 of the 16 us of processor time that
 * the edge took for a request. Up to 16 MiB of it stays now. */
static void keep_freed_memory(void)
{
    mallopt(M_TRIM_THRESHOLD, 16 << 20);
    mallopt(M_TOP_PAD, 1 << 20);
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
}

struct loop *loop_new(void)
{
    keep_freed_memory();
    signal(SIGPIPE, SIG_IGN);
    struct loop *loop = xcalloc(1, sizeof *loop);
    CHECK(uv_loop_init(&loop->uv) == 0);
    timers_init(&loop->timers, &clock_system);
    loop->alarm_us = TIMER_NEVER;
    loop->ticks_tail = &loop->ticks;
    loop->letters_tail = &loop->letters;
    pthread_mutex_init(&loop->letters_lock, NULL);
    uv_timer_init(&loop->uv, &loop->alarm);
    uv_prepare_init(&loop->uv, &loop->prepare);
    uv_check_init(&loop->uv, &loop->check);
    uv_signal_init(&loop->uv, &loop->terminate);
    uv_signal_init(&loop->uv, &loop->interrupt);
    CHECK(uv_async_init(&loop->uv, &loop->wake, on_wake) == 0);
    loop->alarm.data = loop->prepare.data = loop->check.data = loop;
    loop->wake.data = loop->terminate.data = loop->interrupt.data = loop;
    uv_prepare_start(&loop->prepare, on_prepare);
    uv_check_start(&loop->check, on_check);
    return loop;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL) return;
    do
        end_tick(loop);
    while (run_letters(loop) || loop->ticks != NULL);
    uv_close((uv_handle_t *)&loop->alarm, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->terminate, NULL);
    uv_close((uv_handle_t *)&loop->interrupt, NULL);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&loop->uv) == 0);
    timers_fini(&loop->timers);
    pthread_mutex_destroy(&loop->letters_lock);
    free(loop);
}

void loop_run(struct loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *loop)
{
    uv_stop(&loop->uv);
}

struct timers *loop_timers(struct loop *loop)
{
    return &loop->timers;
}

struct uv_loop_s *loop_uv(struct loop *loop)
{
    return &loop->uv;
}

uint64_t loop_now_us(struct loop *loop)
{
    return timers_now_us(&loop->timers);
}

void tick_init(struct tick *tick, tick_fn *on_end, void *arg)
{
    *tick = (struct tick){.on_end = on_end, .arg = arg};
}

void loop_at_tick_end(struct loop *loop, struct tick *tick)
{
    CHECK(tick->on_end != NULL);
    if (tick->in != NULL) return;
    tick->in = loop;
    tick->next = NULL;
    tick->back = loop->ticks_tail;
    *loop->ticks_tail = tick;
    loop->ticks_tail = &tick->next;
}

void tick_cancel(struct tick *tick)
{
    if (tick->in == NULL) return;
    *tick->back = tick->next;
    if (tick->next != NULL) {
        tick->next->back = tick->back;
    } else {
        tick->in->ticks_tail = tick->back;
    }
    tick->in = NULL;
}

void loop_post(struct loop *loop, struct letter *letter)
{
    letter->next = NULL;
    pthread_mutex_lock(&loop->letters_lock);
    bool first = loop->letters == NULL;
    *loop->letters_tail = letter;
    loop->letters_tail = &letter->next;
    pthread_mutex_unlock(&loop->letters_lock);
    if (first) uv_async_send(&loop->wake);
}

void loop_on_signal(struct loop *loop, loop_signal_fn *on_signal, void *arg)
{
    loop->on_signal = on_signal;
    loop->on_signal_arg = arg;
    uv_signal_start(&loop->terminate, on_uv_signal, SIGTERM);
    uv_signal_start(&loop->interrupt, on_uv_signal, SIGINT);
}
