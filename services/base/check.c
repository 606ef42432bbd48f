#include "base/check.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void check_fail(const char *truth, const char *file, int line)
{
    fprintf(stderr, "check.failed truth=\"%s\" at=%s:%d\n", truth, file, line);
    abort();
}

static void *or_die(void *memory)
{
    if (memory == NULL) check_fail("memory is left", __FILE__, __LINE__);
    return memory;
}

void *xcalloc(size_t count, size_t bytes)
{
    return or_die(calloc(count == 0 ? 1 : count, bytes == 0 ? 1 : bytes));
}

void *xrealloc(void *memory, size_t bytes)
{
    return or_die(realloc(memory, bytes == 0 ? 1 : bytes));
}

char *xstrdup(const char *text)
{
    return or_die(strdup(text));
}

char *xstrndup(const char *text, size_t bytes)
{
    return or_die(strndup(text, bytes));
}
