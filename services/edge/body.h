/* body.h - reads the JSON object that a request carries.
 *
 * Strict where leniency would guess: one object, no key twice, no NUL, valid UTF-8, at most
 * BODY_DEPTH_MAX levels, integers within int64. A number with a fraction or an exponent is no
 * integer, not even 1.0: prices and quantities are counted, and a client that computes them in
 * floating point shall hear about it. Fields that nobody asks for are ignored.
 *
 * Thread    the loop's only.
 * Borrows   the faults; texts are borrowed from the body until body_free.
 */
#ifndef QUORATE_EDGE_BODY_H
#define QUORATE_EDGE_BODY_H

#include "edge/fault.h"

#define BODY_DEPTH_MAX 32

struct body;

/* NULL, and a fault, if it is no such object. */
struct body *body_parse(struct span bytes, struct faults *faults);

/* NULL is harmless. */
void body_free(struct body *body);

struct body_integer_rule {
    const char *field;
    int64_t min;
    int64_t max;
};

/* The field must be there. False, and a fault, if it isn't or breaks the rule. */
bool body_integer(const struct body *body, struct body_integer_rule rule, struct faults *faults,
                  int64_t *into);

struct body_text_rule {
    const char *field;
    bool optional; /* may be absent or null: an empty span with NULL then */
    long min;      /* characters */
    long max;
    size_t bytes_max; /* 0: whatever max characters take */
};

bool body_text(const struct body *body, const struct body_text_rule *rule, struct faults *faults,
               struct span *into);

#endif
