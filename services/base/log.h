/* log.h - one line per event on standard error: when, how grave, what, and key=value.
 *
 *     LOG_INFO("lock.granted", "req=%s resource=%s token=%" PRIu64, ...)
 *     2026-01-02T03:04:05.678901Z info lock.granted req=7f3a resource=stock:1 token=42
 *
 * The event is a constant. Logged once, where it is decided. error: a person must act; warn: we
 * degraded; info: lifecycle; debug: single requests. Values that come from outside may hold
 * anything: control bytes are written as \xNN, so that no value can forge a line; write those with
 * spaces in quotes.
 *
 * Thread    any; one line is one write.
 * State     the level is the process's, set once at start before there are threads: the one global
 * that is not const.
 */
#ifndef QUORATE_BASE_LOG_H
#define QUORATE_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* "error", "warn", "info", "debug": in the order of the enum, for a setting's choices. */
#define LOG_LEVEL_CHOICES "error|warn|info|debug"

void log_set_level(enum log_level level);
bool log_on(enum log_level level);

void log_write(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define LOG_AT(level, ...) (log_on(level) ? log_write(level, __VA_ARGS__) : (void)0)
#define LOG_ERROR(...)     LOG_AT(LOG_LEVEL_ERROR, __VA_ARGS__)
#define LOG_WARN(...)      LOG_AT(LOG_LEVEL_WARN, __VA_ARGS__)
#define LOG_INFO(...)      LOG_AT(LOG_LEVEL_INFO, __VA_ARGS__)
#define LOG_DEBUG(...)     LOG_AT(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
