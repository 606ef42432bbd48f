/* Several lockds, one resource, and more waiters than it can serve: each lockd gets its turns. The
 * same world without the rule that is tested starves one of them, so the test can fail. */
#include "lockd/world.h"

#include "base/check.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS          UINT64_C(1000)
#define SECOND      UINT64_C(1000000)
#define LOCKDS_MOST 3
#define CLIENTS     6 /* at each lockd */
#define HOLD_US     (3 * MS)
#define RUN_US      (20 * SECOND)

struct scene;

/* Acquires, holds, releases, and comes again. */
struct client {
    struct scene *scene;
    unsigned lockd;
    unsigned number;
    unsigned turn;
    uint64_t since_us;
    uint64_t token;
    struct timer hold;
    char request_id[32];
};

struct scene {
    struct world *world;
    unsigned lockds;
    struct client clients[LOCKDS_MOST * CLIENTS];
    uint64_t grants[LOCKDS_MOST];
    uint64_t longest_wait_us;
    uint64_t last_token;
    bool over; /* the curtain falls; what comes now is not counted */
};

static void come(struct client *client);

static void let_go(void *arg)
{
    struct client *client = arg;
    struct leases *leases = world_leases(client->scene->world, client->lockd);
    (void)leases_release(leases, span_of("r"), span_of(client->request_id), client->token);
    come(client);
}

static void on_answer(void *arg, const struct leases_answer *answer)
{
    struct client *client = arg;
    struct scene *scene = client->scene;
    if (scene->over) return;
    uint64_t now_us = world_now_us(scene->world);
    uint64_t waited_us = now_us - client->since_us;
    if (waited_us > scene->longest_wait_us) scene->longest_wait_us = waited_us;
    if (answer->reason != REASON_NONE) {
        come(client);
        return;
    }
    assert_true(answer->token > scene->last_token);
    scene->last_token = answer->token;
    scene->grants[client->lockd]++;
    client->token = answer->token;
    timer_start(&client->hold, world_timers(scene->world), now_us + HOLD_US, let_go, client);
}

static void come(struct client *client)
{
    struct world *world = client->scene->world;
    client->since_us = world_now_us(world);
    (void)snprintf(client->request_id, sizeof client->request_id, "c%u.%u.%u", client->lockd,
                   client->number, client->turn++);
    struct leases_acquire acquire = {.resource = span_of("r"),
                                     .request_id = span_of(client->request_id),
                                     .deadline_us = TIMER_NEVER,
                                     .ttl_ms = 10000,
                                     .wait_ms = 60000};
    (void)leases_acquire(world_leases(world, client->lockd), &acquire, on_answer, client);
}

static void play(struct scene *scene, unsigned lockds, unsigned broken_rules)
{
    struct world_options options = world_calm;
    options.seed = 7;
    options.lockds = lockds;
    options.delay_min_us = 300;
    options.delay_max_us = 900;
    options.broken_rules = broken_rules;
    *scene = (struct scene){.world = world_new(&options), .lockds = lockds};
    world_run_us(scene->world, SECOND);
    for (unsigned i = 0; i < lockds * CLIENTS; i++) {
        struct client *client = &scene->clients[i];
        *client = (struct client){.scene = scene, .lockd = i % lockds, .number = i};
        come(client);
    }
    world_run_us(scene->world, RUN_US);
    for (unsigned i = 0; i < lockds * CLIENTS; i++)
        timer_stop(&scene->clients[i].hold);
    scene->over = true;
    world_free(scene->world);
}

/* In percent. */
static unsigned least_share(const struct scene *scene)
{
    uint64_t all = 0;
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < scene->lockds; i++) {
        all += scene->grants[i];
        if (scene->grants[i] < least) least = scene->grants[i];
        printf("lockd %u: %" PRIu64 " grants\n", i, scene->grants[i]);
    }
    printf("longest wait %" PRIu64 " ms\n", scene->longest_wait_us / MS);
    CHECK(all > 500);
    return (unsigned)(100 * least / all);
}

static void two_lockds_take_turns(void **state)
{
    (void)state;
    struct scene scene;
    play(&scene, 2, 0);
    assert_true(least_share(&scene) >= 30);
    assert_true(scene.longest_wait_us < 2 * SECOND);
}

static void three_lockds_take_turns(void **state)
{
    (void)state;
    struct scene scene;
    play(&scene, 3, 0);
    assert_true(least_share(&scene) >= 15);
    assert_true(scene.longest_wait_us < 4 * SECOND);
}

static void without_marks_one_of_them_starves(void **state)
{
    (void)state;
    struct scene scene;
    play(&scene, 2, SIM_RULE_MARK);
    assert_true(least_share(&scene) < 10);
}

static void without_hints_the_turns_are_rare(void **state)
{
    (void)state;
    struct scene scene;
    play(&scene, 2, SIM_RULE_HINT);
    assert_true(least_share(&scene) < 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_lockds_take_turns),
        cmocka_unit_test(three_lockds_take_turns),
        cmocka_unit_test(without_marks_one_of_them_starves),
        cmocka_unit_test(without_hints_the_turns_are_rare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
