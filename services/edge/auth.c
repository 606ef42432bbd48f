#include "edge/auth.h"

#include "base/check.h"

#include <stdlib.h>
#include <strings.h>

#define SLOTS                4096
#define REMEMBERED_BYTES_MAX 480 /* ours have about 200; longer tokens are read anew each time */

struct slot {
    uint64_t hash;
    int64_t user_id; /* 0: empty */
    int64_t expires_s;
    size_t bytes;
    char token[REMEMBERED_BYTES_MAX];
};

struct auth {
    struct jwt_key key;
    int64_t lifetime_s;
    const struct clock *clock;
    unsigned char hash_key[crypto_shorthash_KEYBYTES];
    uint64_t remembered;
    struct slot slots[SLOTS];
};

struct auth *auth_new(struct span secret, int64_t lifetime_s, const struct clock *clock)
{
    CHECK(lifetime_s > 0);
    struct auth *auth = xcalloc(1, sizeof *auth);
    jwt_key_init(&auth->key, secret);
    auth->lifetime_s = lifetime_s;
    auth->clock = clock;
    randombytes_buf(auth->hash_key, sizeof auth->hash_key);
    return auth;
}

void auth_free(struct auth *auth)
{
    if (auth == NULL) return;
    jwt_key_fini(&auth->key);
    free(auth);
}

static int64_t now_s(const struct auth *auth)
{
    return (int64_t)(clock_wall_us(auth->clock) / 1000000);
}

size_t auth_issue(struct auth *auth, int64_t user_id, struct span username,
                  char into[JWT_BYTES_MAX + 1])
{
    CHECK(username.bytes <= JWT_USERNAME_BYTES);
    struct jwt_claims claims = {.user_id = user_id, .issued_s = now_s(auth)};
    claims.expires_s = claims.issued_s + auth->lifetime_s;
    memcpy(claims.username, username.at, username.bytes);
    return jwt_write(&auth->key, &claims, into);
}

static enum auth_outcome read_token(struct auth *auth, struct span token, struct slot *slot,
                                    uint64_t hash)
{
    struct jwt_claims claims;
    switch (jwt_read(&auth->key, token, now_s(auth), &claims)) {
    case JWT_GOOD:
        break;
    case JWT_EXPIRED:
        return AUTH_EXPIRED;
    case JWT_MALFORMED:
    case JWT_FORGED:
        return AUTH_INVALID;
    }
    slot->hash = hash;
    slot->user_id = claims.user_id;
    slot->expires_s = claims.expires_s;
    slot->bytes = token.bytes;
    memcpy(slot->token, token.at, token.bytes);
    return AUTH_GOOD;
}

enum auth_outcome auth_check(struct auth *auth, struct span authorization, int64_t *user_id)
{
    static const char scheme[] = "Bearer ";
    size_t scheme_bytes = sizeof scheme - 1;
    if (authorization.bytes < scheme_bytes ||
        strncasecmp(authorization.at, scheme, scheme_bytes) != 0)
        return AUTH_MISSING;
    struct span token = {authorization.at + scheme_bytes, authorization.bytes - scheme_bytes};
    while (token.bytes > 0 && *token.at == ' ') {
        token.at++;
        token.bytes--;
    }
    if (token.bytes == 0) return AUTH_MISSING;
    if (token.bytes > REMEMBERED_BYTES_MAX) {
        struct jwt_claims claims;
        enum jwt_outcome outcome = jwt_read(&auth->key, token, now_s(auth), &claims);
        *user_id = outcome == JWT_GOOD ? claims.user_id : 0;
        return outcome == JWT_GOOD      ? AUTH_GOOD
               : outcome == JWT_EXPIRED ? AUTH_EXPIRED
                                        : AUTH_INVALID;
    }
    uint64_t hash;
    crypto_shorthash((unsigned char *)&hash, (const unsigned char *)token.at, token.bytes,
                     auth->hash_key);
    struct slot *slot = &auth->slots[hash % SLOTS];
    if (slot->user_id > 0 && slot->hash == hash && slot->bytes == token.bytes &&
        sodium_memcmp(slot->token, token.at, token.bytes) == 0) {
        auth->remembered++;
    } else {
        enum auth_outcome outcome = read_token(auth, token, slot, hash);
        if (outcome != AUTH_GOOD) return outcome;
    }
    if (slot->expires_s <= now_s(auth)) return AUTH_EXPIRED;
    *user_id = slot->user_id;
    return AUTH_GOOD;
}

uint64_t auth_remembered(const struct auth *auth)
{
    return auth->remembered;
}
