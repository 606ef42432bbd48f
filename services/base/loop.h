/* loop.h - the one event loop of a process: libuv, with timers, a tick end and a letter box for
 * other threads.
 *
 * Thread    the loop's only, apart from loop_post.
 * Answers   timers and ticks are called from loop_run, never from the call that starts them.
 * Borrows   struct tick until it has run or was cancelled.
 */
#ifndef QUORATE_BASE_LOOP_H
#define QUORATE_BASE_LOOP_H

#include "base/timer.h"

struct loop;
struct uv_loop_s;

struct loop *loop_new(void);

/* Runs the letters and ticks that are still queued (so that what was closed just before can end and
 * free itself), closes what the loop itself opened, then runs until every handle is closed. Others'
 * handles must be closing. */
void loop_free(struct loop *loop);

/* Runs until loop_stop. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

struct timers *loop_timers(struct loop *loop);
struct uv_loop_s *loop_uv(struct loop *loop);
uint64_t loop_now_us(struct loop *loop); /* the real clock's boot time, read now */

/* Work for the end of this turn of the loop, after all callbacks that the turn has: where batches
 * are sent. Queueing a queued tick does nothing. A tick queued by a tick runs in the same turn,
 * after the others. */
typedef void tick_fn(void *arg);
struct tick {
    tick_fn *on_end;
    void *arg;
    struct loop *in; /* NULL: not queued */
    struct tick *next;
    struct tick **back;
};
void tick_init(struct tick *tick, tick_fn *on_end, void *arg);
void loop_at_tick_end(struct loop *loop, struct tick *tick);
void tick_cancel(struct tick *tick);

/* From any thread, also from a signal-free callback of a library: runs the letter on the loop,
 * letters in order. The letter is the caller's memory and is handed over until it runs. */
typedef void letter_fn(void *arg);
struct letter {
    letter_fn *on_loop;
    void *arg;
    struct letter *next;
};
void loop_post(struct loop *loop, struct letter *letter);

/* SIGTERM and SIGINT call this, once each time, on the loop; SIGPIPE is ignored from loop_new on.
 */
typedef void loop_signal_fn(void *arg, int signal_number);
void loop_on_signal(struct loop *loop, loop_signal_fn *on_signal, void *arg);

#endif
