/* The simulated node against the real scripts: the same orders at the same times, chosen at random
 * among few values and tokens, have to leave and answer the same. What the simulated world proves
 * is worth as much as this. */
#include "lockd/sim_node.h"

#include "base/check.h"
#include "lockd/facts.h"
#include "lockd/fake_redis.h"
#include "lockd/scripts.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ID       "1:abc:0:60000"
#define FENCE_MS 700
#define TOKENS   12
#define ORDERS   4000
#define START_US UINT64_C(1700000000000000)

struct pair {
    uint64_t now_us;
    struct clock clock;
    struct fake_redis redis;
    struct sim_node sim;
    char texts[2][64];
    char numbers[3][24];
};

static uint64_t pair_us(void *arg)
{
    return ((struct pair *)arg)->now_us;
}

static struct span decimal(char text[24], uint64_t number)
{
    (void)snprintf(text, 24, "%" PRIu64, number);
    return span_of(text);
}

static enum verdict verdict_of(enum script_status status)
{
    switch (status) {
    case SCRIPT_OK:
        return VERDICT_YES;
    case SCRIPT_HELD:
        return VERDICT_HELD;
    case SCRIPT_STALE:
        return VERDICT_STALE;
    case SCRIPT_HEALED:
        return VERDICT_HEALED;
    case SCRIPT_LOST:
        return VERDICT_LOST;
    case SCRIPT_LATE:
    case SCRIPT_NOEPOCH:
    case SCRIPT_WRONG_CLUSTER:
    case SCRIPT_DOUBT:
        return VERDICT_EXCLUDED;
    case SCRIPT_USED:
    case SCRIPT_ODD:
        break;
    }
    CHECK(!"a status of these scripts");
}

/* As the ballot calls them. */
static void execute_script(struct pair *pair, const struct order *order, struct vote *vote)
{
    struct span args[13] = {span_of("quorate:epoch"), span_of("lock:r"), span_of("fence:r"),
                            span_of("wait:r"), span_of(ID)};
    size_t count = 5;
    enum script script = SCRIPT_FORGET;
    struct span fence_ms = decimal(pair->numbers[0], FENCE_MS);
    if (order->kind == ORDER_GRANT || order->kind == ORDER_EXTEND) {
        script = order->kind == ORDER_GRANT ? SCRIPT_GRANT : SCRIPT_EXTEND;
        args[count++] = span_of(pair->redis.run_id);
        args[count++] = order->value;
        if (order->kind == ORDER_GRANT) args[count++] = order->from;
        args[count++] = decimal(pair->numbers[1], order->token);
        args[count++] = decimal(pair->numbers[2], order->ttl_ms);
        args[count++] = fence_ms;
        args[count++] = span_of("9007199254740991");
    } else if (order->kind == ORDER_RELEASE) {
        script = SCRIPT_RELEASE;
        args[count++] = order->value;
        args[count++] = decimal(pair->numbers[1], order->token + 1);
        args[count++] = fence_ms;
    } else {
        args[count++] = order->value;
    }
    redisReply *reply = fake_redis_eval(&pair->redis, script_sources[script], 4, args, count);
    struct script_answer answer = script_answer_read(reply);
    *vote = (struct vote){.verdict = verdict_of(answer.status), .bound = answer.token};
    vote->others_wait = vote->verdict == VERDICT_YES && answer.more.bytes > 0;
    uint64_t remaining_ms = 0;
    if (vote->verdict == VERDICT_HELD && facts_number(answer.more, &remaining_ms)) {
        vote->remaining_ms = (uint32_t)remaining_ms;
        const char *space = memchr(answer.last.at, ' ', answer.last.bytes);
        assert_non_null(space);
        memcpy(vote->holder, answer.last.at, (size_t)(space - answer.last.at));
    }
    freeReplyObject(reply);
}

static struct span value_of(char text[64], uint64_t token)
{
    const char *instance = token % 5 < 2 ? "00000000000000ab" : "00000000000000cd";
    (void)snprintf(text, 64, "id%c %s %" PRIu64, token % 3 == 0 ? 'a' : 'b', instance, token);
    return span_of(text);
}

static struct order random_order(struct pair *pair)
{
    static const enum order_kind kinds[] = {ORDER_GRANT, ORDER_GRANT, ORDER_EXTEND, ORDER_RELEASE,
                                            ORDER_FORGET};
    struct order order = {.kind = kinds[(unsigned)rand() % 5], .resource = span_of("r")};
    order.token = START_US + pair->now_us / 100000 + (unsigned)rand() % TOKENS;
    order.ttl_ms = 10 + (uint32_t)rand() % 400;
    order.value = value_of(pair->texts[0], order.token);
    if (order.kind == ORDER_GRANT && rand() % 3 == 0) {
        order.from = value_of(pair->texts[1], order.token - 1 - (unsigned)rand() % 3);
    }
    if (order.kind == ORDER_FORGET) order.value = span_of(rand() % 2 == 0 ? "ida" : "id");
    return order;
}

static void compare(struct pair *pair, const struct vote *real, const struct vote *model)
{
    assert_int_equal(real->verdict, model->verdict);
    assert_int_equal(real->bound, model->bound);
    assert_int_equal(real->remaining_ms, model->remaining_ms);
    assert_string_equal(real->holder, model->holder);
    assert_int_equal(real->others_wait, model->others_wait);
    assert_true(span_equal(sim_node_mark(&pair->sim, "r", pair->now_us),
                           span_of(fake_redis_get(&pair->redis, "wait:r"))));
    struct span value = sim_node_value(&pair->sim, "r", pair->now_us);
    assert_true(span_equal(value, span_of(fake_redis_get(&pair->redis, "lock:r"))));
    if (value.bytes > 0) {
        assert_int_equal(fake_redis_pttl(&pair->redis, "lock:r"),
                         sim_node_remaining_ms(&pair->sim, "r", pair->now_us));
    }
}

static void model_and_scripts_agree_on_random_orders(void **state)
{
    (void)state;
    static struct pair pair;
    pair.now_us = 1000000;
    pair.clock = (struct clock){pair_us, pair_us, &pair};
    fake_redis_init(&pair.redis, &pair.clock);
    pair.sim.fence_life_us = FENCE_MS * UINT64_C(1000);
    srand(11);
    unsigned seen[VERDICT_EXCLUDED + 1] = {0};
    unsigned told = 0;
    unsigned others = 0;
    for (unsigned i = 0; i < ORDERS; i++) {
        pair.now_us += (unsigned)rand() % 30000;
        if (rand() % 100 == 0) pair.now_us += 800000; /* all fences expire */
        if (i == 50 || rand() % 500 == 0) {           /* admitted, anew, with this floor */
            char floor[24];
            pair.sim.epoch = true;
            if (pair.sim.floor < pair.sim.high) pair.sim.floor = pair.sim.high;
            struct span args[] = {span_of("HSET"),   span_of("quorate:epoch"),
                                  span_of("id"),     span_of(ID),
                                  span_of("run_id"), span_of(pair.redis.run_id),
                                  span_of("floor"),  decimal(floor, pair.sim.floor)};
            freeReplyObject(fake_redis_command(&pair.redis, args, sizeof args / sizeof *args));
        }
        struct order order = random_order(&pair);
        struct vote real;
        struct vote model;
        execute_script(&pair, &order, &real);
        sim_node_execute(&pair.sim, &order, pair.now_us, &model);
        compare(&pair, &real, &model);
        seen[model.verdict]++;
        others += model.others_wait;
        told += pair.sim.told;
        assert_int_equal(pair.redis.published, told);
    }
    for (unsigned i = 0; i <= VERDICT_EXCLUDED; i++) {
        if (i != VERDICT_UNKNOWN) assert_true(seen[i] > 20);
    }
    assert_true(told > 20 && others > 20);
    fake_redis_fini(&pair.redis);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_and_scripts_agree_on_random_orders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
