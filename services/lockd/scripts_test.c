/* The scripts that run on the nodes, on a fake Redis whose clock the test sets. */
#include "lockd/scripts.h"

#include "base/check.h"
#include "lockd/facts.h"
#include "lockd/fake_redis.h"
#include "lockd/transport.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ID       "1:abc:0:60000"
#define FENCE_MS "600000"
#define T        UINT64_C(1700000000000000)

struct world {
    uint64_t now_us;
    struct clock clock;
    struct fake_redis redis;
    const char *fence_ms;
    char latest[24];
    /* Of the last answer. */
    uint64_t bound;
    uint64_t remaining_ms;
    char holder[200];
    bool others_wait;
};

static uint64_t boot_us(void *arg)
{
    return ((struct world *)arg)->now_us;
}

static enum script_status run(struct world *world, enum script script, size_t keys,
                              const char *const *words)
{
    struct span args[13];
    size_t count = 0;
    for (; words[count] != NULL; count++)
        args[count] = span_of(words[count]);
    redisReply *reply = fake_redis_eval(&world->redis, script_sources[script], keys, args, count);
    struct script_answer answer = script_answer_read(reply);
    assert_int_not_equal(answer.status, SCRIPT_ODD);
    world->bound = answer.token;
    world->remaining_ms = 0;
    if (answer.status == SCRIPT_HELD) facts_number(answer.more, &world->remaining_ms);
    world->others_wait = answer.status == SCRIPT_OK && answer.more.bytes > 0;
    snprintf(world->holder, sizeof world->holder, "%.*s", SPAN_ARGS(answer.last));
    freeReplyObject(reply);
    return answer.status;
}

#define RUN(world, script, keys, ...) run(world, script, keys, (const char *[]){__VA_ARGS__, NULL})

static void admit(struct world *world)
{
    assert_int_equal(RUN(world, SCRIPT_INIT, 1, "quorate:epoch", ID, world->redis.run_id, "1", "0"),
                     SCRIPT_OK);
}

/* A node without history, its wall clock at T. */
static int set_up_new(void **state)
{
    struct world *world = xcalloc(1, sizeof *world);
    *world = (struct world){.now_us = 1000000, .fence_ms = FENCE_MS, .latest = "9007199254740991"};
    world->clock = (struct clock){boot_us, boot_us, world};
    fake_redis_init(&world->redis, &world->clock);
    world->redis.wall_offset_us = (int64_t)(T - world->now_us);
    *state = world;
    return 0;
}

static int set_up_admitted(void **state)
{
    set_up_new(state);
    admit(*state);
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    fake_redis_fini(&world->redis);
    free(world);
    return 0;
}

static enum script_status grant(struct world *world, const char *value, const char *from,
                                uint64_t token, const char *ttl_ms)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, token);
    return RUN(world, SCRIPT_GRANT, 4, "quorate:epoch", "lock:r", "fence:r", "wait:r", ID,
               world->redis.run_id, value, from, text, ttl_ms, world->fence_ms, world->latest);
}

static enum script_status extend(struct world *world, const char *value, uint64_t token,
                                 const char *ttl_ms)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, token);
    return RUN(world, SCRIPT_EXTEND, 4, "quorate:epoch", "lock:r", "fence:r", "wait:r", ID,
               world->redis.run_id, value, text, ttl_ms, world->fence_ms, world->latest);
}

static enum script_status release(struct world *world, const char *value, uint64_t token)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, token + 1);
    return RUN(world, SCRIPT_RELEASE, 4, "quorate:epoch", "lock:r", "fence:r", "wait:r", ID, value,
               text, world->fence_ms);
}

static void command(struct world *world, const struct span *args, size_t count)
{
    freeReplyObject(fake_redis_command(&world->redis, args, count));
}

static const char *lock_of(struct world *world)
{
    return fake_redis_get(&world->redis, "lock:r");
}

static const char *high_of(struct world *world)
{
    return fake_redis_hash_get(&world->redis, "quorate:epoch", "high");
}

static void a_free_lock_is_granted_once(void **state)
{
    struct world *world = *state;
    assert_int_equal(grant(world, "a l 1", "", 1000, "5000"), SCRIPT_OK);
    assert_int_equal(world->bound, 1000);
    assert_string_equal(lock_of(world), "a l 1");
    assert_int_equal(fake_redis_pttl(&world->redis, "lock:r"), 5000);
    world->now_us += 2000000;
    assert_int_equal(grant(world, "b l 2", "", 2000, "5000"), SCRIPT_HELD);
    assert_int_equal(world->bound, 1000);
    assert_int_equal(world->remaining_ms, 3000);
    assert_string_equal(world->holder, "a l 1");
    assert_int_equal(grant(world, "a l 1", "", 1000, "5000"), SCRIPT_OK); /* repeated */
    assert_int_equal(fake_redis_pttl(&world->redis, "lock:r"), 5000);
    world->now_us += 5000000;
    assert_int_equal(grant(world, "b l 2", "", 1000, "5000"), SCRIPT_STALE);
    assert_int_equal(grant(world, "b l 2", "", 1001, "5000"), SCRIPT_OK);
}

static void a_hand_off_takes_over_from_its_predecessor_only(void **state)
{
    struct world *world = *state;
    assert_int_equal(grant(world, "a l 1", "", 1000, "5000"), SCRIPT_OK);
    assert_int_equal(grant(world, "c l 3", "b l 2", 3000, "5000"), SCRIPT_HELD);
    assert_int_equal(grant(world, "b l 2", "a l 1", 900, "5000"), SCRIPT_STALE);
    assert_int_equal(grant(world, "b l 2", "a l 1", 2000, "5000"), SCRIPT_OK);
    assert_string_equal(lock_of(world), "b l 2");
    assert_int_equal(release(world, "b l 2", 2000), SCRIPT_OK);
    assert_int_equal(grant(world, "c l 3", "b l 2", 2002, "5000"), SCRIPT_OK);
}

static void F12_a_grant_that_lands_after_its_release_takes_nothing(void **state)
{
    struct world *world = *state;
    assert_int_equal(release(world, "a l 1", 1000), SCRIPT_OK);
    assert_int_equal(world->bound, 1001);
    assert_int_equal(grant(world, "a l 1", "", 1000, "5000"), SCRIPT_STALE);
    assert_string_equal(lock_of(world), "");
}

static void F26_an_extend_that_lands_after_the_release_revives_nothing(void **state)
{
    struct world *world = *state;
    assert_int_equal(grant(world, "a l 1", "", 1000, "5000"), SCRIPT_OK);
    assert_int_equal(release(world, "a l 1", 1000), SCRIPT_OK);
    assert_int_equal(extend(world, "a l 1", 1000, "5000"), SCRIPT_LOST);
    assert_string_equal(lock_of(world), "");
}

static void F5_an_extend_puts_a_missing_lock_back_but_that_is_no_vote(void **state)
{
    struct world *world = *state;
    assert_int_equal(grant(world, "a l 1", "", 1000, "5000"), SCRIPT_OK);
    world->now_us += 6000000;
    assert_int_equal(extend(world, "a l 1", 1000, "5000"), SCRIPT_HEALED);
    assert_int_equal(extend(world, "a l 1", 1000, "5000"), SCRIPT_OK);
    world->now_us += 6000000;
    assert_int_equal(grant(world, "b l 2", "", 2000, "5000"), SCRIPT_OK);
    assert_int_equal(extend(world, "a l 1", 1000, "5000"), SCRIPT_LOST);
    assert_int_equal(release(world, "b l 2", 2000), SCRIPT_OK);
    assert_int_equal(extend(world, "a l 1", 1000, "5000"), SCRIPT_LOST);
}

static void a_release_deletes_its_own_value_only(void **state)
{
    struct world *world = *state;
    assert_int_equal(grant(world, "a l 2", "", 2000, "5000"), SCRIPT_OK);
    assert_int_equal(release(world, "a l 1", 1000), SCRIPT_OK); /* of an earlier attempt */
    assert_string_equal(lock_of(world), "a l 2");
    assert_int_equal(world->bound, 2000); /* and lowers nothing */
}

static void forgetting_goes_by_the_whole_request_id(void **state)
{
    struct world *world = *state;
    assert_int_equal(grant(world, "ab l 1", "", 1000, "5000"), SCRIPT_OK);
    assert_int_equal(
        RUN(world, SCRIPT_FORGET, 4, "quorate:epoch", "lock:r", "fence:r", "wait:r", ID, "a"),
        SCRIPT_OK);
    assert_string_equal(lock_of(world), "ab l 1");
    assert_int_equal(
        RUN(world, SCRIPT_FORGET, 4, "quorate:epoch", "lock:r", "fence:r", "wait:r", ID, "ab"),
        SCRIPT_OK);
    assert_string_equal(lock_of(world), "");
    assert_int_equal(world->bound, 1000);
}

static void no_script_shortens_a_lock(void **state)
{
    struct world *world = *state;
    assert_int_equal(grant(world, "a l 1", "", 1000, "60000"), SCRIPT_OK);
    assert_int_equal(grant(world, "a l 1", "", 1000, "1000"), SCRIPT_OK);
    assert_int_equal(fake_redis_pttl(&world->redis, "lock:r"), 60000);
    assert_int_equal(extend(world, "a l 1", 1000, "1000"), SCRIPT_OK);
    assert_int_equal(fake_redis_pttl(&world->redis, "lock:r"), 60000);
}

static void F16_tokens_next_to_2_to_the_53_stay_apart(void **state)
{
    struct world *world = *state;
    /* tostring() of either would be 9.007199254741e+15 */
    assert_int_equal(grant(world, "a l 1", "", TOKEN_MAX - 2, "5000"), SCRIPT_OK);
    assert_int_equal(world->bound, TOKEN_MAX - 2);
    assert_string_equal(fake_redis_get(&world->redis, "fence:r"), "9007199254740989");
    assert_string_equal(high_of(world), "9007199254740989");
    assert_int_equal(release(world, "a l 1", TOKEN_MAX - 2), SCRIPT_OK);
    assert_int_equal(world->bound, TOKEN_MAX - 1);
    assert_int_equal(grant(world, "b l 2", "", TOKEN_MAX - 1, "5000"), SCRIPT_STALE);
    assert_int_equal(grant(world, "b l 2", "", TOKEN_MAX, "5000"), SCRIPT_OK);
    assert_int_equal(world->bound, TOKEN_MAX);
    assert_string_equal(high_of(world), "9007199254740991");
}

static void F34_an_expired_fence_lets_no_old_token_in(void **state)
{
    struct world *world = *state;
    world->fence_ms = "100";
    assert_int_equal(grant(world, "a l 1", "", 1000, "50"), SCRIPT_OK);
    world->now_us += 200000;
    assert_int_equal(fake_redis_keys(&world->redis, "fence:"), 0);
    assert_int_equal(grant(world, "b l 2", "", 999, "50"), SCRIPT_STALE);
    assert_int_equal(world->bound, 1000);
    /* Nor does a tombstone that comes late make a fence below what stood in for it. */
    assert_int_equal(release(world, "z l 0", 500), SCRIPT_OK);
    assert_int_equal(world->bound, 1000);
    assert_int_equal(grant(world, "b l 2", "", 999, "50"), SCRIPT_STALE);
    assert_int_equal(grant(world, "b l 2", "", 1001, "50"), SCRIPT_OK);
}

static void F21_cold_resources_leave_nothing_behind(void **state)
{
    struct world *world = *state;
    assert_int_equal(grant(world, "a l 1", "", 1000, "5000"), SCRIPT_OK);
    assert_int_equal(release(world, "a l 1", 1000), SCRIPT_OK);
    world->now_us += 601000000;
    assert_int_equal(fake_redis_keys(&world->redis, ""), 1); /* the epoch */
}

static void a_floor_binds_every_resource(void **state)
{
    struct world *world = *state;
    assert_int_equal(
        RUN(world, SCRIPT_RAISE, 1, "quorate:epoch", ID, world->redis.run_id, "1", "5000"),
        SCRIPT_OK);
    assert_int_equal(grant(world, "a l 1", "", 5000, "5000"), SCRIPT_STALE);
    assert_int_equal(world->bound, 5000);
    assert_int_equal(grant(world, "a l 1", "", 5001, "5000"), SCRIPT_OK);
    /* Raising again with this process current does nothing; with another, it lowers nothing. */
    assert_int_equal(
        RUN(world, SCRIPT_RAISE, 1, "quorate:epoch", ID, world->redis.run_id, "0", "9000"),
        SCRIPT_OK);
    assert_int_equal(release(world, "a l 1", 5001), SCRIPT_OK);
    assert_int_equal(grant(world, "b l 2", "", 5003, "5000"), SCRIPT_OK);
    fake_redis_restart(&world->redis, true);
    assert_int_equal(
        RUN(world, SCRIPT_RAISE, 1, "quorate:epoch", ID, world->redis.run_id, "0", "10"),
        SCRIPT_OK);
    assert_int_equal(world->bound, 5003);
}

static void F30_a_node_of_another_cluster_grants_nothing(void **state)
{
    struct world *world = *state;
    assert_int_equal(RUN(world, SCRIPT_INIT, 1, "quorate:epoch", "1:other:0:60000",
                         world->redis.run_id, "1", "1"),
                     SCRIPT_OK);
    assert_int_equal(grant(world, "a l 1", "", 1000, "5000"), SCRIPT_WRONG_CLUSTER);
    assert_int_equal(extend(world, "a l 1", 1000, "5000"), SCRIPT_WRONG_CLUSTER);
    assert_int_equal(release(world, "a l 1", 1000), SCRIPT_WRONG_CLUSTER);
    assert_int_equal(
        RUN(world, SCRIPT_RAISE, 1, "quorate:epoch", ID, world->redis.run_id, "1", "5000"),
        SCRIPT_WRONG_CLUSTER);
    assert_int_equal(RUN(world, SCRIPT_INIT, 1, "quorate:epoch", ID, world->redis.run_id, "1", "1"),
                     SCRIPT_WRONG_CLUSTER);
    assert_int_equal(fake_redis_keys(&world->redis, "lock:"), 0);
    assert_int_equal(fake_redis_keys(&world->redis, "fence:"), 0);
}

static void F18_a_server_that_restarted_or_forgot_grants_nothing(void **state)
{
    struct world *world = *state;
    assert_int_equal(grant(world, "a l 1", "", 1000, "5000"), SCRIPT_NOEPOCH);
    admit(world);
    char before[41];
    memcpy(before, world->redis.run_id, sizeof before);
    fake_redis_restart(&world->redis, true);
    assert_int_equal(grant(world, "a l 1", "", 1000, "5000"), SCRIPT_DOUBT);
    assert_int_equal(extend(world, "a l 1", 1000, "5000"), SCRIPT_DOUBT);
    /* Nothing could be lost: it goes on. */
    assert_int_equal(RUN(world, SCRIPT_KEEP, 1, "quorate:epoch", ID, world->redis.run_id),
                     SCRIPT_OK);
    assert_int_equal(grant(world, "a l 1", "", 1000, "5000"), SCRIPT_OK);
    /* Something could: it does not. */
    assert_int_equal(RUN(world, SCRIPT_MARK, 1, "quorate:epoch", ID, world->redis.run_id, "0"),
                     SCRIPT_OK);
    fake_redis_restart(&world->redis, true);
    assert_int_equal(RUN(world, SCRIPT_KEEP, 1, "quorate:epoch", ID, world->redis.run_id),
                     SCRIPT_DOUBT);
    fake_redis_restart(&world->redis, false);
    assert_int_equal(RUN(world, SCRIPT_KEEP, 1, "quorate:epoch", ID, world->redis.run_id),
                     SCRIPT_NOEPOCH);
}

static void a_node_in_doubt_grants_nothing_but_takes_releases(void **state)
{
    struct world *world = *state;
    assert_int_equal(grant(world, "a l 1", "", 1000, "5000"), SCRIPT_OK);
    assert_int_equal(RUN(world, SCRIPT_MARK, 1, "quorate:epoch", ID, "", ""), SCRIPT_OK);
    assert_int_equal(grant(world, "b l 2", "a l 1", 2000, "5000"), SCRIPT_DOUBT);
    assert_int_equal(RUN(world, SCRIPT_KEEP, 1, "quorate:epoch", ID, world->redis.run_id),
                     SCRIPT_DOUBT);
    assert_int_equal(release(world, "a l 1", 1000), SCRIPT_OK);
    assert_string_equal(lock_of(world), "");
}

static void F25_a_grant_or_extend_that_waited_too_long_does_nothing(void **state)
{
    struct world *world = *state;
    snprintf(world->latest, sizeof world->latest, "%" PRIu64, T + 50000);
    world->now_us += 50000;
    assert_int_equal(grant(world, "a l 1", "", 1000, "5000"), SCRIPT_OK);
    world->now_us += 1;
    assert_int_equal(extend(world, "a l 1", 1000, "60000"), SCRIPT_LATE);
    assert_int_equal(release(world, "a l 1", 1000), SCRIPT_OK);
    assert_int_equal(grant(world, "b l 2", "", 2000, "5000"), SCRIPT_LATE);
    assert_string_equal(lock_of(world), "");
}

static void only_an_untouched_node_can_be_initialised(void **state)
{
    struct world *world = *state;
    command(world, (struct span[]){span_of("SET"), span_of("stock:1"), span_of("100")}, 3);
    assert_int_equal(RUN(world, SCRIPT_INIT, 1, "quorate:epoch", ID, world->redis.run_id, "1", ""),
                     SCRIPT_OK);
    assert_int_equal(fake_redis_keys(&world->redis, "quorate:"), 0); /* it was only asked */
    admit(world);
    admit(world); /* another lockd does the same */
    assert_int_equal(grant(world, "a l 1", "", 1000, "5000"), SCRIPT_OK);
    admit(world); /* or a little later */
    assert_int_equal(world->bound, 1000);
    fake_redis_restart(&world->redis, true);
    assert_int_equal(RUN(world, SCRIPT_INIT, 1, "quorate:epoch", ID, world->redis.run_id, "1", "1"),
                     SCRIPT_USED);
    assert_int_equal(RUN(world, SCRIPT_KEEP, 1, "quorate:epoch", ID, world->redis.run_id),
                     SCRIPT_OK);
    assert_int_equal(RUN(world, SCRIPT_INIT, 1, "quorate:epoch", ID, world->redis.run_id, "1", "1"),
                     SCRIPT_USED);
    /* An epoch that somebody deleted does not make the node new. */
    command(world, (struct span[]){span_of("DEL"), span_of("quorate:epoch")}, 2);
    assert_int_equal(RUN(world, SCRIPT_INIT, 1, "quorate:epoch", ID, world->redis.run_id, "1", "1"),
                     SCRIPT_USED);
}

static void reconfiguring_refuses_while_a_lock_is_there(void **state)
{
    struct world *world = *state;
    assert_int_equal(grant(world, "a l 1", "", 1000, "5000"), SCRIPT_OK);
    assert_int_equal(RUN(world, SCRIPT_RECONFIGURE, 1, "quorate:epoch", "1:new:0:30000",
                         world->redis.run_id, "1", "7000"),
                     SCRIPT_HELD);
    world->now_us += 5000000;
    assert_int_equal(RUN(world, SCRIPT_RECONFIGURE, 1, "quorate:epoch", "1:new:0:30000",
                         world->redis.run_id, "1", "7000"),
                     SCRIPT_OK);
    assert_int_equal(world->bound, 7000);
    assert_int_equal(grant(world, "a l 1", "", 8000, "5000"), SCRIPT_WRONG_CLUSTER);
}

static const char *mark_of(struct world *world)
{
    return fake_redis_get(&world->redis, "wait:r");
}

static void a_lockd_that_another_one_keeps_out_leaves_its_mark(void **state)
{
    struct world *world = *state;
    assert_int_equal(grant(world, "a 0a 1", "", 1000, "5000"), SCRIPT_OK);
    assert_false(world->others_wait);
    assert_int_equal(grant(world, "b 0a 2", "", 2000, "5000"), SCRIPT_HELD); /* its own lockd */
    assert_string_equal(mark_of(world), "");
    assert_int_equal(grant(world, "c 0c 3", "", 3000, "5000"), SCRIPT_HELD);
    assert_string_equal(mark_of(world), "0c");
    assert_int_equal(fake_redis_pttl(&world->redis, "wait:r"), 6000); /* until it comes again */

    /* The busy lockd hears of it with each yes, whatever it asks. */
    assert_int_equal(extend(world, "a 0a 1", 1000, "6000"), SCRIPT_OK);
    assert_true(world->others_wait);
    assert_int_equal(grant(world, "b 0a 2", "a 0a 1", 4000, "5000"), SCRIPT_OK);
    assert_true(world->others_wait);
    assert_int_equal(grant(world, "b 0a 2", "", 4000, "5000"), SCRIPT_OK); /* repeated */
    assert_true(world->others_wait);

    /* Whoever was kept out and is granted waits no more. */
    assert_int_equal(release(world, "b 0a 2", 4000), SCRIPT_OK);
    assert_int_equal(grant(world, "c 0c 3", "", 5000, "5000"), SCRIPT_OK);
    assert_false(world->others_wait);
    assert_string_equal(mark_of(world), "");
}

static void a_release_is_published_to_who_waits_elsewhere(void **state)
{
    struct world *world = *state;
    assert_int_equal(grant(world, "a 0a 1", "", 1000, "5000"), SCRIPT_OK);
    assert_int_equal(release(world, "a 0a 1", 1000), SCRIPT_OK); /* nobody waits */
    assert_int_equal(world->redis.published, 0);
    assert_int_equal(grant(world, "a 0a 2", "", 2000, "5000"), SCRIPT_OK);
    assert_int_equal(grant(world, "c 0c 3", "", 3000, "5000"), SCRIPT_HELD);
    assert_int_equal(release(world, "a 0a 1", 1000), SCRIPT_OK); /* not what is there */
    assert_int_equal(world->redis.published, 0);
    assert_int_equal(release(world, "a 0a 2", 2000), SCRIPT_OK);
    assert_int_equal(world->redis.published, 1);
    assert_int_equal(grant(world, "a 0a 4", "", 4000, "5000"), SCRIPT_OK);
    assert_int_equal(
        RUN(world, SCRIPT_FORGET, 4, "quorate:epoch", "lock:r", "fence:r", "wait:r", ID, "a"),
        SCRIPT_OK);
    assert_int_equal(world->redis.published, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_admitted, tear_down)
#define NEW(name)  cmocka_unit_test_setup_teardown(name, set_up_new, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_free_lock_is_granted_once),
        TEST(a_hand_off_takes_over_from_its_predecessor_only),
        TEST(a_lockd_that_another_one_keeps_out_leaves_its_mark),
        TEST(a_release_is_published_to_who_waits_elsewhere),
        TEST(F12_a_grant_that_lands_after_its_release_takes_nothing),
        TEST(F26_an_extend_that_lands_after_the_release_revives_nothing),
        TEST(F5_an_extend_puts_a_missing_lock_back_but_that_is_no_vote),
        TEST(a_release_deletes_its_own_value_only),
        TEST(forgetting_goes_by_the_whole_request_id),
        TEST(no_script_shortens_a_lock),
        TEST(F16_tokens_next_to_2_to_the_53_stay_apart),
        TEST(F34_an_expired_fence_lets_no_old_token_in),
        TEST(F21_cold_resources_leave_nothing_behind),
        NEW(a_floor_binds_every_resource),
        NEW(F30_a_node_of_another_cluster_grants_nothing),
        NEW(F18_a_server_that_restarted_or_forgot_grants_nothing),
        TEST(a_node_in_doubt_grants_nothing_but_takes_releases),
        TEST(F25_a_grant_or_extend_that_waited_too_long_does_nothing),
        NEW(only_an_untouched_node_can_be_initialised),
        TEST(reconfiguring_refuses_while_a_lock_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
