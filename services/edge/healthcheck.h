/* healthcheck.h - asks a running edge how it is: GET /health/live, and in its first seconds, when
 * its being alive is not enough (base/healthcheck.h), GET /health too.
 *
 * Blocks for at most HEALTHCHECK_WAIT_US a question.
 */
#ifndef QUORATE_EDGE_HEALTHCHECK_H
#define QUORATE_EDGE_HEALTHCHECK_H

#include "base/healthcheck.h"

/* `listen` is host:port, as the edge listens. */
struct healthcheck healthcheck_http(const char *listen);

#endif
