#include "edge/jwt.h"

#include "base/check.h"
#include "edge/json.h"

#include <jansson.h>
#include <strings.h>

#define SIGNATURE_BYTES crypto_auth_hmacsha256_BYTES
#define BASE64          sodium_base64_VARIANT_URLSAFE_NO_PADDING

/* {"alg":"HS256","typ":"JWT"} */
#define OUR_HEADER "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"

void jwt_key_init(struct jwt_key *key, struct span secret)
{
    crypto_auth_hmacsha256_init(&key->primed, (const unsigned char *)secret.at, secret.bytes);
}

void jwt_key_fini(struct jwt_key *key)
{
    sodium_memzero(key, sizeof *key);
}

static void sign(const struct jwt_key *key, struct span text,
                 unsigned char signature[SIGNATURE_BYTES])
{
    crypto_auth_hmacsha256_state state = key->primed;
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)text.at, text.bytes);
    crypto_auth_hmacsha256_final(&state, signature);
    sodium_memzero(&state, sizeof state);
}

static void encode(struct json *into, struct span bytes)
{
    char text[JWT_BYTES_MAX];
    CHECK(sodium_base64_encoded_len(bytes.bytes, BASE64) <= sizeof text);
    sodium_bin2base64(text, sizeof text, (const unsigned char *)bytes.at, bytes.bytes, BASE64);
    json_put_raw(into, span_of(text));
}

size_t jwt_write(const struct jwt_key *key, const struct jwt_claims *claims,
                 char into[JWT_BYTES_MAX + 1])
{
    CHECK(claims->user_id > 0);
    char storage[JWT_BYTES_MAX * 2 / 3];
    struct json payload;
    json_init(&payload, storage, sizeof storage);
    json_open_object(&payload);
    JSON_KEY(&payload, "sub");
    json_put_text(&payload, span_of(claims->username));
    JSON_KEY(&payload, "user_id");
    json_put_integer(&payload, claims->user_id);
    JSON_KEY(&payload, "iat");
    json_put_integer(&payload, claims->issued_s);
    JSON_KEY(&payload, "exp");
    json_put_integer(&payload, claims->expires_s);
    json_close_object(&payload);

    struct json token;
    json_init(&token, into, JWT_BYTES_MAX);
    json_put_raw(&token, span_of(OUR_HEADER "."));
    encode(&token, json_span(&payload));
    unsigned char signature[SIGNATURE_BYTES];
    sign(key, json_span(&token), signature);
    json_put_raw(&token, span_of("."));
    encode(&token, (struct span){(const char *)signature, sizeof signature});
    /* 200 bytes of name take 6 each at worst: the token fits. */
    CHECK(!token.on_heap && !payload.on_heap);
    into[token.used] = '\0';
    size_t bytes = token.used;
    json_fini(&payload);
    json_fini(&token);
    return bytes;
}

/* NULL if the part is no base64 of a JSON object. */
static json_t *decode_object(struct span part)
{
    unsigned char text[JWT_BYTES_MAX];
    size_t bytes;
    if (sodium_base642bin(text, sizeof text, part.at, part.bytes, NULL, &bytes, NULL, BASE64) != 0)
        return NULL;
    json_t *object = json_loadb((const char *)text, bytes, JSON_REJECT_DUPLICATES, NULL);
    if (object == NULL || json_is_object(object)) return object;
    json_decref(object);
    return NULL;
}

static bool is_hs256(struct span header)
{
    if (span_equal(header, span_of(OUR_HEADER))) return true;
    json_t *object = decode_object(header);
    if (object == NULL) return false;
    const char *algorithm = json_string_value(json_object_get(object, "alg"));
    const json_t *type = json_object_get(object, "typ");
    bool good =
        algorithm != NULL && strcmp(algorithm, "HS256") == 0 &&
        json_object_get(object, "crit") == NULL &&
        (type == NULL || (json_is_string(type) && strcasecmp(json_string_value(type), "JWT") == 0));
    json_decref(object);
    return good;
}

static bool integer_claim(const json_t *object, const char *name, int64_t *into)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_integer(value)) return false;
    *into = json_integer_value(value);
    return true;
}

static enum jwt_outcome read_claims(struct span payload, int64_t now_s, struct jwt_claims *claims)
{
    json_t *object = decode_object(payload);
    if (object == NULL) return JWT_MALFORMED;
    *claims = (struct jwt_claims){.user_id = 0};
    const json_t *subject = json_object_get(object, "sub");
    int64_t not_before_s = 0;
    integer_claim(object, "iat", &claims->issued_s);
    integer_claim(object, "nbf", &not_before_s);
    enum jwt_outcome outcome = JWT_MALFORMED;
    if (integer_claim(object, "user_id", &claims->user_id) && claims->user_id > 0 &&
        integer_claim(object, "exp", &claims->expires_s) && json_is_string(subject) &&
        json_string_length(subject) <= JWT_USERNAME_BYTES && not_before_s <= now_s) {
        memcpy(claims->username, json_string_value(subject), json_string_length(subject) + 1);
        outcome = claims->expires_s <= now_s ? JWT_EXPIRED : JWT_GOOD;
    }
    json_decref(object);
    return outcome;
}

enum jwt_outcome jwt_read(const struct jwt_key *key, struct span token, int64_t now_s,
                          struct jwt_claims *claims)
{
    if (token.bytes == 0 || token.bytes > JWT_BYTES_MAX) return JWT_MALFORMED;
    const char *end = token.at + token.bytes;
    const char *first = memchr(token.at, '.', token.bytes);
    if (first == NULL) return JWT_MALFORMED;
    const char *second = memchr(first + 1, '.', (size_t)(end - first - 1));
    if (second == NULL) return JWT_MALFORMED;
    struct span header = {token.at, (size_t)(first - token.at)};
    struct span payload = {first + 1, (size_t)(second - first - 1)};
    struct span signed_text = {token.at, (size_t)(second - token.at)};
    if (!is_hs256(header)) return JWT_MALFORMED;

    unsigned char given[SIGNATURE_BYTES];
    size_t given_bytes;
    if (sodium_base642bin(given, sizeof given, second + 1, (size_t)(end - second - 1), NULL,
                          &given_bytes, NULL, BASE64) != 0 ||
        given_bytes != sizeof given)
        return JWT_MALFORMED;
    unsigned char right[SIGNATURE_BYTES];
    sign(key, signed_text, right);
    if (sodium_memcmp(given, right, sizeof right) != 0) return JWT_FORGED;
    return read_claims(payload, now_s, claims);
}
