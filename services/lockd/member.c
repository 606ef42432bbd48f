#include "lockd/member.h"

#include "base/check.h"
#include "base/conf.h"
#include "base/log.h"
#include "base/metrics.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONTROL_TIMEOUT_MS = 400,
    PULSE_MS = 500,
    AGAIN_BUSY_MS = 20,
    AGAIN_SOON_MS = 1000,
    AGAIN_WAITING_MS = 2000, /* quarantined and refused nodes */
    AGAIN_VOTING_MS = 60000,
};

static const char *const state_names[] = {"down", "joining", "quarantine", "refused", "voting"};

static uint64_t now_us(const struct member *member)
{
    return timers_now_us(member->options.timers);
}

static void examine_due(void *arg)
{
    member_examine(arg);
}

static void examine_in(struct member *member, uint32_t ms)
{
    timer_start(&member->again, member->options.timers, now_us(member) + (uint64_t)ms * 1000,
                examine_due, member);
}

uint32_t member_quarantine_ms(const struct member *member)
{
    uint64_t now = now_us(member);
    uint64_t ends_us = member->admission.quarantine_ends_us;
    return ends_us > now ? (uint32_t)((ends_us - now + 999) / 1000) : 0;
}

/* One line per state and reason: a node that is refused for the same reason again says nothing
 * new. Coming and going of connections is logged where it happens. */
static void log_state(struct member *member)
{
    char line[sizeof member->told];
    snprintf(line, sizeof line, "state=%s why=\"%s\"", state_names[member->state], member->why);
    if (strcmp(line, member->told) == 0) return;
    memcpy(member->told, line, sizeof line);
    switch (member->state) {
    case MEMBER_VOTING:
        LOG_INFO("node.voting", "node=%s", member->options.name);
        return;
    case MEMBER_REFUSED:
        LOG_ERROR("node.refused", "node=%s why=\"%s\"", member->options.name, member->why);
        return;
    case MEMBER_QUARANTINE:
        LOG_WARN("node.quarantine", "node=%s why=\"%s\" left_ms=%" PRIu32, member->options.name,
                 member->why, member_quarantine_ms(member));
        return;
    case MEMBER_DOWN:
    case MEMBER_JOINING:
        return;
    }
}

static void set_state(struct member *member, enum member_state state, const char *why)
{
    bool same = member->state == state && strcmp(member->why, why) == 0;
    if (member->state == MEMBER_VOTING && state != MEMBER_VOTING) member->term++;
    member->state = state;
    if (!same) snprintf(member->why, sizeof member->why, "%s", why);
    if (!same) log_state(member);
    *member->voting_gauge = state == MEMBER_VOTING;
}

static void changed(struct member *member)
{
    member->owner.on_change(member->owner.arg, member);
}

bool member_connected(const struct member *member)
{
    return redis_node_state(member->redis) != REDIS_NODE_DOWN;
}

bool member_run(struct member *member, enum script script, const struct span *args, size_t count,
                redis_answer_fn *on_answer, void *arg)
{
    CHECK(count <= 3);
    struct span all[5] = {span_of("quorate:epoch"), span_of(member->options.epoch_id)};
    for (size_t i = 0; i < count; i++)
        all[2 + i] = args[i];
    return redis_node_script(member->redis, script, 1, all, 2 + count, CONTROL_TIMEOUT_MS,
                             on_answer, arg);
}

/* Examination: four questions in one write, judged when all are answered. */

static void fail(struct member *member, const char *why, bool refusal)
{
    if (member->fault[0] != '\0') return; /* the first one tells most */
    snprintf(member->fault, sizeof member->fault, "%s", why);
    member->fault_is_refusal = refusal;
}

static void ignore(void *arg, enum redis_answer answer, const redisReply *reply)
{
    (void)arg;
    (void)answer;
    (void)reply;
}

static void enter_vote(struct member *member)
{
    char aof = facts_durable(&member->facts) ? '1' : '0';
    if (member->facts.epoch_aof != (aof == '1')) {
        struct span args[] = {span_of(member->facts.run_id), {&aof, 1}};
        member_run(member, SCRIPT_MARK, args, 2, ignore, NULL);
    }
    if (redis_node_state(member->redis) == REDIS_NODE_GREETING) redis_node_admit(member->redis);
    set_state(member, MEMBER_VOTING, "");
    examine_in(member, AGAIN_VOTING_MS);
}

static void enter_quarantine(struct member *member, const char *why)
{
    uint64_t now = now_us(member);
    uint64_t ends_us = member->admission.quarantine_ends_us;
    uint64_t next_us = now + AGAIN_WAITING_MS * UINT64_C(1000);
    if (next_us > ends_us) next_us = ends_us > now ? ends_us : now;
    set_state(member, MEMBER_QUARANTINE, why);
    timer_start(&member->again, member->options.timers, next_us, examine_due, member);
}

static void refuse(struct member *member, const char *why)
{
    set_state(member, MEMBER_REFUSED, why);
    examine_in(member, AGAIN_WAITING_MS);
}

/* The reply that counts is the next examination's. */
static void on_kept(void *arg, enum redis_answer answer, const redisReply *reply)
{
    (void)reply;
    struct member *member = arg;
    if (answer == REDIS_REPLIED) member_examine(member);
}

void member_raise(struct member *member, uint64_t floor)
{
    char text[24];
    char aof = facts_durable(&member->facts) ? '1' : '0';
    snprintf(text, sizeof text, "%" PRIu64, floor);
    struct span args[] = {span_of(member->facts.run_id), {&aof, 1}, span_of(text)};
    LOG_INFO("node.floor", "node=%s floor=%s", member->options.name, text);
    member_run(member, SCRIPT_RAISE, args, 3, on_kept, member);
}

/* A promoted replica's epoch is a copy of its master's and would vouch for it after a restart. */
static void put_in_doubt(struct member *member)
{
    struct span args[] = {{NULL, 0}, {NULL, 0}};
    member_run(member, SCRIPT_MARK, args, 2, ignore, NULL);
}

static void judge(struct member *member)
{
    const char *twin = member->owner.twin(member->owner.arg, member);
    if (twin != NULL) {
        char why[160];
        snprintf(why, sizeof why, "it is the same server as %s", twin);
        refuse(member, why);
        return;
    }
    const char *why;
    uint64_t ended_us = member->admission.quarantine_ends_us;
    enum admission_verdict verdict =
        admission_examine(&member->admission, &member->facts, now_us(member), &why);
    bool begun = member->admission.quarantine_ends_us > ended_us;
    switch (verdict) {
    case ADMISSION_VOTE:
        enter_vote(member);
        return;
    case ADMISSION_KEEP: {
        struct span args[] = {span_of(member->facts.run_id)};
        set_state(member, MEMBER_JOINING, why);
        member_run(member, SCRIPT_KEEP, args, 1, on_kept, member);
        examine_in(member, AGAIN_SOON_MS);
        return;
    }
    case ADMISSION_WAIT:
        if (begun && member->admission.has_voted && !member->admission.jumped)
            (*member->incidents)++;
        enter_quarantine(member, why);
        return;
    case ADMISSION_RAISE:
        set_state(member, MEMBER_QUARANTINE, "it waits for the other nodes to say its floor");
        examine_in(member, AGAIN_SOON_MS);
        member->owner.on_floor_wanted(member->owner.arg, member);
        return;
    case ADMISSION_REFUSE:
        if (member->facts.promoted) put_in_doubt(member);
        refuse(member, why);
        return;
    }
}

static void conclude(struct member *member)
{
    if (!member_connected(member)) return; /* on_down says the rest */
    if (member->fault[0] == '\0' && member->config.understood != FACTS_CONFIG_SETTINGS)
        fail(member, "CONFIG GET does not say all that is needed", true);
    if (member->fault[0] != '\0') {
        if (member->fault_is_refusal) {
            refuse(member, member->fault);
        } else {
            if (member->state == MEMBER_JOINING) set_state(member, MEMBER_JOINING, member->fault);
            examine_in(member, AGAIN_SOON_MS);
        }
    } else {
        member->fresh.drops_keys = !member->config.noeviction;
        member->fresh.appends_sync = member->config.appendonly && member->config.always &&
                                     member->config.always_while_rewriting;
        member->facts = member->fresh;
        member->examined = true;
        judge(member);
    }
    changed(member);
}

/* True: there is a reply that is no error. */
static bool usable(struct member *member, enum redis_answer answer, const redisReply *reply)
{
    if (answer != REDIS_REPLIED) {
        fail(member, "no answer to the examination", false);
        return false;
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        fail(member, reply->str, true);
        return false;
    }
    return true;
}

static void answered(struct member *member)
{
    CHECK(member->outstanding > 0);
    if (--member->outstanding == 0) conclude(member);
}

static void on_info(void *arg, enum redis_answer answer, const redisReply *reply)
{
    struct member *member = arg;
    if (usable(member, answer, reply) && !facts_read_info(&member->fresh, reply))
        fail(member, "INFO is not that of a Redis server", true);
    answered(member);
}

static void on_config(void *arg, enum redis_answer answer, const redisReply *reply)
{
    struct member *member = arg;
    if (usable(member, answer, reply) && !facts_read_config(&member->config, reply))
        fail(member, "CONFIG GET is not that of a Redis server", true);
    answered(member);
}

static void on_look(void *arg, enum redis_answer answer, const redisReply *reply)
{
    struct member *member = arg;
    if (usable(member, answer, reply)) {
        struct script_answer look = script_answer_read(reply);
        if (!facts_read_look(&member->fresh, reply)) {
            fail(member, "it answers the scripts oddly", true);
        } else if (!member_clock(member, member->look_sent_us, look.time_us)) {
            member->fresh.epoch_run_id[0] = '\0'; /* as it is being put in doubt */
            member->fresh.epoch_aof = false;
        }
        if (look.status != SCRIPT_WRONG_CLUSTER)
            member->owner.on_token(member->owner.arg, look.token);
    }
    answered(member);
}

static void ask(struct member *member, const char *const *words, size_t count,
                redis_answer_fn *on_answer)
{
    struct span args[3];
    for (size_t i = 0; i < count; i++)
        args[i] = span_of(words[i]);
    member->outstanding +=
        redis_node_command(member->redis, args, count, CONTROL_TIMEOUT_MS, on_answer, member);
}

void member_examine(struct member *member)
{
    if (!member_connected(member)) return;
    if (member->outstanding > 0) { /* one is under way: what called for this may be news to it */
        examine_in(member, AGAIN_BUSY_MS);
        return;
    }
    timer_stop(&member->again);
    member->fresh = (struct facts){.epoch = SCRIPT_NOEPOCH};
    member->config = (struct facts_config){.understood = 0};
    member->fault[0] = '\0';
    member->look_sent_us = now_us(member);
    ask(member, (const char *[]){"INFO"}, 1, on_info);
    ask(member, (const char *[]){"CONFIG", "GET", "*append*"}, 3, on_config);
    ask(member, (const char *[]){"CONFIG", "GET", "maxmemory-policy"}, 3, on_config);
    member->outstanding += member_run(member, SCRIPT_LOOK, NULL, 0, on_look, member);
    if (member->outstanding < 4) fail(member, "it takes no more commands", false);
    if (member->outstanding == 0) examine_in(member, AGAIN_SOON_MS);
}

/* The clock and the epoch, watched. */

bool member_clock(struct member *member, uint64_t sent_us, uint64_t time_us)
{
    if (admission_observe(&member->admission, sent_us, now_us(member), time_us)) return true;
    LOG_ERROR("node.clock_jumped", "node=%s", member->options.name);
    (*member->incidents)++;
    put_in_doubt(member);
    enter_quarantine(member, "its clock has jumped");
    return false;
}

void member_doubt(struct member *member, const char *why)
{
    if (member->state != MEMBER_VOTING) return;
    LOG_ERROR("node.doubt", "node=%s why=\"%s\"", member->options.name, why);
    admission_forget(&member->admission);
    set_state(member, MEMBER_JOINING, why);
    examine_in(member, AGAIN_SOON_MS); /* not at once: an error may last, and the log with it */
    changed(member);
}

static void on_pulse_look(void *arg, enum redis_answer answer, const redisReply *reply);

static void on_pulse(void *arg)
{
    struct member *member = arg;
    if (!member_connected(member)) return;
    timer_start(&member->pulse, member->options.timers, now_us(member) + PULSE_MS * UINT64_C(1000),
                on_pulse, member);
    if (member->outstanding > 0 || member->pulse_out) return; /* an examination is a look too */
    member->pulse_sent_us = now_us(member);
    member->pulse_out = member_run(member, SCRIPT_LOOK, NULL, 0, on_pulse_look, member);
}

static void on_pulse_look(void *arg, enum redis_answer answer, const redisReply *reply)
{
    struct member *member = arg;
    member->pulse_out = false;
    if (answer != REDIS_REPLIED) return;
    struct script_answer look = script_answer_read(reply);
    struct facts facts;
    if (look.status == SCRIPT_ODD || !facts_read_look(&facts, reply)) {
        member_doubt(member, look.error == NULL ? "an odd reply" : look.error);
        return;
    }
    bool steady = member_clock(member, member->pulse_sent_us, look.time_us);
    if (facts.epoch != SCRIPT_WRONG_CLUSTER) member->owner.on_token(member->owner.arg, facts.known);
    member_send_kept(member);
    if (!steady) {
        changed(member);
    } else if (facts.epoch != SCRIPT_OK || strcmp(facts.epoch_run_id, member->facts.run_id) != 0) {
        member_doubt(member, facts.epoch == SCRIPT_OK ? "another lockd doubts it"
                                                      : "it has lost its epoch");
    }
}

/* The connection's life. */

static void on_greeting(void *arg)
{
    struct member *member = arg;
    set_state(member, MEMBER_JOINING, "it is being examined");
    member_send_kept(member);
    member_examine(member);
    timer_start(&member->pulse, member->options.timers, now_us(member) + PULSE_MS * UINT64_C(1000),
                on_pulse, member);
    changed(member);
}

static void on_down(void *arg, const char *why)
{
    struct member *member = arg;
    timer_stop(&member->again);
    timer_stop(&member->pulse);
    member->examined = false;
    if (member->state == MEMBER_VOTING) member->told[0] = '\0';
    set_state(member, MEMBER_DOWN, why);
    changed(member);
}

static void on_drop(void *arg)
{
    member_last_words(arg);
}

static void make_series(struct member *member)
{
    char labels[300];
    snprintf(labels, sizeof labels, "node=\"%s\"", member->options.name);
    struct metrics *metrics = member->options.metrics;
    member->grants = metrics_histogram(metrics, "quorate_lockd_node_grant_seconds", labels,
                                       "Time from sending a grant to this node's answer");
    member->incidents = metrics_counter(metrics, "quorate_lockd_node_incidents_total", labels,
                                        "Proven clock jumps and losses");
    member->kept_lost = metrics_counter(metrics, "quorate_lockd_node_releases_dropped_total",
                                        labels, "Releases for a node that is away, past the limit");
    member->voting_gauge =
        metrics_gauge(metrics, "quorate_lockd_node_voting", labels, "1 while the node votes");
}

void member_open(struct member *member, const struct member_options *options,
                 const struct member_owner *owner)
{
    *member = (struct member){.options = *options, .owner = *owner};
    member->kept_tail = &member->kept;
    member->untold_tail = &member->untold;
    admission_init(&member->admission, options->ttl_max_ms, options->trusts_new);
    snprintf(member->why, sizeof member->why, "not connected yet");
    make_series(member);
    char host[256];
    uint16_t port;
    CHECK(conf_host_port(options->name, host, &port));
    member->host = xstrdup(host);
    struct redis_node_options redis = {.name = options->name,
                                       .host = member->host,
                                       .port = port,
                                       .scripts = script_sources,
                                       .script_count = SCRIPT_COUNT,
                                       .on_greeting = on_greeting,
                                       .on_down = on_down,
                                       .on_drop = on_drop,
                                       .arg = member};
    member->redis = redis_node_open(options->loop, &redis);
}

void member_close(struct member *member)
{
    timer_stop(&member->again);
    timer_stop(&member->pulse);
    member->state = MEMBER_DOWN;
    redis_node_close(member->redis);
    timer_stop(&member->again);
    member_forget_kept(member);
    free(member->host);
}
