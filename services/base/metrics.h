/* metrics.h - what a process counts, and its Prometheus text.
 *
 * Counters and gauges are plain numbers that their owner changes directly; a histogram keeps
 * log-linear buckets (eight a doubling, so a quantile is at most 1/8 too high) from 1 us to over an
 * hour in 2 KiB.
 *
 * Thread    the loop's only.
 * Ownership metrics_new's result owns every series; pointers stay valid until metrics_free.
 * Borrows   name and help, for ever (literals); labels are copied.
 * Units     histograms take microseconds and are printed in seconds, as Prometheus wants.
 */
#ifndef QUORATE_BASE_METRICS_H
#define QUORATE_BASE_METRICS_H

#include <stdint.h>
#include <stdio.h>

struct metrics;
struct histogram;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *metrics);

/* `labels` as in Prometheus without braces, `node="redis:6379"`, or NULL. Series of one name share
 * their help and are printed together; the same name and labels twice is a bug. */
uint64_t *metrics_counter(struct metrics *metrics, const char *name, const char *labels,
                          const char *help);
int64_t *metrics_gauge(struct metrics *metrics, const char *name, const char *labels,
                       const char *help);
struct histogram *metrics_histogram(struct metrics *metrics, const char *name, const char *labels,
                                    const char *help);

void histogram_add(struct histogram *histogram, uint64_t us);
uint64_t histogram_count(const struct histogram *histogram);
uint64_t histogram_max_us(const struct histogram *histogram);

/* Upper bound of the bucket that holds this share (0 to 1) of all values; never above the maximum;
 * 0 when empty. */
uint64_t histogram_quantile_us(const struct histogram *histogram, double share);

void metrics_print(const struct metrics *metrics, FILE *out);

#endif
