/* fake_net.h - a network of fake Redis servers on a fake clock, behind the very functions of
 * base/redis_node.h: linked in its place, so that members and what is above them run unchanged.
 *
 * A server can be paused (what is sent to it waits and is executed when it wakes, also what came
 * over connections that are gone), killed, and cut off. Messages of one connection stay in order
 * and take latency_us each way. Ports are places in `servers`, from 1.
 */
#ifndef QUORATE_LOCKD_FAKE_NET_H
#define QUORATE_LOCKD_FAKE_NET_H

#include "base/timer.h"
#include "lockd/fake_redis.h"

enum { FAKE_NET_SERVERS_MAX = 9 };

struct fake_net_message;

struct fake_net_server {
    struct fake_redis redis;
    bool down;
    bool paused;
    struct fake_net_message *waiting; /* for a paused server */
    struct fake_net_message **waiting_tail;
};

struct fake_net {
    uint64_t now_us;        /* boot time */
    int64_t wall_offset_us; /* of lockd's wall clock */
    struct clock clock;
    struct timers timers;
    struct timers *others; /* further ones on this boot time, which run with it; NULL: none */
    unsigned other_count;
    uint32_t latency_us;
    unsigned count;
    struct fake_net_server servers[FAKE_NET_SERVERS_MAX];
    struct fake_net_connection *connections; /* all that were ever made */
};

/* The one network that redis_node_open dials into. */
void fake_net_init(struct fake_net *net, unsigned servers);
void fake_net_fini(struct fake_net *net);

void fake_net_run(struct fake_net *net, uint64_t us);

void fake_net_pause(struct fake_net *net, unsigned server);
void fake_net_resume(struct fake_net *net, unsigned server);
void fake_net_kill(struct fake_net *net, unsigned server);
void fake_net_start(struct fake_net *net, unsigned server, bool keep_data);

/* Ends the connections of a server without the server noticing more than that. */
void fake_net_cut(struct fake_net *net, unsigned server);

#endif
