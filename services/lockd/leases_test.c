/* The queue, and what clients are told. */
#include "lockd/leases.h"

#include "lockd/world_probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS     UINT64_C(1000)
#define SECOND UINT64_C(1000000)

static enum reason outcome(struct probe *probe)
{
    (void)probe_hold(probe);
    return probe->answer.reason;
}

static void F8_short_and_long_ttls(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    const struct {
        uint32_t ttl_ms;
        enum reason reason;
        uint64_t lasts_us;
    } cases[] = {
        {1, REASON_INVALID, 0},
        {9, REASON_INVALID, 0},
        {10, REASON_NONE, 10 * MS - 2100},
        {50, REASON_NONE, 50 * MS - 2500},
        {300, REASON_NONE, 300 * MS - 5000},
        {60000, REASON_NONE, 60000 * MS - 602000},
        {60001, REASON_INVALID, 0},
        {UINT32_MAX, REASON_INVALID, 0},
        {0, REASON_NONE, 10000 * MS - 102000},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "a%u", i);
        struct probe a = {.world = world, .resource = "r", .id = id, .ttl_ms = cases[i].ttl_ms};
        uint64_t asked_us = world_lockd_us(world, 0);
        assert_int_equal(outcome(&a), cases[i].reason);
        if (cases[i].reason != REASON_NONE) continue;
        assert_int_equal(a.answer.ends_us - asked_us, cases[i].lasts_us);
        probe_release(&a, 0);
        world_run_us(world, 10 * MS);
    }
    /* A lease that the nodes can't answer in time is refused, not negative. */
    for (unsigned i = 0; i < 5; i++)
        world_link_delay(world, 0, i, 6 * MS, 6 * MS);
    struct probe late = {.world = world, .resource = "r", .id = "late", .ttl_ms = 10};
    assert_int_equal(outcome(&late), REASON_NO_QUORUM);
    world_free(world);
}

/* The lockd's side of it: a lease that is over is over for everybody who asks. */
static void F11_lease_is_over_when_its_end_has_come(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe a = {.world = world, .resource = "r", .id = "a", .ttl_ms = 1000};
    uint64_t token = probe_hold(&a);
    world_lockd_pause(world, 0); /* its timers are late, the clock is not */
    world_run_us(world, 2 * SECOND);
    assert_false(probe_holds(&a));
    struct probe extend = a;
    extend.answers = 0;
    probe_extend(&extend, token);
    struct probe again = {.world = world, .resource = "r", .id = "a", .ttl_ms = 1000};
    probe_acquire(&again);
    world_lockd_wake(world, 0);
    world_run_us(world, 100 * MS);
    assert_int_equal(extend.answer.reason, REASON_LOST);
    assert_int_equal(again.answer.reason, REASON_NONE);
    assert_true(again.answer.token > token); /* not the same lease */
    world_free(world);
}

/* 64 wait: each hand-over is one grant round, in order of arrival. */
static void F19_64_waiters_are_served_in_order_in_one_round_each(void **state)
{
    (void)state;
    enum { COUNT = 64 };
    struct world *world = probe_world(1);
    struct probe probes[COUNT];
    char ids[COUNT][8];
    unsigned turn = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "w%u", i);
        probes[i] = (struct probe){.world = world,
                                   .resource = "r",
                                   .id = ids[i],
                                   .wait_ms = 10000,
                                   .turn = &turn,
                                   .release_at_once = true};
        probe_acquire(&probes[i]);
    }
    uint64_t start_us = world_now_us(world);
    world_run_us(world, COUNT * 2 * MS);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(probes[i].answers, 1);
        assert_int_equal(probes[i].answer.reason, REASON_NONE);
        assert_int_equal(probes[i].place, i);
        assert_int_equal(probes[i].answer.waiters, i + 1 < COUNT);
        assert_int_equal(probes[i].answered_us - start_us, (i + 1) * 2 * MS);
        if (i > 0) assert_true(probes[i].answer.token > probes[i - 1].answer.token);
    }
    world_run_us(world, 10 * MS);
    assert_int_equal(world_orders(world, ORDER_GRANT), COUNT * 5);
    assert_int_equal(world_orders(world, ORDER_RELEASE), 5); /* only the last one's */
    assert_int_equal(world_keys(world, "r"), 0);
    world_free(world);
}

/* Those whose connection is gone stand in nobody's way, wherever they stand. */
static void F20_dead_waiters_are_skipped(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe holder = {.world = world, .resource = "r", .id = "holder"};
    struct probe first = {.world = world, .resource = "r", .id = "first"};
    struct probe second = {.world = world, .resource = "r", .id = "second"};
    struct probe third = {.world = world, .resource = "r", .id = "third"};
    assert_true(probe_hold(&holder) > 0);
    probe_acquire(&first);
    probe_acquire(&second);
    probe_acquire(&third);
    probe_withdraw(&first);
    probe_release(&holder, 0);
    world_run_us(world, 1 * MS);
    probe_withdraw(&second); /* while it is being granted */
    world_run_us(world, 3 * MS);
    assert_true(probe_holds(&third));
    assert_int_equal(first.answers + second.answers, 0);
    world_run_us(world, 10 * MS);
    for (unsigned i = 0; i < 5; i++) {
        struct span value = sim_node_value(world_node(world, i), "r", world_node_us(world, i));
        assert_memory_equal(value.at, "third ", 6);
    }
    world_free(world);
}

/* What arrives after its deadline is not executed; who waits is told by it, not later. */
static void F24_deadlines_bound_everything(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe late = {.world = world, .resource = "r", .id = "late"};
    late.deadline_us = world_lockd_us(world, 0);
    assert_int_equal(outcome(&late), REASON_EXPIRED);
    assert_int_equal(world_orders(world, ORDER_GRANT), 0);

    struct probe holder = {.world = world, .resource = "r", .id = "holder", .ttl_ms = 30000};
    uint64_t token = probe_hold(&holder);
    struct probe waits = {.world = world, .resource = "r", .id = "waits", .wait_ms = 20000};
    struct probe hurries = {.world = world, .resource = "r", .id = "hurries", .wait_ms = 20000};
    hurries.deadline_us = world_lockd_us(world, 0) + 300 * MS;
    uint64_t before_us = world_now_us(world);
    probe_acquire(&waits);
    probe_acquire(&hurries);
    world_run_us(world, 20001 * MS);
    assert_int_equal(hurries.answered_us - before_us, 300 * MS);
    assert_int_equal(hurries.answer.reason, REASON_BUSY);
    assert_string_equal(hurries.answer.holder, "holder");
    assert_in_range(hurries.answer.remaining_ms, 29300, 29700);
    assert_int_equal(waits.answered_us - before_us, 20000 * MS);
    holder.deadline_us = world_lockd_us(world, 0);
    probe_extend(&holder, token);
    world_run_us(world, 1 * MS);
    assert_int_equal(holder.answer.reason, REASON_EXPIRED);
    world_free(world);
}

/* Paused over its waiter's deadline, a lockd grants it nothing that nobody waits for. */
static void F24_nobody_is_granted_after_a_pause_past_the_deadline(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 20; seed++) {
        struct world_options options = world_calm;
        options.seed = seed;
        struct world *world = world_new(&options);
        world_run_us(world, 10 * MS);
        struct probe a = {.world = world, .resource = "r", .id = "a"};
        a.deadline_us = world_lockd_us(world, 0) + 1 * SECOND;
        probe_acquire(&a);
        world_lockd_pause(world, 0);
        world_run_us(world, 3 * SECOND);
        world_lockd_wake(world, 0);
        world_run_us(world, 10 * MS);
        assert_int_equal(a.answers, 1);
        assert_int_not_equal(a.answer.reason, REASON_NONE);
        assert_int_equal(world_keys(world, "r"), 0);
        world_free(world);
    }
}

/* The answer to the acquire was lost: the request id alone lets it go, at once. */
static void F29_lost_answer_is_released_by_request_id(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe a = {.world = world, .resource = "r", .id = "a"};
    struct probe b = {.world = world, .resource = "r", .id = "b"};
    assert_true(probe_hold(&a) > 0);
    probe_acquire(&b);
    probe_release(&a, 0);
    world_run_us(world, 2 * MS);
    assert_true(probe_holds(&b));
    world_free(world);
}

static void released_id_stays_dead(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe a = {.world = world, .resource = "r", .id = "a"};
    probe_release(&a, 0); /* it has overtaken its acquire */
    assert_int_equal(outcome(&a), REASON_LOST);
    struct probe elsewhere = {.world = world, .resource = "s", .id = "a"};
    assert_int_equal(outcome(&elsewhere), REASON_NONE);
    world_run_us(world, 30 * SECOND);
    assert_int_equal(outcome(&a), REASON_LOST);
    world_run_us(world, 31 * SECOND); /* LOCK_TTL_MAX is over */
    assert_int_equal(outcome(&a), REASON_NONE);
    world_free(world);
}

static void release_ends_a_wait(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe holder = {.world = world, .resource = "r", .id = "holder"};
    struct probe a = {.world = world, .resource = "r", .id = "a", .wait_ms = 5000};
    uint64_t token = probe_hold(&holder);
    probe_acquire(&a);
    probe_release(&a, 0);
    world_run_us(world, 1);
    assert_int_equal(a.answer.reason, REASON_LOST);
    assert_int_equal(leases_counts(world_leases(world, 0)).waiters, 0);
    assert_true(probe_holds(&holder));

    struct probe b = {.world = world, .resource = "s", .id = "b"};
    probe_acquire(&b);
    world_run_us(world, 1 * MS + 500); /* the nodes have granted it, nobody knows yet */
    probe_release(&b, 0);
    world_run_us(world, 20 * MS);
    assert_int_equal(b.answer.reason, REASON_LOST);
    assert_int_equal(world_keys(world, "s"), 0);
    assert_true(token > 0);
    world_free(world);
}

/* A repeated release, and one that names an earlier token of the same id, end nothing else. */
static void F32_release_of_an_earlier_lease_spares_the_later(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe a = {.world = world, .resource = "r", .id = "a", .ttl_ms = 100};
    uint64_t first = probe_hold(&a);
    world_run_us(world, 200 * MS);
    a.ttl_ms = 5000;
    uint64_t second = probe_hold(&a); /* the first one expired, it asks again */
    assert_true(second > first);
    probe_release(&a, first);
    world_run_us(world, 100 * MS);
    assert_true(probe_holds(&a));
    struct probe again = a;
    again.answers = 0;
    assert_int_equal(probe_hold(&again), second);

    struct probe b = {.world = world, .resource = "r", .id = "b", .ttl_ms = 100, .wait_ms = 9000};
    probe_acquire(&b);
    probe_release(&b, 7); /* of a lease it never had: it goes on waiting */
    world_run_us(world, 1 * MS);
    assert_int_equal(b.answers, 0);
    probe_release(&a, second);
    probe_release(&a, second);
    world_run_us(world, 3 * MS);
    assert_true(probe_holds(&b));
    world_free(world);
}

static void asking_again_keeps_the_place_and_the_lease(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    unsigned turn = 0;
    struct probe holder = {.world = world, .resource = "r", .id = "holder"};
    struct probe a1 = {.world = world, .resource = "r", .id = "a", .turn = &turn};
    struct probe b = {.world = world, .resource = "r", .id = "b", .turn = &turn};
    struct probe a2 = {.world = world, .resource = "r", .id = "a", .turn = &turn};
    assert_true(probe_hold(&holder) > 0);
    probe_acquire(&a1);
    probe_acquire(&b);
    probe_acquire(&a2);
    a2.wait_ms = 1;
    probe_release(&holder, 0);
    world_run_us(world, 3 * MS);
    assert_int_equal(a1.answer.reason, REASON_NONE);
    assert_int_equal(a2.answer.reason, REASON_NONE);
    assert_int_equal(a1.answer.token, a2.answer.token);
    assert_int_equal(a1.answer.ends_us, a2.answer.ends_us);
    assert_int_equal(b.answers, 0);
    struct probe a3 = {.world = world, .resource = "r", .id = "a"};
    assert_int_equal(probe_hold(&a3), a1.answer.token);
    assert_true(a3.answer.waiters);
    struct probe higher = {.world = world, .resource = "r", .id = "a"};
    higher.min_token = a1.answer.token;
    assert_int_equal(outcome(&higher), REASON_INVALID);

    /* One of two calls that wait is withdrawn: the other one's place stays. */
    struct probe b2 = {.world = world, .resource = "r", .id = "b", .wait_ms = 5000};
    probe_acquire(&b2);
    probe_withdraw(&b);
    probe_release(&a1, a1.answer.token);
    world_run_us(world, 3 * MS);
    assert_true(probe_holds(&b2));
    assert_int_equal(b.answers, 0);
    world_free(world);
}

/* Asked again for a higher token while the grant is under way: the low one is not handed out. */
static void asking_again_raises_min_token(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe a = {.world = world, .resource = "r", .id = "a"};
    struct probe again = {.world = world, .resource = "r", .id = "a"};
    probe_acquire(&a);
    again.min_token = 1700000000000000 + 3600 * SECOND;
    probe_acquire(&again);
    world_run_us(world, 10 * MS);
    assert_int_equal(a.answer.reason, REASON_NONE);
    assert_true(a.answer.token > again.min_token);
    assert_int_equal(a.answer.token, again.answer.token);
    struct probe absurd = {.world = world, .resource = "s", .id = "b"};
    absurd.min_token = 1700000000000000 + 400 * 24 * 3600 * SECOND;
    assert_int_equal(outcome(&absurd), REASON_INVALID);
    world_free(world);
}

static void no_wait_is_one_try(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe a = {.world = world, .resource = "r", .id = "a", .no_wait = true};
    struct probe b = {.world = world, .resource = "r", .id = "b", .no_wait = true};
    assert_int_equal(outcome(&a), REASON_NONE);
    uint64_t before_us = world_now_us(world);
    assert_int_equal(outcome(&b), REASON_BUSY);
    assert_true(world_now_us(world) - before_us <= 1 * MS);
    assert_string_equal(b.answer.holder, "a");
    for (unsigned i = 0; i < 3; i++)
        world_node_crash(world, i, WORLD_LOSS_NONE);
    struct probe c = {.world = world, .resource = "s", .id = "c", .no_wait = true};
    assert_int_equal(outcome(&c), REASON_NO_QUORUM);
    assert_int_equal(c.answer.voting, 2);
    assert_int_equal(leases_counts(world_leases(world, 0)).resources, 1);
    world_free(world);
}

/* A waiter that can't be granted for want of nodes is told so; when they are back, others are. */
static void waits_for_the_quorum_to_come_back(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    for (unsigned i = 0; i < 3; i++)
        world_node_crash(world, i, WORLD_LOSS_NONE);
    struct probe a = {.world = world, .resource = "r", .id = "a", .wait_ms = 1000};
    struct probe b = {.world = world, .resource = "r", .id = "b", .wait_ms = 10000};
    probe_acquire(&a);
    probe_acquire(&b);
    world_run_us(world, 1001 * MS);
    assert_int_equal(a.answer.reason, REASON_NO_QUORUM);
    assert_int_equal(b.answers, 0);
    for (unsigned i = 0; i < 3; i++)
        world_node_start(world, i);
    unsigned ms = 0;
    while (!world_votes(world, 0, 0) && !world_votes(world, 0, 1) && !world_votes(world, 0, 2)) {
        world_run_us(world, 1 * MS);
        assert_true(++ms < 5000);
    }
    world_run_us(world, 150 * MS);
    assert_true(probe_holds(&b));
    world_free(world);
}

static void limits_are_answered_at_once(void **state)
{
    (void)state;
    struct world_options options = world_calm;
    options.waiters_max = 2;
    options.resources_max = 2;
    struct world *world = world_new(&options);
    world_run_us(world, 10 * MS);
    struct probe r = {.world = world, .resource = "r", .id = "r"};
    struct probe w1 = {.world = world, .resource = "r", .id = "w1", .wait_ms = 9000};
    struct probe w2 = {.world = world, .resource = "r", .id = "w2", .wait_ms = 9000};
    struct probe w3 = {.world = world, .resource = "r", .id = "w3", .wait_ms = 9000};
    struct probe again = {.world = world, .resource = "r", .id = "w1", .wait_ms = 9000};
    struct probe s = {.world = world, .resource = "s", .id = "s"};
    struct probe t = {.world = world, .resource = "t", .id = "t"};
    assert_int_equal(outcome(&r), REASON_NONE);
    probe_acquire(&w1);
    probe_acquire(&w2);
    assert_int_equal(outcome(&w3), REASON_OVERLOADED);
    assert_int_equal(outcome(&again), REASON_OVERLOADED);
    assert_int_equal(outcome(&s), REASON_NONE);
    assert_int_equal(outcome(&t), REASON_OVERLOADED);
    probe_release(&s, 0);
    assert_int_equal(outcome(&t), REASON_NONE);
    probe_release(&r, 0);
    world_run_us(world, 3 * MS);
    assert_true(probe_holds(&w1));
    assert_int_equal(leases_counts(world_leases(world, 0)).waiters, 1);
    world_free(world);
}

static void malformed_names_are_invalid(void **state)
{
    (void)state;
    char long_name[RESOURCE_BYTES_MAX + 2] = {0};
    memset(long_name, 'r', RESOURCE_BYTES_MAX);
    assert_true(leases_resource_valid(span_of(long_name)));
    long_name[RESOURCE_BYTES_MAX] = 'r';
    assert_false(leases_resource_valid(span_of(long_name)));
    assert_true(leases_resource_valid(span_of("stock:1{\xc3\xa9}*?")));
    assert_false(leases_resource_valid(span_of("")));
    assert_false(leases_resource_valid(span_of("a b")));
    assert_false(leases_resource_valid(span_of("a\nb")));
    assert_false(leases_resource_valid(span_of("a\x7f")));
    assert_false(leases_resource_valid(span_of("a\xc3"))); /* no UTF-8 */
    assert_false(leases_resource_valid((struct span){"a\0b", 3}));
    char long_id[REQUEST_ID_BYTES_MAX + 2] = {0};
    memset(long_id, '7', REQUEST_ID_BYTES_MAX);
    assert_true(leases_request_id_valid(span_of(long_id)));
    long_id[REQUEST_ID_BYTES_MAX] = '7';
    assert_false(leases_request_id_valid(span_of(long_id)));
    assert_true(leases_request_id_valid(span_of("aZ09._:-")));
    assert_false(leases_request_id_valid(span_of("a b")));
    assert_false(leases_request_id_valid(span_of("a*")));
    assert_false(leases_request_id_valid((struct span){"a\0", 2}));

    struct world *world = probe_world(1);
    struct probe a = {.world = world, .resource = "a b", .id = "a"};
    assert_int_equal(outcome(&a), REASON_INVALID);
    struct probe b = {.world = world, .resource = "r", .id = "a b"};
    assert_int_equal(outcome(&b), REASON_INVALID);
    assert_int_equal(leases_release(world_leases(world, 0), span_of("r"), span_of("a b"), 0),
                     REASON_INVALID);
    char widest[REQUEST_ID_BYTES_MAX + 1] = {0};
    memset(widest, 'i', REQUEST_ID_BYTES_MAX);
    long_name[RESOURCE_BYTES_MAX] = '\0';
    struct probe c = {.world = world, .resource = long_name, .id = widest};
    assert_int_equal(outcome(&c), REASON_NONE);
    world_free(world);
}

/* At the end everybody hears of it, rounds under way are given up, and holders keep what they
 * have. */
static void stopping_answers_all_and_leaves_leases(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    struct probe holder = {.world = world, .resource = "r", .id = "holder"};
    struct probe waits = {.world = world, .resource = "r", .id = "waits"};
    struct probe asks = {.world = world, .resource = "s", .id = "asks"};
    uint64_t token = probe_hold(&holder);
    struct probe extends = holder;
    extends.answers = 0;
    probe_acquire(&waits);
    probe_acquire(&asks);
    probe_extend(&extends, token);
    world_run_us(world, 500);
    world_lockd_crash(world, 0); /* frees its leases */
    assert_int_equal(waits.answer.reason, REASON_DOWN);
    assert_int_equal(asks.answer.reason, REASON_DOWN);
    assert_int_equal(extends.answer.reason, REASON_DOWN);
    world_run_us(world, 1 * SECOND);
    assert_int_equal(world_keys(world, "r"), 5);
    world_free(world);
}

/* Nothing stays of resources and requests that are over, but the released ids. */
static void idle_resources_cost_nothing(void **state)
{
    (void)state;
    struct world *world = probe_world(1);
    for (unsigned i = 0; i < 300; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "a%u", i);
        struct probe a = {.world = world, .resource = "r", .id = id, .ttl_ms = 100};
        assert_true(probe_hold(&a) > 0);
        if (i % 3 == 0) probe_release(&a, 0);
        if (i % 3 == 1) world_run_us(world, 200 * MS); /* expires */
        if (i % 3 == 2) probe_release(&a, a.answer.token);
    }
    world_run_us(world, 200 * MS);
    assert_int_equal(leases_counts(world_leases(world, 0)).resources, 0);
    assert_int_equal(leases_counts(world_leases(world, 0)).waiters, 0);
    assert_int_equal(leases_counts(world_leases(world, 0)).rounds_won, 300);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(F8_short_and_long_ttls),
        cmocka_unit_test(F11_lease_is_over_when_its_end_has_come),
        cmocka_unit_test(F19_64_waiters_are_served_in_order_in_one_round_each),
        cmocka_unit_test(F20_dead_waiters_are_skipped),
        cmocka_unit_test(F24_deadlines_bound_everything),
        cmocka_unit_test(F24_nobody_is_granted_after_a_pause_past_the_deadline),
        cmocka_unit_test(F29_lost_answer_is_released_by_request_id),
        cmocka_unit_test(released_id_stays_dead),
        cmocka_unit_test(release_ends_a_wait),
        cmocka_unit_test(F32_release_of_an_earlier_lease_spares_the_later),
        cmocka_unit_test(asking_again_keeps_the_place_and_the_lease),
        cmocka_unit_test(asking_again_raises_min_token),
        cmocka_unit_test(no_wait_is_one_try),
        cmocka_unit_test(waits_for_the_quorum_to_come_back),
        cmocka_unit_test(limits_are_answered_at_once),
        cmocka_unit_test(malformed_names_are_invalid),
        cmocka_unit_test(stopping_answers_all_and_leaves_leases),
        cmocka_unit_test(idle_resources_cost_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
