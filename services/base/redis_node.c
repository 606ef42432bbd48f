/* Life of a connection: dial (resolve, connect, SCRIPT LOAD) -> GREETING -> UP -> fail -> dial.
 *
 * A SIGSTOPped server still accepts TCP, so only a reply counts as a sign of life, or a push. And a
 * server that was stopped still executes what waits in its socket when it wakes: that is what last
 * words are for, and why a command without an answer is UNKNOWN for ever.
 *
 * Before a stuck connection is dropped, the loop polls once more. When this process itself was
 * paused, every deadline is over when it wakes, while the answers are in the sockets; without the
 * second look it would drop all nodes at once for its own absence.
 */
#include "base/redis_node.h"

#include "base/check.h"
#include "base/log.h"
#include "base/lookup.h"
#include "base/redis_wire.h"

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BACKOFF_MS_MIN = 50,
    BACKOFF_MS_MAX = 1000,
    DIAL_MS_MAX = 1000, /* from the first packet to the last script loaded */
    STUCK_MS = 500,     /* the oldest command without an answer for this long */
    TIMEOUTS_IN_A_ROW_MAX = 3,
    CALLS_MAX = 65536,
    LEAVE_MS_MAX = 60000, /* a paused server may wake; later than this nothing it does matters */
    UNSENT_BYTES_MAX = 8 << 20,
    WHY_BYTES_MAX = 160,
    SHA_BYTES = 40,
};

/* One command in flight. Its reply, or the end of its connection, frees it; the deadline may only
 * speak first. */
struct call {
    struct redis_node *node;
    struct timer deadline;
    redis_answer_fn *on_answer; /* NULL once answered */
    void *arg;
    uint64_t sent_us;
    struct call *next;
};

struct calls {
    struct call *first;
    struct call **tail;
    size_t count;
};

struct redis_node {
    struct loop *loop;
    struct redis_node_options options;
    enum redis_node_state state;
    char why[WHY_BYTES_MAX];
    struct lookup *lookup;
    struct redis_wire *wire;
    struct redis_wire *leaving; /* the last stuck one: what it holds is still being executed */
    struct timer leave;         /* when its patience ends */
    struct calls pending;       /* sent on the wire, in order */
    struct calls orphans;       /* of a wire that is gone; to be answered at the tick's end */
    struct tick burial;
    struct timer redial;
    struct timer dial_deadline;
    struct timer stuck;    /* due when the oldest pending may be */
    struct timer sentence; /* running: drop, unless a reply comes first */
    const char *suspicion; /* what the sentence is for */
    uint32_t backoff_ms;
    uint32_t dials; /* picks one of a name's addresses */
    unsigned timeouts_in_a_row;
    uint64_t timed_out_us; /* when the last of them was counted */
    bool dropping;         /* inside on_drop */
    bool closed;
    unsigned held; /* frames on the stack that still use this node */
    char (*shas)[SHA_BYTES + 1];
    size_t scripts_loaded;
    struct redis_node_counts counts;
    const char **args; /* scratch for hiredis */
    size_t *args_bytes;
    size_t args_room;
};

static void dial(void *arg);

static void calls_init(struct calls *calls)
{
    *calls = (struct calls){.tail = &calls->first};
}

static void calls_push(struct calls *calls, struct call *call)
{
    call->next = NULL;
    *calls->tail = call;
    calls->tail = &call->next;
    calls->count++;
}

static struct call *calls_pop(struct calls *calls)
{
    struct call *call = calls->first;
    if (call == NULL) return NULL;
    calls->first = call->next;
    if (calls->first == NULL) calls->tail = &calls->first;
    calls->count--;
    return call;
}

static void call_answer(struct call *call, enum redis_answer answer, const redisReply *reply)
{
    redis_answer_fn *on_answer = call->on_answer;
    void *arg = call->arg;
    timer_stop(&call->deadline);
    free(call);
    if (on_answer != NULL) on_answer(arg, answer, reply); /* NULL: the deadline has spoken */
}

static void node_hold(struct redis_node *node)
{
    node->held++;
}

static void node_let_go(struct redis_node *node)
{
    CHECK(node->held > 0);
    if (--node->held > 0 || !node->closed) return;
    free(node->shas);
    free(node->args);
    free(node->args_bytes);
    free(node);
}

static uint64_t in_ms(const struct redis_node *node, uint32_t ms)
{
    return loop_now_us(node->loop) + (uint64_t)ms * 1000;
}

static void start(struct redis_node *node, struct timer *timer, uint32_t ms, timer_due_fn *on_due)
{
    timer_start(timer, loop_timers(node->loop), in_ms(node, ms), on_due, node);
}

static enum log_level level(const struct redis_node *node, enum log_level usual)
{
    return node->options.quiet ? LOG_LEVEL_DEBUG : usual;
}

static void hang_up(struct redis_node *node)
{
    if (node->wire != NULL) redis_wire_close(node->wire);
    node->wire = NULL;
    if (node->lookup != NULL) lookup_cancel(node->lookup);
    node->lookup = NULL;
    timer_stop(&node->dial_deadline);
    timer_stop(&node->stuck);
    timer_stop(&node->sentence);
    node->timeouts_in_a_row = 0;
    node->scripts_loaded = 0;
    for (struct call *call; (call = calls_pop(&node->pending)) != NULL;) {
        timer_stop(&call->deadline);
        calls_push(&node->orphans, call);
    }
}

/* The connection, or the attempt to get one, is over: from any state but waiting for the redial. */
static void fail(struct redis_node *node, const char *why)
{
    bool was_connected = node->state != REDIS_NODE_DOWN;
    bool news = was_connected || strcmp(node->why, why) != 0;
    char reason[WHY_BYTES_MAX]; /* `why` may be what hang_up frees */
    snprintf(reason, sizeof reason, "%s", why);
    hang_up(node);
    node->state = REDIS_NODE_DOWN;
    memcpy(node->why, reason, sizeof reason);
    if (was_connected) {
        LOG_AT(level(node, LOG_LEVEL_WARN), "redis.down", "node=%s why=\"%s\"", node->options.name,
               node->why);
    } else if (news) {
        LOG_AT(level(node, LOG_LEVEL_INFO), "redis.unreachable", "node=%s why=\"%s\"",
               node->options.name, node->why);
    }
    start(node, &node->redial, node->backoff_ms, dial);
    uint32_t max_ms =
        node->options.redial_max_ms == 0 ? BACKOFF_MS_MAX : node->options.redial_max_ms;
    node->backoff_ms = node->backoff_ms * 2 > max_ms ? max_ms : node->backoff_ms * 2;
    loop_at_tick_end(node->loop, &node->burial);
}

static void bury(void *arg)
{
    struct redis_node *node = arg;
    node_hold(node);
    for (struct call *call; (call = calls_pop(&node->orphans)) != NULL;)
        call_answer(call, REDIS_UNKNOWN, NULL);
    if (!node->closed && node->options.on_down != NULL)
        node->options.on_down(node->options.arg, node->why);
    node_let_go(node);
}

static void leave(void *arg)
{
    struct redis_node *node = arg;
    timer_stop(&node->leave);
    if (node->leaving != NULL) redis_wire_close(node->leaving);
    node->leaving = NULL;
}

static void drop_stuck(struct redis_node *node, const char *why)
{
    if (node->options.on_drop != NULL) {
        node->dropping = true;
        node->options.on_drop(node->options.arg);
        node->dropping = false;
    }
    leave(node);
    node->leaving = node->wire;
    node->wire = NULL;
    redis_wire_finish(node->leaving, leave, node);
    start(node, &node->leave, LEAVE_MS_MAX, leave);
    fail(node, why);
}

static void on_sentence(void *arg)
{
    struct redis_node *node = arg;
    if (node->state == REDIS_NODE_DOWN) {
        fail(node, node->suspicion);
    } else {
        drop_stuck(node, node->suspicion);
    }
}

static void suspect(struct redis_node *node, const char *why)
{
    if (timer_running(&node->sentence)) return;
    node->suspicion = why;
    start(node, &node->sentence, 0, on_sentence);
}

static void on_stuck(void *arg)
{
    struct redis_node *node = arg;
    const struct call *oldest = node->pending.first;
    if (oldest == NULL) return;
    uint64_t due_us = oldest->sent_us + STUCK_MS * 1000;
    if (due_us > loop_now_us(node->loop)) {
        timer_start(&node->stuck, loop_timers(node->loop), due_us, on_stuck, node);
    } else {
        suspect(node, "no answer for 500 ms");
    }
}

static void on_deadline(void *arg)
{
    struct call *call = arg;
    struct redis_node *node = call->node;
    redis_answer_fn *on_answer = call->on_answer;
    CHECK(on_answer != NULL);
    call->on_answer = NULL;
    node->counts.timeouts++;
    /* What was under way together times out together, and that is one stall, not many. */
    if (node->timeouts_in_a_row == 0 || call->sent_us >= node->timed_out_us) {
        node->timed_out_us = loop_now_us(node->loop);
        node->timeouts_in_a_row++;
    }
    if (node->timeouts_in_a_row >= TIMEOUTS_IN_A_ROW_MAX)
        suspect(node, "three commands in a row timed out");
    on_answer(call->arg, REDIS_UNKNOWN, NULL);
}

static void send_args(struct redis_node *node, const struct span *args, size_t count, size_t skip)
{
    for (size_t i = 0; i < count; i++) {
        node->args[skip + i] = args[i].bytes == 0 ? "" : args[i].at;
        node->args_bytes[skip + i] = args[i].bytes;
    }
    redis_wire_append(node->wire, (int)(skip + count), node->args, node->args_bytes);
}

static void make_room(struct redis_node *node, size_t count)
{
    if (count <= node->args_room) return;
    node->args_room = count;
    node->args = xrealloc(node->args, count * sizeof *node->args);
    node->args_bytes = xrealloc(node->args_bytes, count * sizeof *node->args_bytes);
}

/* "EVALSHA sha keys" in front of the arguments. */
static void send_script(struct redis_node *node, size_t script, size_t key_count,
                        const struct span *args, size_t arg_count)
{
    CHECK(script < node->options.script_count);
    CHECK(key_count <= arg_count);
    char keys[24];
    int digits = snprintf(keys, sizeof keys, "%zu", key_count);
    make_room(node, arg_count + 3);
    node->args[0] = "EVALSHA";
    node->args_bytes[0] = strlen("EVALSHA");
    node->args[1] = node->shas[script];
    node->args_bytes[1] = SHA_BYTES;
    node->args[2] = keys;
    node->args_bytes[2] = (size_t)digits;
    send_args(node, args, arg_count, 3);
}

static void expect(struct redis_node *node, uint32_t timeout_ms, redis_answer_fn *on_answer,
                   void *arg)
{
    CHECK(timeout_ms > 0);
    CHECK(on_answer != NULL);
    struct call *call = xcalloc(1, sizeof *call);
    call->node = node;
    call->on_answer = on_answer;
    call->arg = arg;
    call->sent_us = loop_now_us(node->loop);
    timer_start(&call->deadline, loop_timers(node->loop),
                call->sent_us + (uint64_t)timeout_ms * 1000, on_deadline, call);
    calls_push(&node->pending, call);
    node->counts.commands++;
    if (!timer_running(&node->stuck)) start(node, &node->stuck, STUCK_MS, on_stuck);
}

static bool takes_commands(const struct redis_node *node)
{
    return node->state != REDIS_NODE_DOWN && !node->dropping && node->pending.count < CALLS_MAX &&
           redis_wire_unsent_bytes(node->wire) < UNSENT_BYTES_MAX;
}

static void greet(struct redis_node *node)
{
    timer_stop(&node->dial_deadline);
    node->counts.connects++;
    node->why[0] = '\0';
    node->state = REDIS_NODE_GREETING;
    LOG_AT(level(node, LOG_LEVEL_INFO), "redis.connected", "node=%s", node->options.name);
    if (node->options.on_greeting == NULL) {
        redis_node_admit(node);
    } else {
        node->options.on_greeting(node->options.arg);
    }
}

static void on_loaded(void *arg, enum redis_answer answer, const redisReply *reply)
{
    struct redis_node *node = arg;
    if (answer != REDIS_REPLIED || node->wire == NULL) return; /* failed, or about to */
    if (reply->type == REDIS_REPLY_ERROR) {
        fail(node, reply->str); /* "LOADING Redis is loading the dataset in memory" */
        return;
    }
    if (node->options.script_count > 0) {
        if (reply->type != REDIS_REPLY_STRING || reply->len != SHA_BYTES) {
            fail(node, "no Redis: an odd answer to SCRIPT LOAD");
            return;
        }
        memcpy(node->shas[node->scripts_loaded++], reply->str, SHA_BYTES);
    }
    if (node->scripts_loaded == node->options.script_count) greet(node);
}

static void on_wire_open(void *arg)
{
    struct redis_node *node = arg;
    make_room(node, 3);
    struct span ping = span_of("PING");
    if (node->options.script_count == 0) {
        send_args(node, &ping, 1, 0);
        expect(node, DIAL_MS_MAX, on_loaded, node);
    }
    for (size_t i = 0; i < node->options.script_count; i++) {
        struct span load[] = {span_of("SCRIPT"), span_of("LOAD"),
                              span_of(node->options.scripts[i])};
        send_args(node, load, 3, 0);
        expect(node, DIAL_MS_MAX, on_loaded, node);
    }
}

static void sign_of_life(struct redis_node *node)
{
    if (!timer_running(&node->sentence)) return;
    timer_stop(&node->sentence);
    node->timeouts_in_a_row = 0;
    if (!timer_running(&node->stuck)) start(node, &node->stuck, STUCK_MS, on_stuck);
}

static struct span text_of(const redisReply *reply)
{
    return (struct span){reply->str, reply->len};
}

static bool is_push(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3) return false;
    for (size_t i = 0; i < 3; i++) {
        if (reply->element[i]->type != REDIS_REPLY_STRING) return false;
    }
    return span_equal(text_of(reply->element[0]), span_of("message"));
}

/* After our own pause a flood of them may be in front of the reply that lifts the sentence, more
 * than one turn reads: so they lift it too. */
static void hear_push(struct redis_node *node, const redisReply *push)
{
    sign_of_life(node);
    node->options.on_push(node->options.arg, text_of(push->element[1]), text_of(push->element[2]));
}

static void on_wire_reply(void *arg, const redisReply *reply)
{
    struct redis_node *node = arg;
    if (node->options.on_push != NULL && is_push(reply)) {
        hear_push(node, reply);
        return;
    }
    struct call *call = calls_pop(&node->pending);
    if (call == NULL) {
        fail(node, "a reply that nobody asked for");
        return;
    }
    if (call->on_answer != NULL) node->timeouts_in_a_row = 0;
    sign_of_life(node);
    if (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOSCRIPT", 8) == 0)
        fail(node, "the server lost its scripts");
    call_answer(call, REDIS_REPLIED, reply);
}

static void on_wire_lost(void *arg, const char *why)
{
    fail(arg, why);
}

static void on_dial_deadline(void *arg)
{
    fail(arg, "no connection within 1 s");
}

static void dial_address(struct redis_node *node, const char *address)
{
    static const struct redis_wire_events events = {
        .on_open = on_wire_open, .on_reply = on_wire_reply, .on_lost = on_wire_lost};
    struct redis_wire_events mine = events;
    mine.arg = node;
    char why[128];
    node->wire = redis_wire_dial(node->loop, address, node->options.port, &mine, why);
    if (node->wire == NULL) fail(node, why);
}

static void on_looked_up(void *arg, const char *address, const char *why_not)
{
    struct redis_node *node = arg;
    node->lookup = NULL;
    if (address != NULL) {
        dial_address(node, address);
        return;
    }
    char why[WHY_BYTES_MAX];
    snprintf(why, sizeof why, "name lookup: %s", why_not);
    fail(node, why);
}

static void dial(void *arg)
{
    struct redis_node *node = arg;
    const char *host = node->options.host;
    start(node, &node->dial_deadline, DIAL_MS_MAX, on_dial_deadline);
    struct in6_addr numeric;
    if (inet_pton(AF_INET, host, &numeric) == 1 || inet_pton(AF_INET6, host, &numeric) == 1) {
        dial_address(node, host);
    } else {
        node->lookup = lookup_start(node->loop, host, node->dials++, on_looked_up, node);
    }
}

struct redis_node *redis_node_open(struct loop *loop, const struct redis_node_options *options)
{
    struct redis_node *node = xcalloc(1, sizeof *node);
    node->loop = loop;
    node->options = *options;
    node->backoff_ms = BACKOFF_MS_MIN;
    node->shas = xcalloc(options->script_count, sizeof *node->shas);
    snprintf(node->why, sizeof node->why, "not connected yet");
    calls_init(&node->pending);
    calls_init(&node->orphans);
    tick_init(&node->burial, bury, node);
    start(node, &node->redial, 0, dial);
    return node;
}

void redis_node_close(struct redis_node *node)
{
    if (node == NULL) return;
    CHECK(!node->closed && !node->dropping);
    node->closed = true;
    node->state = REDIS_NODE_DOWN;
    node_hold(node);
    hang_up(node);
    leave(node);
    timer_stop(&node->redial);
    tick_cancel(&node->burial);
    for (struct call *call; (call = calls_pop(&node->orphans)) != NULL;)
        call_answer(call, REDIS_UNKNOWN, NULL);
    node_let_go(node);
}

enum redis_node_state redis_node_state(const struct redis_node *node)
{
    return node->state;
}

const char *redis_node_why(const struct redis_node *node)
{
    return node->why;
}

void redis_node_admit(struct redis_node *node)
{
    CHECK(node->state != REDIS_NODE_DOWN);
    node->state = REDIS_NODE_UP;
    node->backoff_ms = BACKOFF_MS_MIN;
}

void redis_node_drop(struct redis_node *node, const char *why)
{
    CHECK(!node->closed && !node->dropping);
    if (timer_running(&node->redial)) return; /* it is down and was told so */
    fail(node, why);
}

bool redis_node_command(struct redis_node *node, const struct span *args, size_t arg_count,
                        uint32_t timeout_ms, redis_answer_fn *on_answer, void *arg)
{
    CHECK(arg_count > 0);
    if (!takes_commands(node)) return false;
    make_room(node, arg_count);
    send_args(node, args, arg_count, 0);
    expect(node, timeout_ms, on_answer, arg);
    return true;
}

bool redis_node_script(struct redis_node *node, size_t script, size_t key_count,
                       const struct span *args, size_t arg_count, uint32_t timeout_ms,
                       redis_answer_fn *on_answer, void *arg)
{
    if (!takes_commands(node)) return false;
    send_script(node, script, key_count, args, arg_count);
    expect(node, timeout_ms, on_answer, arg);
    return true;
}

void redis_node_last_words(struct redis_node *node, size_t script, size_t key_count,
                           const struct span *args, size_t arg_count)
{
    CHECK(node->dropping);
    send_script(node, script, key_count, args, arg_count);
}

struct redis_node_counts redis_node_counts(const struct redis_node *node)
{
    return node->counts;
}
