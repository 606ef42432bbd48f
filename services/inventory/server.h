/* server.h - the services of proto/inventory.proto: Inventory and Accounts.
 *
 * Validates what comes in, copies it to plain structs, lets lanes, reads and store do the work, and
 * packs what they say. The only place in inventory that knows these messages.
 *
 * Thread    the loop's only.
 * Answers   every request exactly once. A deadline that passes while a change is under way is
 *           answered OUTCOME_UNKNOWN, while something is read EXPIRED.
 * Borrows   rpc and ports until server_free, which comes after the RPC server's end.
 */
#ifndef QUORATE_INVENTORY_SERVER_H
#define QUORATE_INVENTORY_SERVER_H

#include "base/rpc_server.h"
#include "inventory/ports.h"

struct server;

/* Adds both services to the RPC server. */
struct server *server_new(struct rpc_server *rpc, struct ports *ports);
void server_free(struct server *server);

#endif
