#include "lockd/fake_net.h"

#include "base/check.h"
#include "base/redis_node.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARGS_MAX = 16, TIMEOUTS_MAX = 3, REDIAL_US = 50000 };

/* A connection outlives its node: a server may still hold what came over it. */
struct fake_net_connection {
    struct redis_node *node; /* NULL: closed by us */
    struct fake_net_server *server;
    struct fake_net_connection *next;
    struct fake_net_message *first; /* open messages, in order */
    struct fake_net_message **tail;
};

struct fake_net_message {
    struct fake_net_connection *connection;
    struct timer arrives;
    struct timer deadline;
    struct span args[ARGS_MAX];
    size_t count;
    size_t key_count;
    const char *script; /* NULL: a plain command */
    redis_answer_fn *on_answer;
    void *arg;
    redisReply *reply;
    bool answered;
    struct fake_net_message *next;    /* in its connection */
    struct fake_net_message *waiting; /* at a paused server */
};

struct redis_node {
    struct redis_node_options options;
    struct fake_net_server *server;
    struct fake_net_connection *connection;
    enum redis_node_state state;
    struct redis_node_counts counts;
    unsigned timeouts_in_a_row;
    struct timer dial;
    struct timer gone; /* connection lost: tells who waits */
    struct fake_net_connection *lost;
    const char *why;
    bool dropping;
};

static struct fake_net *the_net; /* what the sockets of a machine are to the real one */

static uint64_t boot_us(void *arg)
{
    return ((struct fake_net *)arg)->now_us;
}

static uint64_t wall_us(void *arg)
{
    struct fake_net *net = arg;
    return net->now_us + (uint64_t)net->wall_offset_us;
}

static void start(struct timer *timer, uint64_t in_us, timer_due_fn *on_due, void *arg)
{
    timer_start(timer, &the_net->timers, the_net->now_us + in_us, on_due, arg);
}

static void message_free(struct fake_net_message *message)
{
    timer_stop(&message->arrives);
    timer_stop(&message->deadline);
    for (size_t i = 0; i < message->count; i++)
        free((char *)message->args[i].at);
    if (message->reply != NULL) freeReplyObject(message->reply);
    free(message);
}

static void answer(struct fake_net_message *message, enum redis_answer answer)
{
    if (message->answered) return;
    message->answered = true;
    timer_stop(&message->deadline);
    if (message->on_answer != NULL) message->on_answer(message->arg, answer, message->reply);
}

/* Everything that the connection still owes, UNKNOWN. The messages themselves live on. */
static void give_up(struct fake_net_connection *connection)
{
    for (struct fake_net_message *message = connection->first; message != NULL;
         message = message->next)
        answer(message, REDIS_UNKNOWN);
}

static void dial(void *arg);

static void on_gone(void *arg)
{
    struct redis_node *node = arg;
    give_up(node->lost);
    start(&node->dial, REDIAL_US, dial, node);
    if (node->options.on_down != NULL) node->options.on_down(node->options.arg, node->why);
}

static void lose(struct redis_node *node, const char *why)
{
    if (node->connection == NULL) return;
    node->lost = node->connection;
    node->connection->node = NULL;
    node->connection = NULL;
    node->state = REDIS_NODE_DOWN;
    node->why = why;
    node->timeouts_in_a_row = 0;
    start(&node->gone, 0, on_gone, node);
}

static void on_deadline(void *arg)
{
    struct fake_net_message *message = arg;
    struct redis_node *node = message->connection->node;
    if (node == NULL) { /* lost this very instant */
        answer(message, REDIS_UNKNOWN);
        return;
    }
    node->counts.timeouts++;
    bool stuck = ++node->timeouts_in_a_row >= TIMEOUTS_MAX;
    answer(message, REDIS_UNKNOWN);
    node = message->connection->node; /* the answer may have closed it */
    if (!stuck || node == NULL) return;
    node->dropping = true;
    if (node->options.on_drop != NULL) node->options.on_drop(node->options.arg);
    node->dropping = false;
    lose(node, "three commands in a row timed out");
}

static void on_reply(void *arg)
{
    struct fake_net_message *message = arg;
    struct redis_node *node = message->connection->node;
    if (node == NULL) return;
    if (!message->answered) node->timeouts_in_a_row = 0;
    answer(message, REDIS_REPLIED);
}

static void execute(struct fake_net_message *message)
{
    struct fake_redis *redis = &message->connection->server->redis;
    if (message->script != NULL) {
        message->reply = fake_redis_eval(redis, message->script, message->key_count, message->args,
                                         message->count);
    } else {
        message->reply = fake_redis_command(redis, message->args, message->count);
    }
    start(&message->arrives, the_net->latency_us, on_reply, message);
}

static void on_arrival(void *arg)
{
    struct fake_net_message *message = arg;
    struct fake_net_server *server = message->connection->server;
    if (server->down) return;
    if (!server->paused) {
        execute(message);
        return;
    }
    message->waiting = NULL;
    *server->waiting_tail = message;
    server->waiting_tail = &message->waiting;
}

static void send_message(struct redis_node *node, const char *script, size_t key_count,
                         const struct span *args, size_t count, redis_answer_fn *on_answer,
                         void *arg, uint32_t timeout_ms)
{
    CHECK(count <= ARGS_MAX);
    struct fake_net_message *message = xcalloc(1, sizeof *message);
    message->connection = node->connection;
    message->script = script;
    message->key_count = key_count;
    message->count = count;
    for (size_t i = 0; i < count; i++) {
        message->args[i].at =
            args[i].bytes == 0 ? xstrdup("") : xstrndup(args[i].at, args[i].bytes);
        message->args[i].bytes = args[i].bytes;
    }
    message->on_answer = on_answer;
    message->arg = arg;
    *node->connection->tail = message;
    node->connection->tail = &message->next;
    start(&message->arrives, the_net->latency_us, on_arrival, message);
    if (on_answer == NULL) {
        message->answered = true; /* last words */
    } else {
        start(&message->deadline, (uint64_t)timeout_ms * 1000, on_deadline, message);
    }
    node->counts.commands++;
}

static void dial(void *arg)
{
    struct redis_node *node = arg;
    if (node->server->down || node->server->paused) {
        start(&node->dial, REDIAL_US, dial, node);
        return;
    }
    struct fake_net_connection *connection = xcalloc(1, sizeof *connection);
    connection->node = node;
    connection->server = node->server;
    connection->tail = &connection->first;
    connection->next = the_net->connections;
    the_net->connections = connection;
    node->connection = connection;
    node->counts.connects++;
    node->why = "";
    node->state = node->options.on_greeting == NULL ? REDIS_NODE_UP : REDIS_NODE_GREETING;
    if (node->options.on_greeting != NULL) node->options.on_greeting(node->options.arg);
}

struct redis_node *redis_node_open(struct loop *loop, const struct redis_node_options *options)
{
    (void)loop;
    CHECK(options->port >= 1 && options->port <= the_net->count);
    struct redis_node *node = xcalloc(1, sizeof *node);
    node->options = *options;
    node->server = &the_net->servers[options->port - 1];
    node->why = "not connected yet";
    start(&node->dial, 0, dial, node);
    return node;
}

void redis_node_close(struct redis_node *node)
{
    if (node == NULL) return;
    timer_stop(&node->dial);
    if (timer_running(&node->gone)) give_up(node->lost);
    timer_stop(&node->gone);
    struct fake_net_connection *connection = node->connection;
    node->state = REDIS_NODE_DOWN;
    node->connection = NULL;
    if (connection != NULL) {
        connection->node = NULL;
        give_up(connection);
    }
    free(node);
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
}

void redis_node_drop(struct redis_node *node, const char *why)
{
    lose(node, why);
}

bool redis_node_command(struct redis_node *node, const struct span *args, size_t arg_count,
                        uint32_t timeout_ms, redis_answer_fn *on_answer, void *arg)
{
    if (node->state == REDIS_NODE_DOWN || node->dropping) return false;
    send_message(node, NULL, 0, args, arg_count, on_answer, arg, timeout_ms);
    return true;
}

bool redis_node_script(struct redis_node *node, size_t script, size_t key_count,
                       const struct span *args, size_t arg_count, uint32_t timeout_ms,
                       redis_answer_fn *on_answer, void *arg)
{
    if (node->state == REDIS_NODE_DOWN || node->dropping) return false;
    send_message(node, node->options.scripts[script], key_count, args, arg_count, on_answer, arg,
                 timeout_ms);
    return true;
}

void redis_node_last_words(struct redis_node *node, size_t script, size_t key_count,
                           const struct span *args, size_t arg_count)
{
    CHECK(node->dropping);
    send_message(node, node->options.scripts[script], key_count, args, arg_count, NULL, NULL, 0);
}

struct redis_node_counts redis_node_counts(const struct redis_node *node)
{
    return node->counts;
}

/* The world. */

void fake_net_init(struct fake_net *net, unsigned servers)
{
    CHECK(servers <= FAKE_NET_SERVERS_MAX);
    *net = (struct fake_net){.now_us = 1000000,
                             .wall_offset_us = 1700000000000000 - 1000000,
                             .latency_us = 100,
                             .count = servers};
    net->clock = (struct clock){boot_us, wall_us, net};
    timers_init(&net->timers, &net->clock);
    for (unsigned i = 0; i < servers; i++) {
        fake_redis_init(&net->servers[i].redis, &net->clock);
        net->servers[i].redis.wall_offset_us = net->wall_offset_us + 1000 * (int64_t)i;
        net->servers[i].waiting_tail = &net->servers[i].waiting;
    }
    the_net = net;
}

void fake_net_fini(struct fake_net *net)
{
    while (net->connections != NULL) {
        struct fake_net_connection *connection = net->connections;
        net->connections = connection->next;
        while (connection->first != NULL) {
            struct fake_net_message *message = connection->first;
            connection->first = message->next;
            message_free(message);
        }
        free(connection);
    }
    for (unsigned i = 0; i < net->count; i++)
        fake_redis_fini(&net->servers[i].redis);
    timers_fini(&net->timers);
    the_net = NULL;
}

static uint64_t next_due_us(const struct fake_net *net)
{
    uint64_t next_us = timers_next_us(&net->timers);
    for (unsigned i = 0; i < net->other_count; i++) {
        uint64_t other_us = timers_next_us(&net->others[i]);
        if (other_us < next_us) next_us = other_us;
    }
    return next_us;
}

void fake_net_run(struct fake_net *net, uint64_t us)
{
    uint64_t until_us = net->now_us + us;
    for (;;) {
        uint64_t next_us = next_due_us(net);
        if (next_us > until_us) break;
        if (next_us > net->now_us) net->now_us = next_us;
        timers_run(&net->timers);
        for (unsigned i = 0; i < net->other_count; i++)
            timers_run(&net->others[i]);
    }
    net->now_us = until_us;
}

void fake_net_pause(struct fake_net *net, unsigned server)
{
    net->servers[server].paused = true;
}

void fake_net_resume(struct fake_net *net, unsigned server)
{
    struct fake_net_server *woken = &net->servers[server];
    woken->paused = false;
    struct fake_net_message *message = woken->waiting;
    woken->waiting = NULL;
    woken->waiting_tail = &woken->waiting;
    for (; message != NULL; message = message->waiting)
        execute(message);
}

void fake_net_cut(struct fake_net *net, unsigned server)
{
    for (struct fake_net_connection *connection = net->connections; connection != NULL;
         connection = connection->next) {
        if (connection->server == &net->servers[server] && connection->node != NULL)
            lose(connection->node, "the connection was lost");
    }
}

void fake_net_kill(struct fake_net *net, unsigned server)
{
    struct fake_net_server *killed = &net->servers[server];
    killed->down = true;
    killed->paused = false;
    killed->waiting = NULL; /* died with it */
    killed->waiting_tail = &killed->waiting;
    fake_net_cut(net, server);
}

void fake_net_start(struct fake_net *net, unsigned server, bool keep_data)
{
    net->servers[server].down = false;
    fake_redis_restart(&net->servers[server].redis, keep_data);
}
