/* redis_node_world.h - a node on a real redis-server for tests, and what it was told and said. */
#ifndef QUORATE_BASE_REDIS_NODE_WORLD_H
#define QUORATE_BASE_REDIS_NODE_WORLD_H

#include "base/loop_fixture.h"
#include "base/redis_fixture.h"
#include "base/redis_node.h"

enum { SCRIPT_SET, SCRIPT_DELETE, SCRIPT_COUNT };

struct world {
    struct loop *loop;
    struct redis_fixture *redis; /* NULL: none */
    struct redis_node *node;
    unsigned greetings;
    unsigned downs;
    unsigned drops;
    unsigned replies;
    unsigned unknowns;
    unsigned last_words; /* how many to say in on_drop */
    char last[128];      /* last reply's text, or the first of an array's */
    char why[128];
    bool close_in_answer;
    bool drop_in_answer;
    /* Of the nodes that are dialed from then on; on_push's arg is the world. */
    bool quiet;
    void (*on_push)(void *arg, struct span channel, struct span payload);
};

/* A server, and a node that is up. */
void world_open(struct world *world);
void world_close(struct world *world);

/* Another node in place of the last, which the caller has closed. */
void world_dial(struct world *world, const char *host, uint16_t port);

bool world_is_up(const struct world *world);
bool world_all_answered(const struct world *world);

/* What redis_node_command and redis_node_script return. The command's words are separated by
 * blanks. */
bool world_send(struct world *world, const char *command, uint32_t timeout_ms);
bool world_send_script(struct world *world, size_t script, const char *key, uint32_t timeout_ms);

/* What answers the two; arg is the world. */
void world_on_answer(void *arg, enum redis_answer answer, const struct redisReply *reply);

/* The server, asked past the node. */
void assert_asked(struct world *world, const char *command, const char *expected);

#endif
