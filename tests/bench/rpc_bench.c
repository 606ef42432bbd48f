/* The RPC alone: two processes on this machine, the Probe service's Echo with 64 bytes, against the
 * least that its transport costs: one message each way over bare raw req0/rep0, nothing unpacked,
 * no event loop. Rounds of all measures take turns, so that the machine's moods meet all of them;
 * what is printed are medians over the rounds.
 *
 *     rpc_bench [--json] [--rounds N] [--ms N] [--in-flight N]   N in flight only, for a profiler
 */
#include "base/check.h"
#include "base/log.h"
#include "base/rpc_client.h"
#include "probe.h"

#include <arpa/inet.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define IN_FLIGHT_MAX  256
#define ROUNDS_MAX     64
#define SAMPLES_MAX    (1 << 20)
#define REQUEST_HEADER 0x80000001u

extern char **environ;

static const char payload[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde";

static uint64_t now_us(void)
{
    return clock_boot_us(&clock_system);
}

/* --- what is measured --- */

struct sample {
    double per_second;
    double p50_us;
    double p99_us;
};

struct times {
    uint32_t *us;
    size_t count;
    uint64_t calls;
};

static void times_add(struct times *times, uint64_t us)
{
    times->calls++;
    if (times->count < SAMPLES_MAX) times->us[times->count++] = (uint32_t)us;
}

static int by_size(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static struct sample times_sum(struct times *times, uint64_t spent_us)
{
    CHECK(times->count > 0);
    qsort(times->us, times->count, sizeof times->us[0], by_size);
    size_t half = times->count / 2;
    size_t nearly_all = times->count / 100 * 99;
    return (struct sample){(double)times->calls * 1e6 / (double)spent_us, times->us[half],
                           times->us[nearly_all]};
}

/* --- servers, each a process of its own --- */

static pid_t spawn_server(const char *kind, const char *url)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    char *arguments[] = {"/proc/self/exe", (char *)kind, (char *)url, NULL};
    pid_t pid;
    CHECK(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, arguments, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    char ready[8];
    CHECK(read(ends[0], ready, sizeof ready) > 0);
    close(ends[0]);
    return pid;
}

/* And ends with whoever started it. */
static int say_ready(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return write(STDOUT_FILENO, "ready\n", 6) == 6 ? 0 : 1;
}

static int serve_bare(const char *url)
{
    nng_socket socket;
    CHECK(nng_rep0_open_raw(&socket) == 0);
    CHECK(nng_listen(socket, url, NULL, 0) == 0);
    CHECK(say_ready() == 0);
    for (;;) {
        nng_msg *message;
        if (nng_recvmsg(socket, &message, 0) != 0) return 1;
        if (nng_sendmsg(socket, message, 0) != 0) nng_msg_free(message);
    }
}

static int serve_rpc(const char *url)
{
    struct loop *loop = loop_new();
    struct rpc_server_options options = {.url = url, .program = "bench", .version = "1"};
    struct rpc_server *server = rpc_server_open(loop, &options);
    CHECK(server != NULL);
    struct probe probe;
    probe_init(&probe, loop);
    probe_serve(&probe, server);
    CHECK(say_ready() == 0);
    loop_run(loop);
    return 0;
}

/* --- bare raw req0: one message at a time --- */

static nng_socket dial_bare(const char *url)
{
    nng_socket socket;
    CHECK(nng_req0_open_raw(&socket) == 0);
    CHECK(nng_dial(socket, url, NULL, 0) == 0);
    return socket;
}

static struct sample run_bare(nng_socket socket, uint64_t ms, struct times *times)
{
    uint64_t start_us = now_us();
    uint64_t sent_us = start_us;
    times->count = times->calls = 0;
    while (sent_us - start_us < 1000 * ms) {
        nng_msg *message;
        CHECK(nng_msg_alloc(&message, 0) == 0);
        CHECK(nng_msg_append(message, payload, sizeof payload) == 0);
        CHECK(nng_msg_header_append_u32(message, REQUEST_HEADER) == 0);
        CHECK(nng_sendmsg(socket, message, 0) == 0);
        CHECK(nng_recvmsg(socket, &message, 0) == 0);
        CHECK(nng_msg_len(message) == sizeof payload);
        nng_msg_free(message);
        uint64_t done_us = now_us();
        times_add(times, done_us - sent_us);
        sent_us = done_us;
    }
    return times_sum(times, sent_us - start_us);
}

/* --- the RPC: some calls always in flight --- */

struct caller;

struct flight {
    struct rpc_call call;
    struct caller *caller;
    uint64_t sent_us;
};

struct caller {
    struct loop *loop;
    struct rpc_client *client;
    struct times *times;
    uint64_t end_us;
    unsigned open;
    unsigned failed;
    struct flight flights[IN_FLIGHT_MAX];
};

static void fly(struct flight *flight);

static void on_echo(const Quorate__Probe__V1__EchoReply *reply, void *arg)
{
    struct flight *flight = arg;
    struct caller *caller = flight->caller;
    caller->open--;
    uint64_t done_us = now_us();
    times_add(caller->times, done_us - flight->sent_us);
    if (reply == NULL) caller->failed++;
    if (done_us < caller->end_us) {
        fly(flight);
    } else if (caller->open == 0) {
        loop_stop(caller->loop);
    }
}

static void fly(struct flight *flight)
{
    struct caller *caller = flight->caller;
    Quorate__Probe__V1__EchoRequest request = QUORATE__PROBE__V1__ECHO_REQUEST__INIT;
    request.text = (char *)payload;
    flight->sent_us = now_us();
    caller->open++;
    rpc_call_init(&flight->call, caller->client, &quorate__probe__v1__probe__descriptor,
                  flight->sent_us + 5000000);
    quorate__probe__v1__probe__echo(&flight->call.service, &request, on_echo, flight);
}

static struct sample run_rpc(struct caller *caller, unsigned in_flight, uint64_t ms)
{
    caller->times->count = caller->times->calls = 0;
    uint64_t start_us = now_us();
    caller->end_us = start_us + 1000 * ms;
    for (unsigned i = 0; i < in_flight; i++) {
        caller->flights[i].caller = caller;
        fly(&caller->flights[i]);
    }
    loop_run(caller->loop);
    return times_sum(caller->times, now_us() - start_us);
}

static void on_change(void *arg, bool up)
{
    struct caller *caller = arg;
    if (up) loop_stop(caller->loop);
}

static struct caller *dial_rpc(const char *url, struct times *times)
{
    struct caller *caller = xcalloc(1, sizeof *caller);
    caller->loop = loop_new();
    caller->times = times;
    struct rpc_client_options options = {
        .url = url, .program = "bench", .on_change = on_change, .arg = caller};
    caller->client = rpc_client_open(caller->loop, &options);
    CHECK(caller->client != NULL);
    loop_run(caller->loop);
    CHECK(rpc_client_up(caller->client));
    return caller;
}

static void hang_up(struct caller *caller)
{
    rpc_client_close(caller->client);
    loop_free(caller->loop);
    free(caller);
}

/* --- the whole --- */

struct options {
    bool json;
    unsigned rounds;
    unsigned ms;
    unsigned in_flight; /* 0: all measures */
};

static bool read_options(int argc, char **argv, struct options *options)
{
    *options = (struct options){.rounds = 9, .ms = 400};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            options->json = true;
            continue;
        }
        if (i + 1 == argc) return false;
        unsigned number = (unsigned)strtoul(argv[i + 1], NULL, 10);
        if (number == 0) return false;
        if (strcmp(argv[i], "--rounds") == 0 && number <= ROUNDS_MAX) {
            options->rounds = number;
        } else if (strcmp(argv[i], "--ms") == 0) {
            options->ms = number;
        } else if (strcmp(argv[i], "--in-flight") == 0 && number <= IN_FLIGHT_MAX) {
            options->in_flight = number;
        } else {
            return false;
        }
        i++;
    }
    return true;
}

/* A port that is free now, on this machine only. */
static void free_url(char *url, size_t bytes)
{
    int probe = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    CHECK(probe >= 0 && bind(probe, (struct sockaddr *)&address, length) == 0);
    CHECK(getsockname(probe, (struct sockaddr *)&address, &length) == 0);
    close(probe);
    snprintf(url, bytes, "tcp://127.0.0.1:%u", (unsigned)ntohs(address.sin_port));
}

enum measure { BARE_ONE, RPC_ONE, RPC_16, RPC_256, MEASURES };

static int by_rate(const void *left, const void *right)
{
    double a = ((const struct sample *)left)->per_second;
    double b = ((const struct sample *)right)->per_second;
    return (a > b) - (a < b);
}

static struct sample median(struct sample *samples, unsigned count)
{
    qsort(samples, count, sizeof samples[0], by_rate);
    return samples[count / 2];
}

static void report(const struct sample *of, unsigned failed, bool json)
{
    static const char *const names[] = {"bare raw req0/rep0, one at a time", "RPC, one at a time",
                                        "RPC, 16 in flight", "RPC, 256 in flight"};
    if (json) {
        printf("{\"bare_one_us\": %.1f, \"one_us\": %.1f, \"one_ratio\": %.3f, "
               "\"sixteen_per_second\": %.0f, \"many_per_second\": %.0f, \"many_p50_us\": %.0f, "
               "\"many_p99_us\": %.0f, \"failed\": %u}\n",
               of[BARE_ONE].p50_us, of[RPC_ONE].p50_us, of[RPC_ONE].p50_us / of[BARE_ONE].p50_us,
               of[RPC_16].per_second, of[RPC_256].per_second, of[RPC_256].p50_us,
               of[RPC_256].p99_us, failed);
        return;
    }
    printf("%-36s %10s %8s %8s %8s\n", "", "calls/s", "P50 us", "P99 us", "rate");
    for (int i = 0; i < MEASURES; i++) {
        printf("%-36s %10.0f %8.0f %8.0f %7.2fx\n", names[i], of[i].per_second, of[i].p50_us,
               of[i].p99_us, of[i].per_second / of[BARE_ONE].per_second);
    }
    printf("one at a time: %.2fx of the bare time; failed calls: %u\n",
           of[RPC_ONE].p50_us / of[BARE_ONE].p50_us, failed);
}

static void measure_all(const struct options *options, const char *bare_url, struct caller *caller)
{
    static struct sample samples[MEASURES][ROUNDS_MAX];
    nng_socket bare = dial_bare(bare_url);
    for (unsigned i = 0; i < options->rounds; i++) {
        samples[BARE_ONE][i] = run_bare(bare, options->ms, caller->times);
        samples[RPC_ONE][i] = run_rpc(caller, 1, options->ms);
        samples[RPC_16][i] = run_rpc(caller, 16, options->ms);
        samples[RPC_256][i] = run_rpc(caller, 256, options->ms);
    }
    nng_close(bare);
    struct sample medians[MEASURES];
    for (int i = 0; i < MEASURES; i++)
        medians[i] = median(samples[i], options->rounds);
    report(medians, caller->failed, options->json);
}

int main(int argc, char **argv)
{
    log_set_level(LOG_LEVEL_ERROR);
    if (argc == 3 && strcmp(argv[1], "serve-bare") == 0) return serve_bare(argv[2]);
    if (argc == 3 && strcmp(argv[1], "serve-rpc") == 0) return serve_rpc(argv[2]);
    struct options options;
    if (!read_options(argc, argv, &options)) {
        fprintf(stderr, "usage: rpc_bench [--json] [--rounds N] [--ms N] [--in-flight N]\n");
        return 2;
    }
    char bare_url[64];
    char rpc_url[64];
    free_url(bare_url, sizeof bare_url);
    free_url(rpc_url, sizeof rpc_url);
    pid_t bare = spawn_server("serve-bare", bare_url);
    pid_t rpc = spawn_server("serve-rpc", rpc_url);
    struct times times = {.us = xcalloc(SAMPLES_MAX, sizeof(uint32_t))};
    struct caller *caller = dial_rpc(rpc_url, &times);
    if (options.in_flight == 0) {
        measure_all(&options, bare_url, caller);
    } else {
        struct sample sample = run_rpc(caller, options.in_flight, options.ms * options.rounds);
        printf("%.0f calls/s, P50 %.0f us, P99 %.0f us, failed %u\n", sample.per_second,
               sample.p50_us, sample.p99_us, caller->failed);
    }
    unsigned failed = caller->failed;
    hang_up(caller);
    free(times.us);
    kill(bare, SIGKILL);
    kill(rpc, SIGKILL);
    waitpid(bare, NULL, 0);
    waitpid(rpc, NULL, 0);
    return failed == 0 ? 0 : 1;
}
