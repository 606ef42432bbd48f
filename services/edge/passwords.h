/* passwords.h - Argon2id (19 MiB, t=2, p=1), one at a time, off the loop.
 *
 * One hash takes about 18 ms of one core; on the loop it would stop everybody. The work is done on
 * libuv's worker thread, one job at a time (a second thread would only take the other core from
 * those who serve). The queue lives on the loop and is bounded: past it the caller says "come
 * again". A job whose caller would not live to see its end is not begun.
 *
 * Thread    the loop's only; the work itself runs on libuv's worker.
 * Answers   an accepted job is answered exactly once, never before the call returns, unless it is
 *           cancelled.
 * Ownership the job is ours from passwords_hash or passwords_verify until it was answered or
 *           cancelled; password and hash are copied, and wiped afterwards.
 */
#ifndef QUORATE_EDGE_PASSWORDS_H
#define QUORATE_EDGE_PASSWORDS_H

#include "base/loop.h"
#include "base/span.h"

#include <sodium.h>

struct passwords;
struct password_job;

#define PASSWORD_BYTES_MAX  400 /* 100 characters */
#define PASSWORD_HASH_BYTES crypto_pwhash_STRBYTES

struct passwords *passwords_new(struct loop *loop, size_t queue_max);

/* No job waits; one that was cancelled while it ran is waited for. NULL is harmless. */
void passwords_free(struct passwords *passwords);

enum passwords_outcome {
    PASSWORDS_GOOD,  /* hashed, or verified */
    PASSWORDS_WRONG, /* not the password */
    PASSWORDS_LATE,  /* the deadline passed, or would have */
};

/* `hash` is what passwords_hash made, NULL otherwise; borrowed. */
typedef void passwords_answer_fn(void *arg, enum passwords_outcome outcome, const char *hash);

struct password_task {
    struct span password;
    const char *hash; /* to verify against; NULL: of nobody, takes as long and is never right */
    uint64_t deadline_us;
};

/* NULL: the queue is full, nothing will be answered. */
struct password_job *passwords_hash(struct passwords *passwords, const struct password_task *task,
                                    passwords_answer_fn *on_answer, void *arg);
struct password_job *passwords_verify(struct passwords *passwords, const struct password_task *task,
                                      passwords_answer_fn *on_answer, void *arg);

/* Nothing is heard of it any more. */
void passwords_cancel(struct password_job *job);

/* Jobs that wait or run. */
size_t passwords_open(const struct passwords *passwords);

#endif
