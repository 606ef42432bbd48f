/* auth.h - who asks: bearer tokens, issued and checked.
 *
 * A checked token is remembered, so that the next request with it costs a keyed hash and one
 * comparison instead of an HMAC and two JSON parses. The memory is a table of fixed size; its hash
 * is keyed at random, so that nobody can choose which tokens push each other out, and the
 * comparison takes the same time wherever the difference is. Expiry is checked each time.
 *
 * Thread    the loop's only.
 */
#ifndef QUORATE_EDGE_AUTH_H
#define QUORATE_EDGE_AUTH_H

#include "base/clock.h"
#include "base/span.h"
#include "edge/jwt.h"

struct auth;

/* `secret` is copied. */
struct auth *auth_new(struct span secret, int64_t lifetime_s, const struct clock *clock);
void auth_free(struct auth *auth);

/* Writes a token for the account and a NUL; returns its bytes. */
size_t auth_issue(struct auth *auth, int64_t user_id, struct span username,
                  char into[JWT_BYTES_MAX + 1]);

enum auth_outcome {
    AUTH_GOOD,
    AUTH_MISSING, /* no token */
    AUTH_INVALID, /* forged or malformed */
    AUTH_EXPIRED,
};

/* `authorization` is the header's value. */
enum auth_outcome auth_check(struct auth *auth, struct span authorization, int64_t *user_id);

/* How often the memory helped, for the metrics. */
uint64_t auth_remembered(const struct auth *auth);

#endif
