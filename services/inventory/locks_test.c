/* The client of lockd, over the real RPC, against a lockd that says what it is told to. */
#include "base/check.h"
#include "base/log.h"
#include "base/loop_fixture.h"
#include "inventory/fake_lockd.h"
#include "inventory/locks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct loop *loop;
static struct fake_lockd *lockd;
static struct locks *locks;
static char url[64];
static char other_url[64];

static struct {
    unsigned told;
    unsigned asked;
    bool heard;
    unsigned voting;
    uint64_t asked_us;
    char message[256];
} news;

static struct {
    unsigned answers;
    enum lane_lock_outcome outcome;
    struct lane_lease lease;
    char message[LANE_MESSAGE_BYTES_MAX];
} answer;

static void on_voting(void *arg, const struct lane_voting *voting, bool asked)
{
    (void)arg;
    news.told++;
    news.asked += asked;
    news.heard = voting->heard;
    news.voting = voting->voting;
    news.asked_us = voting->asked_us;
    snprintf(news.message, sizeof news.message, "%s",
             voting->message == NULL ? "" : voting->message);
}

static void on_lock(void *arg, const struct lane_lock_answer *told)
{
    (void)arg;
    answer.answers++;
    answer.outcome = told->outcome;
    answer.lease = told->lease;
    snprintf(answer.message, sizeof answer.message, "%s",
             told->message == NULL ? "" : told->message);
}

static void open_locks(struct conf_list urls)
{
    static struct conf_list kept;
    kept = urls;
    struct locks_options options = {.urls = &kept, .ttl_ms = 3000, .on_voting = on_voting};
    locks = locks_open(loop, &options);
    assert_non_null(locks);
}

/* Connected, as an answered question shows. */
static void wait_until_heard(void)
{
    for (int tries = 0; tries < 500; tries++) {
        news.asked = 0;
        locks_ask(locks);
        LOOP_UNTIL(loop, news.asked > 0);
        if (news.heard) return;
        loop_run_ms(loop, 10);
    }
    fail_msg("lockd was not heard");
}

static int setup(void **state)
{
    (void)state;
    memset(&news, 0, sizeof news);
    snprintf(url, sizeof url, "ipc:///tmp/quorate-locks-%d", (int)getpid());
    snprintf(other_url, sizeof other_url, "ipc:///tmp/quorate-locks-%d-other", (int)getpid());
    loop = loop_new();
    lockd = fake_lockd_open(loop, url);
    static const char *items[1];
    items[0] = url;
    open_locks((struct conf_list){items, 1});
    wait_until_heard();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    locks_close(locks);
    fake_lockd_close(lockd);
    loop_run_ms(loop, 20);
    loop_free(loop);
    return 0;
}

static void acquire(uint64_t min_token, uint64_t wait_us)
{
    memset(&answer, 0, sizeof answer);
    locks_acquire(locks, 7, min_token, wait_us, on_lock, NULL);
    assert_int_equal(answer.answers, 0);
    LOOP_WITHIN_MS(loop, 5000, answer.answers > 0);
    assert_int_equal(answer.answers, 1);
}

static void a_lease_is_granted_and_given_back(void **state)
{
    (void)state;
    uint64_t before_us = loop_now_us(loop);
    unsigned told = news.told;
    acquire(5000, 1000000);
    assert_int_equal(answer.outcome, LANE_LOCK_GRANTED);
    assert_int_equal(answer.lease.token, 5001);
    assert_true(answer.lease.began_us >= before_us);
    assert_true(answer.lease.ends_us > before_us + 2900000);
    assert_true(answer.lease.ends_us <= loop_now_us(loop) + 3000000);
    assert_int_equal(news.told, told + 1); /* the grant said who votes */
    assert_int_equal(news.voting, 5);
    assert_int_equal(news.asked_us, answer.lease.began_us);
    assert_string_equal(fake_lockd_seen(lockd)->last_acquired, answer.lease.request_id);
    locks_release(locks, 7, &answer.lease);
    LOOP_UNTIL(loop, locks_quiet(locks));
    assert_string_equal(fake_lockd_seen(lockd)->last_released, answer.lease.request_id);
    assert_int_equal(fake_lockd_seen(lockd)->last_released_token, 5001);
}

static void no_request_id_is_used_twice(void **state)
{
    (void)state;
    acquire(0, 1000000);
    struct lane_lease first = answer.lease;
    acquire(0, 1000000);
    assert_string_not_equal(first.request_id, answer.lease.request_id);
    locks_release(locks, 7, &first);
    locks_release(locks, 7, &answer.lease);
    LOOP_UNTIL(loop, locks_quiet(locks));
}

static void F23_each_refusal_is_told_as_what_it_is(void **state)
{
    (void)state;
    static const struct {
        enum reason reason;
        enum lane_lock_outcome outcome;
        const char *text;
    } cases[] = {
        {REASON_BUSY, LANE_LOCK_BUSY, "held by somebody for at most 1234 ms"},
        {REASON_NO_QUORUM, LANE_LOCK_NO_QUORUM, "redis2:6379 (connection refused)"},
        {REASON_OVERLOADED, LANE_LOCK_OVERLOADED, "told to refuse"},
        {REASON_EXPIRED, LANE_LOCK_AGAIN, "did not take"},
        {REASON_LOST, LANE_LOCK_AGAIN, "did not take"},
        {REASON_DOWN, LANE_LOCK_DOWN, "can't be reached"},
    };
    fake_lockd_voting(lockd, 2);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake_lockd_be(lockd, FAKE_REFUSES, cases[i].reason);
        news.voting = 0;
        acquire(0, 1000000);
        assert_int_equal(answer.outcome, cases[i].outcome);
        assert_non_null(strstr(answer.message, cases[i].text));
        if (i < 3) assert_int_equal(news.voting, 2);
    }
    assert_int_equal(fake_lockd_seen(lockd)->releases, 0);
}

static void F29_a_lease_whose_answer_never_came_is_released_by_its_request_id(void **state)
{
    (void)state;
    fake_lockd_be(lockd, FAKE_SILENT, REASON_NONE);
    acquire(0, 50000);
    assert_int_equal(answer.outcome, LANE_LOCK_AGAIN);
    LOOP_UNTIL(loop, locks_quiet(locks));
    assert_int_equal(fake_lockd_seen(lockd)->releases, 1);
    assert_string_equal(fake_lockd_seen(lockd)->last_released,
                        fake_lockd_seen(lockd)->last_acquired);
    assert_int_equal(fake_lockd_seen(lockd)->last_released_token, 0);
}

static void F17_a_lease_that_is_over_when_it_arrives_is_given_back(void **state)
{
    (void)state;
    fake_lockd_be(lockd, FAKE_LATE, REASON_NONE);
    acquire(0, 1000000);
    assert_int_equal(answer.outcome, LANE_LOCK_AGAIN);
    LOOP_UNTIL(loop, locks_quiet(locks));
    assert_int_equal(fake_lockd_seen(lockd)->last_released_token,
                     fake_lockd_seen(lockd)->last_token);
}

static void a_release_is_repeated_until_a_lockd_confirms_it(void **state)
{
    (void)state;
    acquire(0, 1000000);
    struct lane_lease lease = answer.lease;
    fake_lockd_close(lockd);
    loop_run_ms(loop, 50);
    locks_release(locks, 7, &lease);
    loop_run_ms(loop, 300);
    assert_false(locks_quiet(locks));
    lockd = fake_lockd_open(loop, url);
    LOOP_WITHIN_MS(loop, 4000, locks_quiet(locks));
    assert_string_equal(fake_lockd_seen(lockd)->last_released, lease.request_id);
}

static void a_release_is_not_repeated_beyond_its_lease(void **state)
{
    (void)state;
    acquire(0, 1000000);
    struct lane_lease lease = answer.lease;
    lease.ends_us = loop_now_us(loop) + 200000;
    fake_lockd_close(lockd);
    lockd = NULL;
    loop_run_ms(loop, 20);
    locks_release(locks, 7, &lease);
    LOOP_WITHIN_MS(loop, 2000, locks_quiet(locks));
}

static void who_votes_is_asked_and_told(void **state)
{
    (void)state;
    fake_lockd_voting(lockd, 2);
    news.asked = 0;
    locks_ask(locks);
    LOOP_UNTIL(loop, news.asked > 0);
    assert_true(news.heard);
    assert_int_equal(news.voting, 2);
    assert_non_null(strstr(news.message, "redis4:6379 (connection refused)"));
    assert_null(strstr(news.message, "redis1:6379"));
    fake_lockd_close(lockd);
    lockd = NULL;
    loop_run_ms(loop, 20);
    news.asked = 0;
    locks_ask(locks);
    LOOP_UNTIL(loop, news.asked > 0);
    assert_false(news.heard);
    acquire(0, 100000);
    assert_int_equal(answer.outcome, LANE_LOCK_DOWN);
}

static void the_next_lockd_serves_when_one_is_away(void **state)
{
    (void)state;
    static const char *items[2];
    items[0] = url;
    items[1] = other_url;
    struct fake_lockd *other = fake_lockd_open(loop, other_url);
    locks_close(locks);
    open_locks((struct conf_list){items, 2});
    wait_until_heard();
    acquire(0, 1000000);
    unsigned place = answer.lease.lockd;
    fake_lockd_be(place == 0 ? lockd : other, FAKE_SILENT, REASON_NONE);
    loop_run_ms(loop, 100);
    acquire(0, 50000);
    assert_int_equal(answer.outcome, LANE_LOCK_AGAIN);
    acquire(0, 50000);
    assert_int_equal(answer.outcome, LANE_LOCK_GRANTED);
    assert_int_not_equal(answer.lease.lockd, place);
    LOOP_UNTIL(loop, locks_quiet(locks));
    fake_lockd_close(other);
}

static void what_is_open_at_the_end_is_answered(void **state)
{
    (void)state;
    fake_lockd_be(lockd, FAKE_SILENT, REASON_NONE);
    memset(&answer, 0, sizeof answer);
    locks_acquire(locks, 7, 0, 1000000, on_lock, NULL);
    loop_run_ms(loop, 20);
    locks_close(locks);
    assert_int_equal(answer.answers, 0);
    loop_run_ms(loop, 20);
    assert_int_equal(answer.answers, 1);
    locks = NULL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        TEST(a_lease_is_granted_and_given_back),
        TEST(no_request_id_is_used_twice),
        TEST(F23_each_refusal_is_told_as_what_it_is),
        TEST(F29_a_lease_whose_answer_never_came_is_released_by_its_request_id),
        TEST(F17_a_lease_that_is_over_when_it_arrives_is_given_back),
        TEST(a_release_is_repeated_until_a_lockd_confirms_it),
        TEST(a_release_is_not_repeated_beyond_its_lease),
        TEST(who_votes_is_asked_and_told),
        TEST(the_next_lockd_serves_when_one_is_away),
        TEST(what_is_open_at_the_end_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
