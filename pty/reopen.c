/* SPDX-License-Identifier: MIT */
#include "pty/reopen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

int reopen_terminal(int tty, bool *ret_reopened)
{
	const int flags = O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	char path[32];
	int fd = -1;

	if (!isatty(tty))
		return errno == EBADF ? -EBADF : -ENOTTY;
	/* our own controlling terminal may be opened by that name whoever owns its node (su, sudo) */
	if (tcgetsid(tty) == getsid(0))
		fd = open("/dev/tty", flags);
	if (fd < 0) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", tty);
		fd = open(path, flags);
	}
	*ret_reopened = fd >= 0;
	return fd >= 0 ? fd : tty;
}
