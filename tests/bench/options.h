/* options.h - what `load` was asked to do. */
#ifndef QUORATE_BENCH_OPTIONS_H
#define QUORATE_BENCH_OPTIONS_H

#include <stddef.h>

enum job { JOB_BUY, JOB_STOCK, JOB_PRODUCT, JOB_LIVE };

struct options {
    const char *host;
    int port;
    enum job job;
    long first_product;
    long last_product;
    int connections;
    int seconds;
    int warm_up_s;
    char **tokens;
    size_t token_count;
};

/* Ends the program when they make no sense. */
void options_read(struct options *options, int argc, char **argv);
void options_fini(struct options *options);

#endif
