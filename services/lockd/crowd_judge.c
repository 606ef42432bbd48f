/* What lockd promises, looked at after every answer. */
#include "lockd/crowd_inside.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define GRAIN_US UINT64_C(1000) /* by which an answer may be late: turns of the loop */

void judge_broken(struct crowd *crowd, const char *format, ...)
{
    struct crowd_report *report = crowd->report;
    if (report->broken++ > 0) return;
    va_list args;
    va_start(args, format);
    int bytes = snprintf(report->first, sizeof report->first,
                         "seed %" PRIu64 " at %" PRIu64 " us: ", crowd->options.world.seed,
                         world_now_us(crowd->world));
    (void)vsnprintf(report->first + bytes, sizeof report->first - (size_t)bytes, format, args);
    va_end(args);
}

void judge_in_time(struct crowd *crowd, const struct question *question)
{
    unsigned lockd = question->client->lockd;
    uint64_t now_us = world_lockd_us(crowd->world, lockd);
    uint64_t from_us = question->due_us;
    if (crowd->woke_us[lockd] > from_us) from_us = crowd->woke_us[lockd];
    if (now_us > from_us + GRAIN_US) {
        judge_broken(crowd, "%s was answered %" PRIu64 " us late", question->client->id,
                     now_us - from_us);
    }
}

static void judge_order(struct crowd *crowd, const struct client *granted)
{
    uint64_t now_us = world_lockd_us(crowd->world, granted->lockd);
    for (unsigned i = 0; i < crowd->options.clients; i++) {
        const struct client *other = &crowd->clients[i];
        if (other->doing != DOING_WAITS || other->lockd != granted->lockd ||
            !client_asked_here(other) || other->resource != granted->resource || other->no_wait ||
            other->dead || other->arrival >= granted->arrival) {
            continue;
        }
        bool due = (other->first.call == NULL || other->first.due_us <= now_us) &&
                   (other->again.call == NULL || other->again.due_us <= now_us);
        if (!due) judge_broken(crowd, "%s was granted before %s", granted->id, other->id);
    }
}

void judge_grant(struct crowd *crowd, struct client *client, const struct leases_answer *answer)
{
    struct resource_truth *truth = &crowd->resources[client->resource];
    uint64_t now_us = world_now_us(crowd->world);
    uint64_t ends_us = world_true_us(crowd->world, client->lockd, answer->ends_us);
    if (ends_us <= now_us) judge_broken(crowd, "%s was granted what is over", client->id);
    if (client->dead) judge_broken(crowd, "%s was granted after its release", client->id);
    if (answer->token <= client->acquire.min_token) judge_broken(crowd, "min_token was not heard");
    uint64_t before = client->token;
    client->token = answer->token;
    client->ends_us = ends_us;
    if (client->released) return; /* at another lockd, which made the nodes forget it: no lease */
    if (answer->token == truth->token) { /* the same lease again */
        if (before != 0 && before != answer->token) {
            judge_broken(crowd, "%s got another's lease", client->id);
        }
    } else {
        if (now_us < truth->valid_until_us) {
            judge_broken(crowd,
                         "%s was granted %s while token %" PRIu64 " is valid for %" PRIu64 " us",
                         client->id, truth->name, truth->token, truth->valid_until_us - now_us);
        }
        if (answer->token < truth->token) {
            judge_broken(crowd, "%s was granted token %" PRIu64 " after %" PRIu64, client->id,
                         answer->token, truth->token);
        }
        judge_order(crowd, client);
        truth->valid_until_us = 0;
        crowd->report->grants++;
    }
    truth->token = answer->token;
    if (ends_us > truth->valid_until_us) truth->valid_until_us = ends_us;
}

void judge_extend(struct crowd *crowd, struct client *client, const struct leases_answer *answer)
{
    struct resource_truth *truth = &crowd->resources[client->resource];
    uint64_t ends_us = world_true_us(crowd->world, client->lockd, answer->ends_us);
    if (client->dead || (truth->token != client->token && !client->released)) {
        judge_broken(crowd, "%s extended what it has no more", client->id);
        return;
    }
    if (ends_us < client->ends_us) judge_broken(crowd, "%s was shortened", client->id);
    if (!client->released) truth->valid_until_us = ends_us;
    client->ends_us = ends_us;
    crowd->report->extends++;
}

void judge_touch(struct crowd *crowd, struct client *client)
{
    struct resource_truth *truth = &crowd->resources[client->resource];
    if (client->released || world_now_us(crowd->world) >= client->ends_us) return;
    if (client->token < truth->seen)
        judge_broken(crowd, "%s was refused by its resource", client->id);
    if (client->token > truth->seen) truth->seen = client->token;
    crowd->report->touches++;
}

void judge_sweep(void *arg)
{
    struct crowd *crowd = arg;
    for (unsigned i = 0; i < crowd->options.clients; i++) {
        struct client *client = &crowd->clients[i];
        if (!client_asked_here(client) || world_lockd_paused(crowd->world, client->lockd)) continue;
        if (client->first.call != NULL) judge_in_time(crowd, &client->first);
        if (client->again.call != NULL) judge_in_time(crowd, &client->again);
        if (client->extend.call != NULL) judge_in_time(crowd, &client->extend);
    }
    timer_start(&crowd->sweep, world_timers(crowd->world), world_now_us(crowd->world) + 20 * MS,
                judge_sweep, crowd);
}
