#include "base/lookup.h"

#include "base/check.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <uv.h>

struct lookup {
    uv_getaddrinfo_t request; /* first: what libuv hands back */
    lookup_fn *on_done;       /* NULL: cancelled */
    void *arg;
    unsigned pick;
    int refused; /* libuv did not take the request; told at the tick's end */
    struct tick later;
};

static bool choose(struct addrinfo *found, unsigned pick, char *address, size_t room)
{
    unsigned count = 0;
    for (const struct addrinfo *one = found; one != NULL; one = one->ai_next)
        count++;
    if (count == 0) return false;
    for (unsigned skip = pick % count; skip > 0; skip--)
        found = found->ai_next;
    return getnameinfo(found->ai_addr, found->ai_addrlen, address, (socklen_t)room, NULL, 0,
                       NI_NUMERICHOST) == 0;
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct lookup *lookup = (struct lookup *)request;
    lookup_fn *on_done = lookup->on_done;
    void *arg = lookup->arg;
    char address[INET6_ADDRSTRLEN + 16]; /* a scope may follow */
    bool good = status == 0 && choose(found, lookup->pick, address, sizeof address);
    uv_freeaddrinfo(found);
    free(lookup);
    if (on_done == NULL) return;
    if (good) {
        on_done(arg, address, NULL);
    } else {
        on_done(arg, NULL, status == 0 ? "the name has no address" : uv_strerror(status));
    }
}

static void tell_refused(void *arg)
{
    struct lookup *lookup = arg;
    on_resolved(&lookup->request, lookup->refused, NULL);
}

struct lookup *lookup_start(struct loop *loop, const char *host, unsigned pick, lookup_fn *on_done,
                            void *arg)
{
    CHECK(on_done != NULL);
    struct lookup *lookup = xcalloc(1, sizeof *lookup);
    lookup->on_done = on_done;
    lookup->arg = arg;
    lookup->pick = pick;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    lookup->refused =
        uv_getaddrinfo(loop_uv(loop), &lookup->request, on_resolved, host, NULL, &hints);
    tick_init(&lookup->later, tell_refused, lookup);
    if (lookup->refused != 0) loop_at_tick_end(loop, &lookup->later); /* no valid name */
    return lookup;
}

void lookup_cancel(struct lookup *lookup)
{
    lookup->on_done = NULL;
    if (lookup->refused != 0) {
        tick_cancel(&lookup->later);
        free(lookup);
        return;
    }
    uv_cancel((uv_req_t *)&lookup->request); /* refused when it runs already: then it is ignored */
}
