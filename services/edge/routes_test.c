#include "edge/routes.h"

#include "edge/rendezvous.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct routes_match match;

static enum routes_outcome find(const char *method, const char *path)
{
    return routes_find(span_of(method), span_of(path), &match);
}

static void every_call_of_the_contract_is_there(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        const char *path;
        bool bearer;
    } calls[] = {
        {"POST", "/api/auth/register", false},
        {"POST", "/api/auth/login", false},
        {"GET", "/api/auth/me", true},
        {"POST", "/api/products", true},
        {"GET", "/api/products", true},
        {"GET", "/api/products/17", true},
        {"GET", "/api/products/17/stock", true},
        {"POST", "/api/purchases", true},
        {"POST", "/api/purchases/redlock-aioredlock", true},
        {"POST", "/api/purchases/redlock-manual", true},
        {"POST", "/api/purchases/redlock-manual-async", true},
        {"GET", "/api/purchases/me", true},
        {"GET", "/health", false},
        {"GET", "/health/live", false},
        {"GET", "/metrics", false},
        {"GET", "/", false},
    };
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        assert_int_equal(find(calls[i].method, calls[i].path), ROUTES_FOUND);
        assert_int_equal(match.route->bearer, calls[i].bearer);
        const char *other = calls[i].method[0] == 'G' ? "DELETE" : "PUT";
        assert_int_equal(find(other, calls[i].path), ROUTES_NO_METHOD);
        assert_non_null(strstr(match.allow, calls[i].method));
    }
}

static void ids_are_numbers(void **state)
{
    (void)state;
    assert_int_equal(find("GET", "/api/products/9223372036854775807"), ROUTES_FOUND);
    assert_true(match.id == INT64_MAX);
    assert_int_equal(find("GET", "/api/products/-5/stock"), ROUTES_FOUND);
    assert_true(match.id == -5);
    static const char *const bad[] = {"/api/products/abc", "/api/products/1x/stock",
                                      "/api/products/-", "/api/products/9223372036854775808",
                                      "/api/products/1.0"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(find("GET", bad[i]), ROUTES_BAD_ID);
}

static void other_paths_are_unknown(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "x",
                                      "//",
                                      "/api",
                                      "/api/products/",
                                      "/api/products//stock",
                                      "/api/products/1/",
                                      "/api/products/1/stockx",
                                      "/api/purchasesx",
                                      "/API/products",
                                      "/healthy",
                                      "/metrics/"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(find("GET", bad[i]), ROUTES_NO_PATH);
}

static void allow_names_all_methods(void **state)
{
    (void)state;
    assert_int_equal(find("DELETE", "/api/products"), ROUTES_NO_METHOD);
    assert_string_equal(match.allow, "GET, HEAD, POST");
    assert_int_equal(find("GET", "/api/purchases"), ROUTES_NO_METHOD);
    assert_string_equal(match.allow, "POST");
    assert_int_equal(find("HEAD", "/health"), ROUTES_FOUND);
    assert_int_equal(find("", "/health"), ROUTES_NO_METHOD);
}

/* ---- which inventory ---- */

#define SERVERS 5
#define KEYS    10000

static void rendezvous_spreads_and_moves_only_what_it_must(void **state)
{
    (void)state;
    struct rendezvous servers[SERVERS];
    for (int i = 0; i < SERVERS; i++) {
        char name[32];
        snprintf(name, sizeof name, "tcp://inventory%d:7002", i);
        servers[i] = (struct rendezvous){rendezvous_seed(name), true};
    }
    size_t before[KEYS];
    size_t shares[SERVERS] = {0};
    for (size_t key = 0; key < KEYS; key++) {
        before[key] = rendezvous_pick(servers, SERVERS, key);
        shares[before[key]]++;
    }
    for (size_t i = 0; i < SERVERS; i++)
        assert_in_range(shares[i], KEYS / SERVERS * 8 / 10, KEYS / SERVERS * 12 / 10);
    servers[2].usable = false;
    for (size_t key = 0; key < KEYS; key++) {
        size_t now = rendezvous_pick(servers, SERVERS, key);
        assert_int_not_equal(now, 2);
        if (before[key] != 2) assert_int_equal(now, before[key]);
    }
    for (size_t i = 0; i < SERVERS; i++)
        servers[i].usable = false; /* then any answer is as good as another */
    assert_int_equal(rendezvous_pick(servers, SERVERS, 7), before[7]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_of_the_contract_is_there),
        cmocka_unit_test(ids_are_numbers),
        cmocka_unit_test(other_paths_are_unknown),
        cmocka_unit_test(allow_names_all_methods),
        cmocka_unit_test(rendezvous_spreads_and_moves_only_what_it_must),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
