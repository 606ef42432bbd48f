/* exit_guard.h - ends a process that has stopped and can't close.
 *
 * Closing an NNG socket waits without limit until its last pipe is gone. In 1.5.2 what is begun
 * just while its pipe closes is dropped without a word, and the pipe waits for it for ever (mended
 * for 2.0 only). A socket that closes amid traffic meets that once in some tens of times. Everybody
 * has been answered by then and the rest is the kernel's to take back, so there is nothing to wait
 * for.
 *
 * Thread    the main one, after its loop; the guard's own thread ends with the process.
 * Ends      the process, with the code that it would have had, after saying so (close.stuck).
 */
#ifndef QUORATE_BASE_EXIT_GUARD_H
#define QUORATE_BASE_EXIT_GUARD_H

/* With the longest drain, 8 s, less than the 15 s after which systemd kills. */
#define EXIT_GUARD_S 5

/* Once, and only when nothing is left but closing and returning `code`: it can't be called off. */
void exit_guard_start(int code);

#endif
