/* leases.h - who holds what, who waits for it, and in which order they get it.
 *
 * Per resource one holder and a queue of waiters, first come, first served. When the holder lets go
 * (or its lease ends by itself), the next waiter is granted by one round over the nodes. What a
 * grant means, and why it can be trusted, is the page at the top of redlock.c; this is what one
 * lockd keeps in memory on top of it. It holds no sockets: time, nodes and chance are parameters.
 *
 * Thread    the loop's only.
 * Answers   every acquire and extend is answered exactly once, never before it returned, and no
 *           later than its deadline, its wait, or leases_free; unless it was withdrawn.
 *           Everything may be called from inside an answer, except leases_free.
 * Borrows   all spans, until the call returns; the answer, while the answer function runs;
 *           timers, transport, metrics, for as long as the leases live.
 * Ownership a struct leases_call belongs to the leases; it is gone once it is answered or
 *           withdrawn.
 * Units     microseconds on the clock's boot time for instants (_us), milliseconds for what a
 *           client asks for (_ms).
 */
#ifndef QUORATE_LOCKD_LEASES_H
#define QUORATE_LOCKD_LEASES_H

#include "base/reason.h"
#include "base/span.h"
#include "base/timer.h"
#include "lockd/transport.h"

struct leases;
struct leases_call;
struct metrics;

#define LEASE_TTL_MIN_MS 10

struct leases_options {
    struct timers *timers; /* with the clock inside */
    const struct transport *transport;
    struct metrics *metrics;       /* where its series are counted */
    uint64_t (*random)(void *arg); /* any 64 bits; for spreading retries, never for safety */
    void *random_arg;
    uint64_t instance;        /* this lockd's; part of every value on the nodes */
    uint32_t ttl_default_ms;  /* lease of a request that names none */
    uint32_t ttl_max_ms;      /* LOCK_TTL_MAX; also how long a released id stays dead */
    uint32_t wait_default_ms; /* wait of a request that names none; extends wait as long */
    uint32_t node_timeout_ms; /* a node that takes longer is a no for the round */
    uint32_t waiters_max;     /* open acquires per resource */
    uint32_t resources_max;   /* held or waited for */
    uint32_t dead_max;        /* released ids remembered; past it the oldest is forgotten */
};

/* What a failed or successful call is told. */
struct leases_answer {
    enum reason reason;  /* NONE BUSY NO_QUORUM OVERLOADED INVALID EXPIRED LOST DOWN */
    const char *message; /* one sentence for people; a literal; NULL with NONE */
    uint64_t token;      /* NONE */
    uint64_t ends_us; /* NONE: the lease is over at this instant of boot time, whatever happens */
    bool waiters;     /* NONE: others wait for this resource, here or at another lockd */
    unsigned voting;  /* always: nodes that vote now */
    char holder[REQUEST_ID_BYTES_MAX + 1]; /* BUSY: the request id that holds it; empty: unknown */
    uint32_t remaining_ms;                 /* BUSY: how long at most; 0: unknown */
};

typedef void leases_answer_fn(void *arg, const struct leases_answer *answer);

/* CHECKs the options: all numbers above 0, defaults within their maxima. */
struct leases *leases_new(const struct leases_options *options);

/* Answers every open call with DOWN, gives up the rounds under way (their keys are released) and
 * leaves granted leases on the nodes, whose holders go on until their end. */
void leases_free(struct leases *leases);

struct leases_acquire {
    struct span resource;
    struct span request_id;
    uint64_t min_token;   /* the token granted shall be higher; 0: any */
    uint64_t deadline_us; /* the caller's; TIMER_NEVER: none. Bounds everything */
    uint32_t ttl_ms;      /* 0: the default */
    uint32_t wait_ms;     /* 0: the default */
    bool no_wait;         /* one try; wait_ms is not read */
};

/* Waits for its turn and takes a lease. A request id that already waits for the resource keeps its
 * place, and both calls get the same answer (each no later than its own deadline); one that holds
 * it gets the same lease again; one that was released gets LOST. */
struct leases_call *leases_acquire(struct leases *leases, const struct leases_acquire *acquire,
                                   leases_answer_fn *on_answer, void *arg);

struct leases_extend {
    struct span resource;
    struct span request_id;
    uint64_t token;
    uint64_t deadline_us;
    uint32_t ttl_ms; /* from now on; 0: the default. Never shortens a lease */
};

/* Gives a lease of this instance a later end. LOST: it is over, or another's. NO_QUORUM: it stands
 * until its old end. */
struct leases_call *leases_extend(struct leases *leases, const struct leases_extend *extend,
                                  leases_answer_fn *on_answer, void *arg);

/* The caller of this open call is gone: it gets no answer. A waiter that no call waits for any more
 * leaves the queue; what an extend does to the lease stands. */
void leases_withdraw(struct leases *leases, struct leases_call *call);

/* Ends the lease, or the wait, of this request id, and keeps it dead for ttl_max_ms: an acquire
 * that it overtook gets LOST. token 0: the answer never came, whatever the id has is ended;
 * otherwise only the lease with this token. Done on return as far as this lockd is concerned; the
 * nodes follow. Returns NONE, also for what does not exist, or INVALID. */
enum reason leases_release(struct leases *leases, struct span resource, struct span request_id,
                           uint64_t token);

/* A node has told that another lockd let go of this resource. Only a reason to ask again sooner,
 * never a grant. */
void leases_hint(struct leases *leases, unsigned node, struct span resource);

/* Whether a resource name and a request id are well-formed (as lock.proto says). */
bool leases_resource_valid(struct span resource);
bool leases_request_id_valid(struct span request_id);

/* Since start, of rounds that grant or hand on (extends apart). */
struct leases_counts {
    uint64_t rounds_won;
    uint64_t rounds_short;     /* for want of answers */
    uint64_t rounds_contended; /* another owner held the key, or the token was too low */
    uint32_t resources;        /* held or waited for, now */
    uint32_t waiters;          /* open acquires, now */
};
struct leases_counts leases_counts(const struct leases *leases);

#endif
