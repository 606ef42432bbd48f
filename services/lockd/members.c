#include "lockd/members.h"

#include "base/check.h"
#include "base/log.h"
#include "base/metrics.h"
#include "lockd/member.h"

#include <assert.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static_assert((int)MEMBERS_VOTING == (int)MEMBER_VOTING, "one enum inside and out");

/* Highs of the other nodes, asked for on behalf of one that comes out of quarantine. */
struct floor {
    struct members *members;
    struct member *member;
    uint64_t connection; /* the member's, when it asked */
    unsigned asked;
    unsigned open;
    unsigned answered;
    unsigned voting; /* answers of nodes that vote */
    uint64_t greatest;
};

struct floor_question {
    struct floor *floor;
    struct member *other;
    uint64_t term;
    bool votes;
};

/* The first epoch: ask all whether they are untouched, then tell all. */
enum init_phase { INIT_IDLE, INIT_ASKING, INIT_WRITING };

struct members {
    struct members_options options;
    struct transport transport;
    struct member nodes[TRANSPORT_NODES_MAX];
    char epoch_ids[TRANSPORT_NODES_MAX][EPOCH_ID_BYTES + 1];
    uint64_t highest;      /* token seen by this lockd */
    unsigned voting;       /* at the last change */
    uint64_t last_vote_us; /* when a node last voted here; 0: never */
    enum init_phase init;
    unsigned init_open;
    unsigned init_good;
    bool closing;
};

void members_epoch_id(const struct conf_list *names, unsigned node, uint32_t ttl_max_ms,
                      char id[EPOCH_ID_BYTES + 1])
{
    unsigned char hash[crypto_generichash_BYTES_MIN];
    char hex[2 * sizeof hash + 1];
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof hash);
    for (size_t i = 0; i < names->count; i++) {
        crypto_generichash_update(&state, (const unsigned char *)names->items[i],
                                  strlen(names->items[i]) + 1);
    }
    crypto_generichash_final(&state, hash, sizeof hash);
    sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
    snprintf(id, EPOCH_ID_BYTES + 1, "1:%.20s:%u:%" PRIu32, hex, node, ttl_max_ms);
}

static unsigned count_voting(const struct members *members)
{
    unsigned voting = 0;
    for (unsigned i = 0; i < members->transport.nodes; i++)
        voting += member_votes(&members->nodes[i]);
    return voting;
}

static void note_token(struct members *members, uint64_t token)
{
    if (token > members->highest) members->highest = token;
}

static uint64_t clock_or_highest(const struct members *members)
{
    uint64_t wall_us = clock_wall_us(members->options.timers->clock);
    return wall_us > members->highest ? wall_us : members->highest;
}

/* Floors. Any node that granted a token did so together with a majority; N - quorum + 1 nodes that
 * have forgotten nothing share one with every majority, so the greatest of their tokens is the
 * greatest of all. Failing that, all nodes that there are say what they know, and since together
 * they may have forgotten the latest, the wall clock and what this lockd has seen stand in. */

static void floor_done(struct floor *floor)
{
    struct members *members = floor->members;
    struct member *member = floor->member;
    if (members->closing) {
        free(floor);
        return;
    }
    unsigned nodes = members->transport.nodes;
    unsigned enough = nodes - transport_quorum(&members->transport) + 1;
    bool good = false;
    uint64_t token = floor->greatest;
    if (floor->voting >= enough) {
        good = true;
    } else if (floor->answered == nodes - 1) {
        uint64_t instead = clock_or_highest(members);
        if (token < instead) token = instead;
        good = true;
    }
    bool same =
        floor->connection == redis_node_counts(member->redis).connects && member_connected(member);
    free(floor);
    if (good && same && token < TOKEN_MAX) member_raise(member, token);
}

static void on_floor_answer(void *arg, enum redis_answer answer, const redisReply *reply)
{
    struct floor_question *question = arg;
    struct floor *floor = question->floor;
    struct facts facts;
    if (answer == REDIS_REPLIED && facts_read_look(&facts, reply) &&
        facts.epoch != SCRIPT_WRONG_CLUSTER) {
        floor->answered++;
        floor->voting += question->votes && member_votes(question->other) &&
                         question->other->term == question->term && facts.epoch == SCRIPT_OK;
        if (floor->greatest < facts.known) floor->greatest = facts.known;
    }
    free(question);
    if (--floor->open == 0) floor_done(floor);
}

static void on_floor_wanted(void *arg, struct member *member)
{
    struct members *members = arg;
    struct floor *floor = xcalloc(1, sizeof *floor);
    *floor = (struct floor){.members = members,
                            .member = member,
                            .connection = redis_node_counts(member->redis).connects,
                            .greatest = member->facts.known};
    for (unsigned i = 0; i < members->transport.nodes; i++) {
        struct member *other = &members->nodes[i];
        if (other == member || !other->examined) continue;
        struct floor_question *question = xcalloc(1, sizeof *question);
        *question = (struct floor_question){
            .floor = floor, .other = other, .term = other->term, .votes = member_votes(other)};
        if (member_run(other, SCRIPT_LOOK, NULL, 0, on_floor_answer, question)) {
            floor->open++;
        } else {
            free(question);
        }
    }
    if (floor->open == 0) floor_done(floor);
}

/* The first epoch. Its floor is what nodes that have forgotten all get, too: if they are not new
 * but have lost everything, all leases they voted for must be over, and tokens should still grow.
 */

static bool may_init(const struct members *members)
{
    if (!members->options.init_empty || members->init != INIT_IDLE || members->closing)
        return false;
    uint64_t now_us = timers_now_us(members->options.timers);
    if (members->last_vote_us != 0 &&
        now_us < members->last_vote_us + members->nodes[0].admission.quarantine_us) {
        return false; /* leases that these nodes voted for may still run */
    }
    for (unsigned i = 0; i < members->transport.nodes; i++) {
        const struct member *member = &members->nodes[i];
        if (!member_connected(member) || !member->examined) return false;
        bool current = strcmp(member->facts.epoch_run_id, member->facts.run_id) == 0;
        if (member->state != MEMBER_QUARANTINE || (member->facts.known != 0 && !current))
            return false;
    }
    return true;
}

static void init_run(struct members *members, enum init_phase phase);

static void on_init_answer(void *arg, enum redis_answer answer, const redisReply *reply)
{
    struct members *members = arg;
    members->init_good += answer == REDIS_REPLIED && script_answer_read(reply).status == SCRIPT_OK;
    if (--members->init_open > 0) return;
    enum init_phase done = members->init;
    members->init = INIT_IDLE;
    if (members->closing) return;
    if (done == INIT_ASKING) {
        if (members->init_good == members->transport.nodes && may_init(members))
            init_run(members, INIT_WRITING);
        return;
    }
    LOG_INFO("cluster.new", "nodes=%u", members->init_good);
    for (unsigned i = 0; i < members->transport.nodes; i++) {
        admission_forget(&members->nodes[i].admission);
        member_examine(&members->nodes[i]);
    }
}

static void init_run(struct members *members, enum init_phase phase)
{
    char floor[24] = "";
    if (phase == INIT_WRITING) snprintf(floor, sizeof floor, "%" PRIu64, clock_or_highest(members));
    members->init = phase;
    members->init_good = 0;
    for (unsigned i = 0; i < members->transport.nodes; i++) {
        struct member *member = &members->nodes[i];
        char aof = facts_durable(&member->facts) ? '1' : '0';
        struct span args[] = {span_of(member->facts.run_id), {&aof, 1}, span_of(floor)};
        members->init_open += member_run(member, SCRIPT_INIT, args, 3, on_init_answer, members);
    }
    if (members->init_open == 0) members->init = INIT_IDLE;
}

/* What members ask of the whole. */

static void on_member_change(void *arg, struct member *member)
{
    struct members *members = arg;
    (void)member;
    if (members->closing) return;
    unsigned before = members->voting;
    members->voting = count_voting(members);
    if (before > 0 || members->voting > 0)
        members->last_vote_us = timers_now_us(members->options.timers);
    if (may_init(members)) init_run(members, INIT_ASKING);
    if (members->options.on_change != NULL) members->options.on_change(members->options.arg);
}

static const char *twin_of(void *arg, const struct member *member)
{
    const struct members *members = arg;
    for (unsigned i = 0; i < members->transport.nodes; i++) {
        const struct member *other = &members->nodes[i];
        if (other == member || !other->examined || other->state == MEMBER_REFUSED) continue;
        if (strcmp(other->facts.run_id, member->facts.run_id) == 0) return other->options.name;
    }
    return NULL;
}

static void on_token(void *arg, uint64_t token)
{
    note_token(arg, token);
}

static bool send_order(void *arg, unsigned node, const struct order *order, vote_fn *on_vote,
                       void *vote_arg)
{
    struct members *members = arg;
    CHECK(node < members->transport.nodes);
    if (members->closing) return false;
    if (order->kind == ORDER_GRANT) note_token(members, order->token);
    return member_send(&members->nodes[node], order, on_vote, vote_arg);
}

static bool votes(void *arg, unsigned node)
{
    struct members *members = arg;
    CHECK(node < members->transport.nodes);
    return member_votes(&members->nodes[node]);
}

struct members *members_open(const struct members_options *options)
{
    CHECK(options->names.count > 0 && options->names.count <= TRANSPORT_NODES_MAX);
    CHECK(options->node_timeout_ms > 0 && options->ttl_max_ms > 0);
    CHECK(sodium_init() >= 0);
    struct members *members = xcalloc(1, sizeof *members);
    members->options = *options;
    members->transport = (struct transport){.nodes = (unsigned)options->names.count,
                                            .send = send_order,
                                            .votes = votes,
                                            .arg = members};
    struct member_owner owner = {.on_change = on_member_change,
                                 .twin = twin_of,
                                 .on_floor_wanted = on_floor_wanted,
                                 .on_token = on_token,
                                 .arg = members};
    for (unsigned i = 0; i < members->transport.nodes; i++) {
        members_epoch_id(&options->names, i, options->ttl_max_ms, members->epoch_ids[i]);
        struct member_options node = {.name = options->names.items[i],
                                      .epoch_id = members->epoch_ids[i],
                                      .loop = options->loop,
                                      .timers = options->timers,
                                      .metrics = options->metrics,
                                      .node_timeout_ms = options->node_timeout_ms,
                                      .ttl_max_ms = options->ttl_max_ms,
                                      .trusts_new = options->init_empty,
                                      .fence_ms = options->fence_ms == 0 ? MEMBERS_FENCE_MS
                                                                         : options->fence_ms,
                                      .kept_max = 4096};
        member_open(&members->nodes[i], &node, &owner);
    }
    return members;
}

void members_close(struct members *members)
{
    if (members == NULL) return;
    members->closing = true;
    for (unsigned i = 0; i < members->transport.nodes; i++)
        member_close(&members->nodes[i]);
    free(members);
}

const struct transport *members_transport(const struct members *members)
{
    return &members->transport;
}

struct members_node members_node(const struct members *members, unsigned node)
{
    CHECK(node < members->transport.nodes);
    const struct member *member = &members->nodes[node];
    struct redis_node_counts counts = redis_node_counts(member->redis);
    return (struct members_node){
        .name = member->options.name,
        .state = (enum members_state)member->state,
        .why = member->state == MEMBER_VOTING ? "" : member->why,
        .quarantine_ms = member->state == MEMBER_QUARANTINE ? member_quarantine_ms(member) : 0,
        .grants = histogram_count(member->grants),
        .timeouts = counts.timeouts,
        .reconnects = counts.connects == 0 ? 0 : counts.connects - 1,
        .incidents = *member->incidents,
        .grant_p50_us = histogram_quantile_us(member->grants, 0.5),
        .grant_p95_us = histogram_quantile_us(member->grants, 0.95),
        .grant_p99_us = histogram_quantile_us(member->grants, 0.99),
        .grant_max_us = histogram_max_us(member->grants)};
}
