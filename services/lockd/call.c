/* One open acquire or extend. Whoever answers it first takes it out of the list it waits in; from
 * then on it is only its own. */
#include "lockd/resource.h"

#include <stdlib.h>
#include <utlist.h>

struct leases_answer answer_refusal(const struct leases *leases, enum reason reason,
                                    const char *message)
{
    CHECK(reason != REASON_NONE);
    return (struct leases_answer){
        .reason = reason,
        .message = message,
        .voting = transport_voting(leases->options.transport),
    };
}

struct leases_call *call_new(struct leases *leases, leases_answer_fn *on_answer, void *arg)
{
    CHECK(on_answer != NULL);
    struct leases_call *call = xcalloc(1, sizeof *call);
    call->leases = leases;
    call->on_answer = on_answer;
    call->arg = arg;
    DL_APPEND2(leases->calls, call, all_prev, all_next);
    return call;
}

void call_free(struct leases_call *call)
{
    CHECK(call->round == NULL);
    timer_stop(&call->timer);
    timer_stop(&call->retry);
    DL_DELETE2(call->leases->calls, call, all_prev, all_next);
    free(call);
}

void call_answer(struct leases_call *call, const struct leases_answer *answer)
{
    struct leases_answer told = *answer;
    leases_answer_fn *on_answer = call->on_answer;
    void *arg = call->arg;
    call_free(call);
    on_answer(arg, &told);
}

static void call_on_turn(void *arg)
{
    struct leases_call *call = arg;
    call_answer(call, &call->answer);
}

void call_tell(struct leases_call *call, const struct leases_answer *answer)
{
    struct timers *timers = call->leases->options.timers;
    call->state = CALL_TOLD;
    call->answer = *answer;
    timer_start(&call->timer, timers, timers_now_us(timers), call_on_turn, call);
}
