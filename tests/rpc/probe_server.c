/* A server with the Probe service: probe_server URL [calls_max [calls_total_max]]. Says "ready" on
 * standard output, drains and ends at SIGTERM. */
#include "probe.h"

#include "base/log.h"
#include "base/metrics.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

struct program {
    struct loop *loop;
    struct rpc_server *server;
    bool ending;
};

static void on_empty(void *arg)
{
    struct program *program = arg;
    loop_stop(program->loop);
}

static void on_signal(void *arg, int number)
{
    (void)number;
    struct program *program = arg;
    if (program->ending) return;
    program->ending = true;
    rpc_server_drain(program->server, on_empty, program);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: probe_server URL [calls_max [calls_total_max]]\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing behind, paused or not */
    log_set_level(LOG_LEVEL_ERROR);
    struct metrics *metrics = metrics_new();
    struct program program = {.loop = loop_new()};
    struct rpc_server_options options = {
        .url = argv[1], .program = "probe", .version = "1", .metrics = metrics};
    if (argc > 2) options.calls_max = (uint32_t)strtoul(argv[2], NULL, 10);
    if (argc > 3) options.calls_total_max = (uint32_t)strtoul(argv[3], NULL, 10);
    program.server = rpc_server_open(program.loop, &options);
    if (program.server == NULL) return 1;
    struct probe probe;
    probe_init(&probe, program.loop);
    probe_serve(&probe, program.server);
    loop_on_signal(program.loop, on_signal, &program);
    printf("ready\n");
    fflush(stdout);
    loop_run(program.loop);
    probe_fini(&probe);
    rpc_server_close(program.server);
    loop_free(program.loop);
    metrics_free(metrics);
    return 0;
}
