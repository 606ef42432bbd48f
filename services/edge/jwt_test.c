#include "edge/auth.h"
#include "edge/jwt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char secret[] = "a secret of at least thirty-two bytes";
static struct jwt_key key;
static struct jwt_claims claims;

static int setup(void **state)
{
    (void)state;
    jwt_key_init(&key, span_of(secret));
    return 0;
}

/* A token with any header and payload, rightly signed. */
static const char *signed_token(const char *header, const char *payload)
{
    static char token[4096];
    const int variant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
    sodium_bin2base64(token, sizeof token, (const unsigned char *)header, strlen(header), variant);
    size_t used = strlen(token);
    token[used++] = '.';
    sodium_bin2base64(token + used, sizeof token - used, (const unsigned char *)payload,
                      strlen(payload), variant);
    used = strlen(token);
    crypto_auth_hmacsha256_state mac_state;
    unsigned char mac[32];
    crypto_auth_hmacsha256_init(&mac_state, (const unsigned char *)secret, strlen(secret));
    crypto_auth_hmacsha256_update(&mac_state, (const unsigned char *)token, used);
    crypto_auth_hmacsha256_final(&mac_state, mac);
    token[used++] = '.';
    sodium_bin2base64(token + used, sizeof token - used, mac, sizeof mac, variant);
    return token;
}

static enum jwt_outcome read_at(const char *token, int64_t now_s)
{
    return jwt_read(&key, span_of(token), now_s, &claims);
}

#define HS256 "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define GOOD  "{\"sub\":\"ann\",\"user_id\":7,\"iat\":100,\"exp\":200}"

/* RFC 7515, A.1: header and payload with line breaks, and a key of 64 bytes. */
static void the_vector_of_the_rfc(void **state)
{
    (void)state;
    static const char key_text[] = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0"
                                   "iPS4hcgUuTwjAzZr1Z9CAow";
    unsigned char rfc_key[64];
    size_t bytes;
    assert_int_equal(sodium_base642bin(rfc_key, sizeof rfc_key, key_text, strlen(key_text), NULL,
                                       &bytes, NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING),
                     0);
    struct jwt_key rfc;
    jwt_key_init(&rfc, (struct span){(const char *)rfc_key, bytes});
    /* Its payload has no user_id: rightly signed, and none of ours. */
    char token[] = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4"
                   "MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K"
                   "27uhbUJU1p1r_wW1gFWFOEjXk";
    assert_int_equal(jwt_read(&rfc, span_of(token), 0, &claims), JWT_MALFORMED);
    token[strlen(token) - 2]++; /* the signature's last bits but two */
    assert_int_equal(jwt_read(&rfc, span_of(token), 0, &claims), JWT_FORGED);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct jwt_claims mine = {.user_id = 42, .issued_s = 1000, .expires_s = 2800};
    snprintf(mine.username, sizeof mine.username, "J\xc3\xbcrgen \"the\" first");
    char token[JWT_BYTES_MAX + 1];
    size_t bytes = jwt_write(&key, &mine, token);
    assert_int_equal(strlen(token), bytes);
    assert_int_equal(read_at(token, 2799), JWT_GOOD);
    assert_int_equal(claims.user_id, 42);
    assert_int_equal(claims.issued_s, 1000);
    assert_int_equal(claims.expires_s, 2800);
    assert_string_equal(claims.username, mine.username);
    assert_int_equal(read_at(token, 2800), JWT_EXPIRED);
    /* The longest name, all of it to be escaped. */
    memset(mine.username, 1, JWT_USERNAME_BYTES);
    mine.username[JWT_USERNAME_BYTES] = '\0';
    jwt_write(&key, &mine, token);
    assert_int_equal(read_at(token, 0), JWT_GOOD);
}

static void F16_accounts_next_to_2_to_the_53_stay_apart(void **state)
{
    (void)state;
    static const int64_t ids[] = {9007199254740991, 9007199254740992, 9007199254740993, INT64_MAX};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        struct jwt_claims mine = {.username = "ann", .user_id = ids[i], .expires_s = 200};
        char token[JWT_BYTES_MAX + 1];
        jwt_write(&key, &mine, token);
        assert_int_equal(read_at(token, 100), JWT_GOOD);
        assert_int_equal(claims.user_id, ids[i]);
    }
}

static void every_changed_byte_is_noticed(void **state)
{
    (void)state;
    char token[4096];
    snprintf(token, sizeof token, "%s", signed_token(HS256, GOOD));
    size_t bytes = strlen(token);
    assert_int_equal(read_at(token, 150), JWT_GOOD);
    for (size_t i = 0; i < bytes; i++) {
        char was = token[i];
        token[i] = was == 'A' ? 'B' : 'A';
        assert_int_not_equal(read_at(token, 150), JWT_GOOD);
        token[i] = was;
    }
    for (size_t cut = 0; cut < bytes; cut++)
        assert_int_not_equal(jwt_read(&key, (struct span){token, cut}, 150, &claims), JWT_GOOD);
    token[bytes] = 'A';
    token[bytes + 1] = '\0';
    assert_int_not_equal(read_at(token, 150), JWT_GOOD);
}

static void other_algorithms_are_refused(void **state)
{
    (void)state;
    static const char *const headers[] = {"{\"alg\":\"none\"}",
                                          "{\"alg\":\"None\",\"typ\":\"JWT\"}",
                                          "{\"alg\":\"hs256\"}",
                                          "{\"alg\":\"HS512\"}",
                                          "{\"alg\":\"RS256\"}",
                                          "{\"alg\":\"\"}",
                                          "{\"alg\":null}",
                                          "{\"alg\":[\"HS256\"]}",
                                          "{\"alg\":\"none\",\"alg\":\"HS256\"}",
                                          "{\"alg\":\"HS256\",\"typ\":\"JWE\"}",
                                          "{\"alg\":\"HS256\",\"crit\":[\"exp\"]}",
                                          "{}",
                                          "[]",
                                          "x"};
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        assert_int_equal(read_at(signed_token(headers[i], GOOD), 150), JWT_MALFORMED);
    assert_int_equal(read_at(signed_token("{\"typ\":\"jwt\", \"alg\":\"HS256\"}", GOOD), 150),
                     JWT_GOOD);
    /* Unsigned, as a library that believes in "none" would send it. */
    assert_int_equal(read_at("eyJhbGciOiJub25lIn0.eyJ1c2VyX2lkIjoxfQ.", 0), JWT_MALFORMED);
}

static void claims_must_be_ours(void **state)
{
    (void)state;
    static const char *const payloads[] = {
        "{\"sub\":\"ann\",\"user_id\":7}",
        "{\"sub\":\"ann\",\"exp\":200}",
        "{\"user_id\":7,\"exp\":200}",
        "{\"sub\":\"ann\",\"user_id\":0,\"exp\":200}",
        "{\"sub\":\"ann\",\"user_id\":-7,\"exp\":200}",
        "{\"sub\":\"ann\",\"user_id\":\"7\",\"exp\":200}",
        "{\"sub\":\"ann\",\"user_id\":7.0,\"exp\":200}",
        "{\"sub\":7,\"user_id\":7,\"exp\":200}",
        "{\"sub\":\"ann\",\"user_id\":7,\"exp\":\"200\"}",
        "{\"sub\":\"ann\",\"user_id\":7,\"user_id\":8,\"exp\":200}",
        "{\"sub\":\"ann\",\"user_id\":7,\"exp\":99999999999999999999}",
        "{\"sub\":\"ann\",\"user_id\":7,\"exp\":200,\"nbf\":151}",
        "[1]",
        "\"text\"",
        ""};
    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++)
        assert_int_equal(read_at(signed_token(HS256, payloads[i]), 150), JWT_MALFORMED);
}

static void garbage_is_no_token(void **state)
{
    (void)state;
    static const char *const bad[] = {"", ".", "..", "...", "a.b.c", "a", "a.b", "====.====.===="};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(read_at(bad[i], 0), JWT_MALFORMED);
    static char huge[JWT_BYTES_MAX + 2];
    memset(huge, 'a', JWT_BYTES_MAX + 1);
    assert_int_equal(read_at(huge, 0), JWT_MALFORMED);
}

/* ---- auth, on a clock of our own ---- */

static uint64_t wall_us;

static uint64_t wall(void *arg)
{
    (void)arg;
    return wall_us;
}

static void tokens_are_remembered_and_still_expire(void **state)
{
    (void)state;
    struct clock clock = {.boot_us = wall, .wall_us = wall};
    wall_us = 1000000000;
    struct auth *auth = auth_new(span_of(secret), 60, &clock);
    char header[JWT_BYTES_MAX + 16];
    char token[JWT_BYTES_MAX + 1];
    auth_issue(auth, 9, span_of("ann"), token);
    snprintf(header, sizeof header, "bEaReR  %s", token);
    int64_t user_id = 0;
    assert_int_equal(auth_check(auth, span_of(header), &user_id), AUTH_GOOD);
    assert_int_equal(user_id, 9);
    assert_int_equal(auth_remembered(auth), 0);
    assert_int_equal(auth_check(auth, span_of(header), &user_id), AUTH_GOOD);
    assert_int_equal(auth_remembered(auth), 1);
    wall_us += 60 * 1000000;
    assert_int_equal(auth_check(auth, span_of(header), &user_id), AUTH_EXPIRED);
    wall_us -= 1000000;
    header[strlen(header) - 2] ^= 1;
    assert_int_equal(auth_check(auth, span_of(header), &user_id), AUTH_INVALID);
    static const char *const missing[] = {"", "Bearer", "Bearer ", "Basic YTpi", "Token x"};
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++)
        assert_int_equal(auth_check(auth, span_of(missing[i]), &user_id), AUTH_MISSING);
    auth_free(auth);
}

int main(void)
{
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vector_of_the_rfc),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(F16_accounts_next_to_2_to_the_53_stay_apart),
        cmocka_unit_test(every_changed_byte_is_noticed),
        cmocka_unit_test(other_algorithms_are_refused),
        cmocka_unit_test(claims_must_be_ours),
        cmocka_unit_test(garbage_is_no_token),
        cmocka_unit_test(tokens_are_remembered_and_still_expire),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
