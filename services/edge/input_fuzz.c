/* libFuzzer's target for whatever parses bytes of a client: the first byte chooses the parser.
 *
 *     cmake -B build/fuzz -G Ninja -DCMAKE_C_COMPILER=clang -DQUORATE_FUZZ=ON
 *           -DQUORATE_TESTS=OFF -DQUORATE_SANITIZE=address,undefined
 *     cmake --build build/fuzz --target edge_input_fuzz
 *     build/fuzz/services/edge/edge_input_fuzz -max_total_time=60
 */
#include "base/check.h"
#include "base/utf8.h"
#include "edge/body.h"
#include "edge/exposition.h"
#include "edge/form.h"
#include "edge/jwt.h"
#include "edge/routes.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void try_body(struct span input)
{
    struct json out;
    struct faults faults;
    json_init(&out, NULL, 0);
    faults_init(&faults, &out);
    struct body *body = body_parse(input, &faults);
    CHECK((body == NULL) == (faults.count > 0));
    int64_t number;
    struct span text;
    if (body != NULL) {
        body_integer(body, (struct body_integer_rule){"n", 1, 1000000}, &faults, &number);
        if (body_text(body, &(struct body_text_rule){"t", true, 1, 50, 200}, &faults, &text))
            CHECK(text.bytes <= 200 && utf8_length(text) >= 0);
    }
    if (faults.count > 0) faults_close(&faults, "INVALID");
    if (out.used > 0) CHECK(utf8_length(json_span(&out)) > 0);
    body_free(body);
    json_fini(&out);
}

static void try_form(struct span input)
{
    char room[32];
    struct span value = {room, 0};
    int64_t number;
    if (form_text(input, "a", (struct form_room){room, sizeof room}, &value) == FORM_FOUND)
        CHECK(value.bytes <= sizeof room && utf8_length(value) >= 0);
    (void)form_integer(input, "a", &number);
}

static void try_token(struct span input)
{
    struct jwt_key key;
    struct jwt_claims claims;
    jwt_key_init(&key, (struct span){"0123456789abcdef0123456789abcdef", 32});
    CHECK(jwt_read(&key, input, 0, &claims) != JWT_GOOD || claims.user_id > 0);
}

static void try_path(struct span input)
{
    struct routes_match match;
    (void)routes_find((struct span){"GET", 3}, input, &match);
    (void)routes_find(input, (struct span){"/api/products", 13}, &match);
}

static void try_metrics(struct span input)
{
    struct json out;
    json_init(&out, NULL, 0);
    struct exposition *exposition = exposition_new();
    exposition_add(exposition, input, "service=\"x\"");
    exposition_write(exposition, &out);
    exposition_free(exposition);
    json_put_text(&out, input);
    json_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static void (*const parsers[])(struct span) = {try_body, try_form, try_token, try_path,
                                                   try_metrics};
    if (count == 0) return 0;
    parsers[bytes[0] % (sizeof parsers / sizeof parsers[0])](
        (struct span){(const char *)bytes + 1, count - 1});
    return 0;
}
