#include "edge/passwords.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static struct loop *loop;
static struct passwords *passwords;
static unsigned answers;
static unsigned wanted;
static enum passwords_outcome last;
static char hash[PASSWORD_HASH_BYTES];

static int setup(void **state)
{
    (void)state;
    loop = loop_new();
    passwords = passwords_new(loop, 3);
    answers = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    passwords_free(passwords);
    loop_free(loop);
    return 0;
}

static void on_answer(void *arg, enum passwords_outcome outcome, const char *made)
{
    (void)arg;
    last = outcome;
    if (made != NULL) memcpy(hash, made, strlen(made) + 1);
    if (++answers == wanted) loop_stop(loop);
}

static void await(unsigned count)
{
    wanted = count;
    if (answers < wanted) loop_run(loop);
}

static struct password_task task_of(const char *password, const char *against)
{
    return (struct password_task){.password = span_of(password),
                                  .hash = against,
                                  .deadline_us = loop_now_us(loop) + 20000000};
}

static void a_password_is_hashed_and_known_again(void **state)
{
    (void)state;
    struct password_task task = task_of("correct horse", NULL);
    assert_non_null(passwords_hash(passwords, &task, on_answer, NULL));
    await(1);
    assert_int_equal(last, PASSWORDS_GOOD);
    assert_memory_equal(hash, "$argon2id$v=19$m=19456,t=2,p=1$", 31);
    task = task_of("correct horse", hash);
    assert_non_null(passwords_verify(passwords, &task, on_answer, NULL));
    await(2);
    assert_int_equal(last, PASSWORDS_GOOD);
    task = task_of("wrong horse", hash);
    assert_non_null(passwords_verify(passwords, &task, on_answer, NULL));
    await(3);
    assert_int_equal(last, PASSWORDS_WRONG);
    task = task_of("any", "no hash at all");
    assert_non_null(passwords_verify(passwords, &task, on_answer, NULL));
    await(4);
    assert_int_equal(last, PASSWORDS_WRONG);
}

/* Of this process, all threads: what else the machine does is not in it. */
static uint64_t processor_us(void)
{
    struct timespec used;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used), 0);
    return (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
}

/* Nobody's password takes as much work as somebody's, and is never right. */
static void nobody_takes_as_long_as_somebody(void **state)
{
    (void)state;
    struct password_task task = task_of("correct horse", NULL);
    uint64_t began_us = processor_us();
    assert_non_null(passwords_hash(passwords, &task, on_answer, NULL));
    await(1);
    uint64_t somebody_us = processor_us() - began_us;
    began_us = processor_us();
    assert_non_null(passwords_verify(passwords, &task, on_answer, NULL));
    await(2);
    assert_int_equal(last, PASSWORDS_WRONG);
    assert_true(processor_us() - began_us > somebody_us / 4);
}

static void the_queue_is_bounded(void **state)
{
    (void)state;
    struct password_task task = task_of("correct horse", NULL);
    for (int i = 0; i < 3; i++)
        assert_non_null(passwords_hash(passwords, &task, on_answer, NULL));
    assert_null(passwords_hash(passwords, &task, on_answer, NULL));
    assert_int_equal(answers, 0);
    await(3);
    assert_int_equal(passwords_open(passwords), 0);
}

static void what_would_be_late_is_not_begun(void **state)
{
    (void)state;
    struct password_task task = task_of("correct horse", NULL);
    assert_non_null(passwords_hash(passwords, &task, on_answer, NULL));
    task.deadline_us = loop_now_us(loop) + 1000;
    assert_null(passwords_hash(passwords, &task, on_answer, NULL));
    await(1);
}

/* The first in the queue is begun whatever is expected, and told when its time is over. */
static void the_first_is_always_begun(void **state)
{
    (void)state;
    struct password_task task = task_of("correct horse", NULL);
    task.deadline_us = loop_now_us(loop) + 1000;
    assert_non_null(passwords_hash(passwords, &task, on_answer, NULL));
    await(1);
    assert_int_equal(last, PASSWORDS_LATE);
}

static void cancelled_jobs_are_silent(void **state)
{
    (void)state;
    struct password_task task = task_of("correct horse", NULL);
    struct password_job *runs = passwords_hash(passwords, &task, on_answer, NULL);
    struct password_job *waits = passwords_hash(passwords, &task, on_answer, NULL);
    passwords_cancel(waits);
    passwords_cancel(runs);
    assert_int_equal(passwords_open(passwords), 1); /* the worker has it */
    assert_non_null(passwords_hash(passwords, &task, on_answer, NULL));
    await(1);
    assert_int_equal(answers, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        T(a_password_is_hashed_and_known_again),
        T(nobody_takes_as_long_as_somebody),
        T(the_queue_is_bounded),
        T(what_would_be_late_is_not_begun),
        T(the_first_is_always_begun),
        T(cancelled_jobs_are_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
