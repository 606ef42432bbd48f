/* reason.h - the one table of reasons why a request fails, with its gRPC code and its HTTP status.
 *
 * The numbers are those of proto/rpc.proto. Whoever decides that a request fails picks a reason and
 * says in one sentence what happened; code and HTTP status follow from here and nowhere else.
 */
#ifndef QUORATE_BASE_REASON_H
#define QUORATE_BASE_REASON_H

#include <stdbool.h>
#include <stdint.h>

/*    name             number  gRPC code            HTTP */
#define REASONS(X)                                                                                 \
    X(NONE, 0, OK, 200)                                                                            \
    X(BUSY, 1, ABORTED, 400)                                                                       \
    X(NO_QUORUM, 2, UNAVAILABLE, 503)                                                              \
    X(DOWN, 3, UNAVAILABLE, 503)                                                                   \
    X(OVERLOADED, 4, RESOURCE_EXHAUSTED, 503)                                                      \
    X(EXPIRED, 5, DEADLINE_EXCEEDED, 503)                                                          \
    X(OUTCOME_UNKNOWN, 6, UNKNOWN, 504)                                                            \
    X(LOST, 7, FAILED_PRECONDITION, 409)                                                           \
    X(FENCED, 8, FAILED_PRECONDITION, 409)                                                         \
    X(INSUFFICIENT, 9, FAILED_PRECONDITION, 400)                                                   \
    X(INVALID, 10, INVALID_ARGUMENT, 422)                                                          \
    X(KEY_REUSED, 11, INVALID_ARGUMENT, 422)                                                       \
    X(NOT_FOUND, 12, NOT_FOUND, 404)                                                               \
    X(EXISTS, 13, ALREADY_EXISTS, 409)                                                             \
    X(DENIED, 14, PERMISSION_DENIED, 403)                                                          \
    X(UNAUTHENTICATED, 15, UNAUTHENTICATED, 401)                                                   \
    X(NO_METHOD, 16, UNIMPLEMENTED, 501)                                                           \
    X(CANCELLED, 17, CANCELLED, 503)

enum reason {
#define X(name, number, code, http) REASON_##name = (number),
    REASONS(X)
#undef X
};

/* A number from the wire that this build does not know is OUTCOME_UNKNOWN: it is never taken for
 * "nothing happened". */
enum reason reason_from_number(uint32_t number);

const char *reason_name(enum reason reason);     /* "BUSY" */
uint32_t reason_grpc_code(enum reason reason);   /* 10 */
uint32_t reason_http_status(enum reason reason); /* 400 */

#endif
