#include "tally.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void tally_init(struct tally *tally, int seconds)
{
    *tally = (struct tally){.latency_room = 65536};
    tally->latencies_us = xcalloc(tally->latency_room, sizeof *tally->latencies_us);
    tally->each_second = xcalloc((size_t)seconds + 1, sizeof *tally->each_second);
}

void tally_fini(struct tally *tally)
{
    free(tally->each_second);
    free(tally->latencies_us);
}

void tally_answer(struct tally *tally, int status, uint64_t since_began_us, uint64_t latency_us)
{
    tally->each_second[since_began_us / 1000000]++;
    tally->statuses[status]++;
    if (status < 200 || status > 299) return;
    if (tally->latency_count == tally->latency_room) {
        tally->latency_room *= 2;
        tally->latencies_us =
            xrealloc(tally->latencies_us, tally->latency_room * sizeof *tally->latencies_us);
    }
    tally->latencies_us[tally->latency_count++] = (uint32_t)latency_us;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t quantile(const struct tally *tally, double share)
{
    if (tally->latency_count == 0) return 0;
    return tally->latencies_us[(size_t)((double)(tally->latency_count - 1) * share)];
}

void tally_print(struct tally *tally, double seconds, int connections)
{
    const char *comma = "";
    uint64_t answers = 0;
    qsort(tally->latencies_us, tally->latency_count, sizeof *tally->latencies_us, by_size);
    printf("{\"seconds\": %.3f, \"connections\": %d, \"statuses\": {", seconds, connections);
    for (int status = 0; status < TALLY_STATUS_MAX; status++) {
        if (tally->statuses[status] == 0) continue;
        printf("%s\"%d\": %" PRIu64, comma, status, tally->statuses[status]);
        answers += tally->statuses[status];
        comma = ", ";
    }
    printf("}, \"answers\": %" PRIu64 ", \"broken\": %" PRIu64 ", \"odd\": %" PRIu64
           ", \"refused\": %" PRIu64 ", \"good_per_second\": %.1f, ",
           answers, tally->broken, tally->odd, tally->refused,
           (double)tally->latency_count / seconds);
    printf("\"p50_us\": %u, \"p95_us\": %u, \"p99_us\": %u, \"max_us\": %u, \"each_second\": [",
           quantile(tally, 0.5), quantile(tally, 0.95), quantile(tally, 0.99), quantile(tally, 1));
    for (int second = 0; second < (int)seconds; second++)
        printf("%s%" PRIu64, second == 0 ? "" : ", ", tally->each_second[second]);
    printf("]}\n");
}
