/* THE LOCK PROTOCOL
 *
 * A lease gives one request id the exclusive use of one resource for a bounded time. lockd keeps
 * it on N independent Redis nodes (5, say) that know nothing of each other: no replication, no
 * consensus, no leader. A quorum is N/2 + 1 of them (3). This is Redlock, with three additions: a
 * fencing token that only grows and comes in the same round trip as the grant; waiting in order,
 * with hand-off in one round trip; and admission: a node that may have forgotten does not vote.
 *
 * ON EACH NODE, for a resource `r`
 *   lock:r         "<request id> <lockd instance> <token>", with the lease's TTL as its life.
 *   fence:r        the highest token this node has accepted or been told for r; lives 10 minutes
 *                  after the last touch, so that cold resources leave nothing behind.
 *   quorate:epoch  which cluster the node belongs to; which run of the server may vote; `high`, the
 *                  highest token of all resources; `floor`, below which it grants nothing.
 * The node's bound for r is its fence, or `high` where the fence is gone (an expired fence would
 * otherwise let old tokens in), and never less than `floor`.
 *
 * ONE ROUND TRIP. Every script is atomic, and answers with the bound.
 *   grant    the lock is free, or held by `from` (below), and the token is above the bound: set
 *            it, raise fence and `high`. This very value again: a yes, with a later end. Another
 *            value: HELD, with what is left of it. A token not above the bound: STALE.
 *   extend   this very value: a later end, and a vote. Missing, and the bound not above the token:
 *            set again, which heals the node, but no vote, as it proves nothing about the time in
 *            between. Otherwise LOST.
 *   release  deletes this very value and nothing else; raises the fence to token + 1 in any case,
 *            a tombstone, so that a grant or extend that is still under way finds its token too
 *            low.
 *   forget   deletes whatever begins with a request id: for leases of which lockd knows no token.
 * No order shortens a key's life and none lowers a fence: what was left in the socket of a dropped
 * connection may still run beside the orders of the next. A grant or extend that a node executes
 * later than lockd waits for it does nothing at all, by the node's clock as lockd has seen it run.
 * The value holds the token, so every attempt has its own: with the request id alone, a late
 * release of one attempt would delete the next one's grant.
 *
 * TOKENS. max(wall clock in us, highest token seen + 1, min_token + 1); below 2^53, as numbers in
 * Lua are doubles; decimal text on the wire. A wall clock that is wrong costs one more round, as
 * every answer teaches the bound, never the order. min_token is what a resource says it has seen
 * when it refuses a token: so a resource that remembers more than the nodes is not locked out for
 * long.
 *
 * COUNTING. Ask all voting nodes at once; decide at the quorum's yes, or when it is out of reach.
 * A node that is late is a no for this round. The lease ends, on lockd's own CLOCK_BOOTTIME, at
 * (just before the first send) + TTL - drift, drift being 1 % + 2 ms; if that has come, the round
 * has failed.
 *   - too few answers: the same value again, without a release. Its own keys don't stand in its
 *     way.
 *   - HELD or STALE: release everywhere, then a new token. After HELD, when a quorum of nodes is
 *     free again by what they said; after a tie, in which nobody holds a quorum, after a random
 *     wait that doubles; after STALE at once.
 *   - given up, or won too late: release everywhere, also where the answer was no or none.
 *   - a failed extend leaves the old end standing. Only the granting lockd extends, and only
 *     before that end: another one could do it beside a hand-off of the first.
 * A release that a node missed is kept for one TTL and sent first when the node is back; before a
 * stuck connection is dropped it is written to its socket, as a paused node still executes what is
 * there.
 *
 * WAITING. Per resource and lockd, one holder and a queue. When a lease ends, the first in the
 * queue is granted by one round whose `from` is the ended lease's value: no release, no acquire.
 * On nodes that did not take part, `from` is released. A released request id stays dead for a
 * while, as its acquire may arrive after its release.
 *   Why a lease that ended by itself may be taken over before its keys are gone: its end was
 * handed out as an instant (or converted so that it comes no later at the client), an extend moves
 * it only if it is won before, and that is decided here, on the same clock, by the same thread
 * that now takes it over. So at this instant nobody counts on these keys; they can only be in the
 * way. What the old holder sent before and a node executes after can't undo it: an extend finds
 * another value or a higher bound, a release finds another value.
 *
 * SEVERAL LOCKDS contend through the nodes, as any Redlock clients do. But one that hands on from
 * waiter to waiter never lets go, and another would find the lock held for ever (it did, in every
 * run). So a node that says HELD to a lockd because of another one's value notes who was refused
 * (`wait:`), says so with its next yes, and after a few more hand-ons the busy lockd really
 * releases and stays away for a moment. The release is published to who waits, as otherwise he
 * would come at the end that he was told, when the next owner is there already. Marks and hints
 * only say when to ask: what is granted, and that it is safe, does not depend on them.
 *
 * WHY TWO LEASES OF ONE RESOURCE ARE NEVER BOTH VALID
 * Both were won by majorities, so some node n was counted for both. Call A (value a) the one whose
 * counted yes n gave first, B (value b) the other. When n granted b,
 *   1. either n remembered a. Then
 *      - a had expired on n. n counted A's TTL from an instant after lockd had read its clock and
 *        sent the order; lockd's end for A is that reading + TTL - drift. Clocks that run within
 *        1 % of each other put the end before the expiry: A was over.
 *      - or a had been released: by its holder, who knows, or by lockd when it gave up, and what
 *        it gives up it never hands out.
 *      - or b's `from` was a: see WAITING. A was over.
 *   2. or n had forgotten a: it restarted without its data, or without the last second of it. Then
 *      it did not vote before it had sat out LOCK_TTL_MAX, the longest that any lease lasts: A was
 *      over. A clock of n that jumps ends keys early; that shows as two answers whose times can't
 *      both be true, and is treated as having forgotten.
 * The same holds for an extend of A: it too was won by a majority, of which some node n was
 * counted for B as well. Had n executed it after granting b, it would have found another value, or
 * (b being over) a higher bound, and not have counted; so it came before, and moved a's end on n.
 *   Tokens: where n remembered a, its bound was A's token at least when it granted b. Where it had
 * forgotten, its `floor` is the highest `high` of N - quorum + 1 other nodes; every grant was made
 * by a quorum and is known to one of these, unless as many have forgotten.
 *
 * ADMISSION (admission.c has the details). On every connection, before its first vote: not a
 * replica, no eviction, not one server under two names, the same cluster's epoch. The same run of
 * the server as recorded: votes. Another run, but every write was on disk before its answer:
 * recorded, votes. Otherwise quarantine, then epoch and floor as above; a node that restarts again
 * meanwhile begins anew, as it may have been admitted elsewhere and have forgotten again. Only when
 * all nodes have forgotten do the wall clock and the highest token that lockd knows stand in. With
 * LOCK_INIT=empty, nodes that are all empty are taken for new ones and vote at once: that, and only
 * that, trusts somebody instead of waiting.
 *
 * WHAT IS PROMISED while a quorum of nodes votes, their clocks and lockd's run within 1 % of each
 * other, and lockd's pauses are shorter than what is left of a lease when it is granted:
 * exclusion; order of arrival within one lockd; progress. With fewer nodes there is no progress,
 * but still exclusion. Tokens grow while fewer than N - quorum + 1 nodes have forgotten.
 *
 * WHAT NO LEASE CAN PROMISE: that a client which was paused between its last look at the clock and
 * its write does not write late. So the resource checks: it records the highest token it has seen,
 * in the same statement that reads or writes, and refuses a lower one. Exclusion makes this rare,
 * the token makes it harmless. After an unknown outcome at the resource, a holder takes a higher
 * token first and repeats then: what is still under way is then refused.
 */
#include "lockd/redlock.h"

#include "base/check.h"

#include <stdlib.h>

/* One node's place in a round. */
struct seat {
    struct redlock_round *round;
    unsigned node;
    bool open; /* asked, and may still answer in time */
    struct vote vote;
};

struct redlock_round {
    struct redlock redlock;
    redlock_answer_fn *on_answer; /* NULL once it has spoken or was abandoned */
    void *arg;
    struct timer timer;
    uint64_t sent_us; /* before the first send */
    uint64_t from_token;
    enum order_kind kind;
    uint32_t ttl_ms;
    unsigned owed; /* votes that the transport still owes; the last one frees */
    unsigned nodes;
    size_t resource_bytes;
    size_t from_bytes;
    struct seat seats[TRANSPORT_NODES_MAX];
    char texts[]; /* resource and from, for what must be cleaned after the answer */
};

/* Sets the part of the result that says who is in the way, and until when. A node that did not
 * answer is taken to be as busy as the busiest that did; one that said yes or STALE is free once we
 * let it go. */
static void judge_contention(const struct redlock_round *round, struct redlock_result *result)
{
    unsigned quorum = transport_quorum(round->redlock.transport);
    unsigned most = 0;
    uint32_t longest_ms = 0;
    for (unsigned i = 0; i < round->nodes; i++) {
        const struct vote *vote = &round->seats[i].vote;
        if (vote->verdict != VERDICT_HELD) continue;
        if (vote->remaining_ms > longest_ms) longest_ms = vote->remaining_ms;
        unsigned same = 0;
        uint32_t remaining_ms = 0;
        for (unsigned j = 0; j < round->nodes; j++) {
            const struct vote *other = &round->seats[j].vote;
            if (other->verdict != VERDICT_HELD || strcmp(vote->holder, other->holder) != 0) {
                continue;
            }
            same++;
            if (other->remaining_ms > remaining_ms) remaining_ms = other->remaining_ms;
        }
        if (same <= most) continue;
        most = same;
        result->remaining_ms = remaining_ms;
        memcpy(result->holder, vote->holder, sizeof result->holder);
    }
    result->held = most >= quorum;

    uint32_t sorted_ms[TRANSPORT_NODES_MAX];
    for (unsigned i = 0; i < round->nodes; i++) {
        const struct vote *vote = &round->seats[i].vote;
        uint32_t ms = longest_ms;
        if (vote->verdict == VERDICT_HELD) ms = vote->remaining_ms;
        if (vote->verdict == VERDICT_YES || vote->verdict == VERDICT_STALE) ms = 0;
        unsigned place = i;
        for (; place > 0 && sorted_ms[place - 1] > ms; place--)
            sorted_ms[place] = sorted_ms[place - 1];
        sorted_ms[place] = ms;
    }
    result->free_in_ms = sorted_ms[quorum - 1];
}

static unsigned count(const struct redlock_round *round, enum verdict verdict)
{
    unsigned same = 0;
    for (unsigned i = 0; i < round->nodes; i++) {
        same += !round->seats[i].open && round->seats[i].vote.verdict == verdict;
    }
    return same;
}

/* True: decided. A node whose seat is not open and that gave no vote stands as UNKNOWN. */
static bool judge(const struct redlock_round *round, struct redlock_result *result)
{
    unsigned quorum = transport_quorum(round->redlock.transport);
    unsigned yes = count(round, VERDICT_YES);
    unsigned open = 0;
    for (unsigned i = 0; i < round->nodes; i++) {
        if (round->seats[i].open) open++;
        if (round->seats[i].vote.bound > result->bound) result->bound = round->seats[i].vote.bound;
        result->others_wait |= round->seats[i].vote.others_wait;
    }
    uint64_t now_us = timers_now_us(round->redlock.timers);
    result->elapsed_us = now_us - round->sent_us;
    if (yes >= quorum) {
        result->keys_end_us = round->sent_us + (uint64_t)round->ttl_ms * 1000;
        uint64_t drift_us = redlock_drift_us(round->ttl_ms);
        bool late = now_us + drift_us >= result->keys_end_us;
        result->ends_us = late ? 0 : result->keys_end_us - drift_us;
        result->outcome = late ? REDLOCK_LATE : REDLOCK_WON;
        return true;
    }
    if (yes + open >= quorum) return false;
    if (round->kind == ORDER_EXTEND) {
        bool lost = count(round, VERDICT_LOST) > round->nodes - quorum;
        result->outcome = lost ? REDLOCK_LOST : REDLOCK_SHORT;
        return true;
    }
    unsigned held = count(round, VERDICT_HELD);
    if (held + count(round, VERDICT_STALE) == 0) {
        result->outcome = REDLOCK_SHORT;
        return true;
    }
    judge_contention(round, result);
    result->outcome = REDLOCK_CONTENDED;
    /* Lost already; but whether an owner stands in the way or several partial ones do decides how
     * long to wait, and that is worth hearing the others, as nobody is kept waiting by it. */
    return held == 0 || result->held || open == 0;
}

static void round_free_if_done(struct redlock_round *round)
{
    if (round->owed == 0 && round->on_answer == NULL) free(round);
}

static void round_step(struct redlock_round *round)
{
    struct redlock_result result = {0};
    if (round->on_answer == NULL || !judge(round, &result)) {
        round_free_if_done(round);
        return;
    }
    redlock_answer_fn *on_answer = round->on_answer;
    void *arg = round->arg;
    round->on_answer = NULL;
    timer_stop(&round->timer);
    round_free_if_done(round);
    on_answer(arg, &result);
}

/* Time is up: who has not answered by now is a no. */
static void round_on_timer(void *arg)
{
    struct redlock_round *round = arg;
    for (unsigned i = 0; i < round->nodes; i++)
        round->seats[i].open = false;
    round_step(round);
}

static void ignore_vote(void *arg, const struct vote *vote)
{
    (void)arg;
    (void)vote;
}

/* The ended lease may still be on a node that did not take the new one: it would stand in the way
 * there until it expires. After a take-over that was executed but not heard of this changes
 * nothing, as it deletes only that very value. */
static void release_from(const struct redlock_round *round, unsigned node)
{
    if (round->from_bytes == 0) return;
    struct order order = {
        .kind = ORDER_RELEASE,
        .resource = {round->texts, round->resource_bytes},
        .value = {round->texts + round->resource_bytes, round->from_bytes},
        .token = round->from_token,
        .ttl_ms = round->ttl_ms,
    };
    const struct transport *transport = round->redlock.transport;
    (void)transport->send(transport->arg, node, &order, ignore_vote, NULL);
}

static void round_on_vote(void *arg, const struct vote *vote)
{
    struct seat *seat = arg;
    struct redlock_round *round = seat->round;
    CHECK(round->owed > 0);
    round->owed--;
    bool there = vote->verdict != VERDICT_YES && vote->verdict != VERDICT_HELD;
    if (there) release_from(round, seat->node);
    if (seat->open) { /* otherwise too late to count */
        seat->open = false;
        seat->vote = *vote;
    }
    round_step(round);
}

struct redlock_round *redlock_ask(const struct redlock *redlock,
                                  const struct redlock_question *question,
                                  redlock_answer_fn *on_answer, void *arg)
{
    const struct transport *transport = redlock->transport;
    CHECK(on_answer != NULL);
    CHECK(question->kind == ORDER_GRANT || question->kind == ORDER_EXTEND);
    CHECK(question->ttl_ms > 0 && question->token > 0 && question->token <= TOKEN_MAX);
    CHECK(transport->nodes > 0 && transport->nodes <= TRANSPORT_NODES_MAX);

    size_t resource_bytes = question->resource.bytes;
    size_t from_bytes = question->from.bytes;
    struct redlock_round *round = xcalloc(1, sizeof *round + resource_bytes + from_bytes);
    round->redlock = *redlock;
    round->on_answer = on_answer;
    round->arg = arg;
    round->kind = question->kind;
    round->ttl_ms = question->ttl_ms;
    round->from_token = question->from_token;
    round->nodes = transport->nodes;
    round->resource_bytes = resource_bytes;
    round->from_bytes = from_bytes;
    memcpy(round->texts, question->resource.at, resource_bytes);
    if (from_bytes > 0) memcpy(round->texts + resource_bytes, question->from.at, from_bytes);

    struct order order = {
        .kind = question->kind,
        .resource = question->resource,
        .value = question->value,
        .from = question->from,
        .token = question->token,
        .ttl_ms = question->ttl_ms,
    };
    round->sent_us = timers_now_us(redlock->timers);
    for (unsigned i = 0; i < round->nodes; i++) {
        struct seat *seat = &round->seats[i];
        *seat = (struct seat){.round = round, .node = i, .vote = {.verdict = VERDICT_UNKNOWN}};
        seat->open = transport->send(transport->arg, i, &order, round_on_vote, seat);
        if (seat->open) {
            round->owed++;
        } else {
            release_from(round, i);
        }
    }
    uint32_t timeout_ms = redlock->node_timeout_ms;
    if (timeout_ms > question->ttl_ms) timeout_ms = question->ttl_ms;
    uint64_t due_us = round->sent_us + (uint64_t)timeout_ms * 1000;
    if (round->owed < transport_quorum(transport))
        due_us = round->sent_us; /* nothing to wait for */
    timer_start(&round->timer, redlock->timers, due_us, round_on_timer, round);
    return round;
}

void redlock_abandon(struct redlock_round *round)
{
    CHECK(round->on_answer != NULL);
    round->on_answer = NULL;
    timer_stop(&round->timer);
    round_free_if_done(round);
}

void redlock_tell(const struct transport *transport, const struct order *order)
{
    CHECK(order->kind == ORDER_RELEASE || order->kind == ORDER_FORGET);
    for (unsigned i = 0; i < transport->nodes; i++)
        (void)transport->send(transport->arg, i, order, ignore_vote, NULL);
}
