/* redis_fixture.h - a real redis-server for tests: started, paused, killed, restarted.
 *
 * Each has a loopback port that was free and a directory of its own; it dies with the test program,
 * whatever becomes of that. Every failure ends the test. Blocking: not for use while a loop waits.
 */
#ifndef QUORATE_BASE_REDIS_FIXTURE_H
#define QUORATE_BASE_REDIS_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

struct redis_fixture;

/* Listens and answers when this returns. `arguments` are further ones for redis-server, separated
 * by blanks; "" for none. Without them nothing is written to disk. */
struct redis_fixture *redis_fixture_start(const char *arguments);
void redis_fixture_free(struct redis_fixture *redis); /* kills it and removes its directory */

uint16_t redis_fixture_port(const struct redis_fixture *redis);

void redis_fixture_pause(struct redis_fixture *redis); /* SIGSTOP: the kernel goes on accepting */
void redis_fixture_resume(struct redis_fixture *redis);
void redis_fixture_kill(struct redis_fixture *redis);
void redis_fixture_restart(struct redis_fixture *redis, bool keep_data);

/* One command, words separated by blanks; the reply as text, nil as "(nil)". Free it. */
char *redis_fixture_ask(struct redis_fixture *redis, const char *command);

#endif
