/* tally.h - what became of every request. */
#ifndef QUORATE_BENCH_TALLY_H
#define QUORATE_BENCH_TALLY_H

#include <stddef.h>
#include <stdint.h>

#define TALLY_STATUS_MAX 600

struct tally {
    uint64_t statuses[TALLY_STATUS_MAX];
    uint64_t broken;  /* requests whose connection ended, or was given up, before their answer */
    uint64_t odd;     /* answers that are no HTTP */
    uint64_t refused; /* connections that could not be opened */
    uint64_t *each_second;
    uint32_t *latencies_us; /* of 2xx */
    size_t latency_count;
    size_t latency_room;
};

void tally_init(struct tally *tally, int seconds);
void tally_fini(struct tally *tally);

void tally_answer(struct tally *tally, int status, uint64_t since_began_us, uint64_t latency_us);

/* One JSON object on standard output. */
void tally_print(struct tally *tally, double seconds, int connections);

#endif
