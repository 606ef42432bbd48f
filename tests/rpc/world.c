#include "world.h"

#include "base/check.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PATIENCE_US 10000000
#define LOOK_US     500

void world_init(struct world *world)
{
    *world = (struct world){0};
    log_set_level(getenv("WORLD_LOG") == NULL ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO);
    world->loop = loop_new();
    snprintf(world->directory, sizeof world->directory, "/tmp/quorate-rpc-XXXXXX");
    CHECK(mkdtemp(world->directory) != NULL);
    snprintf(world->url, sizeof world->url, "ipc://%s/socket", world->directory);
}

void world_serve(struct world *world, uint32_t calls_max, uint32_t calls_total_max)
{
    world->server_metrics = metrics_new();
    struct rpc_server_options options = {.url = world->url,
                                         .program = "probe",
                                         .version = "1",
                                         .calls_max = calls_max,
                                         .calls_total_max = calls_total_max,
                                         .metrics = world->server_metrics};
    world->server = rpc_server_open(world->loop, &options);
    CHECK(world->server != NULL);
    probe_init(&world->probe, world->loop);
    probe_serve(&world->probe, world->server);
}

void world_stop_server(struct world *world)
{
    probe_fini(&world->probe);
    rpc_server_close(world->server);
    world->server = NULL;
    world_run_ms(world, 1);
    metrics_free(world->server_metrics);
    world->server_metrics = NULL;
}

static void on_change(void *arg, bool up)
{
    struct world *world = arg;
    world->changes++;
    world->up = up;
}

void world_dial(struct world *world, uint32_t calls_max)
{
    world->client_metrics = metrics_new();
    struct rpc_client_options options = {.url = world->url,
                                         .program = "test",
                                         .calls_max = calls_max,
                                         .metrics = world->client_metrics,
                                         .on_change = on_change,
                                         .arg = world};
    world->client = rpc_client_open(world->loop, &options);
    CHECK(world->client != NULL);
}

static bool is_up(void *arg)
{
    struct world *world = arg;
    return rpc_client_up(world->client);
}

void world_open(struct world *world)
{
    world_init(world);
    world_serve(world, 0, 0);
    world_dial(world, 0);
    CHECK(world_until(world, is_up, world));
}

void world_close(struct world *world)
{
    rpc_client_close(world->client);
    if (world->server != NULL) world_stop_server(world);
    loop_free(world->loop);
    metrics_free(world->client_metrics);
    rmdir(world->directory);
}

struct wait {
    struct world *world;
    struct timer timer;
    bool (*is_true)(void *arg);
    void *arg;
    uint64_t until_us;
    bool came;
};

static void look(void *arg)
{
    struct wait *wait = arg;
    uint64_t now_us = loop_now_us(wait->world->loop);
    wait->came = wait->is_true != NULL && wait->is_true(wait->arg);
    if (wait->came || now_us >= wait->until_us) {
        loop_stop(wait->world->loop);
        return;
    }
    timer_start(&wait->timer, loop_timers(wait->world->loop), now_us + LOOK_US, look, wait);
}

static bool run(struct world *world, bool (*is_true)(void *arg), void *arg, uint64_t us)
{
    uint64_t now_us = loop_now_us(world->loop);
    struct wait wait = {.world = world, .is_true = is_true, .arg = arg, .until_us = now_us + us};
    timer_start(&wait.timer, loop_timers(world->loop), now_us, look, &wait);
    loop_run(world->loop);
    return wait.came;
}

bool world_until(struct world *world, bool (*is_true)(void *arg), void *arg)
{
    return run(world, is_true, arg, PATIENCE_US);
}

void world_run_ms(struct world *world, uint64_t ms)
{
    run(world, NULL, NULL, 1000 * ms);
}

uint64_t counted(const struct metrics *metrics, const char *series)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    metrics_print(metrics, out);
    CHECK(fclose(out) == 0);
    char line[256];
    snprintf(line, sizeof line, "\n%s ", series);
    const char *at = strstr(text, line);
    uint64_t number = at == NULL ? 0 : strtoull(at + strlen(line), NULL, 10);
    free(text);
    return number;
}

void ask_init(struct ask *ask, struct world *world, uint64_t wait_ms)
{
    *ask = (struct ask){.world = world};
    rpc_call_init(&ask->call, world->client, &quorate__probe__v1__probe__descriptor,
                  loop_now_us(world->loop) + 1000 * wait_ms);
}

static void note_end(struct ask *ask)
{
    ask->ends++;
    ask->reason = ask->call.status.reason;
    ask->ended_us = loop_now_us(ask->world->loop);
    ask->place = ++ask->world->ended;
    Quorate__Probe__V1__CountReply *detail = (Quorate__Probe__V1__CountReply *)rpc_status_detail(
        &ask->call.status, &quorate__probe__v1__count_reply__descriptor);
    if (detail == NULL) return;
    ask->detail_bumps = detail->bumps;
    quorate__probe__v1__count_reply__free_unpacked(detail, NULL);
}

static void on_echo(const Quorate__Probe__V1__EchoReply *reply, void *arg)
{
    struct ask *ask = arg;
    if (reply != NULL) {
        ask->text_bytes = strlen(reply->text);
        snprintf(ask->text, sizeof ask->text, "%.*s", (int)sizeof ask->text - 1, reply->text);
        snprintf(ask->request_id, sizeof ask->request_id, "%s", reply->request_id);
        snprintf(ask->traceparent, sizeof ask->traceparent, "%s", reply->traceparent);
        ask->left_us = reply->left_us;
    }
    note_end(ask);
}

static void on_count(const Quorate__Probe__V1__CountReply *reply, void *arg)
{
    struct ask *ask = arg;
    if (reply != NULL) {
        ask->bumps = reply->bumps;
        ask->gone = reply->gone;
        ask->open = reply->open;
    }
    note_end(ask);
}

static void on_stream(const Quorate__Probe__V1__CountReply *reply, void *arg)
{
    struct ask *ask = arg;
    if (!ask->call.more) {
        CHECK(reply == NULL);
        note_end(ask);
        return;
    }
    CHECK(ask->ends == 0 && reply->number == ask->messages + 1);
    ask->messages++;
}

void ask_echo(struct ask *ask, const char *text)
{
    Quorate__Probe__V1__EchoRequest request = QUORATE__PROBE__V1__ECHO_REQUEST__INIT;
    request.text = (char *)text;
    quorate__probe__v1__probe__echo(&ask->call.service, &request, on_echo, ask);
}

void ask_echo_bytes(struct ask *ask, uint32_t bytes)
{
    Quorate__Probe__V1__EchoRequest request = QUORATE__PROBE__V1__ECHO_REQUEST__INIT;
    request.bytes = bytes;
    quorate__probe__v1__probe__echo(&ask->call.service, &request, on_echo, ask);
}

void ask_bump(struct ask *ask, uint32_t hold_ms)
{
    Quorate__Probe__V1__BumpRequest request = QUORATE__PROBE__V1__BUMP_REQUEST__INIT;
    request.hold_ms = hold_ms;
    quorate__probe__v1__probe__bump(&ask->call.service, &request, on_count, ask);
}

void ask_bump_late(struct ask *ask)
{
    Quorate__Probe__V1__BumpRequest request = QUORATE__PROBE__V1__BUMP_REQUEST__INIT;
    quorate__probe__v1__probe__bump_late(&ask->call.service, &request, on_count, ask);
}

void ask_count(struct ask *ask)
{
    Quorate__Probe__V1__CountRequest request = QUORATE__PROBE__V1__COUNT_REQUEST__INIT;
    ask->call.reads_only = true;
    quorate__probe__v1__probe__count(&ask->call.service, &request, on_count, ask);
}

void ask_fail(struct ask *ask, uint32_t reason, const char *message, uint32_t detail_bumps)
{
    Quorate__Probe__V1__FailRequest request = QUORATE__PROBE__V1__FAIL_REQUEST__INIT;
    request.reason = reason;
    request.message = (char *)message;
    request.detail_bumps = detail_bumps;
    quorate__probe__v1__probe__fail(&ask->call.service, &request, on_count, ask);
}

void ask_stream(struct ask *ask, uint32_t count, enum reason fail, bool pushy)
{
    Quorate__Probe__V1__StreamRequest request = QUORATE__PROBE__V1__STREAM_REQUEST__INIT;
    request.count = count;
    request.fail = (uint32_t)fail;
    request.pushy = pushy;
    quorate__probe__v1__probe__stream(&ask->call.service, &request, on_stream, ask);
}

bool ask_ended(void *arg)
{
    const struct ask *ask = arg;
    return ask->ends > 0;
}

enum reason world_bump(struct world *world, uint32_t hold_ms, uint64_t wait_ms)
{
    struct ask ask;
    ask_init(&ask, world, wait_ms);
    ask_bump(&ask, hold_ms);
    CHECK(ask.ends == 0 && world_until(world, ask_ended, &ask));
    return ask.reason;
}

struct counts world_count(struct world *world)
{
    struct ask ask;
    ask_init(&ask, world, 5000);
    ask_count(&ask);
    CHECK(world_until(world, ask_ended, &ask) && ask.reason == REASON_NONE);
    return (struct counts){ask.bumps, ask.gone, ask.open};
}
