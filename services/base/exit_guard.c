#include "base/exit_guard.h"

#include "base/check.h"
#include "base/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* A thread and no SIGALRM: the handler of a signal may have interrupted a line of the log, and
 * could not write one. It is said at every LOG_LEVEL, being all that tells of this end. */
static void *wait_and_end(void *arg)
{
    int code = *(int *)arg;
    free(arg);
    for (unsigned left_s = EXIT_GUARD_S; left_s > 0;)
        left_s = sleep(left_s); /* a signal may end it early */
    log_write(LOG_LEVEL_WARN, "close.stuck",
              "text=\"the RPC did not close; leaving without\" code=%d", code);
    _exit(code);
}

void exit_guard_start(int code)
{
    int *given = xcalloc(1, sizeof *given);
    *given = code;
    pthread_t thread;
    int fault = pthread_create(&thread, NULL, wait_and_end, given);
    if (fault == 0) {
        pthread_detach(thread);
        return;
    }
    LOG_WARN("close.unguarded", "text=\"no thread for the guard\" errno=%d", fault);
    free(given);
}
