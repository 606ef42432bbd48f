/* member.h - one node of the quorum: its connection, its admission, its votes. For members.c only.
 *
 * A member goes DOWN -> JOINING (being examined) -> VOTING, QUARANTINE or REFUSED, and is examined
 * again from time to time in each of them. It looks at the node twice a second, so that a node that
 * died, forgot or jumped is noticed without traffic.
 *
 * Two things are decided against the grain of speed: a vote counts only if the member has voted
 * without interruption since the question was sent; and releases that the node missed are kept and
 * sent first when it is back, in front of the examination, so before it votes.
 *
 * Thread    the loop's only.
 * Units     microseconds of boot time in `_us`, milliseconds in `_ms`.
 */
#ifndef QUORATE_LOCKD_MEMBER_H
#define QUORATE_LOCKD_MEMBER_H

#include "base/redis_node.h"
#include "base/timer.h"
#include "lockd/admission.h"
#include "lockd/transport.h"

struct histogram;
struct metrics;
struct member;
struct kept;
struct untold;

enum member_state {
    MEMBER_DOWN,
    MEMBER_JOINING,
    MEMBER_QUARANTINE,
    MEMBER_REFUSED,
    MEMBER_VOTING,
};

/* What a member asks of the whole. */
struct member_owner {
    /* Its state or its reason has changed, or it was examined. */
    void (*on_change)(void *arg, struct member *member);
    /* Another connected node that is the same server process; NULL: none. */
    const char *(*twin)(void *arg, const struct member *member);
    /* Its quarantine is over: call member_raise when a floor is known. */
    void (*on_floor_wanted)(void *arg, struct member *member);
    /* A token was seen on the wire. */
    void (*on_token)(void *arg, uint64_t token);
    void *arg;
};

struct member_options {
    const char *name;     /* host:port; borrowed for the member's life */
    const char *epoch_id; /* likewise */
    struct loop *loop;
    struct timers *timers;
    struct metrics *metrics;
    uint32_t node_timeout_ms;
    uint32_t ttl_max_ms;
    bool trusts_new; /* LOCK_INIT=empty */
    uint32_t fence_ms;
    uint32_t kept_max;
};

struct member {
    struct member_options options;
    struct member_owner owner;
    struct redis_node *redis;
    char *host;
    enum member_state state;
    char why[160];  /* when it does not vote */
    char told[200]; /* what was logged last */
    struct admission admission;
    struct facts facts; /* of the last examination that was completed */
    bool examined;      /* on this connection */
    uint64_t term;      /* changes whenever the member stops voting */
    /* An examination under way. */
    struct facts fresh;
    struct facts_config config;
    unsigned outstanding;
    char fault[160]; /* why it can't be completed */
    bool fault_is_refusal;
    uint64_t look_sent_us;
    struct timer again; /* next examination */
    struct timer pulse; /* next look */
    bool pulse_out;
    uint64_t pulse_sent_us;
    /* Releases that the node missed, oldest first. */
    struct kept *kept;
    struct kept **kept_tail;
    uint32_t kept_count;
    /* Answers owed for what could not be sent. */
    struct untold *untold;
    struct untold **untold_tail;
    struct timer tell;
    struct histogram *grants;
    uint64_t *incidents;
    uint64_t *kept_lost;
    int64_t *voting_gauge;
};

void member_open(struct member *member, const struct member_options *options,
                 const struct member_owner *owner);
void member_close(struct member *member);

bool member_connected(const struct member *member);

static inline bool member_votes(const struct member *member)
{
    return member->state == MEMBER_VOTING;
}

/* Left of its quarantine; 0: none. */
uint32_t member_quarantine_ms(const struct member *member);

/* As struct transport's. */
bool member_send(struct member *member, const struct order *order, vote_fn *on_vote,
                 void *vote_arg);

/* Runs a script that takes the epoch id and up to three more arguments. False: not connected. */
bool member_run(struct member *member, enum script script, const struct span *args, size_t count,
                redis_answer_fn *on_answer, void *arg);

void member_raise(struct member *member, uint64_t floor);

/* Examines it now. */
void member_examine(struct member *member);

/* The clock's part of an answer to what was sent at sent_us. False: it proves a jump; the member is
 * in quarantine from now on. */
bool member_clock(struct member *member, uint64_t sent_us, uint64_t time_us);

/* It answered like a node that must not vote. */
void member_doubt(struct member *member, const char *why);

/* For the ballot (ballot.c): sends what was kept; its last words; frees it all, answers what is
 * owed. */
void member_send_kept(struct member *member);
void member_last_words(struct member *member);
void member_forget_kept(struct member *member);

#endif
