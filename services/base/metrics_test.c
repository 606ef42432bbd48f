#include "base/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void quantiles_are_at_most_an_eighth_too_high(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new();
    struct histogram *histogram = metrics_histogram(metrics, "h", NULL, "help");
    assert_int_equal(histogram_quantile_us(histogram, 0.5), 0);
    for (uint64_t us = 1; us <= 100000; us++)
        histogram_add(histogram, us);
    static const double shares[] = {0.01, 0.5, 0.9, 0.99, 1.0};
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        double exact = shares[i] * 100000;
        double found = (double)histogram_quantile_us(histogram, shares[i]);
        assert_true(found >= exact && found <= exact * 1.125 + 1);
    }
    assert_int_equal(histogram_max_us(histogram), 100000);
    assert_int_equal(histogram_quantile_us(histogram, 1.0), 100000);
    histogram_add(histogram, UINT64_MAX / 2); /* beyond the last bucket */
    assert_int_equal(histogram_quantile_us(histogram, 1.0), UINT64_MAX / 2);
    metrics_free(metrics);
}

static void prometheus_text(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new();
    uint64_t *first = metrics_counter(metrics, "calls_total", "node=\"a\"", "Calls.");
    metrics_gauge(metrics, "open", NULL, "Open calls.");
    uint64_t *second = metrics_counter(metrics, "calls_total", "node=\"b\"", "Calls.");
    struct histogram *histogram = metrics_histogram(metrics, "wait_seconds", NULL, "Wait.");
    *first = 3;
    *second = 4;
    histogram_add(histogram, 100);
    char text[8192] = "";
    FILE *out = fmemopen(text, sizeof text, "w");
    metrics_print(metrics, out);
    fclose(out);
    assert_non_null(strstr(
        text,
        "# TYPE calls_total counter\ncalls_total{node=\"a\"} 3\ncalls_total{node=\"b\"} 4\n"));
    assert_non_null(strstr(text, "open 0\n"));
    assert_non_null(strstr(text, "wait_seconds_bucket{le=\"0.000127\"} 1\n"));
    assert_non_null(strstr(
        text,
        "wait_seconds_bucket{le=\"+Inf\"} 1\nwait_seconds_sum 0.000100\nwait_seconds_count 1\n"));
    metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_at_most_an_eighth_too_high),
        cmocka_unit_test(prometheus_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
