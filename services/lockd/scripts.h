/* scripts.h - the Lua that runs on the nodes, as loaded on every connection; sources in scripts/.
 *
 * Every reply is an array that begins with a status (enum script_status, as text), a token (bound
 * or highest known, as decimal text), and the server's TIME (seconds, microseconds).
 */
#ifndef QUORATE_LOCKD_SCRIPTS_H
#define QUORATE_LOCKD_SCRIPTS_H

#define SCRIPTS(X)                                                                                 \
    X(GRANT, grant)                                                                                \
    X(EXTEND, extend)                                                                              \
    X(RELEASE, release)                                                                            \
    X(FORGET, forget)                                                                              \
    X(LOOK, look)                                                                                  \
    X(KEEP, keep)                                                                                  \
    X(RAISE, raise)                                                                                \
    X(INIT, init)                                                                                  \
    X(MARK, mark)                                                                                  \
    X(RECONFIGURE, reconfigure)

enum script {
#define X(name, source) SCRIPT_##name,
    SCRIPTS(X)
#undef X
        SCRIPT_COUNT
};

/* In the order of the enum. */
extern const char *const script_sources[SCRIPT_COUNT];

enum script_status {
    SCRIPT_OK,
    SCRIPT_HELD,          /* grant: another value has the lock; reconfigure: some value has */
    SCRIPT_STALE,         /* grant: the token is not above the bound */
    SCRIPT_HEALED,        /* extend: put back, no vote */
    SCRIPT_LOST,          /* extend: another value, or a higher bound */
    SCRIPT_LATE,          /* executed later than anybody wants it: nothing done */
    SCRIPT_NOEPOCH,       /* the node has forgotten, or never belonged to a cluster */
    SCRIPT_WRONG_CLUSTER, /* it belongs to another one */
    SCRIPT_DOUBT,         /* it restarted, or a lockd has seen its clock jump */
    SCRIPT_USED,          /* init: tokens were accepted here, and it was not just declared new */
    SCRIPT_ODD,           /* no answer that these scripts give: a Redis error, or no Redis */
};

#endif
