#include "base/reason.h"

#include "proto/rpc.pb-c.h"

#include <stddef.h>

struct row {
    const char *name;
    uint32_t code;
    uint32_t http;
};

static const struct row rows[] = {
#define X(name, number, code, http) [number] = {#name, QUORATE__RPC__V1__CODE__##code, http},
    REASONS(X)
#undef X
};

#define ROWS (sizeof rows / sizeof rows[0])

/* The enum and proto/rpc.proto are one list. */
#define X(name, number, code, http)                                                                \
    _Static_assert((int)QUORATE__RPC__V1__REASON__REASON_##name == (number), #name);
REASONS(X)
#undef X

enum reason reason_from_number(uint32_t number)
{
    return number < ROWS ? (enum reason)number : REASON_OUTCOME_UNKNOWN;
}

const char *reason_name(enum reason reason)
{
    return rows[reason].name;
}

uint32_t reason_grpc_code(enum reason reason)
{
    return rows[reason].code;
}

uint32_t reason_http_status(enum reason reason)
{
    return rows[reason].http;
}
