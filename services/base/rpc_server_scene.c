#include "base/rpc_server_scene.h"

#include "base/check.h"

#include <stdlib.h>

int scene_set_up(void **state)
{
    const struct scene_limits *given = *state;
    struct scene_limits limits = given == NULL ? (struct scene_limits){0} : *given;
    struct scene *scene = xcalloc(1, sizeof *scene);
    world_init(&scene->world);
    world_serve(&scene->world, limits.calls_max, limits.calls_total_max);
    plain_dial(&scene->plain, &scene->world, 1024);
    *state = scene;
    return 0;
}

int scene_tear_down(void **state)
{
    struct scene *scene = *state;
    plain_close(&scene->plain);
    world_close(&scene->world);
    free(scene);
    return 0;
}

Call call_of(const char *method)
{
    Call call = QUORATE__RPC__V1__CALL__INIT;
    call.call_id = 1;
    call.method = (char *)method;
    return call;
}

enum reason scene_ask(struct scene *scene, const Call *call)
{
    struct bytes bytes = {0};
    bytes_add_frame(&bytes, &call->base);
    return plain_ask(&scene->plain, &bytes);
}

void add_held(struct bytes *bytes, uint64_t call_id, uint32_t hold_ms, bool stubborn)
{
    Quorate__Probe__V1__BumpRequest bump = QUORATE__PROBE__V1__BUMP_REQUEST__INIT;
    bump.hold_ms = hold_ms;
    bump.stubborn = stubborn;
    bytes_add_call(bytes, call_id, "Bump", &bump.base);
}
