#include "base/metrics.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Values below 8 have a bucket each; above, the three bits after the leading one choose one of
 * eight per doubling. */
#define LINEAR     8
#define BUCKETS    (LINEAR + 8 * 30)
#define BUCKET_MAX (BUCKETS - 1)

struct histogram {
    uint64_t buckets[BUCKETS];
    uint64_t count;
    uint64_t sum_us;
    uint64_t max_us;
};

enum kind { KIND_COUNTER, KIND_GAUGE, KIND_HISTOGRAM };

struct series {
    enum kind kind;
    const char *name;
    const char *help;
    char *labels; /* "" if none */
    uint64_t counter;
    int64_t gauge;
    struct histogram *histogram;
    struct series *next;
};

struct metrics {
    struct series *first; /* series of one name stand together */
};

struct metrics *metrics_new(void)
{
    return xcalloc(1, sizeof(struct metrics));
}

void metrics_free(struct metrics *metrics)
{
    if (metrics == NULL) return;
    while (metrics->first != NULL) {
        struct series *series = metrics->first;
        metrics->first = series->next;
        free(series->labels);
        free(series->histogram);
        free(series);
    }
    free(metrics);
}

static struct series *add(struct metrics *metrics, enum kind kind, const char *name,
                          const char *labels, const char *help)
{
    struct series *series = xcalloc(1, sizeof *series);
    series->kind = kind;
    series->name = name;
    series->help = help;
    series->labels = xstrdup(labels == NULL ? "" : labels);
    struct series **place = &metrics->first;
    bool found = false;
    for (; *place != NULL; place = &(*place)->next) {
        bool same = strcmp((*place)->name, name) == 0;
        if (found && !same) break;
        found = same;
        if (same) CHECK((*place)->kind == kind && strcmp((*place)->labels, series->labels) != 0);
    }
    series->next = *place;
    *place = series;
    return series;
}

uint64_t *metrics_counter(struct metrics *metrics, const char *name, const char *labels,
                          const char *help)
{
    return &add(metrics, KIND_COUNTER, name, labels, help)->counter;
}

int64_t *metrics_gauge(struct metrics *metrics, const char *name, const char *labels,
                       const char *help)
{
    return &add(metrics, KIND_GAUGE, name, labels, help)->gauge;
}

struct histogram *metrics_histogram(struct metrics *metrics, const char *name, const char *labels,
                                    const char *help)
{
    struct series *series = add(metrics, KIND_HISTOGRAM, name, labels, help);
    series->histogram = xcalloc(1, sizeof(struct histogram));
    return series->histogram;
}

static size_t bucket_of(uint64_t us)
{
    if (us < LINEAR) return (size_t)us;
    unsigned top = 63 - (unsigned)__builtin_clzll(us); /* >= 3 */
    size_t bucket = LINEAR + 8 * (size_t)(top - 3) + (size_t)((us >> (top - 3)) & 7);
    return bucket > BUCKET_MAX ? BUCKET_MAX : bucket;
}

/* The highest value that falls into the bucket. */
static uint64_t bucket_last_us(size_t bucket)
{
    if (bucket < LINEAR) return bucket;
    unsigned shift = (unsigned)(bucket - LINEAR) / 8;
    uint64_t step = (bucket - LINEAR) % 8;
    return ((LINEAR + step + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t us)
{
    histogram->buckets[bucket_of(us)]++;
    histogram->count++;
    histogram->sum_us += us;
    if (us > histogram->max_us) histogram->max_us = us;
}

uint64_t histogram_count(const struct histogram *histogram)
{
    return histogram->count;
}

uint64_t histogram_max_us(const struct histogram *histogram)
{
    return histogram->max_us;
}

uint64_t histogram_quantile_us(const struct histogram *histogram, double share)
{
    CHECK(share >= 0 && share <= 1);
    double wanted = share * (double)histogram->count;
    uint64_t seen = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen == 0 || (double)seen < wanted) continue;
        uint64_t last_us = bucket_last_us(i);
        return last_us < histogram->max_us && i < BUCKET_MAX ? last_us : histogram->max_us;
    }
    return 0;
}

/* Prometheus wants cumulative buckets; one per doubling is plenty there. */
static void print_histogram(const struct series *series, FILE *out)
{
    const struct histogram *histogram = series->histogram;
    const char *comma = *series->labels == '\0' ? "" : ",";
    uint64_t seen = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (i < LINEAR + 7 || (i - LINEAR) % 8 != 7) continue;
        fprintf(out, "%s_bucket{%s%sle=\"%g\"} %" PRIu64 "\n", series->name, series->labels, comma,
                (double)bucket_last_us(i) / 1e6, seen);
        if (seen == histogram->count) break;
    }
    const char *open = *series->labels == '\0' ? "" : "{";
    const char *close = *series->labels == '\0' ? "" : "}";
    fprintf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", series->name, series->labels, comma,
            histogram->count);
    fprintf(out, "%s_sum%s%s%s %.6f\n", series->name, open, series->labels, close,
            (double)histogram->sum_us / 1e6);
    fprintf(out, "%s_count%s%s%s %" PRIu64 "\n", series->name, open, series->labels, close,
            histogram->count);
}

static void print_series(const struct series *series, FILE *out)
{
    const char *open = *series->labels == '\0' ? "" : "{";
    const char *close = *series->labels == '\0' ? "" : "}";
    switch (series->kind) {
    case KIND_COUNTER:
        fprintf(out, "%s%s%s%s %" PRIu64 "\n", series->name, open, series->labels, close,
                series->counter);
        return;
    case KIND_GAUGE:
        fprintf(out, "%s%s%s%s %" PRId64 "\n", series->name, open, series->labels, close,
                series->gauge);
        return;
    case KIND_HISTOGRAM:
        print_histogram(series, out);
        return;
    }
}

void metrics_print(const struct metrics *metrics, FILE *out)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    const char *last = "";
    for (const struct series *series = metrics->first; series != NULL; series = series->next) {
        if (strcmp(last, series->name) != 0) {
            fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", series->name, series->help, series->name,
                    kinds[series->kind]);
            last = series->name;
        }
        print_series(series, out);
    }
}
