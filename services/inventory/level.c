/* Two pages are in hand: one being written to the nodes, one being read ahead. Every walker writes
 * every page, but its lap counts only pages that were asked for after it joined. Such a page covers
 * the products (after, end]; the lap is over when these cover everything: it began at `from`, the
 * walk has passed the end of the catalogue and has come to `from` again. */
#include "inventory/level.h"

#include "base/check.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

enum stage {
    STAGE_AWAY,    /* down, or never there */
    STAGE_PAUSED,  /* behind; a write failed, joins when its timer is due */
    STAGE_WALKING, /* behind; writes the pages */
    STAGE_EVEN,
};

struct walker {
    struct level *level;
    unsigned node;
    enum stage stage;
    uint64_t first;    /* number of the first page that was asked for after it joined: the lap's */
    int64_t from;      /* where its lap's first page began; -1: that is still to come */
    bool wrapped;      /* the walk has begun anew since */
    uint64_t products; /* written in this lap */
    size_t place;      /* next value of the current page to write */
    bool writing;      /* a script is under way; stays until it is answered, whatever the stage */
    uint64_t epoch;    /* changes with the stage: what was sent in an earlier one moves nothing */
    uint64_t pause_us;
    struct timer pause;
};

struct page {
    uint64_t number; /* counts from 1; 0: none */
    int64_t after;
    bool last;
    size_t count;
    struct stock_value values[LEVEL_PAGE];
};

/* Outlives the level if need be. */
struct asking {
    struct level *level; /* NULL: freed meanwhile */
};

struct level {
    struct level_options options;
    struct walker walkers[STOCK_NODES_MAX];
    uint64_t pages; /* asked for */
    int64_t cursor; /* where the next page begins */
    struct page *current;
    struct page *ahead;
    struct asking *asking; /* for `ahead` */
    uint64_t pause_us;
    struct timer pause; /* before asking for a page again */
    bool stepping;
};

struct writing {
    struct walker *walker;
    uint64_t epoch;
    size_t count;
};

static void step(struct level *level);

struct level *level_new(const struct level_options *options)
{
    struct level *level = xcalloc(1, sizeof *level);
    level->options = *options;
    level->pause_us = LEVEL_PAUSE_US;
    for (unsigned i = 0; i < STOCK_NODES_MAX; i++)
        level->walkers[i] = (struct walker){.level = level, .node = i, .pause_us = LEVEL_PAUSE_US};
    return level;
}

void level_free(struct level *level)
{
    if (level == NULL) return;
    if (level->asking != NULL) level->asking->level = NULL;
    timer_stop(&level->pause);
    for (unsigned i = 0; i < STOCK_NODES_MAX; i++) {
        CHECK(!level->walkers[i].writing);
        timer_stop(&level->walkers[i].pause);
    }
    free(level->current);
    free(level->ahead);
    free(level);
}

/* Also of one that walks: its lap begins anew, but it goes on writing where it is. */
static void join(struct walker *walker)
{
    if (walker->stage != STAGE_WALKING) {
        walker->stage = STAGE_WALKING;
        walker->place = 0;
        walker->epoch++;
    }
    walker->first = walker->level->pages + 1;
    walker->from = -1;
    walker->wrapped = false;
    walker->products = 0;
}

void level_behind(struct level *level, unsigned node)
{
    CHECK(node < level->options.port->node_count);
    struct walker *walker = &level->walkers[node];
    if (walker->stage == STAGE_PAUSED) return; /* will join, later than now */
    join(walker);
    step(level);
}

void level_away(struct level *level, unsigned node)
{
    CHECK(node < level->options.port->node_count);
    struct walker *walker = &level->walkers[node];
    timer_stop(&walker->pause);
    walker->stage = STAGE_AWAY;
    walker->pause_us = LEVEL_PAUSE_US;
    walker->epoch++;
    step(level);
}

bool level_even(const struct level *level, unsigned node)
{
    CHECK(node < level->options.port->node_count);
    return level->walkers[node].stage == STAGE_EVEN;
}

static void on_walker_pause(void *arg)
{
    struct walker *walker = arg;
    join(walker);
    step(walker->level);
}

static void falter(struct walker *walker)
{
    struct level *level = walker->level;
    walker->stage = STAGE_PAUSED;
    walker->epoch++;
    timer_start(&walker->pause, level->options.timers,
                timers_now_us(level->options.timers) + walker->pause_us, on_walker_pause, walker);
    if (walker->pause_us < LEVEL_PAUSE_MAX_US) walker->pause_us *= 2;
}

static void on_written(void *arg, const struct stock_node *held)
{
    struct writing *writing = arg;
    struct walker *walker = writing->walker;
    bool counts = writing->epoch == walker->epoch;
    size_t count = writing->count;
    free(writing);
    walker->writing = false;
    if (counts && held == NULL) {
        falter(walker);
    } else if (counts) {
        walker->place += count;
    }
    step(walker->level);
}

/* True: the walker has written the whole page. */
static bool write_on(struct walker *walker, const struct page *page)
{
    if (walker->writing) return false;
    if (walker->place == page->count) return true;
    const struct stock_port *port = walker->level->options.port;
    struct writing *writing = xcalloc(1, sizeof *writing);
    size_t left = page->count - walker->place;
    *writing = (struct writing){walker, walker->epoch, left < LEVEL_CHUNK ? left : LEVEL_CHUNK};
    walker->writing = port->write(port->arg, walker->node, &page->values[walker->place],
                                  writing->count, on_written, writing);
    if (!walker->writing) {
        free(writing);
        falter(walker);
    }
    return false;
}

/* Is the lap over when this page is written? The last page covers all that is left. */
static bool lap_over(const struct walker *walker, const struct page *page)
{
    if (page->number < walker->first) return false;
    if (page->last && (walker->from == 0 || walker->wrapped)) return true;
    return walker->wrapped && page->values[page->count - 1].product >= walker->from;
}

static void finish_page(struct level *level)
{
    struct page *page = level->current;
    unsigned nodes = level->options.port->node_count;
    uint64_t even[STOCK_NODES_MAX] = {0};
    bool told[STOCK_NODES_MAX] = {0};
    for (unsigned i = 0; i < nodes; i++) {
        struct walker *walker = &level->walkers[i];
        if (walker->stage != STAGE_WALKING) continue;
        walker->pause_us = LEVEL_PAUSE_US;
        if (page->number < walker->first) continue;
        walker->products += page->count;
        if (lap_over(walker, page)) {
            walker->stage = STAGE_EVEN;
            walker->epoch++;
            even[i] = walker->products;
            told[i] = true;
        } else if (page->last) {
            walker->wrapped = true;
        }
    }
    free(page);
    level->current = NULL;
    for (unsigned i = 0; i < nodes; i++) {
        if (told[i] && level->options.on_even != NULL)
            level->options.on_even(level->options.arg, i, even[i]);
    }
}

static void on_pause(void *arg)
{
    step(arg);
}

static void on_page(void *arg, const struct stock_page *got)
{
    struct asking *asking = arg;
    struct level *level = asking->level;
    free(asking);
    if (level == NULL) return;
    level->asking = NULL;
    struct page *page = level->ahead;
    if (!got->ok) {
        free(page);
        level->ahead = NULL;
        timer_start(&level->pause, level->options.timers,
                    timers_now_us(level->options.timers) + level->pause_us, on_pause, level);
        if (level->pause_us < LEVEL_PAUSE_MAX_US) level->pause_us *= 2;
        return;
    }
    CHECK(got->count <= LEVEL_PAGE);
    level->pause_us = LEVEL_PAUSE_US;
    page->count = got->count;
    page->last = got->count < LEVEL_PAGE;
    if (got->count > 0) memcpy(page->values, got->values, got->count * sizeof *got->values);
    int64_t before = page->after;
    for (size_t i = 0; i < page->count; i++) {
        CHECK(page->values[i].product > before); /* or the walk would not come round */
        before = page->values[i].product;
    }
    level->cursor = page->last ? 0 : before;
    step(level);
}

/* Is a page after this one needed by anyone? Asked while `current` is still being written. */
static bool wanted(const struct level *level)
{
    for (unsigned i = 0; i < level->options.port->node_count; i++) {
        const struct walker *walker = &level->walkers[i];
        if (walker->stage != STAGE_WALKING) continue;
        if (level->current == NULL || !lap_over(walker, level->current)) return true;
    }
    return false;
}

static void ask(struct level *level)
{
    struct page *page = xcalloc(1, sizeof *page);
    page->number = ++level->pages;
    page->after = level->cursor;
    level->ahead = page;
    level->asking = xcalloc(1, sizeof *level->asking);
    level->asking->level = level;
    level->options.source->page(level->options.source->arg, page->after, LEVEL_PAGE, on_page,
                                level->asking);
}

/* Takes the page that was read ahead. */
static void turn_page(struct level *level)
{
    level->current = level->ahead;
    level->ahead = NULL;
    for (unsigned i = 0; i < level->options.port->node_count; i++) {
        struct walker *walker = &level->walkers[i];
        walker->place = 0;
        if (level->current->number >= walker->first && walker->from < 0)
            walker->from = level->current->after;
    }
}

/* Every transition. Runs until it has to wait for a node, for a page or for a timer. */
static void step(struct level *level)
{
    if (level->stepping) return;
    level->stepping = true;
    for (;;) {
        if (level->current == NULL && level->ahead != NULL && level->asking == NULL)
            turn_page(level);
        if (level->ahead == NULL && !timer_running(&level->pause) && wanted(level)) ask(level);
        if (level->current == NULL) break;
        bool written = true;
        for (unsigned i = 0; i < level->options.port->node_count; i++) {
            struct walker *walker = &level->walkers[i];
            if (walker->stage == STAGE_WALKING && !write_on(walker, level->current)) {
                written = written && walker->stage != STAGE_WALKING; /* it may have faltered */
            }
        }
        if (!written) break;
        finish_page(level);
    }
    level->stepping = false;
}
