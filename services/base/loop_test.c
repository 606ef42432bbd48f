#include "base/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

struct world {
    struct loop *loop;
    struct timer timer;
    struct timer other;
    struct tick tick;
    struct tick chained;
    int ticks;
    int letters;
    int signals;
};

static void stop_on_due(void *arg)
{
    struct world *world = arg;
    loop_stop(world->loop);
}

static void on_chained(void *arg)
{
    struct world *world = arg;
    assert_int_equal(world->ticks, 1);
    world->ticks++;
    loop_stop(world->loop);
}

static void on_tick(void *arg)
{
    struct world *world = arg;
    world->ticks++;
    loop_at_tick_end(world->loop, &world->chained);
}

static void queue_twice(void *arg)
{
    struct world *world = arg;
    loop_at_tick_end(world->loop, &world->tick);
    loop_at_tick_end(world->loop, &world->tick);
    assert_int_equal(world->ticks, 0);
}

static void a_tick_runs_once_at_the_end_of_the_turn(void **state)
{
    (void)state;
    struct world world = {.loop = loop_new()};
    tick_init(&world.tick, on_tick, &world);
    tick_init(&world.chained, on_chained, &world);
    timer_start(&world.timer, loop_timers(world.loop), loop_now_us(world.loop), queue_twice,
                &world);
    loop_run(world.loop);
    assert_int_equal(world.ticks, 2);
    loop_free(world.loop);
}

struct late {
    struct world world;
    struct letter turn;
    uv_poll_t poll;
    int ends[2];
    bool read;
};

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct late *late = poll->data;
    late->read = true;
    uv_close((uv_handle_t *)poll, NULL);
}

static void expect_read(void *arg)
{
    struct late *late = arg;
    assert_true(late->read);
    loop_stop(late->world.loop);
}

/* A turn that takes longer than the timer's life, while the answer comes. */
static void dawdle(void *arg)
{
    struct late *late = arg;
    assert_int_equal(write(late->ends[1], "x", 1), 1);
    usleep(5000);
}

static void what_has_arrived_comes_before_deadlines(void **state)
{
    (void)state;
    struct late late = {.world.loop = loop_new(), .turn = {.on_loop = dawdle, .arg = &late}};
    assert_int_equal(pipe(late.ends), 0);
    uv_poll_init(loop_uv(late.world.loop), &late.poll, late.ends[0]);
    late.poll.data = &late;
    uv_poll_start(&late.poll, UV_READABLE, on_readable);
    timer_start(&late.world.timer, loop_timers(late.world.loop),
                loop_now_us(late.world.loop) + 1000, expect_read, &late);
    loop_post(late.world.loop, &late.turn);
    loop_run(late.world.loop);
    close(late.ends[0]);
    close(late.ends[1]);
    loop_free(late.world.loop);
}

static void a_cancelled_tick_does_not_run(void **state)
{
    (void)state;
    struct world world = {.loop = loop_new()};
    struct tick first;
    tick_init(&first, on_tick, &world);
    tick_init(&world.tick, on_tick, &world);
    loop_at_tick_end(world.loop, &first);
    loop_at_tick_end(world.loop, &world.tick);
    tick_cancel(&world.tick); /* the last one: what is queued next must still be found */
    tick_cancel(&first);
    struct tick last;
    tick_init(&last, stop_on_due, &world);
    loop_at_tick_end(world.loop, &last);
    loop_run(world.loop);
    assert_int_equal(world.ticks, 0);
    loop_free(world.loop);
}

static void a_timer_never_rings_early(void **state)
{
    (void)state;
    struct world world = {.loop = loop_new()};
    uint64_t due_us = loop_now_us(world.loop) + 3500;
    timer_start(&world.timer, loop_timers(world.loop), due_us, stop_on_due, &world);
    loop_run(world.loop);
    assert_true(loop_now_us(world.loop) >= due_us);
    loop_free(world.loop);
}

enum { LETTERS = 20000 };

struct numbered {
    struct letter letter;
    struct world *world;
    int number;
};

static void on_letter(void *arg)
{
    struct numbered *numbered = arg;
    struct world *world = numbered->world;
    assert_int_equal(numbered->number, world->letters);
    world->letters++;
    free(numbered);
    if (world->letters == LETTERS) loop_stop(world->loop);
}

static void *post_all(void *arg)
{
    struct world *world = arg;
    for (int i = 0; i < LETTERS; i++) {
        struct numbered *numbered = malloc(sizeof *numbered);
        *numbered =
            (struct numbered){.letter = {on_letter, numbered, NULL}, .world = world, .number = i};
        loop_post(world->loop, &numbered->letter);
    }
    return NULL;
}

static void letters_of_another_thread_arrive_in_order(void **state)
{
    (void)state;
    struct world world = {.loop = loop_new()};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, post_all, &world), 0);
    loop_run(world.loop);
    pthread_join(thread, NULL);
    assert_int_equal(world.letters, LETTERS);
    loop_free(world.loop);
}

static void on_signal(void *arg, int number)
{
    struct world *world = arg;
    assert_int_equal(number, SIGTERM);
    world->signals++;
    loop_stop(world->loop);
}

static void raise_sigterm(void *arg)
{
    (void)arg;
    kill(getpid(), SIGTERM);
}

static void sigterm_is_told(void **state)
{
    (void)state;
    struct world world = {.loop = loop_new()};
    loop_on_signal(world.loop, on_signal, &world);
    timer_start(&world.timer, loop_timers(world.loop), 0, raise_sigterm, &world);
    loop_run(world.loop);
    assert_int_equal(world.signals, 1);
    loop_free(world.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tick_runs_once_at_the_end_of_the_turn),
        cmocka_unit_test(what_has_arrived_comes_before_deadlines),
        cmocka_unit_test(a_cancelled_tick_does_not_run),
        cmocka_unit_test(a_timer_never_rings_early),
        cmocka_unit_test(letters_of_another_thread_arrive_in_order),
        cmocka_unit_test(sigterm_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
