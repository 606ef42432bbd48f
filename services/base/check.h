/* check.h - what must be true, or the process stops.
 *
 * CHECK guards against bugs, in release too: arguments and states on entry, invariants where data
 * crosses a boundary. It is not for input, which gets an error, nor for outcomes, which get an
 * enum.
 *
 * Memory is checked the same way: the x-functions abort when there is none. What keeps memory
 * bounded is that every queue and message has a maximum.
 */
#ifndef QUORATE_BASE_CHECK_H
#define QUORATE_BASE_CHECK_H

#include <stddef.h>

#define CHECK(truth) ((truth) ? (void)0 : check_fail(#truth, __FILE__, __LINE__))

_Noreturn void check_fail(const char *truth, const char *file, int line);

/* As calloc and friends, but never NULL. Free with free(). */
void *xcalloc(size_t count, size_t bytes)
    __attribute__((malloc, returns_nonnull, warn_unused_result));
void *xrealloc(void *memory, size_t bytes) __attribute__((returns_nonnull, warn_unused_result));
char *xstrdup(const char *text) __attribute__((malloc, returns_nonnull, warn_unused_result));
char *xstrndup(const char *text, size_t bytes)
    __attribute__((malloc, returns_nonnull, warn_unused_result));

#endif
