/* Against real redis-servers. */
#include "lockd/hints.h"

#include "base/loop_fixture.h"
#include "base/redis_fixture.h"
#include "lockd/transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { NODES = 3 };

struct world {
    struct loop *loop;
    struct redis_fixture *servers[NODES];
    char texts[NODES][24];
    const char *names[NODES];
    struct hints *hints;
    unsigned count;
    char heard[1024]; /* "node=resource ..." */
    bool close_in_hint;
};

static void on_hint(void *arg, unsigned node, struct span resource)
{
    struct world *world = arg;
    size_t used = strlen(world->heard);
    snprintf(world->heard + used, sizeof world->heard - used, "%s%u=%.*s", used == 0 ? "" : " ",
             node, SPAN_ARGS(resource));
    world->count++;
    if (world->close_in_hint) {
        hints_close(world->hints);
        world->hints = NULL;
    }
}

static char *ask(struct world *world, unsigned node, const char *command)
{
    return redis_fixture_ask(world->servers[node], command);
}

static void tell(struct world *world, unsigned node, const char *command)
{
    free(ask(world, node, command));
}

static bool is_subscribed(struct world *world, unsigned node)
{
    char *answer = ask(world, node, "PUBSUB NUMSUB " HINTS_CHANNEL);
    bool once = strcmp(answer, HINTS_CHANNEL " 1") == 0;
    free(answer);
    return once;
}

static void world_open(struct world *world, unsigned nodes)
{
    *world = (struct world){.loop = loop_new()};
    for (unsigned i = 0; i < nodes; i++) {
        world->servers[i] = redis_fixture_start("");
        snprintf(world->texts[i], sizeof world->texts[i], "127.0.0.1:%u",
                 redis_fixture_port(world->servers[i]));
        world->names[i] = world->texts[i];
    }
    struct conf_list names = {world->names, nodes};
    world->hints = hints_open(world->loop, &names, on_hint, world);
    for (unsigned i = 0; i < nodes; i++)
        LOOP_UNTIL(world->loop, is_subscribed(world, i));
}

static void world_close(struct world *world)
{
    hints_close(world->hints);
    loop_free(world->loop);
    for (unsigned i = 0; i < NODES; i++) {
        if (world->servers[i] != NULL) redis_fixture_free(world->servers[i]);
    }
}

/* All that was published is heard by then: the last of it is. */
static void assert_heard(struct world *world, const char *expected)
{
    LOOP_UNTIL(world->loop, strlen(world->heard) >= strlen(expected));
    loop_run_ms(world->loop, 20);
    assert_string_equal(world->heard, expected);
}

static void a_message_is_heard_once_and_from_its_node(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, NODES);
    tell(&world, 1, "PUBLISH quorate:released stock:1");
    assert_heard(&world, "1=stock:1");
    tell(&world, 2, "PUBLISH quorate:released stock:2");
    assert_heard(&world, "1=stock:1 2=stock:2");
    tell(&world, 0, "PUBLISH quorate:released stock:1");
    tell(&world, 0, "PUBLISH quorate:released stock:1");
    assert_heard(&world, "1=stock:1 2=stock:2 0=stock:1 0=stock:1");
    world_close(&world);
}

static void other_channels_are_not_heard(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 1);
    tell(&world, 0, "PUBLISH quorate:release a");
    tell(&world, 0, "PUBLISH quorate:released:b b");
    tell(&world, 0, "PUBLISH __keyspace@0__:quorate:released c");
    tell(&world, 0, "PUBLISH quorate:released d");
    assert_heard(&world, "0=d");
    world_close(&world);
}

static void what_can_be_no_resource_is_no_hint(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 1);
    char longest[RESOURCE_BYTES_MAX + 1];
    memset(longest, 'x', RESOURCE_BYTES_MAX);
    longest[RESOURCE_BYTES_MAX] = '\0';
    char command[300];
    snprintf(command, sizeof command, "PUBLISH quorate:released %sy", longest);
    tell(&world, 0, command);
    tell(&world, 0, "EVAL redis.call('PUBLISH','quorate:released','') 0");
    snprintf(command, sizeof command, "PUBLISH quorate:released %s", longest);
    tell(&world, 0, command);
    char expected[300];
    snprintf(expected, sizeof expected, "0=%s", longest);
    assert_heard(&world, expected);
    world_close(&world);
}

static void a_server_that_was_restarted_is_heard_again(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 2);
    redis_fixture_kill(world.servers[1]);
    tell(&world, 0, "PUBLISH quorate:released a");
    assert_heard(&world, "0=a");
    loop_run_ms(world.loop, 200);
    redis_fixture_restart(world.servers[1], false);
    LOOP_UNTIL(world.loop, is_subscribed(&world, 1));
    tell(&world, 1, "PUBLISH quorate:released b");
    assert_heard(&world, "0=a 1=b");
    world_close(&world);
}

/* "id=12 addr=..." */
static long subscriber_id(struct world *world)
{
    char *clients = ask(world, 0, "CLIENT LIST TYPE pubsub");
    long id = strtol(clients + strcspn(clients, "0123456789"), NULL, 10);
    free(clients);
    return id;
}

/* As a dead connection does: nothing comes, nothing ends. */
static void a_silent_connection_is_given_up(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 1);
    long before = subscriber_id(&world);
    loop_run_ms(world.loop, 2500); /* a question that is answered */
    assert_int_equal(subscriber_id(&world), before);
    redis_fixture_pause(world.servers[0]);
    loop_run_ms(world.loop, 3000);
    redis_fixture_resume(world.servers[0]);
    LOOP_UNTIL(world.loop, is_subscribed(&world, 0) && subscriber_id(&world) != before);
    tell(&world, 0, "PUBLISH quorate:released a");
    assert_heard(&world, "0=a");
    world_close(&world);
}

static unsigned count_of(FILE *log, const char *word)
{
    char line[1024];
    unsigned count = 0;
    rewind(log);
    while (fgets(line, sizeof line, log) != NULL)
        count += strstr(line, word) != NULL;
    return count;
}

static long refusals(struct world *world)
{
    char *stats = ask(world, 0, "INFO commandstats");
    const char *subscribe = strstr(stats, "cmdstat_subscribe:");
    const char *refused = subscribe == NULL ? NULL : strstr(subscribe, "rejected_calls=");
    long count = refused == NULL ? 0 : strtol(refused + strlen("rejected_calls="), NULL, 10);
    free(stats);
    return count;
}

static void a_server_that_refuses_is_asked_again_and_told_of_once(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 1);
    FILE *log = tmpfile();
    int saved = dup(STDERR_FILENO);
    dup2(fileno(log), STDERR_FILENO);
    tell(&world, 0, "ACL SETUSER default resetchannels"); /* ends the subscription, too */
    LOOP_UNTIL(world.loop, refusals(&world) >= 2);
    tell(&world, 0, "ACL SETUSER default allchannels");
    LOOP_UNTIL(world.loop, is_subscribed(&world, 0));
    dup2(saved, STDERR_FILENO);
    close(saved);
    assert_int_equal(count_of(log, "hints.refused node=127.0.0.1:"), 1);
    assert_int_equal(count_of(log, "NOPERM"), 1);
    assert_int_equal(count_of(log, "redis."), 0);
    fclose(log);
    tell(&world, 0, "PUBLISH quorate:released a");
    assert_heard(&world, "0=a");
    world_close(&world);
}

static void may_be_closed_inside_a_hint(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 2);
    tell(&world, 1, "PUBLISH quorate:released a");
    tell(&world, 1, "PUBLISH quorate:released b");
    world.close_in_hint = true;
    assert_heard(&world, "1=a");
    assert_null(world.hints);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_heard_once_and_from_its_node),
        cmocka_unit_test(other_channels_are_not_heard),
        cmocka_unit_test(what_can_be_no_resource_is_no_hint),
        cmocka_unit_test(a_server_that_was_restarted_is_heard_again),
        cmocka_unit_test(a_silent_connection_is_given_up),
        cmocka_unit_test(a_server_that_refuses_is_asked_again_and_told_of_once),
        cmocka_unit_test(may_be_closed_inside_a_hint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
