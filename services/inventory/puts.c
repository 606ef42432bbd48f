#include "inventory/puts.h"

#include "base/check.h"
#include "base/metrics.h"
#include "inventory/by_product.h"

#include <stdlib.h>
#include <utlist.h>

struct waiter {
    stock_stored_fn *on_stored;
    void *arg;
    struct waiter *next;
};

enum put_state {
    PUT_STARTING,  /* in puts->starting until the end of the turn */
    PUT_UNDER_WAY, /* nodes in `awaited` owe an answer */
    PUT_REPEATING, /* nodes in `missed` did not acknowledge; the timer runs */
};

/* A product with something to do. Nodes are bits. */
struct put {
    struct puts *puts;
    enum put_state state;
    struct stock_value value; /* of the round that starts, is under way, or was missed */
    struct stock_value next;  /* of the round after it; version 0: none */
    struct waiter *waiters;
    struct waiter *next_waiters;
    uint32_t targets;
    uint32_t awaited;
    uint32_t missed;
    uint64_t pause_us;
    uint64_t began_us; /* the round under way */
    struct timer repeat;
    struct stock_node held[STOCK_NODES_MAX];
    struct put *prev; /* in starting, or in the list of rounds that a write has ended */
    struct put *next_in_list;
    UT_hash_handle hh;
};

struct puts {
    struct puts_options options;
    struct put *products; /* by id */
    struct put *starting;
    bool urgent;      /* somebody waits for one of these */
    unsigned flights; /* in the air */
    uint64_t took_off_us;
    struct timer pace; /* when those that nobody waits for may take off */
    struct puts_counts counts;
    /* The same for the metrics; NULL without. */
    uint64_t *puts_total;
    uint64_t *rounds_total;
    uint64_t *repeats_total;
    struct histogram *round_us;
};

static void count(uint64_t *own, uint64_t *shown)
{
    (*own)++;
    if (shown != NULL) (*shown)++;
}

/* Rounds that started together, on their way. */
struct flight {
    struct puts *puts;
    unsigned open; /* nodes that owe an answer */
    bool in_the_air;
    struct shipment {
        struct flight *flight;
        unsigned node;
    } shipments[STOCK_NODES_MAX];
    size_t count;
    struct cargo {
        struct put *put;  /* there as long as a node of its targets owes an answer */
        uint32_t targets; /* as sent */
    } cargo[PUTS_CHUNK];
};

struct puts *puts_new(const struct puts_options *options)
{
    CHECK(options->port->node_count >= 1 && options->port->node_count <= STOCK_NODES_MAX);
    CHECK(options->repeats_max > 0);
    struct puts *puts = xcalloc(1, sizeof *puts);
    puts->options = *options;
    struct metrics *metrics = options->metrics;
    if (metrics == NULL) return puts;
    puts->puts_total = metrics_counter(metrics, "quorate_stock_puts_total", NULL,
                                       "Committed stocks that were to be put on the nodes.");
    puts->rounds_total =
        metrics_counter(metrics, "quorate_stock_rounds_total", NULL,
                        "Rounds of puts, one a product; newer puts replace older ones that wait.");
    puts->repeats_total =
        metrics_counter(metrics, "quorate_stock_repeats_total", NULL,
                        "Rounds that repeated what a reachable node did not acknowledge.");
    puts->round_us =
        metrics_histogram(metrics, "quorate_stock_round_seconds", NULL,
                          "From the first script of a round to the last node's answer.");
    return puts;
}

static void forget(struct put *put)
{
    struct puts *puts = put->puts;
    timer_stop(&put->repeat);
    HASH_DEL(puts->products, put);
    free(put);
}

void puts_free(struct puts *puts)
{
    if (puts == NULL) return;
    struct put *put;
    struct put *after;
    HASH_ITER(hh, puts->products, put, after)
    {
        CHECK(put->state == PUT_REPEATING);
        forget(put);
    }
    timer_stop(&puts->pace);
    free(puts);
}

static uint32_t all_nodes(const struct puts *puts)
{
    return (UINT32_C(1) << puts->options.port->node_count) - 1;
}

static void start(struct put *put, uint32_t targets)
{
    struct puts *puts = put->puts;
    put->state = PUT_STARTING;
    put->targets = targets;
    puts->urgent = puts->urgent || put->waiters != NULL;
    DL_APPEND2(puts->starting, put, prev, next_in_list);
    puts->options.flush_later(puts->options.arg);
}

static struct put *product_of(struct puts *puts, int64_t id)
{
    struct put *put;
    HASH_FIND(hh, puts->products, &id, sizeof id, put);
    if (put != NULL) return put;
    put = xcalloc(1, sizeof *put);
    put->puts = puts;
    put->value.product = id;
    put->pause_us = PUTS_REPEAT_US;
    HASH_ADD(hh, puts->products, value.product, sizeof id, put);
    start(put, all_nodes(puts));
    return put;
}

static void wait_for(struct waiter **waiters, stock_stored_fn *on_stored, void *arg)
{
    if (on_stored == NULL) return;
    struct waiter *waiter = xcalloc(1, sizeof *waiter);
    waiter->on_stored = on_stored;
    waiter->arg = arg;
    LL_PREPEND(*waiters, waiter);
}

void puts_put(struct puts *puts, const struct stock_value *value, stock_stored_fn *on_stored,
              void *arg)
{
    CHECK(value->product > 0 && value->stock >= 0);
    CHECK(value->version > 0 && value->version <= STOCK_VERSION_MAX);
    count(&puts->counts.puts, puts->puts_total);
    struct put *put = product_of(puts, value->product);
    if (put->state == PUT_UNDER_WAY) {
        /* Also what is not newer waits for a round of its own: the round under way may have asked
         * some nodes before this call. */
        if (value->version > put->next.version) put->next = *value;
        wait_for(&put->next_waiters, on_stored, arg);
        return;
    }
    if (put->state == PUT_REPEATING) {
        timer_stop(&put->repeat);
        puts->counts.repeating--;
        start(put, all_nodes(puts));
    }
    put->targets = all_nodes(puts);
    if (value->version > put->value.version) put->value = *value;
    wait_for(&put->waiters, on_stored, arg);
    puts->urgent = puts->urgent || on_stored != NULL;
    puts->options.flush_later(puts->options.arg);
}

static void on_repeat(void *arg)
{
    struct put *put = arg;
    put->puts->counts.repeating--;
    start(put, put->missed);
}

/* Goes on to the next round, to repetition, or to nothing. */
static void move_on(struct put *put)
{
    struct puts *puts = put->puts;
    const struct puts_options *options = &puts->options;
    for (unsigned node = 0; node < options->port->node_count; node++) {
        if (!options->port->up(options->port->arg, node)) put->missed &= ~(UINT32_C(1) << node);
    }
    if (put->next.version != 0) {
        if (put->next.version > put->value.version) put->value = put->next;
        put->next.version = 0;
        put->waiters = put->next_waiters;
        put->next_waiters = NULL;
        start(put, all_nodes(puts));
        return;
    }
    if (put->missed == 0) {
        forget(put);
        return;
    }
    if (puts->counts.repeating >= options->repeats_max) {
        uint32_t missed = put->missed;
        forget(put);
        for (unsigned node = 0; node < options->port->node_count; node++) {
            if (missed & (UINT32_C(1) << node)) options->behind(options->arg, node);
        }
        return;
    }
    put->state = PUT_REPEATING;
    puts->counts.repeating++;
    timer_start(&put->repeat, options->timers, timers_now_us(options->timers) + put->pause_us,
                on_repeat, put);
    if (put->pause_us < PUTS_REPEAT_MAX_US) put->pause_us *= 2;
}

/* The round is over. Its waiters are answered from a copy: their answers may put again. */
static void finish(struct put *put)
{
    struct puts *puts = put->puts;
    struct waiter *waiters = put->waiters;
    struct stock_node held[STOCK_NODES_MAX];
    if (puts->round_us != NULL)
        histogram_add(puts->round_us, timers_now_us(puts->options.timers) - put->began_us);
    memcpy(held, put->held, sizeof held);
    struct stock_stored stored = {
        .value = put->value, .node_count = puts->options.port->node_count, .nodes = held};
    put->waiters = NULL;
    move_on(put);
    while (waiters != NULL) {
        struct waiter *waiter = waiters;
        waiters = waiter->next;
        waiter->on_stored(waiter->arg, &stored);
        free(waiter);
    }
}

/* Rounds that have ended are gathered before any of their waiters hears of it. */
static void finish_all(struct put *ended)
{
    while (ended != NULL) {
        struct put *put = ended;
        DL_DELETE2(ended, put, prev, next_in_list);
        finish(put);
    }
}

/* One node's answer has come, or will never. With two of five still out a flight has landed: a node
 * that hangs must not hold back what is for the others. */
static void touch_down(struct flight *flight)
{
    struct puts *puts = flight->puts;
    if (flight->in_the_air && flight->open <= puts->options.port->node_count / 2) {
        flight->in_the_air = false;
        puts->flights--;
        if (puts->starting != NULL) puts->options.flush_later(puts->options.arg);
    }
    if (flight->open == 0) free(flight);
}

static void on_written(void *arg, const struct stock_node *held)
{
    const struct shipment *shipment = arg;
    struct flight *flight = shipment->flight;
    unsigned node = shipment->node;
    uint32_t bit = UINT32_C(1) << node;
    struct put *ended = NULL;
    size_t place = 0; /* in what the node was sent */
    for (size_t i = 0; i < flight->count; i++) {
        if ((flight->cargo[i].targets & bit) == 0) continue;
        struct put *put = flight->cargo[i].put;
        CHECK(put->state == PUT_UNDER_WAY && (put->awaited & bit) != 0);
        put->awaited &= ~bit;
        if (held != NULL) {
            put->held[node] = held[place++];
            put->missed &= ~bit;
        } else {
            put->missed |= bit;
        }
        if (put->awaited == 0) DL_APPEND2(ended, put, prev, next_in_list);
    }
    flight->open--;
    touch_down(flight);
    finish_all(ended);
}

static void ship(struct flight *flight, unsigned node)
{
    const struct stock_port *port = flight->puts->options.port;
    struct stock_value values[PUTS_CHUNK];
    size_t count = 0;
    uint32_t bit = UINT32_C(1) << node;
    for (size_t i = 0; i < flight->count; i++) {
        if (flight->cargo[i].targets & bit) values[count++] = flight->cargo[i].put->value;
    }
    flight->shipments[node] = (struct shipment){flight, node};
    bool sent = count > 0 &&
                port->write(port->arg, node, values, count, on_written, &flight->shipments[node]);
    flight->open += sent;
    for (size_t i = 0; i < flight->count; i++) {
        struct cargo *cargo = &flight->cargo[i];
        if ((cargo->targets & bit) == 0) continue;
        if (sent) {
            cargo->put->awaited |= bit;
        } else {
            cargo->put->missed |= bit; /* matters if it is up, and only too busy */
        }
    }
}

static void begin(struct puts *puts, struct put *put)
{
    if (put->waiters == NULL && put->missed != 0 && put->targets == put->missed) {
        count(&puts->counts.repeats, puts->repeats_total);
    } else {
        count(&puts->counts.rounds, puts->rounds_total);
    }
    put->state = PUT_UNDER_WAY;
    put->began_us = timers_now_us(puts->options.timers);
    put->awaited = 0;
    for (unsigned node = 0; node < STOCK_NODES_MAX; node++) {
        if (put->targets & (UINT32_C(1) << node)) put->held[node] = (struct stock_node){0};
    }
}

/* Appends to `ended` the rounds that no node takes part in. */
static void take_off(struct puts *puts, struct put **ended)
{
    struct flight *flight = xcalloc(1, sizeof *flight);
    flight->puts = puts;
    while (puts->starting != NULL && flight->count < PUTS_CHUNK) {
        struct put *put = puts->starting;
        DL_DELETE2(puts->starting, put, prev, next_in_list);
        begin(puts, put);
        flight->cargo[flight->count++] = (struct cargo){put, put->targets};
    }
    for (unsigned node = 0; node < puts->options.port->node_count; node++)
        ship(flight, node);
    for (size_t i = 0; i < flight->count; i++) {
        struct put *put = flight->cargo[i].put;
        if (put->awaited == 0) DL_APPEND2(*ended, put, prev, next_in_list);
    }
    flight->in_the_air = true;
    puts->flights++;
    touch_down(flight);
}

static void on_pace(void *arg)
{
    struct puts *puts = arg;
    puts->options.flush_later(puts->options.arg);
}

void puts_flush(struct puts *puts, bool all)
{
    struct timers *timers = puts->options.timers;
    struct put *ended = NULL;
    if (puts->starting == NULL) return;
    uint64_t next_us = puts->took_off_us + PUTS_PACE_US;
    if (!all && !puts->urgent && timers_now_us(timers) < next_us) {
        if (!timer_running(&puts->pace)) timer_start(&puts->pace, timers, next_us, on_pace, puts);
        return;
    }
    while (puts->starting != NULL && (all || puts->flights < PUTS_FLIGHTS_MAX)) {
        puts->took_off_us = timers_now_us(timers);
        take_off(puts, &ended);
    }
    if (puts->starting == NULL) puts->urgent = false;
    finish_all(ended);
}

struct puts_counts puts_counts(const struct puts *puts)
{
    struct puts_counts counts = puts->counts;
    counts.products = HASH_COUNT(puts->products);
    return counts;
}
