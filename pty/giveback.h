/* SPDX-License-Identifier: MIT */
/*
 * giveback.h - what was typed for a program that did not read it goes back to the terminal it was typed at.
 *
 * A program in the caller's own terminal leaves unread what it does not read, and the shell finds it. A relay has
 * carried it into the program's pty by then. So at the end it is put into the caller's terminal again, behind nothing and
 * in front of nothing, without a second echo and without a second meaning (a Ctrl-C among it is a byte by now).
 *
 * Two ways lead into a terminal's queue, and each may be closed:
 *
 *   TIOCSTI    from our own controlling terminal. Since Linux 6.2 only with CAP_SYS_ADMIN where the sysctl
 *              dev.tty.legacy_tiocsti is 0.
 *   the master bytes written there are typed. The terminal emulator has it (tmux, script, xterm: an ancestor of ours);
 *              pidfd_getfd(2) copies it where we may trace that process: not sshd, and not with Yama.
 */
#ifndef WARM_PTY_GIVEBACK_H
#define WARM_PTY_GIVEBACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <termios.h>

struct giveback {
	const uint8_t *unread; /* from the program's queue: echoed there, edited there */
	size_t n;
	bool lines; /* it waited as lines (ICANON): a NUL among it is an end of file */
	size_t fresh; /* so many of its last bytes may have come when the queue was being taken: not edited, a Ctrl-D is one */
	const uint8_t *
		typed; /* behind it, and never arrived there: typed now, so to speak, with echo and editing */
	size_t typed_n;
};

/**
 * giveback() - put bytes into the input queue of our controlling terminal, where we are in the foreground
 * @tty: raw as yet, and nobody else reads it now; left with other settings: raw_leave() is the caller's
 * @settings: what it will have afterwards. With ICANON newlines end lines
 *
 * What is in its queue already was typed last, and goes behind all the rest.
 *
 * Return: 0. -EPERM: no way is open. Other negative errno
 */
int giveback(int tty, const struct termios *settings, const struct giveback *g);

#endif
