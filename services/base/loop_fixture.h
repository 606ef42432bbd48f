/* loop_fixture.h - lets a real loop run in a test: for a while, or until something is true.
 *
 *     LOOP_UNTIL(loop, heard.answers > 0);
 *
 * What has arrived is heard before the first look, and the truth is looked at after every turn of
 * the loop and every 2 ms. What does not become true in time fails the test.
 */
#ifndef QUORATE_BASE_LOOP_FIXTURE_H
#define QUORATE_BASE_LOOP_FIXTURE_H

#include "base/loop.h"

/* For what has no limit of its own: long, because a test may share a slow machine. */
#define LOOP_PATIENCE_MS 20000

#define LOOP_UNTIL(loop, truth) LOOP_WITHIN_MS(loop, LOOP_PATIENCE_MS, truth)

#define LOOP_WITHIN_MS(loop, ms, truth)                                                            \
    do {                                                                                           \
        struct loop_wait loop_wait_ = loop_wait_begin((loop), (ms));                               \
        while (!(truth))                                                                           \
            loop_wait_turn(&loop_wait_, #truth, __FILE__, __LINE__);                               \
    } while (0)

/* At least one turn. */
void loop_run_ms(struct loop *loop, uint64_t ms);

/* The macros' own. */
struct loop_wait {
    struct loop *loop;
    uint64_t ends_us;
};
struct loop_wait loop_wait_begin(struct loop *loop, uint64_t ms);
void loop_wait_turn(const struct loop_wait *wait, const char *truth, const char *file, int line);

#endif
