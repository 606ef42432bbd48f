#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES_MAX 2048 /* longer lines are cut */

static enum log_level current_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
    current_level = level;
}

bool log_on(enum log_level level)
{
    return level <= current_level;
}

/* Copies text, control bytes as \xNN; returns how many bytes were written. */
static size_t escape(char *into, size_t room, const char *text)
{
    size_t used = 0;
    for (; *text != '\0' && used + 4 < room; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte >= 0x20 && byte != 0x7f) {
            into[used++] = (char)byte;
        } else {
            used += (size_t)snprintf(into + used, room - used, "\\x%02x", byte);
        }
    }
    return used;
}

void log_write(enum log_level level, const char *event, const char *format, ...)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    char values[LINE_BYTES_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(values, sizeof values, format, args);
    va_end(args);

    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm utc;
    gmtime_r(&now.tv_sec, &utc);
    char line[LINE_BYTES_MAX];
    size_t used = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &utc);
    used += (size_t)snprintf(line + used, sizeof line - used, ".%06ldZ %s %.200s ",
                             now.tv_nsec / 1000, names[level], event);
    used += escape(line + used, sizeof line - used - 1, values);
    line[used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, used);
    (void)written; /* nowhere to complain */
}
