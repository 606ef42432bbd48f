/* crowd_inside.h - the inside of crowd.c, crowd_judge.c and crowd_faults.c; nobody else includes
 * it. */
#ifndef QUORATE_LOCKD_CROWD_INSIDE_H
#define QUORATE_LOCKD_CROWD_INSIDE_H

#include "base/check.h"
#include "lockd/crowd.h"

#define CLIENTS_MAX      64
#define RESOURCES_MAX    8
#define CROWD_LOCKDS_MAX 4
#define REPAIRS_MAX      32
#define MS               UINT64_C(1000)
#define SECOND           UINT64_C(1000000)

enum doing { DOING_NOTHING, DOING_WAITS, DOING_HOLDS };

struct question {
    struct client *client;
    struct leases_call *call; /* NULL: none is open */
    uint64_t due_us;          /* lockd's clock */
};

struct client {
    struct crowd *crowd;
    struct timer timer;
    enum doing doing;
    unsigned lockd;
    uint64_t life; /* of the lockd, when it asked */
    unsigned resource;
    uint64_t arrival; /* order of the first acquire */
    bool no_wait;
    bool released;    /* it uses it no more */
    bool dead;        /* and its lockd has heard it */
    bool lost_answer; /* it was granted and does not know it */
    struct leases_acquire acquire;
    char id[24];
    uint64_t token;
    uint64_t ends_us; /* true time */
    struct question first, again, extend;
};

struct resource_truth {
    char name[16];
    uint64_t token;          /* of the last lease granted */
    uint64_t valid_until_us; /* true time; brought forward when the client releases */
    uint64_t seen;           /* what the resource itself remembers */
};

struct crowd {
    struct crowd_options options;
    struct world *world;
    struct crowd_report *report;
    struct resource_truth resources[RESOURCES_MAX];
    struct client clients[CLIENTS_MAX];
    struct timer fault, sweep;
    struct timer repair[REPAIRS_MAX];
    struct repair_order {
        struct crowd *crowd;
        unsigned what, lockd, node;
    } repairs[REPAIRS_MAX];
    uint64_t lives[CROWD_LOCKDS_MAX];
    uint64_t woke_us[CROWD_LOCKDS_MAX]; /* lockd's clock */
    uint64_t arrivals;
    uint64_t ids;
    bool ending;
};

uint64_t crowd_below(struct crowd *crowd, uint64_t limit);
bool crowd_chance(struct crowd *crowd, unsigned percent);

/* The lockd that it asked is still the same. */
bool client_asked_here(const struct client *client);

/* crowd_judge.c: a promise is broken. */
void judge_broken(struct crowd *crowd, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void judge_in_time(struct crowd *crowd, const struct question *question);
void judge_grant(struct crowd *crowd, struct client *client, const struct leases_answer *answer);
void judge_extend(struct crowd *crowd, struct client *client, const struct leases_answer *answer);

/* The holder uses what it holds, and the resource looks at its token. */
void judge_touch(struct crowd *crowd, struct client *client);

/* A timer that looks for answers that are overdue; its arg is the crowd. */
void judge_sweep(void *arg);

/* crowd_faults.c: a timer that lets something go wrong, which is repaired later. */
void fault_on_timer(void *arg);

/* No more faults; everything is repaired now. */
void faults_heal(struct crowd *crowd);

#endif
