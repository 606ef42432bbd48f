/* facts.h - what a Redis server says of itself, read out of its replies.
 *
 * Replies are input: whatever is missing or odd makes a function return false, never crash.
 *
 * Thread    any.
 * Borrows   replies until the call returns; script_answer's texts as long as the reply lives.
 */
#ifndef QUORATE_LOCKD_FACTS_H
#define QUORATE_LOCKD_FACTS_H

#include "base/span.h"
#include "lockd/scripts.h"

#include <stdbool.h>
#include <stdint.h>

struct redisReply;

#define RUN_ID_BYTES   40
#define EPOCH_ID_BYTES 63

struct facts {
    /* INFO */
    char run_id[RUN_ID_BYTES + 1]; /* drawn by each server process when it starts */
    bool master;
    bool promoted;  /* was a replica in this process' life: its data came asynchronously */
    bool rewriting; /* the append-only file; the first one after it was switched on counts too */
    /* CONFIG */
    bool drops_keys;   /* an eviction policy other than noeviction */
    bool appends_sync; /* every write is on disk before it is answered, rewriting or not */
    /* The epoch that lockd keeps on the node. */
    enum script_status epoch; /* OK NOEPOCH WRONG_CLUSTER */
    char epoch_run_id[RUN_ID_BYTES + 1];
    bool epoch_aof;
    bool epoch_new; /* its first one: the process was declared new, with all others, and has neither
                       restarted nor been doubted since */
    uint64_t known; /* highest token accepted, told, or set as a floor */
};

bool facts_read_info(struct facts *facts, const struct redisReply *reply);

/* CONFIG GET: any number of name-value pairs, unknown ones are skipped. Facts start as the unsafe
 * case and `config` counts what was understood: appendonly, appendfsync,
 * no-appendfsync-on-rewrite, maxmemory-policy. */
struct facts_config {
    bool appendonly;
    bool always;
    bool always_while_rewriting;
    bool noeviction;
    unsigned understood; /* of FACTS_CONFIG_SETTINGS */
};
#define FACTS_CONFIG_SETTINGS 4
bool facts_read_config(struct facts_config *config, const struct redisReply *reply);

bool facts_read_look(struct facts *facts, const struct redisReply *reply);

/* Whether nothing that is accepted from now on can be lost by a restart. */
static inline bool facts_durable(const struct facts *facts)
{
    return facts->appends_sync && (!facts->rewriting || facts->epoch_aof);
}

/* The parts that all replies of our scripts share. */
struct script_answer {
    enum script_status status;
    uint64_t token;
    uint64_t time_us;  /* the server's wall clock; 0: ODD */
    struct span more;  /* HELD: remaining ms; OK, of a grant or extend: "1" if others wait */
    struct span last;  /* HELD: the value */
    const char *error; /* ODD: for people */
};
struct script_answer script_answer_read(const struct redisReply *reply);

/* Decimal digits only, at most UINT64_MAX. */
bool facts_number(struct span text, uint64_t *number);

#endif
