#include "lockd/admission.h"

#include "base/check.h"

#include <string.h>

/* By how much two clocks may run apart in this time: 1 %, and 2 ms for their grain. */
static int64_t drift_us(uint64_t elapsed_us)
{
    return (int64_t)(elapsed_us / 100) + 2000;
}

void admission_init(struct admission *admission, uint32_t ttl_max_ms, bool trusts_new)
{
    CHECK(ttl_max_ms > 0);
    *admission =
        (struct admission){.quarantine_us = (uint64_t)ttl_max_ms * 1020, .trusts_new = trusts_new};
}

static void begin_quarantine(struct admission *admission, const char *run_id, uint64_t now_us)
{
    uint64_t ends_us = now_us + admission->quarantine_us;
    if (admission->quarantine_ends_us < ends_us) admission->quarantine_ends_us = ends_us;
    admission->seen_current = false;
    if (run_id != NULL) memcpy(admission->run_id, run_id, sizeof admission->run_id);
}

static void end_quarantine(struct admission *admission)
{
    admission->quarantine_ends_us = 0;
    admission->run_id[0] = '\0';
    admission->seen_current = false;
    admission->jumped = false;
}

void admission_forget(struct admission *admission)
{
    end_quarantine(admission);
}

/* Rule 5, and what remains of an earlier one: sat out by this very process, without the node having
 * been admitted (by another lockd) and having forgotten again in between. */
static enum admission_verdict quarantine(struct admission *admission, const struct facts *facts,
                                         uint64_t now_us, const char **why)
{
    bool sat_out = admission->quarantine_ends_us != 0 && !admission->seen_current &&
                   strcmp(admission->run_id, facts->run_id) == 0;
    if (!sat_out) begin_quarantine(admission, facts->run_id, now_us);
    if (admission->jumped) {
        *why = "its clock has jumped";
    } else {
        *why = facts->epoch == SCRIPT_NOEPOCH ? "it remembers nothing"
                                              : "it restarted and may have lost something";
    }
    return now_us < admission->quarantine_ends_us ? ADMISSION_WAIT : ADMISSION_RAISE;
}

enum admission_verdict admission_examine(struct admission *admission, const struct facts *facts,
                                         uint64_t now_us, const char **why)
{
    *why = NULL;
    if (!facts->master) {
        *why = "it is a replica";
    } else if (facts->promoted) {
        *why = "it was a replica and may lack what its master had";
    } else if (facts->drops_keys) {
        *why = "its eviction policy (maxmemory-policy) may drop locks";
    } else if (facts->epoch == SCRIPT_WRONG_CLUSTER) {
        *why = "WRONG_CLUSTER: it belongs to another REDIS_NODES or LOCK_TTL_MAX_SECONDS";
    }
    if (*why != NULL) return ADMISSION_REFUSE;

    bool current = facts->epoch == SCRIPT_OK && strcmp(facts->epoch_run_id, facts->run_id) == 0;
    bool kept = facts->epoch == SCRIPT_OK && facts->epoch_run_id[0] != '\0' && facts->epoch_aof &&
                facts->appends_sync;
    if (!current && !kept) return quarantine(admission, facts, now_us, why);
    bool declared_new = current && facts->epoch_new && admission->trusts_new &&
                        !admission->has_voted && !admission->jumped;
    if (now_us < admission->quarantine_ends_us && !declared_new) {
        admission->seen_current = true;
        *why = admission->jumped ? "its clock has jumped" : "its quarantine is not over";
        return ADMISSION_WAIT;
    }
    if (!current) {
        *why = "it restarted, nothing was lost";
        return ADMISSION_KEEP;
    }
    end_quarantine(admission);
    admission->has_voted = true;
    return ADMISSION_VOTE;
}

/* What is known of the offset narrows with every answer and widens with time. An answer that lies
 * outside of it altogether can't be explained by drift. */
bool admission_observe(struct admission *admission, uint64_t sent_us, uint64_t now_us,
                       uint64_t time_us)
{
    CHECK(sent_us <= now_us);
    struct admission_offset *known = &admission->offset;
    struct admission_offset seen = {.known = true,
                                    .low_us = (int64_t)(time_us - now_us),
                                    .high_us = (int64_t)(time_us - sent_us),
                                    .at_us = now_us};
    if (!known->known) {
        *known = seen;
        return true;
    }
    int64_t widened_us = drift_us(now_us - known->at_us);
    int64_t low_us = known->low_us - widened_us;
    int64_t high_us = known->high_us + widened_us;
    if (seen.high_us < low_us || seen.low_us > high_us) {
        *known = seen;
        begin_quarantine(admission, NULL, now_us);
        admission->jumped = true;
        return false;
    }
    if (seen.low_us < low_us) seen.low_us = low_us;
    if (seen.high_us > high_us) seen.high_us = high_us;
    *known = seen;
    return true;
}

uint64_t admission_latest_us(const struct admission *admission, uint64_t at_us)
{
    const struct admission_offset *known = &admission->offset;
    if (!known->known) return UINT64_MAX;
    uint64_t elapsed_us = at_us > known->at_us ? at_us - known->at_us : 0;
    return (uint64_t)(known->high_us + drift_us(elapsed_us) + (int64_t)at_us);
}
