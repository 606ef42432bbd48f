/* fake_lockd.h - a lockd for tests: it says what it is told to say, over the real RPC.
 *
 * By default it grants every acquire at once with a rising token. What it was asked is counted and
 * kept for the test to look at.
 */
#ifndef QUORATE_INVENTORY_FAKE_LOCKD_H
#define QUORATE_INVENTORY_FAKE_LOCKD_H

#include "base/loop.h"
#include "base/reason.h"

#include <stdint.h>

struct fake_lockd;

enum fake_manner {
    FAKE_GRANTS,
    FAKE_REFUSES, /* with `reason` and a Refusal */
    FAKE_SILENT,  /* takes requests and answers none */
    FAKE_LATE,    /* grants leases that are over */
};

struct fake_seen {
    unsigned acquires;
    unsigned releases;
    unsigned asks;
    uint64_t last_min_token;
    uint64_t last_token; /* granted */
    char last_acquired[128];
    char last_released[128];
    uint64_t last_released_token;
};

/* `url` as for the RPC. */
struct fake_lockd *fake_lockd_open(struct loop *loop, const char *url);
/* Its caller must run the loop until it has ended. */
void fake_lockd_close(struct fake_lockd *lockd);

void fake_lockd_be(struct fake_lockd *lockd, enum fake_manner manner, enum reason reason);
void fake_lockd_voting(struct fake_lockd *lockd, unsigned voting); /* of five */
const struct fake_seen *fake_lockd_seen(const struct fake_lockd *lockd);

#endif
