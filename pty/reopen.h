/* SPDX-License-Identifier: MIT */
/* reopen.h - a description of one's own of a terminal that others have open */
#ifndef WARM_PTY_REOPEN_H
#define WARM_PTY_REOPEN_H

#include <stdbool.h>

/**
 * reopen_terminal() - @tty again: O_RDWR, O_NONBLOCK, close-on-exec
 * @ret_reopened: set on success; false: that was not permitted, and @tty itself is returned, with its flags
 * Return: a descriptor, or a negative errno; -ENOTTY
 */
int reopen_terminal(int tty, bool *ret_reopened);

#endif
