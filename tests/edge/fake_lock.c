/* The fake's Lock: it says which nodes vote, and that is all that an edge asks. */
#include "fake.h"

#include <stdio.h>

static void lock_nodes(Quorate__Lock__V1__Lock_Service *service,
                       const Quorate__Lock__V1__NodesRequest *input,
                       Quorate__Lock__V1__NodesReply_Closure closure, void *closure_data)
{
    (void)input;
    struct fake *fake = ((struct lock *)service)->fake;
    if (fake_scripted(fake, closure_data, 0)) return;
    Quorate__Lock__V1__Node list[5];
    Quorate__Lock__V1__Node *pointers[5];
    char names[5][32];
    for (unsigned i = 0; i < 5; i++) {
        quorate__lock__v1__node__init(&list[i]);
        snprintf(names[i], sizeof names[i], "redis%u:6379", i);
        list[i].name = names[i];
        list[i].state = i < fake->voting ? QUORATE__LOCK__V1__NODE__STATE__VOTING
                                         : QUORATE__LOCK__V1__NODE__STATE__DOWN;
        pointers[i] = &list[i];
    }
    Quorate__Lock__V1__NodesReply reply = QUORATE__LOCK__V1__NODES_REPLY__INIT;
    reply.quorum = 3;
    reply.voting = fake->voting;
    reply.nodes = pointers;
    reply.n_nodes = 5;
    closure(&reply, closure_data);
}

static void lock_acquire(Quorate__Lock__V1__Lock_Service *service,
                         const Quorate__Lock__V1__AcquireRequest *input,
                         Quorate__Lock__V1__AcquireReply_Closure closure, void *closure_data)
{
    (void)service, (void)input, (void)closure;
    rpc_request_fail(closure_data, REASON_NO_METHOD, "a fake", NULL);
}

static void lock_release(Quorate__Lock__V1__Lock_Service *service,
                         const Quorate__Lock__V1__ReleaseRequest *input,
                         Quorate__Lock__V1__ReleaseReply_Closure closure, void *closure_data)
{
    (void)service, (void)input, (void)closure;
    rpc_request_fail(closure_data, REASON_NO_METHOD, "a fake", NULL);
}

static void lock_extend(Quorate__Lock__V1__Lock_Service *service,
                        const Quorate__Lock__V1__ExtendRequest *input,
                        Quorate__Lock__V1__ExtendReply_Closure closure, void *closure_data)
{
    (void)service, (void)input, (void)closure;
    rpc_request_fail(closure_data, REASON_NO_METHOD, "a fake", NULL);
}

void fake_lock_init(struct fake *fake)
{
    fake->lock = (struct lock){QUORATE__LOCK__V1__LOCK__INIT(lock_), fake};
}
