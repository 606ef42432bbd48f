/* jwt.h - JSON Web Tokens, HS256 and nothing else.
 *
 * Written here, over libsodium's HMAC, although Debian has libjwt: its version 1.10 compares
 * signatures with strcmp, whose time tells how many bytes of a guess were right. The rest of a JWT
 * is base64 and one JSON object.
 *
 * A token is taken only if its header says exactly HS256 (so "none", or a public key taken for a
 * secret, can't work), demands no extension ("crit"), and its signature is the right 32 bytes,
 * compared in constant time before anything of the payload is read.
 *
 * Pure: the time is a parameter.
 * Thread    any.
 * Units     seconds since 1970.
 */
#ifndef QUORATE_EDGE_JWT_H
#define QUORATE_EDGE_JWT_H

#include "base/span.h"

#include <sodium.h>
#include <stdint.h>

#define JWT_BYTES_MAX      2048
#define JWT_USERNAME_BYTES 200 /* 50 characters */

struct jwt_key {
    crypto_auth_hmacsha256_state primed; /* the key's own blocks are hashed once */
};

struct jwt_claims {
    int64_t user_id;                       /* > 0 */
    char username[JWT_USERNAME_BYTES + 1]; /* `sub` */
    int64_t issued_s;
    int64_t expires_s;
};

enum jwt_outcome {
    JWT_GOOD,
    JWT_MALFORMED, /* not a token of ours, or not signed as HS256 */
    JWT_FORGED,    /* the signature is another key's, or the text was changed */
    JWT_EXPIRED,
};

void jwt_key_init(struct jwt_key *key, struct span secret);
void jwt_key_fini(struct jwt_key *key);

/* Writes the token and a NUL; returns its bytes. */
size_t jwt_write(const struct jwt_key *key, const struct jwt_claims *claims,
                 char into[JWT_BYTES_MAX + 1]);

/* `claims` is filled when the outcome is JWT_GOOD. */
enum jwt_outcome jwt_read(const struct jwt_key *key, struct span token, int64_t now_s,
                          struct jwt_claims *claims);

#endif
