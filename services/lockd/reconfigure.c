#include "lockd/reconfigure.h"

#include "base/check.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/redis_node.h"
#include "lockd/facts.h"
#include "lockd/members.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    COMMAND_TIMEOUT_MS = 400,
    PATIENCE_MS = 30000, /* until all nodes are there, and for every further step */
};

enum step {
    STEP_CONNECT, /* until every node is connected */
    STEP_ASK,     /* how old leases can be, who the servers are */
    STEP_WAIT,    /* until they are over */
    STEP_LOOK,    /* the highest token */
    STEP_WRITE,
    STEP_DONE,
};

struct run;

struct target {
    struct run *run;
    const char *name;
    char host[256];
    char epoch_id[EPOCH_ID_BYTES + 1];
    struct redis_node *redis;
    struct facts facts;
    struct facts_config config;
    uint32_t old_ttl_ms;
    char fault[160];
};

struct run {
    const struct reconfigure_options *options;
    struct loop *loop;
    enum step step;
    unsigned count;
    unsigned open; /* answers that the step waits for */
    struct target targets[TRANSPORT_NODES_MAX];
    uint64_t started_us;
    struct timer alarm;
    bool good;
};

static void advance(struct run *run);

static void blame(struct target *target, const char *why)
{
    if (target->fault[0] == '\0') snprintf(target->fault, sizeof target->fault, "%s", why);
}

static void stop(struct run *run, bool good)
{
    for (unsigned i = 0; i < run->count; i++) {
        const struct target *target = &run->targets[i];
        if (target->fault[0] == '\0') continue;
        LOG_ERROR("reconfigure.failed", "node=%s why=\"%s\"", target->name, target->fault);
        good = false;
    }
    run->good = good;
    run->step = STEP_DONE;
    loop_stop(run->loop);
}

static void on_alarm(void *arg)
{
    struct run *run = arg;
    if (run->step == STEP_WAIT) {
        advance(run);
        return;
    }
    for (unsigned i = 0; i < run->count; i++) {
        struct target *target = &run->targets[i];
        if (redis_node_state(target->redis) != REDIS_NODE_UP)
            blame(target, redis_node_why(target->redis));
    }
    stop(run, false);
}

static void alarm_in(struct run *run, uint64_t ms)
{
    timer_start(&run->alarm, loop_timers(run->loop), loop_now_us(run->loop) + ms * 1000, on_alarm,
                run);
}

static void answered(struct target *target, enum redis_answer answer, const redisReply *reply,
                     bool good)
{
    struct run *run = target->run;
    if (answer != REDIS_REPLIED) {
        blame(target, "no answer");
    } else if (!good) {
        blame(target, reply->type == REDIS_REPLY_ERROR ? reply->str : "an odd reply");
    }
    if (--run->open == 0) advance(run);
}

static void on_info(void *arg, enum redis_answer answer, const redisReply *reply)
{
    struct target *target = arg;
    answered(target, answer, reply,
             answer == REDIS_REPLIED && facts_read_info(&target->facts, reply));
}

static void on_config(void *arg, enum redis_answer answer, const redisReply *reply)
{
    struct target *target = arg;
    answered(target, answer, reply,
             answer == REDIS_REPLIED && facts_read_config(&target->config, reply));
}

/* The old LOCK_TTL_MAX stands behind the last colon of the epoch's id. */
static uint32_t ttl_of(struct span id)
{
    size_t at = id.bytes;
    while (at > 0 && id.at[at - 1] != ':')
        at--;
    uint64_t ttl_ms;
    struct span digits = {id.at + at, id.bytes - at};
    bool good = at > 0 && facts_number(digits, &ttl_ms) && ttl_ms <= UINT32_MAX;
    return good ? (uint32_t)ttl_ms : 0;
}

static void on_look(void *arg, enum redis_answer answer, const redisReply *reply)
{
    struct target *target = arg;
    bool good = answer == REDIS_REPLIED && facts_read_look(&target->facts, reply);
    if (good) target->old_ttl_ms = ttl_of(script_answer_read(reply).more);
    answered(target, answer, reply, good);
}

static void on_written(void *arg, enum redis_answer answer, const redisReply *reply)
{
    struct target *target = arg;
    enum script_status status =
        answer == REDIS_REPLIED ? script_answer_read(reply).status : SCRIPT_ODD;
    if (status == SCRIPT_HELD) blame(target, "there is still a lock on it: some lockd is running");
    answered(target, answer, reply, status == SCRIPT_OK);
}

static void command(struct target *target, const char *const *words, size_t count,
                    redis_answer_fn *on_answer)
{
    struct span args[3];
    for (size_t i = 0; i < count; i++)
        args[i] = span_of(words[i]);
    if (redis_node_command(target->redis, args, count, COMMAND_TIMEOUT_MS, on_answer, target)) {
        target->run->open++;
    } else {
        blame(target, redis_node_why(target->redis));
    }
}

static void script(struct target *target, enum script which, const struct span *more, size_t count,
                   redis_answer_fn *on_answer)
{
    CHECK(count <= 3);
    struct span args[5] = {span_of("quorate:epoch"), span_of(target->epoch_id)};
    for (size_t i = 0; i < count; i++)
        args[2 + i] = more[i];
    if (redis_node_script(target->redis, which, 1, args, 2 + count, COMMAND_TIMEOUT_MS, on_answer,
                          target)) {
        target->run->open++;
    } else {
        blame(target, redis_node_why(target->redis));
    }
}

static void ask(struct run *run)
{
    for (unsigned i = 0; i < run->count; i++) {
        struct target *target = &run->targets[i];
        command(target, (const char *[]){"INFO"}, 1, on_info);
        command(target, (const char *[]){"CONFIG", "GET", "*append*"}, 3, on_config);
        command(target, (const char *[]){"CONFIG", "GET", "maxmemory-policy"}, 3, on_config);
        script(target, SCRIPT_LOOK, NULL, 0, on_look);
    }
}

/* False: a node is not fit to be one. */
static bool fit(struct run *run)
{
    for (unsigned i = 0; i < run->count; i++) {
        struct target *target = &run->targets[i];
        if (!target->facts.master) blame(target, "it is a replica");
        if (target->facts.promoted) blame(target, "it was a replica");
        if (!target->config.noeviction) blame(target, "its eviction policy may drop locks");
        for (unsigned j = 0; j < i; j++) {
            if (strcmp(run->targets[j].facts.run_id, target->facts.run_id) == 0)
                blame(target, "it is the same server as another node");
        }
        if (target->fault[0] != '\0') return false;
    }
    return true;
}

static void wait_out(struct run *run)
{
    uint64_t ttl_ms = run->options->ttl_max_ms;
    for (unsigned i = 0; i < run->count; i++) {
        if (ttl_ms < run->targets[i].old_ttl_ms) ttl_ms = run->targets[i].old_ttl_ms;
    }
    uint64_t wait_ms = ttl_ms * 1020 / 1000;
    uint64_t gone_ms = (loop_now_us(run->loop) - run->started_us) / 1000;
    uint64_t left_ms = wait_ms > gone_ms ? wait_ms - gone_ms : 0;
    LOG_INFO("reconfigure.waiting", "nodes=%u left_ms=%" PRIu64, run->count, left_ms);
    alarm_in(run, left_ms);
}

static void write_all(struct run *run)
{
    uint64_t floor = clock_wall_us(&clock_system);
    for (unsigned i = 0; i < run->count; i++) {
        if (floor < run->targets[i].facts.known) floor = run->targets[i].facts.known;
    }
    CHECK(floor < TOKEN_MAX);
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, floor);
    for (unsigned i = 0; i < run->count; i++) {
        struct target *target = &run->targets[i];
        bool aof = target->config.appendonly && target->config.always &&
                   target->config.always_while_rewriting && !target->facts.rewriting;
        struct span more[] = {span_of(target->facts.run_id), span_of(aof ? "1" : "0"),
                              span_of(text)};
        script(target, SCRIPT_RECONFIGURE, more, 3, on_written);
    }
}

/* Every transition. A step begins when all answers of the one before are there. */
static void advance(struct run *run)
{
    for (unsigned i = 0; i < run->count; i++) {
        if (run->targets[i].fault[0] == '\0') continue;
        stop(run, false);
        return;
    }
    alarm_in(run, PATIENCE_MS);
    run->step++;
    switch (run->step) {
    case STEP_CONNECT:
        break;
    case STEP_ASK:
        ask(run);
        break;
    case STEP_WAIT:
        if (!fit(run)) {
            stop(run, false);
            return;
        }
        wait_out(run);
        return;
    case STEP_LOOK:
        for (unsigned i = 0; i < run->count; i++)
            script(&run->targets[i], SCRIPT_LOOK, NULL, 0, on_look);
        break;
    case STEP_WRITE:
        write_all(run);
        break;
    case STEP_DONE:
        LOG_INFO("reconfigure.done", "nodes=%u", run->count);
        stop(run, true);
        return;
    }
    if (run->open == 0) stop(run, false); /* every node took to its heels */
}

static void on_greeting(void *arg)
{
    struct target *target = arg;
    struct run *run = target->run;
    redis_node_admit(target->redis);
    if (run->step != STEP_CONNECT) return;
    for (unsigned i = 0; i < run->count; i++) {
        if (redis_node_state(run->targets[i].redis) != REDIS_NODE_UP) return;
    }
    advance(run);
}

bool reconfigure_run(const struct reconfigure_options *options)
{
    CHECK(options->names.count > 0 && options->names.count <= TRANSPORT_NODES_MAX);
    struct run *run = xcalloc(1, sizeof *run);
    run->options = options;
    run->loop = loop_new();
    run->count = (unsigned)options->names.count;
    run->started_us = loop_now_us(run->loop);
    for (unsigned i = 0; i < run->count; i++) {
        struct target *target = &run->targets[i];
        uint16_t port;
        target->run = run;
        target->name = options->names.items[i];
        CHECK(conf_host_port(target->name, target->host, &port));
        members_epoch_id(&options->names, i, options->ttl_max_ms, target->epoch_id);
        struct redis_node_options redis = {.name = target->name,
                                           .host = target->host,
                                           .port = port,
                                           .scripts = script_sources,
                                           .script_count = SCRIPT_COUNT,
                                           .on_greeting = on_greeting,
                                           .arg = target};
        target->redis = redis_node_open(run->loop, &redis);
    }
    alarm_in(run, PATIENCE_MS);
    loop_run(run->loop);
    timer_stop(&run->alarm);
    for (unsigned i = 0; i < run->count; i++)
        redis_node_close(run->targets[i].redis);
    loop_free(run->loop);
    bool good = run->good;
    free(run);
    return good;
}
