/* admission.h - whether one node may vote: a node that may have forgotten something must not.
 *
 * It decides by what the server says of itself (facts.h), in this order:
 *   1. a replica or a promoted one, or a server that may evict keys: refused;
 *   2. the epoch of another cluster: refused;
 *   3. the epoch names this very server process: it has not restarted since it last voted. Votes;
 *   4. another process, but nothing can have been lost, neither then nor now: votes, after a
 *      script has written down the new one;
 *   5. otherwise: quarantine of 1.02 x LOCK_TTL_MAX, so that every lease it may have voted for is
 *      over, then a floor above every token that it may have forgotten.
 * A quarantine ends early in one case only. Where new clusters are declared at once
 * (LOCK_INIT=empty), another lockd may declare one while we look, and we find some nodes still
 * empty. Such a node says later that this very process was declared new. Who declared it has
 * trusted the same: that all nodes were empty because nothing was ever there. Not where it has
 * voted for us before: we know better then.
 *
 * While it is watched, two answers whose clocks can't both be right prove a jump: quarantine too,
 * because a jump forward lets keys expire early. (uptime_in_seconds would be no help against
 * restarts: it is wall clock in Redis.)
 *
 * Pure: time and facts are parameters. What one node's admission needs of the others (their run
 * ids, the floor) is members.h.
 *
 * Units     microseconds: `now_us` of our CLOCK_BOOTTIME, `time_us` of the server's wall clock.
 */
#ifndef QUORATE_LOCKD_ADMISSION_H
#define QUORATE_LOCKD_ADMISSION_H

#include "lockd/facts.h"

/* Where the server's wall clock can be, relative to our boot time. */
struct admission_offset {
    bool known;
    int64_t low_us;
    int64_t high_us;
    uint64_t at_us;
};

struct admission {
    uint64_t quarantine_us;        /* how long one lasts */
    uint64_t quarantine_ends_us;   /* 0: none */
    char run_id[RUN_ID_BYTES + 1]; /* of the process in quarantine */
    bool seen_current;             /* during the quarantine the epoch named this process */
    bool jumped;                   /* the quarantine is for a jump of the clock */
    bool trusts_new;               /* LOCK_INIT=empty */
    bool has_voted;                /* here, at some time */
    struct admission_offset offset;
};

enum admission_verdict {
    ADMISSION_VOTE,
    ADMISSION_KEEP,   /* run the script KEEP, then examine again */
    ADMISSION_WAIT,   /* in quarantine */
    ADMISSION_RAISE,  /* the quarantine is over: find a floor, run RAISE, then examine again */
    ADMISSION_REFUSE, /* `why` says why */
};

void admission_init(struct admission *admission, uint32_t ttl_max_ms, bool trusts_new);

/* `why` is a literal, for all but VOTE. */
enum admission_verdict admission_examine(struct admission *admission, const struct facts *facts,
                                         uint64_t now_us, const char **why);

/* It was seen without its epoch or in doubt while it voted: whatever quarantine it sat out before
 * counts no more. */
void admission_forget(struct admission *admission);

/* An answer that was asked for at sent_us and arrived at now_us says that the server's clock showed
 * time_us in between. False: its clock has jumped, quarantine begins. */
bool admission_observe(struct admission *admission, uint64_t sent_us, uint64_t now_us,
                       uint64_t time_us);

/* The latest that the server's clock can show at instant `at_us` of ours, if it has not jumped;
 * UINT64_MAX if nothing is known. */
uint64_t admission_latest_us(const struct admission *admission, uint64_t at_us);

#endif
