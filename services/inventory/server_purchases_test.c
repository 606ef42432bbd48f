/* Purchases over the real RPC. */
#include "inventory/server_world.h"
#include "proto/inventory.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void G7_each_answer_to_a_buyer_is_the_right_one(void **state)
{
    struct world *world = *state;
    struct heard first = world_buy(world, 1, 2, "k");
    assert_reason(&first, REASON_NONE);
    assert_int_equal(first.number, 98);
    assert_int_equal(first.total, 20);
    struct heard again = world_buy(world, 1, 2, "k");
    assert_reason(&again, REASON_NONE);
    assert_int_equal(again.id, first.id);
    struct heard heard = world_buy(world, 1, 3, "k");
    assert_reason(&heard, REASON_KEY_REUSED);
    heard = world_buy(world, 2, 99, "k");
    assert_reason(&heard, REASON_INSUFFICIENT);
    assert_int_equal(heard.requested, 99);
    assert_int_equal(heard.available, 98);
    heard = world_buy(world, 51, 1, "k");
    assert_reason(&heard, REASON_UNAUTHENTICATED);
    fake_lockd_be(world->lockd, FAKE_REFUSES, REASON_BUSY);
    heard = world_buy(world, 3, 1, "k");
    assert_reason(&heard, REASON_BUSY);
    fake_lockd_voting(world->lockd, 2);
    fake_lockd_be(world->lockd, FAKE_REFUSES, REASON_NO_QUORUM);
    heard = world_buy(world, 3, 1, "k");
    assert_reason(&heard, REASON_NO_QUORUM);
    assert_non_null(strstr(heard.call.status.message, "redis2:6379"));
    fake_lockd_voting(world->lockd, 5);
    fake_lockd_be(world->lockd, FAKE_GRANTS, REASON_NONE);
    loop_run_ms(world->loop, 250);
    heard = world_buy(world, 3, 98, "k");
    assert_reason(&heard, REASON_NONE);
    heard = world_buy(world, 4, 1, "k");
    assert_reason(&heard, REASON_INSUFFICIENT);
    int64_t known = world->product;
    world->product = 4711;
    heard = world_buy(world, 4, 1, "k2");
    world->product = known;
    assert_reason(&heard, REASON_NOT_FOUND);
    assert_int_equal(world_number(world, "SELECT stock FROM products"), 0);
    assert_int_equal(world_number(world, "SELECT sum(delta) FROM stock_ledger"), 0);
}

static void what_is_malformed_is_refused_and_spoils_nobodys_batch(void **state)
{
    struct world *world = *state;
    char long_key[300];
    memset(long_key, 'x', sizeof long_key);
    long_key[256] = '\0';
    static const struct {
        int64_t user;
        int64_t quantity;
        const char *key;
    } bad[] = {{0, 1, "k"},       {-1, 1, "k"}, {1, 0, "k"},        {1, -5, "k"},
               {1, 1000001, "k"}, {1, 1, ""},   {1, 1, "bad \xff"}, {1, 1, "\xed\xa0\x80"}};
    struct heard good;
    heard_begin(&good, world, WORLD_INVENTORY, 5000000);
    start_buy(&good, 1, 1, "good");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct heard heard = world_buy(world, bad[i].user, bad[i].quantity, bad[i].key);
        assert_reason(&heard, REASON_INVALID);
    }
    struct heard heard = world_buy(world, 1, 1, long_key);
    assert_reason(&heard, REASON_INVALID);
    long_key[255] = '\0';
    heard = world_buy(world, 1, 1, long_key);
    assert_reason(&heard, REASON_NONE);
    heard_wait(&good);
    assert_reason(&good, REASON_NONE);
}

static void G16_a_batch_without_answer_is_unknown_then_the_key_gets_its_first_body(void **state)
{
    struct world *world = *state;
    assert_true(world_buy(world, 9, 1, "warm").good);
    PGconn *other = database_fixture_hold(world->postgres, world->product);
    struct heard heard;
    uint64_t began_us = loop_now_us(world->loop);
    heard_begin(&heard, world, WORLD_INVENTORY, 700000);
    start_buy(&heard, 1, 1, "k");
    heard_wait(&heard);
    assert_reason(&heard, REASON_OUTCOME_UNKNOWN);
    assert_non_null(strstr(heard.call.status.message, "idempotency key")); /* ours, not the RPC's */
    assert_true(loop_now_us(world->loop) < began_us + 700000);
    loop_run_ms(
        world->loop,
        800); /* the statement is given up, its connection dropped; it hangs on in the server */
    struct heard again;
    heard_begin(&again, world, WORLD_INVENTORY, 5000000);
    start_buy(&again, 1, 1, "k"); /* runs behind its own straggler, under a higher token */
    loop_run_ms(world->loop, 300);
    database_fixture_let_go(other);
    heard_wait(&again);
    assert_reason(&again, REASON_NONE);
    assert_int_equal(world_number(world, "SELECT count(*) FROM purchases WHERE idem = 'k'"), 1);
    assert_int_equal(world_number(world, "SELECT stock FROM products"), 98);
    assert_int_equal(world_buy(world, 1, 1, "k").id, again.id);
}

static void a_buyer_who_gave_up_before_his_batch_began_buys_nothing(void **state)
{
    struct world *world = *state;
    assert_true(world_buy(world, 9, 1, "warm").good);
    fake_lockd_be(world->lockd, FAKE_SILENT, REASON_NONE);
    struct heard gone;
    heard_begin(&gone, world, WORLD_INVENTORY, 5000000);
    start_buy(&gone, 1, 1, "k");
    loop_run_ms(world->loop, 50);
    rpc_call_cancel(&gone.call);
    loop_run_ms(world->loop, 50);
    assert_int_equal(lanes_counts(ports_lanes(world->ports)).orders, 0);
    fake_lockd_be(world->lockd, FAKE_GRANTS, REASON_NONE);
    loop_run_ms(world->loop, 1200);
    assert_int_equal(world_number(world, "SELECT count(*) FROM purchases WHERE idem = 'k'"), 0);
}

static void too_many_buyers_hear_it_at_once(void **state)
{
    struct world *world = *state;
    fake_lockd_be(world->lockd, FAKE_SILENT, REASON_NONE);
    struct heard heard[5];
    char key[5][16];
    for (int i = 0; i < 5; i++) {
        heard_begin(&heard[i], world, WORLD_INVENTORY, 5000000);
        snprintf(key[i], sizeof key[i], "k%d", i);
        start_buy(&heard[i], 1, 1, key[i]);
    }
    heard_wait(&heard[4]);
    assert_reason(&heard[4], REASON_OVERLOADED);
    fake_lockd_be(world->lockd, FAKE_GRANTS, REASON_NONE);
    for (int i = 0; i < 4; i++) {
        heard_wait(&heard[i]);
        assert_reason(&heard[i], REASON_NONE);
    }
}

static void on_listed(const Quorate__Inventory__V1__ListPurchasesReply *reply, void *arg)
{
    struct heard *heard = arg;
    if (reply != NULL) {
        heard->number = (int64_t)reply->n_purchases;
        heard->more = reply->more;
        heard->id = reply->n_purchases == 0 ? 0 : reply->purchases[reply->n_purchases - 1]->id;
    }
    heard_end(heard, reply != NULL);
}

static struct heard list_purchases(const struct world *world, int64_t user, int64_t after,
                                   uint32_t limit)
{
    struct heard heard;
    heard_begin(&heard, world, WORLD_INVENTORY, 5000000);
    Quorate__Inventory__V1__ListPurchasesRequest request =
        QUORATE__INVENTORY__V1__LIST_PURCHASES_REQUEST__INIT;
    request.user_id = user;
    request.after = after;
    request.limit = limit;
    quorate__inventory__v1__inventory__list_purchases(&heard.call.service, &request, on_listed,
                                                      &heard);
    heard_wait(&heard);
    return heard;
}

static void purchases_are_listed_in_pages(void **state)
{
    struct world *world = *state;
    assert_true(world_buy(world, 1, 1, "a").good);
    assert_true(world_buy(world, 1, 1, "b").good);
    assert_true(world_buy(world, 1, 1, "c").good);
    struct heard page = list_purchases(world, 1, 0, 2);
    assert_int_equal(page.number, 2);
    assert_true(page.more);
    page = list_purchases(world, 1, page.id, 2);
    assert_int_equal(page.number, 1);
    assert_false(page.more);
    page = list_purchases(world, 2, 0, 1000);
    assert_int_equal(page.number, 0);
    page = list_purchases(world, 2, 0, 1001);
    assert_reason(&page, REASON_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(G7_each_answer_to_a_buyer_is_the_right_one),
        TEST(what_is_malformed_is_refused_and_spoils_nobodys_batch),
        TEST(G16_a_batch_without_answer_is_unknown_then_the_key_gets_its_first_body),
        TEST(a_buyer_who_gave_up_before_his_batch_began_buys_nothing),
        TEST(too_many_buyers_hear_it_at_once),
        TEST(purchases_are_listed_in_pages),
    };
    return cmocka_run_group_tests(tests, world_start, world_end);
}
