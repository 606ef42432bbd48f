/* fault.h - what is wrong with a request, collected: the body of a 422.
 *
 *     {"detail":[{"loc":["body","price"],"msg":"Input should be greater than
 * 0","type":"greater_than"}], "code":"INVALID"}
 *
 * All faults of a request are told at once, in the form and with the type names that clients of
 * FastAPI know. Values are never echoed: they may be passwords.
 *
 * Thread    the loop's only.
 * Borrows   the JSON, which is empty before the first fault and belongs to the faults after it.
 */
#ifndef QUORATE_EDGE_FAULT_H
#define QUORATE_EDGE_FAULT_H

#include "edge/json.h"

struct faults {
    struct json *json;
    size_t count;
};

void faults_init(struct faults *faults, struct json *json);

/* `place` is "body", "query", "path" or "header"; `field` NULL: all of it. */
void faults_add(struct faults *faults, const char *place, const char *field, const char *type,
                const char *message);

/* The body can't be read from this byte on. */
void faults_add_at(struct faults *faults, size_t position, const char *message);

/* Completes the JSON. There is at least one fault. `code` is a reason's name. */
void faults_close(struct faults *faults, const char *code);

#endif
