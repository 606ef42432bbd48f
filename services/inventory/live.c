#include "inventory/live.h"

#include "base/check.h"
#include "inventory/database.h"
#include "inventory/store.h"

#include <assert.h>
#include <stdlib.h>

static_assert(STORE_PAGE_MAX >= STOCK_READ_MAX, "a round of reads is one statement");

struct live {
    struct loop *loop;
    struct store *store;
    struct stock_source source;
    struct stock *stock;
    struct reads *reads;
    struct tick turn; /* sends the reads that wait */
};

/* A question to the store, until it answers. */
struct asking {
    union {
        stock_page_fn *on_page;
        reads_store_fn *on_read;
    };
    void *arg;
};

static struct asking *asking_new(void *arg)
{
    struct asking *asking = xcalloc(1, sizeof *asking);
    asking->arg = arg;
    return asking;
}

static void on_page(void *arg, enum store_outcome outcome, const struct stock_value *found,
                    size_t count)
{
    struct asking asking = *(struct asking *)arg;
    free(arg);
    asking.on_page(asking.arg, &(struct stock_page){outcome == STORE_DONE, found, count});
}

static void ask_page(void *arg, int64_t after, size_t limit, stock_page_fn *on_answer,
                     void *on_answer_arg)
{
    struct live *live = arg;
    struct asking *asking = asking_new(on_answer_arg);
    asking->on_page = on_answer;
    store_levels_after(live->store, after, limit, on_page, asking);
}

static void on_store_read(void *arg, enum store_outcome outcome, const struct stock_value *found,
                          size_t count)
{
    struct asking asking = *(struct asking *)arg;
    free(arg);
    asking.on_read(asking.arg, outcome == STORE_DONE, found, count);
}

static void store_read(void *arg, const int64_t *products, size_t count, reads_store_fn *on_read,
                       void *on_read_arg)
{
    struct live *live = arg;
    struct asking *asking = asking_new(on_read_arg);
    asking->on_read = on_read;
    store_levels_of(live->store, products, count, on_store_read, asking);
}

static void nodes_read(void *arg, const int64_t *products, size_t count, stock_read_fn *on_read,
                       void *on_read_arg)
{
    stock_read(((struct live *)arg)->stock, products, count, on_read, on_read_arg);
}

static void nodes_put(void *arg, const struct stock_value *value, stock_stored_fn *on_stored,
                      void *on_stored_arg)
{
    stock_put(((struct live *)arg)->stock, value, on_stored, on_stored_arg);
}

static void flush_later(void *arg)
{
    struct live *live = arg;
    loop_at_tick_end(live->loop, &live->turn);
}

static void on_turn(void *arg)
{
    reads_flush(((struct live *)arg)->reads);
}

struct live *live_open(struct loop *loop, const struct live_options *options)
{
    struct live *live = xcalloc(1, sizeof *live);
    live->loop = loop;
    live->store = options->store;
    live->source = (struct stock_source){ask_page, live};
    tick_init(&live->turn, on_turn, live);
    live->stock =
        stock_open(loop, options->nodes,
                   &(struct stock_options){.source = &live->source, .metrics = options->metrics});
    live->reads =
        reads_new(loop_timers(loop),
                  &(struct reads_ports){store_read, nodes_read, nodes_put, flush_later, live},
                  options->metrics);
    return live;
}

void live_close(struct live *live)
{
    if (live == NULL) return;
    stock_close(live->stock);
    tick_cancel(&live->turn);
    reads_free(live->reads);
    free(live);
}

struct stock *live_stock(struct live *live)
{
    return live->stock;
}

struct reads *live_reads(struct live *live)
{
    return live->reads;
}

static void on_began(void *arg, int64_t product_id)
{
    reads_batch_began(((struct live *)arg)->reads, product_id);
}

static void on_ended(void *arg, int64_t product_id, const struct stock_value *now)
{
    struct live *live = arg;
    if (now != NULL) stock_put(live->stock, now, NULL, NULL);
    reads_batch_ended(live->reads, product_id, now);
}

struct lane_stock live_lane_stock(struct live *live)
{
    return (struct lane_stock){on_began, on_ended, live};
}
