/* The protocol under everything that can befall it at once, many seeds, and the proof that the
 * judge sees what a missing rule does. WORLD_SEEDS=n runs more of them, WORLD_SEED=n only that one.
 */
#include "lockd/crowd.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS     UINT64_C(1000)
#define SECOND UINT64_C(1000000)

static const struct crowd_options rough = {
    .world =
        {
            .nodes = 5,
            .lockds = 3,
            .ttl_max_ms = 3000,
            .delay_min_us = 100,
            .delay_max_us = 3000,
            .drift_ppm = 4000,
            .fence_life_ms = 4000,
            .waiters_max = 22,
            .resources_max = 100,
        },
    .clients = 24,
    .resources = 3,
    .fault_us = 50 * MS,
    .link_percent = 80,
    .node_percent = 10,
};

static uint64_t setting(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    return text == NULL ? fallback : strtoull(text, NULL, 10);
}

static void run_seeds(const struct crowd_options *options, uint64_t seeds, const char *what)
{
    struct crowd_report report = {0};
    uint64_t only = setting("WORLD_SEED", 0);
    seeds = seeds * setting("WORLD_SEEDS", 10) / 10;
    for (uint64_t seed = 1; seed <= seeds && report.broken == 0; seed++) {
        if (only != 0 && seed != only) continue;
        struct crowd_options seeded = *options;
        seeded.world.seed = seed;
        crowd_run(&seeded, 30 * SECOND, &report);
    }
    printf("%s: %" PRIu64 " events, %" PRIu64 " grants, %" PRIu64 " extends, %" PRIu64
           " touches, %" PRIu64 " refusals, %" PRIu64 " faults, %" PRIu64 " broken promises\n",
           what, report.events, report.grants, report.extends, report.touches, report.refusals,
           report.faults, report.broken);
    if (report.broken > 0) printf("%s\n", report.first);
    assert_int_equal(report.broken, 0);
    if (only == 0) assert_true(report.grants > 100 && report.extends > 10);
}

static void promises_hold_in_a_rough_world(void **state)
{
    (void)state;
    run_seeds(&rough, 10, "rough, 3 lockds");
}

static void promises_hold_with_one_lockd_and_a_crowd(void **state)
{
    (void)state;
    struct crowd_options options = rough;
    options.world.lockds = 1;
    options.clients = 48;
    options.resources = 2;
    run_seeds(&options, 10, "crowded, 1 lockd");
}

static void promises_hold_without_faults(void **state)
{
    (void)state;
    struct crowd_options options = rough;
    options.fault_us = 0;
    run_seeds(&options, 4, "calm, 3 lockds");
}

static void promises_hold_in_a_stormy_world(void **state)
{
    (void)state;
    struct crowd_options options = rough;
    options.fault_us = 15 * MS;
    options.world.lockds = 2;
    run_seeds(&options, 10, "stormy, 2 lockds");
}

static void promises_hold_on_four_nodes(void **state)
{
    (void)state;
    struct crowd_options options = rough;
    options.world.nodes = 4;
    run_seeds(&options, 4, "four nodes");
}

static void promises_hold_on_a_single_node(void **state)
{
    (void)state;
    struct crowd_options options = rough;
    options.world.nodes = 1;
    run_seeds(&options, 4, "one node");
}

/* The judge is worth something: what a world without a rule breaks, it sees. (The other rules
 * matter in rarer cases, for which they have tests of their own.) */
static void judge_sees_what_a_missing_rule_breaks(void **state)
{
    (void)state;
    const struct {
        enum sim_rule rule;
        const char *name;
    } rules[] = {
        {SIM_RULE_FENCE, "the fence"},
        {SIM_RULE_THIRD_OWNER, "third owners"},
        {SIM_RULE_HIGH, "high"},
        {SIM_RULE_QUARANTINE, "quarantine"},
    };
    for (unsigned i = 0; i < sizeof rules / sizeof *rules; i++) {
        struct crowd_report report = {0};
        uint64_t seed = 0;
        while (report.broken == 0 && seed < 40) {
            struct crowd_options options = rough;
            options.world.seed = ++seed;
            options.world.broken_rules = (unsigned)rules[i].rule;
            options.world.nodes = 3;
            options.node_percent = 20;
            options.link_percent = 70;
            crowd_run(&options, 30 * SECOND, &report);
        }
        printf("without %s: %s\n", rules[i].name, report.broken > 0 ? report.first : "nothing");
        assert_true(report.broken > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promises_hold_without_faults),
        cmocka_unit_test(promises_hold_in_a_rough_world),
        cmocka_unit_test(promises_hold_with_one_lockd_and_a_crowd),
        cmocka_unit_test(promises_hold_in_a_stormy_world),
        cmocka_unit_test(promises_hold_on_four_nodes),
        cmocka_unit_test(promises_hold_on_a_single_node),
        cmocka_unit_test(judge_sees_what_a_missing_rule_breaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
