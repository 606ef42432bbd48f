/* stuck_close.c - an NNG that has lost count of a pipe: closing a socket never ends. Preloaded, its
 * nng_close comes before the real one. */
#include <nng/nng.h>
#include <unistd.h>

int nng_close(nng_socket socket)
{
    (void)socket;
    for (;;)
        pause();
}
