/* The nodes behind puts.c (what is committed goes out) and level.c (what was missed is caught up):
 * connections, the script's arguments and answers, and reads.
 *
 * Everything leaves at the end of the turn, puts before reads: on each connection a read is
 * executed behind what was put before it. */
#include "inventory/stock.h"

#include "base/check.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/redis_node.h"
#include "inventory/level.h"
#include "inventory/puts.h"
#include "scripts/put.lua.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

enum {
    TIMEOUT_MS = 200,
    REPEATS_MAX = 4096,
    KEY_BYTES = 32,    /* "stockver:" and 19 digits */
    NUMBER_BYTES = 21, /* a sign, 19 digits */
    SCRIPT_PUT = 0,
    REDIAL_MAX_MS = 250, /* a node shall be level within a second of its return */
    HEARTBEAT_US = 500000,
};
static const char *const scripts[] = {script_put};

struct node {
    struct stock *stock;
    struct redis_node *redis; /* NULL: closed */
    unsigned index;
    char host[256];
    const char *name;
    bool complaining; /* it answers with errors, and that was said */
    uint64_t level_since_us;
    uint64_t *missed;
    uint64_t *levelled;
    int64_t *state;
};

/* What one product is called on a node, and what it is given. */
struct words {
    char stock_key[KEY_BYTES];
    char version_key[KEY_BYTES];
    char stock[NUMBER_BYTES];
    char version[NUMBER_BYTES];
};

struct stock {
    struct loop *loop;
    uint32_t timeout_ms;
    struct stock_port port;
    struct puts *puts;
    struct level *level;
    struct tick turn; /* sends what waits */
    struct timer heartbeat;
    bool closing;
    struct reading *readings;
    struct words *words; /* scratch for the command being written */
    struct span *args;
    size_t words_room;
    unsigned node_count;
    struct node nodes[STOCK_NODES_MAX];
};

/* A script on its way to one node. */
struct writing {
    struct node *node;
    size_t count;
    stock_written_fn *on_written;
    void *arg;
};

/* A read of all nodes. */
struct reading {
    struct stock *stock;
    size_t count;
    unsigned awaited;
    stock_read_fn *on_read;
    void *arg;
    struct reading *prev;
    struct reading *next;
    struct asked {
        struct reading *reading;
        struct node *node;
    } asked[STOCK_NODES_MAX];
    struct stock_node *nodes; /* of product i: nodes[i * node_count] and following */
    int64_t products[];
};

static bool is_up(void *arg, unsigned node)
{
    struct stock *stock = arg;
    struct redis_node *redis = stock->nodes[node].redis;
    return redis != NULL && redis_node_state(redis) == REDIS_NODE_UP;
}

static void make_room(struct stock *stock, size_t products)
{
    if (products <= stock->words_room) return;
    stock->words_room = products;
    stock->words = xrealloc(stock->words, products * sizeof *stock->words);
    stock->args = xrealloc(stock->args, (1 + 4 * products) * sizeof *stock->args);
}

static struct span word(char *into, size_t room, const char *before, int64_t number)
{
    int bytes = snprintf(into, room, "%s%" PRId64, before, number);
    CHECK(bytes > 0 && (size_t)bytes < room);
    return (struct span){into, (size_t)bytes};
}

static void word_keys(struct words *words, struct span *args, int64_t product)
{
    args[0] = word(words->stock_key, sizeof words->stock_key, "stock:", product);
    args[1] = word(words->version_key, sizeof words->version_key, "stockver:", product);
}

/* A node that loads, is read-only or full answers with errors: said once, until it answers well. */
static void complain(struct node *node, const char *text)
{
    if (!node->complaining) LOG_WARN("stock.refused", "node=%s error=\"%s\"", node->name, text);
    node->complaining = true;
}

static bool number_from(const redisReply *reply, int64_t *number)
{
    if (reply->type != REDIS_REPLY_STRING || reply->len == 0 || reply->len > 18) return false;
    int64_t value = 0;
    for (size_t i = 0; i < (size_t)reply->len; i++) {
        if (reply->str[i] < '0' || reply->str[i] > '9') return false;
        value = value * 10 + (reply->str[i] - '0');
    }
    *number = value;
    return true;
}

static struct stock_node held_from(const redisReply *stock, const redisReply *version)
{
    struct stock_node held = {STOCK_HELD, 0, 0};
    if (number_from(stock, &held.stock) && number_from(version, &held.version)) return held;
    return (struct stock_node){STOCK_ABSENT, 0, 0};
}

/* The script and MGET answer alike: stock and version of each product. NULL: nothing usable. */
static const redisReply *pairs_from(struct node *node, const redisReply *reply, size_t count)
{
    if (reply == NULL) return NULL;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 * count) {
        node->complaining = false;
        return reply;
    }
    complain(node, reply->type == REDIS_REPLY_ERROR ? reply->str : "not what was asked for");
    return NULL;
}

static void on_put(void *arg, enum redis_answer answer, const struct redisReply *reply)
{
    struct writing *writing = arg;
    (void)answer;
    const redisReply *pairs = pairs_from(writing->node, reply, writing->count);
    stock_written_fn *on_written = writing->on_written;
    void *on_written_arg = writing->arg;
    struct stock_node *held = NULL;
    if (pairs != NULL) {
        held = xcalloc(writing->count, sizeof *held);
        for (size_t i = 0; i < writing->count; i++)
            held[i] = held_from(pairs->element[2 * i], pairs->element[2 * i + 1]);
    } else if (writing->node->missed != NULL) {
        (*writing->node->missed)++;
    }
    free(writing);
    on_written(on_written_arg, held);
    free(held);
}

static bool write_node(void *arg, unsigned node, const struct stock_value *values, size_t count,
                       stock_written_fn *on_written, void *on_written_arg)
{
    struct stock *stock = arg;
    if (!is_up(stock, node)) return false;
    make_room(stock, count);
    struct span *keys = stock->args;
    struct span *args = stock->args + 2 * count;
    for (size_t i = 0; i < count; i++) {
        struct words *words = &stock->words[i];
        word_keys(words, &keys[2 * i], values[i].product);
        args[2 * i] = word(words->stock, sizeof words->stock, "", values[i].stock);
        args[2 * i + 1] = word(words->version, sizeof words->version, "", values[i].version);
    }
    struct writing *writing = xcalloc(1, sizeof *writing);
    *writing = (struct writing){&stock->nodes[node], count, on_written, on_written_arg};
    if (redis_node_script(stock->nodes[node].redis, SCRIPT_PUT, 2 * count, stock->args, 4 * count,
                          stock->timeout_ms, on_put, writing)) {
        return true;
    }
    free(writing);
    return false;
}

static void turn_later(void *arg)
{
    struct stock *stock = arg;
    loop_at_tick_end(stock->loop, &stock->turn);
}

void stock_put(struct stock *stock, const struct stock_value *value, stock_stored_fn *on_stored,
               void *arg)
{
    puts_put(stock->puts, value, on_stored, arg);
}

static void answer_reading(struct reading *reading)
{
    struct stock_read read = {reading->count, reading->stock->node_count, reading->nodes};
    reading->on_read(reading->arg, &read);
    free(reading->nodes);
    free(reading);
}

static void on_mget(void *arg, enum redis_answer answer, const struct redisReply *reply)
{
    struct asked *asked = arg;
    struct reading *reading = asked->reading;
    (void)answer;
    const redisReply *pairs = pairs_from(asked->node, reply, reading->count);
    unsigned node_count = reading->stock->node_count;
    for (size_t i = 0; pairs != NULL && i < reading->count; i++) {
        reading->nodes[i * node_count + asked->node->index] =
            held_from(pairs->element[2 * i], pairs->element[2 * i + 1]);
    }
    if (--reading->awaited == 0) answer_reading(reading);
}

static void begin_reading(struct stock *stock, struct reading *reading)
{
    make_room(stock, reading->count);
    stock->args[0] = span_of("MGET");
    for (size_t i = 0; i < reading->count; i++)
        word_keys(&stock->words[i], &stock->args[1 + 2 * i], reading->products[i]);
    for (unsigned i = 0; i < stock->node_count; i++) {
        reading->asked[i] = (struct asked){reading, &stock->nodes[i]};
        if (is_up(stock, i) &&
            redis_node_command(stock->nodes[i].redis, stock->args, 1 + 2 * reading->count,
                               stock->timeout_ms, on_mget, &reading->asked[i])) {
            reading->awaited++;
        }
    }
}

void stock_read(struct stock *stock, const int64_t *products, size_t count, stock_read_fn *on_read,
                void *arg)
{
    CHECK(count >= 1 && count <= STOCK_READ_MAX);
    struct reading *reading = xcalloc(1, sizeof *reading + count * sizeof *products);
    reading->stock = stock;
    reading->count = count;
    reading->on_read = on_read;
    reading->arg = arg;
    reading->nodes = xcalloc(count * stock->node_count, sizeof *reading->nodes);
    memcpy(reading->products, products, count * sizeof *products);
    DL_APPEND(stock->readings, reading);
    turn_later(stock);
}

/* Those that no node could be asked for are answered last: their answers may read again. */
static void on_turn(void *arg)
{
    struct stock *stock = arg;
    struct reading *unanswered = NULL;
    struct reading *readings = stock->readings;
    stock->readings = NULL;
    puts_flush(stock->puts, readings != NULL || stock->closing);
    while (readings != NULL) {
        struct reading *reading = readings;
        DL_DELETE(readings, reading);
        begin_reading(stock, reading);
        if (reading->awaited == 0) DL_APPEND(unanswered, reading);
    }
    while (unanswered != NULL) {
        struct reading *reading = unanswered;
        DL_DELETE(unanswered, reading);
        answer_reading(reading);
    }
}

static void on_pong(void *arg, enum redis_answer answer, const struct redisReply *reply)
{
    (void)arg; /* the node itself draws the conclusion when there is none */
    (void)answer;
    (void)reply;
}

/* A connection may die without a word (a partition, a host that is gone), and the server behind it
 * may forget everything before anybody sells again: only asking tells. */
static void on_heartbeat(void *arg)
{
    struct stock *stock = arg;
    struct span ping = span_of("PING");
    for (unsigned i = 0; i < stock->node_count; i++) {
        if (is_up(stock, i))
            (void)redis_node_command(stock->nodes[i].redis, &ping, 1, stock->timeout_ms, on_pong,
                                     NULL);
    }
    timer_start(&stock->heartbeat, loop_timers(stock->loop),
                loop_now_us(stock->loop) + HEARTBEAT_US, on_heartbeat, stock);
}

static void show_state(struct stock *stock, unsigned node)
{
    if (stock->nodes[node].state == NULL) return;
    *stock->nodes[node].state = (int64_t)stock_node_state(stock, node);
}

static void on_greeting(void *arg)
{
    struct node *node = arg;
    struct stock *stock = node->stock;
    redis_node_admit(node->redis);
    node->level_since_us = loop_now_us(stock->loop);
    level_behind(stock->level, node->index);
    show_state(stock, node->index);
}

static void on_down(void *arg, const char *why)
{
    struct node *node = arg;
    (void)why; /* the node itself has said it */
    level_away(node->stock->level, node->index);
    show_state(node->stock, node->index);
}

static void on_even(void *arg, unsigned index, uint64_t products)
{
    struct stock *stock = arg;
    struct node *node = &stock->nodes[index];
    LOG_INFO("stock.level", "node=%s products=%" PRIu64 " ms=%" PRIu64, node->name, products,
             (loop_now_us(stock->loop) - node->level_since_us) / 1000);
    if (node->levelled != NULL) *node->levelled += products;
    show_state(stock, index);
}

static void on_behind(void *arg, unsigned index)
{
    struct stock *stock = arg;
    if (level_even(stock->level, index)) {
        LOG_WARN("stock.behind", "node=%s", stock->nodes[index].name);
        stock->nodes[index].level_since_us = loop_now_us(stock->loop);
    }
    level_behind(stock->level, index);
    show_state(stock, index);
}

static void open_node(struct stock *stock, unsigned index, const char *name,
                      struct metrics *metrics)
{
    struct node *node = &stock->nodes[index];
    uint16_t port;
    node->stock = stock;
    node->index = index;
    node->name = name;
    CHECK(conf_host_port(name, node->host, &port));
    if (metrics != NULL) {
        char labels[300];
        (void)snprintf(labels, sizeof labels, "node=\"%s\"", name);
        node->missed = metrics_counter(metrics, "quorate_stock_missed_total", labels,
                                       "Scripts that a node did not acknowledge.");
        node->levelled = metrics_counter(metrics, "quorate_stock_levelled_total", labels,
                                         "Products written to bring a node level.");
        node->state = metrics_gauge(metrics, "quorate_stock_node_state", labels,
                                    "0 down, 1 being brought level, 2 level.");
    }
    struct redis_node_options options = {
        .name = name,
        .host = node->host,
        .port = port,
        .scripts = scripts,
        .script_count = sizeof scripts / sizeof scripts[0],
        .redial_max_ms = REDIAL_MAX_MS,
        .on_greeting = on_greeting,
        .on_down = on_down,
        .arg = node,
    };
    node->redis = redis_node_open(stock->loop, &options);
}

struct stock *stock_open(struct loop *loop, const struct conf_list *nodes,
                         const struct stock_options *options)
{
    CHECK(nodes->count >= 1 && nodes->count <= STOCK_NODES_MAX);
    struct stock *stock = xcalloc(1, sizeof *stock);
    stock->loop = loop;
    stock->timeout_ms = options->timeout_ms == 0 ? TIMEOUT_MS : options->timeout_ms;
    stock->node_count = (unsigned)nodes->count;
    stock->port = (struct stock_port){stock->node_count, is_up, write_node, stock};
    tick_init(&stock->turn, on_turn, stock);
    stock->puts = puts_new(&(struct puts_options){
        .timers = loop_timers(loop),
        .port = &stock->port,
        .repeats_max = options->repeats_max == 0 ? REPEATS_MAX : options->repeats_max,
        .metrics = options->metrics,
        .flush_later = turn_later,
        .behind = on_behind,
        .arg = stock,
    });
    stock->level = level_new(&(struct level_options){
        .timers = loop_timers(loop),
        .port = &stock->port,
        .source = options->source,
        .on_even = on_even,
        .arg = stock,
    });
    for (unsigned i = 0; i < stock->node_count; i++)
        open_node(stock, i, nodes->items[i], options->metrics);
    on_heartbeat(stock);
    return stock;
}

/* Closing a node answers what it owes, and that may begin rounds and reads on those still open;
 * when all are closed, what is left is answered without them. */
void stock_close(struct stock *stock)
{
    if (stock == NULL) return;
    timer_stop(&stock->heartbeat);
    stock->closing = true;
    on_turn(stock); /* what was being paced leaves now */
    for (unsigned i = 0; i < stock->node_count; i++) {
        struct redis_node *redis = stock->nodes[i].redis;
        stock->nodes[i].redis = NULL;
        level_away(stock->level, i);
        redis_node_close(redis);
    }
    while (stock->turn.in != NULL) {
        tick_cancel(&stock->turn);
        on_turn(stock);
    }
    level_free(stock->level);
    puts_free(stock->puts);
    free(stock->words);
    free(stock->args);
    free(stock);
}

unsigned stock_node_count(const struct stock *stock)
{
    return stock->node_count;
}

const char *stock_node_name(const struct stock *stock, unsigned node)
{
    CHECK(node < stock->node_count);
    return stock->nodes[node].name;
}

enum stock_node_state stock_node_state(const struct stock *stock, unsigned node)
{
    CHECK(node < stock->node_count);
    const struct redis_node *redis = stock->nodes[node].redis;
    if (redis == NULL || redis_node_state(redis) != REDIS_NODE_UP) return STOCK_NODE_DOWN;
    return level_even(stock->level, node) ? STOCK_NODE_LEVEL : STOCK_NODE_BEHIND;
}
