/* SPDX-License-Identifier: MIT */
#include "pty/raw.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

bool raw_foreground(int tty)
{
	pid_t group = tcgetpgrp(tty);

	/* ENOTTY: not our controlling terminal, so no job control between it and us */
	return group == getpgrp() || (group < 0 && errno == ENOTTY);
}

void raw_settings(struct termios *t)
{
	/*
	 * c_cflag stays: character size and parity are the line's, and a terminal on a real line that has 7 bits
	 * with parity would be lost. Without ISTRIP all the bits that it has are passed.
	 */
	t->c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IUCLC | IXON |
				  IXOFF | IXANY);
	t->c_oflag &= ~(tcflag_t)OPOST;
	t->c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
	t->c_cc[VMIN] = 1;
	t->c_cc[VTIME] = 0;
}

static bool same(const struct termios *a, const struct termios *b)
{
	return a->c_iflag == b->c_iflag && a->c_lflag == b->c_lflag && a->c_cc[VMIN] == b->c_cc[VMIN] &&
	       a->c_cc[VTIME] == b->c_cc[VTIME];
}

bool raw_is(int tty)
{
	struct termios now, raw;

	if (tcgetattr(tty, &now) < 0)
		return false;
	raw = now;
	raw_settings(&raw);
	return same(&now, &raw);
}

/*
 * Always TCSANOW. TCSADRAIN waits until the terminal has taken all output, for ever when it is stopped. It is
 * needed when the meaning of output that is under way could change, but n_tty applies OPOST while it takes the
 * bytes (drivers/tty/n_tty.c: n_tty_write()), and c_cflag, which the line applies later, is left alone.
 * TCSAFLUSH would throw away what has been typed ahead.
 */
static int set(int tty, const struct termios *t)
{
	while (tcsetattr(tty, TCSANOW, t) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int raw_enter(int tty, struct termios *saved)
{
	struct termios before, raw;
	int code;

	if (!raw_foreground(tty))
		return -EAGAIN;
	if (tcgetattr(tty, &before) < 0)
		return -errno;
	raw = before;
	raw_settings(&raw);
	code = set(tty, &raw);
	if (code < 0)
		return code;
	*saved = before;
	return 0;
}

/* should the shell take the terminal in this very moment: better wrong settings for it than a stopped exit */
static int set_unstopped(int tty, const struct termios *t)
{
	sigset_t ttou, before;
	int code;

	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	sigprocmask(SIG_BLOCK, &ttou, &before);
	code = set(tty, t);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return code;
}

int raw_leave(int tty, const struct termios *saved)
{
	return raw_foreground(tty) ? set_unstopped(tty, saved) : -EAGAIN;
}

void raw_output(int tty, const struct termios *from)
{
	const tcflag_t newlines = OPOST | ONLCR;
	struct termios now;

	if (tcgetattr(tty, &now) < 0 || (now.c_oflag & newlines) == (from->c_oflag & newlines) ||
	    !raw_foreground(tty))
		return;
	now.c_oflag = (now.c_oflag & ~newlines) | (from->c_oflag & newlines);
	set_unstopped(tty, &now);
}
