/* migrations.h - brings the database's tables to what this program knows.
 *
 * Numbered SQL files (migrations/), built into the program, each applied in a transaction of its
 * own together with its row in schema_migrations: one that failed half-way has left nothing and can
 * be run again. An advisory lock keeps several inventories apart. A database that has been migrated
 * by a newer program is refused: what this one would write there may be wrong.
 *
 * Thread    any, blocking: not the loop's.
 */
#ifndef QUORATE_INVENTORY_MIGRATIONS_H
#define QUORATE_INVENTORY_MIGRATIONS_H

#include <stddef.h>

struct pg_conn;

struct migration {
    const char *name; /* "0001_start": file name, in order */
    const char *sql;
};

/* All that this program knows. */
extern const struct migration migrations_all[];
extern const size_t migrations_count;

enum migrations_outcome {
    MIGRATIONS_DONE,
    MIGRATIONS_LOST,    /* the connection broke: try again */
    MIGRATIONS_REFUSED, /* a person must act; the message says why */
};

struct migrations_report {
    enum migrations_outcome outcome;
    size_t applied; /* now */
    char message[512];
};

struct migrations_report migrations_apply(struct pg_conn *connection, const struct migration *list,
                                          size_t count);

#endif
