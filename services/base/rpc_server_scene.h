/* rpc_server_scene.h - a server and a peer that says whatever the test wants, for tests of what a
 * server makes of it.
 */
#ifndef QUORATE_BASE_RPC_SERVER_SCENE_H
#define QUORATE_BASE_RPC_SERVER_SCENE_H

#include "plain.h"

typedef Quorate__Rpc__V1__Call Call;
typedef Quorate__Rpc__V1__Answer Answer;

#define BUMP      "/quorate.probe.v1.Probe/Bump"
#define BUMP_LATE "/quorate.probe.v1.Probe/BumpLate"

struct scene {
    struct world world;
    struct plain plain;
};

/* Of the server; 0: the default. */
struct scene_limits {
    uint32_t calls_max;
    uint32_t calls_total_max;
};

/* For cmocka: each test's scene is in *state. */
int scene_set_up(void **state);
int scene_tear_down(void **state);

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_set_up, scene_tear_down)
#define TEST_LIMITED(name, calls_max, calls_total_max)                                             \
    cmocka_unit_test_prestate_setup_teardown(                                                      \
        name, scene_set_up, scene_tear_down,                                                       \
        (&(struct scene_limits){(calls_max), (calls_total_max)}))

/* A call with this method and id 1, nothing else set. */
Call call_of(const char *method);

/* How it was answered. */
enum reason scene_ask(struct scene *scene, const Call *call);

/* A Bump that takes its time; a stubborn one answers even if nobody waits any more. */
void add_held(struct bytes *bytes, uint64_t call_id, uint32_t hold_ms, bool stubborn);

#endif
