#include "edge/passwords.h"

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#define OPERATIONS   2
#define MEMORY_BYTES ((size_t)19456 * 1024)

/* What one job is expected to take before the first was measured. */
#define FIRST_GUESS_US 20000

enum job_state {
    JOB_WAITING, /* in the queue */
    JOB_RUNNING, /* on the worker; its memory is not the loop's to free */
};

struct password_job {
    struct passwords *passwords;
    enum job_state state;
    bool verifies;
    bool for_nobody;
    char password[PASSWORD_BYTES_MAX];
    size_t password_bytes;
    char hash[PASSWORD_HASH_BYTES];
    bool good; /* the worker's verdict */
    struct timer deadline;
    passwords_answer_fn *on_answer; /* NULL: cancelled, or answered as late */
    void *arg;
    uv_work_t work;
    struct password_job *next;
    struct password_job **back;
};

struct passwords {
    struct loop *loop;
    size_t queue_max;
    size_t open;
    struct password_job *first; /* those that wait */
    struct password_job **tail;
    struct password_job *running;
    uint64_t began_us;
    uint64_t usual_us; /* moving average of one job */
    char nobodys_hash[PASSWORD_HASH_BYTES];
};

static void start_next(struct passwords *passwords);

struct passwords *passwords_new(struct loop *loop, size_t queue_max)
{
    CHECK(queue_max > 0);
    struct passwords *passwords = xcalloc(1, sizeof *passwords);
    passwords->loop = loop;
    passwords->queue_max = queue_max;
    passwords->tail = &passwords->first;
    passwords->usual_us = FIRST_GUESS_US;
    /* At start, where 20 ms disturb nobody: a hash of a password that nobody can know. */
    char unknown[32];
    randombytes_buf(unknown, sizeof unknown);
    CHECK(crypto_pwhash_str(passwords->nobodys_hash, unknown, sizeof unknown, OPERATIONS,
                            MEMORY_BYTES) == 0);
    return passwords;
}

void passwords_free(struct passwords *passwords)
{
    if (passwords == NULL) return;
    CHECK(passwords->first == NULL);
    while (passwords->running != NULL) /* cancelled: its memory is the worker's until it is done */
        uv_run(loop_uv(passwords->loop), UV_RUN_ONCE);
    free(passwords);
}

size_t passwords_open(const struct passwords *passwords)
{
    return passwords->open;
}

static void unlink_job(struct password_job *job)
{
    *job->back = job->next;
    if (job->next != NULL) {
        job->next->back = job->back;
    } else {
        job->passwords->tail = job->back;
    }
}

static void free_job(struct password_job *job)
{
    job->passwords->open--;
    timer_stop(&job->deadline);
    sodium_memzero(job->password, sizeof job->password);
    free(job);
}

/* On libuv's worker: touches the job only. */
static void work(uv_work_t *request)
{
    struct password_job *job = request->data;
    if (job->verifies) {
        job->good = crypto_pwhash_str_verify(job->hash, job->password, job->password_bytes) == 0;
    } else {
        job->good = crypto_pwhash_str(job->hash, job->password, job->password_bytes, OPERATIONS,
                                      MEMORY_BYTES) == 0;
    }
}

static void on_worked(uv_work_t *request, int status)
{
    CHECK(status == 0); /* work that runs is never cancelled */
    struct password_job *job = request->data;
    struct passwords *passwords = job->passwords;
    uint64_t took_us = loop_now_us(passwords->loop) - passwords->began_us;
    passwords->usual_us = (7 * passwords->usual_us + took_us) / 8;
    passwords->running = NULL;
    start_next(passwords);

    passwords_answer_fn *on_answer = job->on_answer;
    void *arg = job->arg;
    bool good = job->good && !job->for_nobody;
    /* No memory for a hash is none for anything else either. */
    CHECK(job->verifies || job->good);
    char hash[PASSWORD_HASH_BYTES];
    memcpy(hash, job->hash, sizeof hash);
    bool verifies = job->verifies;
    free_job(job);
    if (on_answer != NULL)
        on_answer(arg, good ? PASSWORDS_GOOD : PASSWORDS_WRONG, verifies ? NULL : hash);
}

static void start_next(struct passwords *passwords)
{
    if (passwords->running != NULL || passwords->first == NULL) return;
    struct password_job *job = passwords->first;
    unlink_job(job);
    job->state = JOB_RUNNING;
    passwords->running = job;
    passwords->began_us = loop_now_us(passwords->loop);
    job->work.data = job;
    CHECK(uv_queue_work(loop_uv(passwords->loop), &job->work, work, on_worked) == 0);
}

static void on_deadline(void *arg)
{
    struct password_job *job = arg;
    passwords_answer_fn *on_answer = job->on_answer;
    void *on_answer_arg = job->arg;
    passwords_cancel(job);
    on_answer(on_answer_arg, PASSWORDS_LATE, NULL);
}

static struct password_job *submit(struct passwords *passwords, const struct password_task *task,
                                   passwords_answer_fn *on_answer, void *arg)
{
    CHECK(on_answer != NULL);
    CHECK(task->password.bytes <= PASSWORD_BYTES_MAX);
    if (passwords->open >= passwords->queue_max) return NULL;
    /* With nobody before it a job is always begun: else one slow spell of the machine would close
     * the door for good, because only a job that runs tells how long one takes. */
    uint64_t wait_us = passwords->open == 0 ? 0 : (passwords->open + 1) * passwords->usual_us;
    if (loop_now_us(passwords->loop) + wait_us > task->deadline_us) return NULL;
    struct password_job *job = xcalloc(1, sizeof *job);
    job->passwords = passwords;
    job->state = JOB_WAITING;
    memcpy(job->password, task->password.at, task->password.bytes);
    job->password_bytes = task->password.bytes;
    job->on_answer = on_answer;
    job->arg = arg;
    job->back = passwords->tail;
    *passwords->tail = job;
    passwords->tail = &job->next;
    passwords->open++;
    timer_start(&job->deadline, loop_timers(passwords->loop), task->deadline_us, on_deadline, job);
    return job;
}

struct password_job *passwords_hash(struct passwords *passwords, const struct password_task *task,
                                    passwords_answer_fn *on_answer, void *arg)
{
    struct password_job *job = submit(passwords, task, on_answer, arg);
    if (job != NULL) start_next(passwords);
    return job;
}

struct password_job *passwords_verify(struct passwords *passwords, const struct password_task *task,
                                      passwords_answer_fn *on_answer, void *arg)
{
    struct password_job *job = submit(passwords, task, on_answer, arg);
    if (job == NULL) return NULL;
    job->verifies = true;
    job->for_nobody = task->hash == NULL || strlen(task->hash) >= sizeof job->hash;
    snprintf(job->hash, sizeof job->hash, "%s",
             job->for_nobody ? passwords->nobodys_hash : task->hash);
    start_next(passwords);
    return job;
}

void passwords_cancel(struct password_job *job)
{
    job->on_answer = NULL;
    timer_stop(&job->deadline);
    if (job->state == JOB_RUNNING) return; /* on_worked frees it */
    unlink_job(job);
    free_job(job);
}
