/* A member's orders and votes: what goes to the node's scripts, what comes back, and what is kept
 * for a node that is away. */
#include "base/check.h"
#include "base/metrics.h"
#include "lockd/member.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NUMBER_BYTES = 21,
    KEY_BYTES_MAX = RESOURCE_BYTES_MAX + 8,
};

/* A question under way. */
struct ballot {
    struct member *member;
    uint64_t term; /* the member's when it was asked */
    uint64_t sent_us;
    enum order_kind kind;
    vote_fn *on_vote;
    void *arg;
    struct kept *kept; /* RELEASE and FORGET: what to keep if it is not answered */
};

/* A release that the node has not confirmed. */
struct kept {
    struct order order; /* its spans point into `bytes` */
    uint64_t expires_us;
    struct kept *next;
    char bytes[RESOURCE_BYTES_MAX + VALUE_BYTES_MAX];
};

struct untold {
    vote_fn *on_vote;
    void *arg;
    struct untold *next;
};

/* The arguments of an order's script, and the room for those that have to be made. */
struct call {
    enum script script;
    struct span args[12];
    size_t keys;
    size_t count;
    char lock[KEY_BYTES_MAX];
    char fence[KEY_BYTES_MAX];
    char wait[KEY_BYTES_MAX];
    char token[NUMBER_BYTES];
    char ttl[NUMBER_BYTES];
    char fence_ms[NUMBER_BYTES];
    char latest[NUMBER_BYTES];
};

static uint64_t now_us(const struct member *member)
{
    return timers_now_us(member->options.timers);
}

static struct span print_number(char into[NUMBER_BYTES], uint64_t number)
{
    int bytes = snprintf(into, NUMBER_BYTES, "%" PRIu64, number);
    return (struct span){into, (size_t)bytes};
}

static struct span print_key(char into[KEY_BYTES_MAX], const char *prefix, struct span resource)
{
    CHECK(resource.bytes > 0 && resource.bytes <= RESOURCE_BYTES_MAX);
    int bytes = snprintf(into, KEY_BYTES_MAX, "%s%.*s", prefix, SPAN_ARGS(resource));
    return (struct span){into, (size_t)bytes};
}

static void add(struct call *call, struct span arg)
{
    call->args[call->count++] = arg;
}

static uint32_t timeout_ms(const struct member *member, const struct order *order)
{
    if (order->kind == ORDER_RELEASE || order->kind == ORDER_FORGET)
        return member->options.node_timeout_ms;
    uint32_t most_ms = order->ttl_ms > 1 ? order->ttl_ms - 1 : 1;
    return member->options.node_timeout_ms < most_ms ? member->options.node_timeout_ms : most_ms;
}

/* Past this moment of the server's clock nobody waits for the answer. */
static uint64_t latest_us(const struct member *member, const struct order *order)
{
    uint64_t until_us = now_us(member) + (uint64_t)timeout_ms(member, order) * 1000;
    uint64_t latest = admission_latest_us(&member->admission, until_us);
    return latest < TOKEN_MAX ? latest : TOKEN_MAX;
}

static void make_call(const struct member *member, const struct order *order, struct call *call)
{
    CHECK(order->value.bytes > 0 && order->value.bytes <= VALUE_BYTES_MAX);
    CHECK(order->token < TOKEN_MAX); /* its tombstone is one more */
    call->count = 0;
    call->keys = 4;
    add(call, span_of("quorate:epoch"));
    add(call, print_key(call->lock, "lock:", order->resource));
    add(call, print_key(call->fence, "fence:", order->resource));
    add(call, print_key(call->wait, "wait:", order->resource));
    add(call, span_of(member->options.epoch_id));
    struct span fence_ms = print_number(call->fence_ms, member->options.fence_ms);
    switch (order->kind) {
    case ORDER_GRANT:
    case ORDER_EXTEND:
        call->script = order->kind == ORDER_GRANT ? SCRIPT_GRANT : SCRIPT_EXTEND;
        add(call, span_of(member->facts.run_id));
        add(call, order->value);
        if (order->kind == ORDER_GRANT) add(call, order->from);
        add(call, print_number(call->token, order->token));
        add(call, print_number(call->ttl, order->ttl_ms));
        add(call, fence_ms);
        add(call, print_number(call->latest, latest_us(member, order)));
        return;
    case ORDER_RELEASE:
        call->script = SCRIPT_RELEASE;
        add(call, order->value);
        add(call, print_number(call->token, order->token + 1));
        add(call, fence_ms);
        return;
    case ORDER_FORGET:
        call->script = SCRIPT_FORGET;
        add(call, order->value);
        return;
    }
}

/* Kept releases. */

static struct kept *kept_new(const struct member *member, const struct order *order)
{
    CHECK(order->resource.bytes <= RESOURCE_BYTES_MAX && order->value.bytes <= VALUE_BYTES_MAX);
    struct kept *kept = xcalloc(1, sizeof *kept);
    kept->order = *order;
    memcpy(kept->bytes, order->resource.at, order->resource.bytes);
    memcpy(kept->bytes + RESOURCE_BYTES_MAX, order->value.at, order->value.bytes);
    kept->order.resource.at = kept->bytes;
    kept->order.value.at = kept->bytes + RESOURCE_BYTES_MAX;
    kept->order.from = (struct span){NULL, 0};
    kept->expires_us = now_us(member) + (uint64_t)order->ttl_ms * 1000;
    return kept;
}

static struct kept *pop_kept(struct member *member)
{
    struct kept *kept = member->kept;
    if (kept == NULL) return NULL;
    member->kept = kept->next;
    if (member->kept == NULL) member->kept_tail = &member->kept;
    member->kept_count--;
    return kept;
}

/* When there are too many, the older ones stay: only what was granted before the node went away can
 * be on it. */
static void keep(struct member *member, struct kept *kept)
{
    uint64_t now = now_us(member);
    while (member->kept != NULL && member->kept->expires_us <= now)
        free(pop_kept(member));
    if (kept->expires_us <= now || member->kept_count >= member->options.kept_max) {
        if (kept->expires_us > now) (*member->kept_lost)++;
        free(kept);
        return;
    }
    kept->next = NULL;
    *member->kept_tail = kept;
    member->kept_tail = &kept->next;
    member->kept_count++;
}

/* Votes. */

static enum verdict verdict_of(struct member *member, const struct script_answer *answer)
{
    switch (answer->status) {
    case SCRIPT_OK:
        return VERDICT_YES;
    case SCRIPT_HEALED:
        return VERDICT_HEALED;
    case SCRIPT_HELD:
        return VERDICT_HELD;
    case SCRIPT_STALE:
        return VERDICT_STALE;
    case SCRIPT_LOST:
        return VERDICT_LOST;
    case SCRIPT_LATE:
    case SCRIPT_USED:
        return VERDICT_EXCLUDED;
    case SCRIPT_NOEPOCH:
        member_doubt(member, "it has lost its epoch");
        return VERDICT_EXCLUDED;
    case SCRIPT_WRONG_CLUSTER:
        member_doubt(member, "another cluster took it over");
        return VERDICT_EXCLUDED;
    case SCRIPT_DOUBT:
        member_doubt(member, "another lockd doubts it");
        return VERDICT_EXCLUDED;
    case SCRIPT_ODD:
        member_doubt(member, answer->error);
        return VERDICT_UNKNOWN; /* a script that failed half-way may have done something */
    }
    CHECK(!"a verdict");
}

static void read_holder(struct vote *vote, const struct script_answer *answer)
{
    uint64_t remaining_ms;
    if (facts_number(answer->more, &remaining_ms))
        vote->remaining_ms = remaining_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)remaining_ms;
    const char *end = memchr(answer->last.at, ' ', answer->last.bytes);
    size_t bytes = end == NULL ? answer->last.bytes : (size_t)(end - answer->last.at);
    if (bytes > REQUEST_ID_BYTES_MAX) bytes = REQUEST_ID_BYTES_MAX;
    memcpy(vote->holder, answer->last.at, bytes);
}

static struct vote count(const struct ballot *ballot, const redisReply *reply)
{
    struct member *member = ballot->member;
    struct vote vote = {.verdict = VERDICT_UNKNOWN};
    struct script_answer answer = script_answer_read(reply);
    bool needs_voter = ballot->kind == ORDER_GRANT || ballot->kind == ORDER_EXTEND;
    if (answer.status != SCRIPT_ODD && !member_clock(member, ballot->sent_us, answer.time_us)) {
        vote.verdict = VERDICT_EXCLUDED;
        member->owner.on_change(member->owner.arg, member);
        return vote;
    }
    if (needs_voter && member->term != ballot->term) {
        vote.verdict = VERDICT_EXCLUDED;
        return vote;
    }
    vote.verdict = verdict_of(member, &answer);
    if (vote.verdict == VERDICT_EXCLUDED || vote.verdict == VERDICT_UNKNOWN) return vote;
    vote.bound = answer.token;
    member->owner.on_token(member->owner.arg, answer.token);
    if (vote.verdict == VERDICT_HELD) read_holder(&vote, &answer);
    if (vote.verdict == VERDICT_YES) vote.others_wait = answer.more.bytes > 0;
    return vote;
}

static void on_answer(void *arg, enum redis_answer answer, const redisReply *reply)
{
    struct ballot *ballot = arg;
    struct member *member = ballot->member;
    struct vote vote = {.verdict = VERDICT_UNKNOWN};
    if (answer == REDIS_REPLIED) {
        if (ballot->kind == ORDER_GRANT)
            histogram_add(member->grants, now_us(member) - ballot->sent_us);
        vote = count(ballot, reply);
    }
    if (ballot->kept != NULL) {
        if (vote.verdict == VERDICT_UNKNOWN) {
            keep(member, ballot->kept);
        } else {
            free(ballot->kept);
        }
    }
    vote_fn *on_vote = ballot->on_vote;
    void *vote_arg = ballot->arg;
    free(ballot);
    if (on_vote != NULL) on_vote(vote_arg, &vote);
}

static bool cast(struct member *member, const struct order *order, struct ballot ballot)
{
    struct call call;
    make_call(member, order, &call);
    ballot.member = member;
    ballot.term = member->term;
    ballot.sent_us = now_us(member);
    ballot.kind = order->kind;
    struct ballot *heap = xcalloc(1, sizeof *heap);
    *heap = ballot;
    if (redis_node_script(member->redis, call.script, call.keys, call.args, call.count,
                          timeout_ms(member, order), on_answer, heap)) {
        return true;
    }
    free(heap);
    return false;
}

static void tell(void *arg)
{
    struct member *member = arg;
    struct untold *untold = member->untold; /* those that the answers add wait for the next turn */
    member->untold = NULL;
    member->untold_tail = &member->untold;
    while (untold != NULL) {
        struct untold *next = untold->next;
        vote_fn *on_vote = untold->on_vote;
        void *vote_arg = untold->arg;
        free(untold);
        on_vote(vote_arg, &(struct vote){.verdict = VERDICT_UNKNOWN});
        untold = next;
    }
}

static void tell_later(struct member *member, vote_fn *on_vote, void *arg)
{
    struct untold *untold = xcalloc(1, sizeof *untold);
    *untold = (struct untold){.on_vote = on_vote, .arg = arg};
    *member->untold_tail = untold;
    member->untold_tail = &untold->next;
    if (!timer_running(&member->tell))
        timer_start(&member->tell, member->options.timers, now_us(member), tell, member);
}

bool member_send(struct member *member, const struct order *order, vote_fn *on_vote, void *vote_arg)
{
    CHECK(on_vote != NULL);
    struct ballot ballot = {.on_vote = on_vote, .arg = vote_arg};
    if (order->kind == ORDER_GRANT || order->kind == ORDER_EXTEND)
        return member_votes(member) && cast(member, order, ballot);
    ballot.kept = kept_new(member, order);
    if (cast(member, order, ballot)) return true;
    keep(member, ballot.kept);
    tell_later(member, on_vote, vote_arg);
    return true;
}

void member_send_kept(struct member *member)
{
    struct kept *first = member->kept;
    member->kept = NULL;
    member->kept_tail = &member->kept;
    member->kept_count = 0;
    while (first != NULL) {
        struct kept *kept = first;
        first = kept->next;
        kept->next = NULL;
        struct ballot ballot = {.kept = kept};
        if (kept->expires_us <= now_us(member)) {
            free(kept);
        } else if (!cast(member, &kept->order, ballot)) {
            keep(member, kept);
        }
    }
}

void member_last_words(struct member *member)
{
    for (const struct kept *kept = member->kept; kept != NULL; kept = kept->next) {
        struct call call;
        make_call(member, &kept->order, &call);
        redis_node_last_words(member->redis, call.script, call.keys, call.args, call.count);
    }
}

void member_forget_kept(struct member *member)
{
    timer_stop(&member->tell);
    tell(member);
    for (struct kept *kept; (kept = pop_kept(member)) != NULL;)
        free(kept);
}
