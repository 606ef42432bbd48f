#include "edge/lockd_client.h"

#include "base/check.h"
#include "proto/lock.pb-c.h"

#include <stdio.h>
#include <stdlib.h>

#define MISSING_BYTES 512
#define FRESH_US      2000000

struct lockd {
    struct loop *loop;
    struct peer *peer;
    struct rpc_call question;
    struct timer next_question;
    uint64_t told_us; /* 0: never */
    uint32_t voting;
    uint32_t needed;
    uint32_t nodes;
    char missing[MISSING_BYTES];
};

struct lockd_client {
    struct lockd *lockds;
    size_t count;
};

static const char *state_name(Quorate__Lock__V1__Node__State state)
{
    switch (state) {
    case QUORATE__LOCK__V1__NODE__STATE__DOWN:
        return "down";
    case QUORATE__LOCK__V1__NODE__STATE__JOINING:
        return "joining";
    case QUORATE__LOCK__V1__NODE__STATE__QUARANTINE:
        return "quarantine";
    case QUORATE__LOCK__V1__NODE__STATE__REFUSED:
        return "refused";
    case QUORATE__LOCK__V1__NODE__STATE__VOTING:
        return "voting";
    case _QUORATE__LOCK__V1__NODE__STATE_IS_INT_SIZE:
        break;
    }
    return "unknown";
}

static void on_nodes(const Quorate__Lock__V1__NodesReply *reply, void *arg)
{
    struct lockd *lockd = arg;
    if (reply == NULL) {
        lockd->told_us = 0; /* what was true before its silence says nothing now */
        return;
    }
    lockd->told_us = loop_now_us(lockd->loop);
    lockd->voting = reply->voting;
    lockd->needed = reply->quorum;
    lockd->nodes = (uint32_t)reply->n_nodes;
    size_t used = 0;
    lockd->missing[0] = '\0';
    for (size_t i = 0; i < reply->n_nodes; i++) {
        const Quorate__Lock__V1__Node *node = reply->nodes[i];
        if (node->state == QUORATE__LOCK__V1__NODE__STATE__VOTING) continue;
        int bytes = snprintf(lockd->missing + used, sizeof lockd->missing - used, "%s%.100s (%s)",
                             used == 0 ? "" : ", ", node->name, state_name(node->state));
        used += (size_t)bytes;
        if (used >= sizeof lockd->missing) break; /* cut, and long enough */
    }
}

static void ask(void *arg)
{
    struct lockd *lockd = arg;
    uint64_t now_us = loop_now_us(lockd->loop);
    timer_start(&lockd->next_question, loop_timers(lockd->loop), now_us + PEER_ASKS_EVERY_US, ask,
                lockd);
    if (rpc_call_open(&lockd->question)) return;
    rpc_call_init(&lockd->question, peer_rpc(lockd->peer), &quorate__lock__v1__lock__descriptor,
                  now_us + PEER_PATIENCE_US);
    lockd->question.reads_only = true;
    Quorate__Lock__V1__NodesRequest request = QUORATE__LOCK__V1__NODES_REQUEST__INIT;
    quorate__lock__v1__lock__nodes(&lockd->question.service, &request, on_nodes, lockd);
}

static void on_change(void *arg, bool up)
{
    struct lockd *lockd = arg;
    if (up) timer_start(&lockd->next_question, loop_timers(lockd->loop), 0, ask, lockd);
    if (!up) lockd->told_us = 0;
}

struct lockd_client *lockd_client_open(struct loop *loop, const struct conf_list *urls,
                                       struct metrics *metrics)
{
    CHECK(urls->count > 0);
    struct lockd_client *client = xcalloc(1, sizeof *client);
    client->lockds = xcalloc(urls->count, sizeof(struct lockd));
    for (size_t i = 0; i < urls->count; i++) {
        struct lockd *lockd = &client->lockds[i];
        lockd->loop = loop;
        lockd->peer = peer_open(loop, urls->items[i], metrics);
        if (lockd->peer == NULL) {
            lockd_client_close(client);
            return NULL;
        }
        client->count++;
        peer_on_change(lockd->peer, on_change, lockd);
        timer_start(&lockd->next_question, loop_timers(loop), 0, ask, lockd);
    }
    return client;
}

void lockd_client_close(struct lockd_client *client)
{
    if (client == NULL) return;
    for (size_t i = 0; i < client->count; i++) {
        timer_stop(&client->lockds[i].next_question);
        rpc_call_cancel(&client->lockds[i].question);
        peer_close(client->lockds[i].peer);
    }
    free(client->lockds);
    free(client);
}

size_t lockd_client_peers(const struct lockd_client *client)
{
    return client->count;
}

struct peer *lockd_client_peer(const struct lockd_client *client, size_t place)
{
    CHECK(place < client->count);
    return client->lockds[place].peer;
}

struct quorum lockd_client_quorum(const struct lockd_client *client)
{
    struct quorum best = {.missing = ""};
    for (size_t i = 0; i < client->count; i++) {
        const struct lockd *lockd = &client->lockds[i];
        bool fresh = lockd->told_us > 0 && loop_now_us(lockd->loop) - lockd->told_us <= FRESH_US;
        if (!fresh || (best.known && best.voting >= lockd->voting)) continue;
        best = (struct quorum){.known = true,
                               .voting = lockd->voting,
                               .needed = lockd->needed,
                               .nodes = lockd->nodes,
                               .missing = lockd->missing};
    }
    return best;
}
