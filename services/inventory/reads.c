/* Calls for one product that came between two rounds form a group and share its fate:
 *
 *   QUEUED  -> ROUND  Postgres, then the nodes, with all groups that were queued
 *   JOINED  -> STORED the batch's statement, then its put
 *   ROUND or STORED -> answered, or PAUSED and again
 *
 * Why reading Postgres first: what it returns was on its way to the nodes already, so the nodes are
 * asked for at least that. They hold something older only while a put of another inventory, or of a
 * batch that has just committed, is still on its way: a matter of a millisecond, hence the pauses.
 *
 * Why a call may join only a batch whose statement is under way: the lease is then certainly held
 * here, so nobody else has committed between the statement's snapshot and this call. */
#include "inventory/reads.h"

#include "base/check.h"
#include "base/log.h"
#include "base/metrics.h"
#include "inventory/by_product.h"

#include <inttypes.h>
#include <stdlib.h>
#include <utlist.h>

/* One is read from Postgres while the other is read from the nodes; more would only share less. */
#define ROUNDS_MAX   2
#define LOG_PAUSE_US 1000000

static const uint64_t pauses_us[READS_TRIES] = {0, 0, 1000, 2000, 4000}; /* before try i */

/* What was read in one try. */
struct picture {
    struct stock_value db;
    unsigned node_count;
    struct stock_node nodes[STOCK_NODES_MAX];
};

struct group {
    struct product *product;
    struct reads_call *calls;
    unsigned tries;         /* made */
    struct picture picture; /* of the last try */
    bool changed;           /* it differed from the one before */
    struct timer pause;
    struct group
        *prev; /* in the queue, in paused, in a product's joined, or in a storing's groups */
    struct group *next;
};

/* A product that is being read or sold. */
struct product {
    struct reads *reads;
    int64_t id;
    bool selling;         /* a batch's statement is under way */
    struct group *fresh;  /* queued, not tried yet: takes new calls */
    struct group *joined; /* wait for the statement; the first takes new calls if it is fresh */
    size_t groups;
    UT_hash_handle hh;
};

struct reads {
    struct timers *timers;
    struct reads_ports ports;
    struct product *products;
    struct group *queue;
    struct group *paused;
    unsigned rounds_open;
    uint64_t logged_us;
    struct reads_counts counts;
    /* The same for the metrics; all NULL without. */
    uint64_t *gets_total;
    uint64_t *rounds_total;
    uint64_t *joined_total;
    uint64_t *again_total;
    uint64_t *moving_total;
    uint64_t *repairs_total;
};

struct round {
    struct reads *reads;
    size_t count; /* groups left to answer; those of products that do not exist are out */
    struct group *groups[STOCK_READ_MAX];
    int64_t ids[STOCK_READ_MAX];
    struct stock_value db[STOCK_READ_MAX];
};

struct storing {
    struct reads *reads;
    struct group *groups;
};

static void count(uint64_t *own, uint64_t *shown)
{
    (*own)++;
    if (shown != NULL) (*shown)++;
}

struct reads *reads_new(struct timers *timers, const struct reads_ports *ports,
                        struct metrics *metrics)
{
    struct reads *reads = xcalloc(1, sizeof *reads);
    reads->timers = timers;
    reads->ports = *ports;
    if (metrics == NULL) return reads;
    reads->gets_total = metrics_counter(metrics, "quorate_stock_reads_total", NULL,
                                        "Stock reads that were asked for.");
    reads->rounds_total = metrics_counter(metrics, "quorate_stock_read_rounds_total", NULL,
                                          "Reads of Postgres that they shared.");
    reads->joined_total = metrics_counter(metrics, "quorate_stock_reads_joined_total", NULL,
                                          "Stock reads that joined a sale under way.");
    reads->again_total = metrics_counter(metrics, "quorate_stock_reads_again_total", NULL,
                                         "Repetitions, because Postgres and nodes differed.");
    reads->moving_total = metrics_counter(metrics, "quorate_stock_reads_moving_total", NULL,
                                          "Read tries given up while the stock kept changing.");
    reads->repairs_total = metrics_counter(metrics, "quorate_stock_repairs_total", NULL,
                                           "Puts made because nodes stayed behind Postgres.");
    return reads;
}

static struct product *product_of(struct reads *reads, int64_t id)
{
    struct product *product;
    HASH_FIND(hh, reads->products, &id, sizeof id, product);
    if (product != NULL) return product;
    product = xcalloc(1, sizeof *product);
    product->reads = reads;
    product->id = id;
    HASH_ADD(hh, reads->products, id, sizeof id, product);
    return product;
}

static void forget_if_idle(struct product *product)
{
    if (product->selling || product->groups > 0) return;
    HASH_DEL(product->reads->products, product);
    free(product);
}

static void free_groups(struct group *groups)
{
    while (groups != NULL) {
        struct group *group = groups;
        DL_DELETE(groups, group);
        CHECK(group->calls == NULL);
        timer_stop(&group->pause);
        group->product->groups--;
        free(group);
    }
}

void reads_free(struct reads *reads)
{
    if (reads == NULL) return;
    CHECK(reads->rounds_open == 0);
    free_groups(reads->queue);
    free_groups(reads->paused);
    struct product *product = reads->products; /* cleared, they are still a list */
    HASH_CLEAR(hh, reads->products);
    while (product != NULL) {
        struct product *next = product->hh.next;
        free_groups(product->joined);
        CHECK(product->groups == 0);
        free(product);
        product = next;
    }
    free(reads);
}

static struct group *group_new(struct product *product)
{
    struct group *group = xcalloc(1, sizeof *group);
    group->product = product;
    product->groups++;
    return group;
}

static void enqueue(struct group *group)
{
    struct reads *reads = group->product->reads;
    DL_APPEND(reads->queue, group);
    reads->ports.flush_later(reads->ports.arg);
}

static void call_unlink(struct reads_call *call)
{
    *call->back = call->next;
    if (call->next != NULL) call->next->back = call->back;
    call->back = NULL;
    timer_stop(&call->deadline);
}

static void call_on_deadline(void *arg)
{
    struct reads_call *call = arg;
    call_unlink(call);
    call->on_answer(call->arg, &(struct reads_stock){.outcome = READS_EXPIRED});
}

void reads_get(struct reads *reads, struct reads_call *call, int64_t product_id,
               uint64_t deadline_us, reads_answer_fn *on_answer, void *arg)
{
    struct product *product = product_of(reads, product_id);
    struct group *group = product->selling ? product->joined : product->fresh;
    count(&reads->counts.gets, reads->gets_total);
    if (group == NULL || group->tries > 0) {
        group = group_new(product);
        if (product->selling) {
            DL_PREPEND(product->joined, group);
        } else {
            product->fresh = group;
            enqueue(group);
        }
    }
    *call = (struct reads_call){
        .on_answer = on_answer, .arg = arg, .next = group->calls, .back = &group->calls};
    if (call->next != NULL) call->next->back = &call->next;
    group->calls = call;
    timer_start(&call->deadline, reads->timers, deadline_us, call_on_deadline, call);
}

void reads_cancel(struct reads_call *call)
{
    if (call->back != NULL) call_unlink(call);
}

/* Answers all calls of a group that is in no list any more, and frees it. */
static void settle(struct group *group, const struct reads_stock *stock)
{
    struct product *product = group->product;
    while (group->calls != NULL) {
        struct reads_call *call = group->calls;
        call_unlink(call);
        call->on_answer(call->arg, stock);
    }
    free(group);
    product->groups--;
    forget_if_idle(product);
}

static bool same_picture(const struct picture *a, const struct picture *b)
{
    if (a->db.stock != b->db.stock || a->db.version != b->db.version) return false;
    for (unsigned i = 0; i < a->node_count; i++) {
        const struct stock_node *x = &a->nodes[i];
        const struct stock_node *y = &b->nodes[i];
        if (x->held != y->held || x->stock != y->stock || x->version != y->version) return false;
    }
    return true;
}

/* A reachable node lacks the value, and the put script would give it. Says when one is ahead: only
 * a restored or replaced database can make that last. */
static bool needs_repair(struct reads *reads, const struct picture *picture)
{
    bool needs = false;
    for (unsigned i = 0; i < picture->node_count; i++) {
        const struct stock_node *node = &picture->nodes[i];
        if (node->held == STOCK_UNREACHABLE) continue;
        if (node->held == STOCK_HELD && node->version > picture->db.version) {
            uint64_t now_us = timers_now_us(reads->timers);
            if (reads->logged_us != 0 && now_us - reads->logged_us < LOG_PAUSE_US) continue;
            reads->logged_us = now_us;
            LOG_WARN("stock.ahead", "product=%" PRId64 " node=%u version=%" PRId64 " db=%" PRId64,
                     picture->db.product, i, node->version, picture->db.version);
        } else if (node->held == STOCK_ABSENT || node->version != picture->db.version ||
                   node->stock != picture->db.stock) {
            needs = true;
        }
    }
    return needs;
}

static void answer_done(struct group *group, const struct stock_view *view, bool moving)
{
    struct reads *reads = group->product->reads;
    struct picture picture = group->picture;
    bool synced = stock_view_synced(view, &picture.db);
    bool repair = !synced && !moving && needs_repair(reads, &picture);
    struct reads_stock stock = {.outcome = READS_DONE,
                                .db = picture.db,
                                .view = *view,
                                .nodes = picture.nodes,
                                .node_count = picture.node_count,
                                .synced = synced,
                                .moving = moving};
    if (moving) count(&reads->counts.moving, reads->moving_total);
    settle(group, &stock);
    if (!repair) return;
    count(&reads->counts.repairs, reads->repairs_total);
    reads->ports.nodes_put(reads->ports.arg, &picture.db, NULL, NULL);
}

/* A batch is the best place to wait: it holds the lease. */
static void again(struct group *group)
{
    struct product *product = group->product;
    if (product->selling) {
        DL_APPEND(product->joined, group);
    } else {
        enqueue(group);
    }
}

static void on_pause(void *arg)
{
    struct group *group = arg;
    DL_DELETE(group->product->reads->paused, group);
    again(group);
}

/* The one judgement of a try. */
static void judge(struct group *group, const struct picture *picture)
{
    struct reads *reads = group->product->reads;
    struct stock_view view = stock_view_of(picture->nodes, picture->node_count);
    bool changed = group->tries > 0 && !same_picture(&group->picture, picture);
    group->picture = *picture;
    group->tries++;
    if (stock_view_synced(&view, &picture->db) || view.reachable == 0 || group->calls == NULL) {
        answer_done(group, &view, false);
    } else if (group->tries >= READS_TRIES) {
        answer_done(group, &view, changed);
    } else {
        uint64_t pause_us = pauses_us[group->tries];
        count(&reads->counts.again, reads->again_total);
        if (pause_us == 0) {
            again(group);
        } else {
            DL_APPEND(reads->paused, group);
            timer_start(&group->pause, reads->timers, timers_now_us(reads->timers) + pause_us,
                        on_pause, group);
        }
    }
}

static void end_round(struct round *round)
{
    struct reads *reads = round->reads;
    CHECK(reads->rounds_open > 0);
    reads->rounds_open--;
    if (reads->queue != NULL) reads->ports.flush_later(reads->ports.arg);
    free(round);
}

static void on_nodes(void *arg, const struct stock_read *read)
{
    struct round *round = arg;
    CHECK(read->count == round->count && read->node_count <= STOCK_NODES_MAX);
    for (size_t i = 0; i < round->count; i++) {
        struct picture picture = {.db = round->db[i], .node_count = read->node_count};
        memcpy(picture.nodes, &read->nodes[i * read->node_count],
               read->node_count * sizeof *read->nodes);
        judge(round->groups[i], &picture);
    }
    end_round(round);
}

static int by_product(const void *a, const void *b)
{
    const struct stock_value *x = a;
    const struct stock_value *y = b;
    return (x->product > y->product) - (x->product < y->product);
}

static void on_store(void *arg, bool ok, const struct stock_value *found, size_t count)
{
    struct round *round = arg;
    struct reads *reads = round->reads;
    struct group *none[STOCK_READ_MAX];
    size_t none_count = 0;
    size_t left = 0;
    CHECK(count <= STOCK_READ_MAX);
    struct stock_value *sorted = xcalloc(count + 1, sizeof *sorted);
    if (ok && count > 0) memcpy(sorted, found, count * sizeof *found);
    qsort(sorted, count, sizeof *sorted, by_product);
    for (size_t i = 0; i < round->count; i++) {
        struct stock_value wanted = {.product = round->ids[i]};
        const struct stock_value *value =
            ok ? bsearch(&wanted, sorted, count, sizeof *sorted, by_product) : NULL;
        if (value == NULL) {
            none[none_count++] = round->groups[i];
            continue;
        }
        round->groups[left] = round->groups[i];
        round->ids[left] = round->ids[i];
        round->db[left++] = *value;
    }
    free(sorted);
    round->count = left;
    if (left > 0) {
        reads->ports.nodes_read(reads->ports.arg, round->ids, left, on_nodes, round);
    } else {
        end_round(round);
    }
    struct reads_stock stock = {.outcome = ok ? READS_NOT_FOUND : READS_DOWN};
    for (size_t i = 0; i < none_count; i++)
        settle(none[i], &stock);
}

static void begin_round(struct reads *reads)
{
    struct round *round = xcalloc(1, sizeof *round);
    round->reads = reads;
    while (reads->queue != NULL && round->count < STOCK_READ_MAX) {
        struct group *group = reads->queue;
        DL_DELETE(reads->queue, group);
        if (group->product->fresh == group) group->product->fresh = NULL;
        round->ids[round->count] = group->product->id;
        round->groups[round->count++] = group;
    }
    reads->rounds_open++;
    count(&reads->counts.rounds, reads->rounds_total);
    reads->ports.store_read(reads->ports.arg, round->ids, round->count, on_store, round);
}

void reads_flush(struct reads *reads)
{
    while (reads->queue != NULL && reads->rounds_open < ROUNDS_MAX)
        begin_round(reads);
}

void reads_batch_began(struct reads *reads, int64_t product_id)
{
    struct product *product = product_of(reads, product_id);
    CHECK(!product->selling);
    product->selling = true;
}

static void on_stored(void *arg, const struct stock_stored *stored)
{
    struct storing *storing = arg;
    struct picture picture = {.db = stored->value, .node_count = stored->node_count};
    CHECK(stored->node_count <= STOCK_NODES_MAX);
    memcpy(picture.nodes, stored->nodes, stored->node_count * sizeof *stored->nodes);
    while (storing->groups != NULL) {
        struct group *group = storing->groups;
        DL_DELETE(storing->groups, group);
        judge(group, &picture);
    }
    free(storing);
}

void reads_batch_ended(struct reads *reads, int64_t product_id, const struct stock_value *value)
{
    struct product *product = product_of(reads, product_id);
    struct group *joined = product->joined;
    CHECK(product->selling);
    product->selling = false;
    product->joined = NULL;
    if (joined == NULL) {
        forget_if_idle(product);
    } else if (value != NULL) {
        struct group *group;
        DL_FOREACH(joined, group)
        {
            for (const struct reads_call *call = group->calls; call != NULL; call = call->next)
                count(&reads->counts.joined, reads->joined_total);
        }
        struct storing *storing = xcalloc(1, sizeof *storing);
        *storing = (struct storing){reads, joined};
        reads->ports.nodes_put(reads->ports.arg, value, on_stored, storing);
    } else {
        while (joined != NULL) {
            struct group *group = joined;
            DL_DELETE(joined, group);
            enqueue(group);
        }
    }
}

struct reads_counts reads_counts(const struct reads *reads)
{
    struct reads_counts counts = reads->counts;
    counts.products = HASH_COUNT(reads->products);
    return counts;
}
