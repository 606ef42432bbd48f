#include "lockd/hints.h"

#include "base/check.h"
#include "base/log.h"
#include "base/redis_node.h"
#include "lockd/transport.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ASK_MS = 2000,
    ANSWER_MS_MAX = 400,
};

/* Its node is GREETING until it is subscribed. */
struct ear {
    struct hints *hints;
    struct redis_node *redis;
    struct timer ask;
    char told[160]; /* the refusal that was logged; "": none since it was last subscribed */
    char host[256];
};

struct hints {
    struct loop *loop;
    hints_hint_fn *on_hint;
    void *arg;
    struct conf_list names;
    struct ear ears[TRANSPORT_NODES_MAX];
};

static unsigned place(const struct ear *ear)
{
    return (unsigned)(ear - ear->hints->ears);
}

static void on_push(void *arg, struct span channel, struct span payload)
{
    struct ear *ear = arg;
    struct hints *hints = ear->hints;
    (void)channel; /* there is but one */
    if (payload.bytes == 0 || payload.bytes > RESOURCE_BYTES_MAX) return;
    hints->on_hint(hints->arg, place(ear), payload);
}

static void on_pong(void *arg, enum redis_answer answer, const redisReply *reply)
{
    (void)arg;
    (void)answer; /* one that never answers is redis_node's to drop */
    (void)reply;
}

static void on_subscribed(void *arg, enum redis_answer answer, const redisReply *reply)
{
    struct ear *ear = arg;
    if (answer != REDIS_REPLIED) return;
    if (reply->type != REDIS_REPLY_ERROR) {
        ear->told[0] = '\0';
        redis_node_admit(ear->redis);
        return;
    }
    if (strncmp(ear->told, reply->str, sizeof ear->told - 1) == 0) return;
    snprintf(ear->told, sizeof ear->told, "%s", reply->str);
    LOG_WARN("hints.refused", "node=%s why=\"%s\"", ear->hints->names.items[place(ear)], ear->told);
}

/* Goes on while the node is down, which takes no command then. SUBSCRIBE is repeated for one that
 * refuses, and for one whose answer came too late to be told. */
static void ask(void *arg)
{
    struct ear *ear = arg;
    struct span subscribe[] = {span_of("SUBSCRIBE"), span_of(HINTS_CHANNEL)};
    struct span ping = span_of("PING");
    if (redis_node_state(ear->redis) == REDIS_NODE_UP) {
        redis_node_command(ear->redis, &ping, 1, ANSWER_MS_MAX, on_pong, ear);
    } else {
        redis_node_command(ear->redis, subscribe, 2, ANSWER_MS_MAX, on_subscribed, ear);
    }
    struct loop *loop = ear->hints->loop;
    timer_start(&ear->ask, loop_timers(loop), loop_now_us(loop) + ASK_MS * UINT64_C(1000), ask,
                ear);
}

struct hints *hints_open(struct loop *loop, const struct conf_list *names, hints_hint_fn *on_hint,
                         void *arg)
{
    CHECK(names->count > 0 && names->count <= TRANSPORT_NODES_MAX);
    CHECK(on_hint != NULL);
    struct hints *hints = xcalloc(1, sizeof *hints);
    *hints = (struct hints){.loop = loop, .on_hint = on_hint, .arg = arg, .names = *names};
    for (size_t i = 0; i < names->count; i++) {
        struct ear *ear = &hints->ears[i];
        uint16_t port;
        ear->hints = hints;
        CHECK(conf_host_port(names->items[i], ear->host, &port));
        struct redis_node_options redis = {.name = names->items[i],
                                           .host = ear->host,
                                           .port = port,
                                           .quiet = true, /* the members' connection tells */
                                           .on_greeting = ask,
                                           .on_push = on_push,
                                           .arg = ear};
        ear->redis = redis_node_open(loop, &redis);
    }
    return hints;
}

void hints_close(struct hints *hints)
{
    if (hints == NULL) return;
    for (size_t i = 0; i < hints->names.count; i++) {
        timer_stop(&hints->ears[i].ask);
        redis_node_close(hints->ears[i].redis);
    }
    free(hints);
}
