#include "inventory/fake_nodes.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

static uint64_t fake_now(void *arg)
{
    return ((struct fake_nodes *)arg)->now_us;
}

static bool fake_up(void *arg, unsigned node)
{
    return ((struct fake_nodes *)arg)->nodes[node].up;
}

static bool fake_write(void *arg, unsigned index, const struct stock_value *values, size_t count,
                       stock_written_fn *on_written, void *on_written_arg)
{
    struct fake_node *node = &((struct fake_nodes *)arg)->nodes[index];
    CHECK(count >= 1 && count <= FAKE_WRITE_MAX);
    if (!node->up || node->full) return false;
    struct fake_write *write = xcalloc(1, sizeof *write);
    write->count = count;
    memcpy(write->values, values, count * sizeof *values);
    write->on_written = on_written;
    write->arg = on_written_arg;
    *node->inbox_tail = write;
    node->inbox_tail = &write->next;
    node->writes++;
    node->products_written += count;
    return true;
}

struct fake_nodes *fake_nodes_new(unsigned node_count)
{
    struct fake_nodes *fake = xcalloc(1, sizeof *fake);
    fake->port = (struct stock_port){node_count, fake_up, fake_write, fake};
    fake->clock = (struct clock){fake_now, fake_now, fake};
    fake->now_us = 1000000;
    timers_init(&fake->timers, &fake->clock);
    for (unsigned i = 0; i < node_count; i++) {
        fake->nodes[i].up = true;
        fake->nodes[i].inbox_tail = &fake->nodes[i].inbox;
        fake_wipe(fake, i);
    }
    return fake;
}

void fake_nodes_free(struct fake_nodes *fake)
{
    for (unsigned i = 0; i < fake->port.node_count; i++)
        CHECK(fake->nodes[i].inbox == NULL);
    timers_fini(&fake->timers);
    free(fake);
}

static struct fake_write *take(struct fake_node *node)
{
    struct fake_write *write = node->inbox;
    if (write == NULL) return NULL;
    node->inbox = write->next;
    if (node->inbox == NULL) node->inbox_tail = &node->inbox;
    return write;
}

bool fake_deliver(struct fake_nodes *fake, unsigned index, enum fake_fate fate)
{
    struct fake_node *node = &fake->nodes[index];
    struct fake_write *write = take(node);
    if (write == NULL) return false;
    struct stock_node held[FAKE_WRITE_MAX];
    for (size_t i = 0; i < write->count && fate != FAKE_LOST; i++) {
        const struct stock_value *value = &write->values[i];
        CHECK(value->product > 0 && value->product < FAKE_PRODUCTS_MAX);
        struct stock_node *has = &node->held[value->product];
        if (has->held == STOCK_ABSENT || has->version <= value->version)
            *has = (struct stock_node){STOCK_HELD, value->stock, value->version};
        held[i] = *has;
    }
    write->on_written(write->arg, fate == FAKE_DONE ? held : NULL);
    free(write);
    return true;
}

void fake_down(struct fake_nodes *fake, unsigned index)
{
    fake->nodes[index].up = false;
    while (fake_deliver(fake, index, FAKE_LOST)) {
    }
}

void fake_wipe(struct fake_nodes *fake, unsigned index)
{
    for (size_t i = 0; i < FAKE_PRODUCTS_MAX; i++)
        fake->nodes[index].held[i] = (struct stock_node){STOCK_ABSENT, 0, 0};
}

void fake_advance(struct fake_nodes *fake, uint64_t us)
{
    fake->now_us += us;
    timers_run(&fake->timers);
}

void fake_flush_later(void *fake)
{
    ((struct fake_nodes *)fake)->flush_wanted = true;
}

const struct stock_node *fake_held(const struct fake_nodes *fake, unsigned node, int64_t product)
{
    return &fake->nodes[node].held[product];
}
