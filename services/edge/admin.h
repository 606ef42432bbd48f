/* admin.h - the first administrator: ADMIN_USERNAME and ADMIN_PASSWORD become an account.
 *
 * Tried as soon as inventory is up, and again every second until it is known to exist. An account
 * that has the name already is left as it is: its password is its owner's, and if it is no
 * administrator the log says so.
 *
 * Thread    the loop's only.
 * Borrows   the edge, for the admin's life.
 */
#ifndef QUORATE_EDGE_ADMIN_H
#define QUORATE_EDGE_ADMIN_H

struct admin;
struct edge;

/* NULL if none is configured. */
struct admin *admin_start(struct edge *edge);

/* NULL is harmless. */
void admin_stop(struct admin *admin);

#endif
