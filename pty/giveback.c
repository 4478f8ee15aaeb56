/* SPDX-License-Identifier: MIT */
#include "pty/giveback.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "engine/base/fd.h"
#include "engine/base/pidfd.h"

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef TIOCGPTN
#define TIOCGPTN _IOR('T', 0x30, unsigned int)
#endif
#define ANCESTORS_MAX 32
#define PTMX	      makedev(5, 2)

/* --- the terminal's master, in the hands of an ancestor ------------------------------------------------------------ */

static pid_t parent_of(pid_t pid)
{
	char path[32], text[512], *close_paren;
	_cleanup_close_ int fd = -EBADF;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	/* the name may have any character in it */
	close_paren = strrchr(text, ')');
	return close_paren && strlen(close_paren) > 4 ? (pid_t)strtol(close_paren + 4, NULL, 10) : 0;
}

/* the number tells the pty within one devpts, the session which devpts it is */
static bool is_master_of(int fd, unsigned int number)
{
	unsigned int found;
	pid_t session;

	return ioctl(fd, TIOCGPTN, &found) == 0 && found == number && ioctl(fd, TIOCGSID, &session) == 0 &&
	       session == getsid(0);
}

/* Return: a copy, or -ENOENT */
static int master_at(pid_t pid, unsigned int number)
{
	_cleanup_close_ int pidfd = pidfd_open_process(pid);
	struct dirent *entry;
	int copy = -EBADF;
	char path[32];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = pidfd < 0 ? NULL : opendir(path);
	if (!dir)
		return -ENOENT;
	while (copy < 0 && (entry = readdir(dir))) {
		struct stat st;

		if (entry->d_name[0] == '.' || fstatat(dirfd(dir), entry->d_name, &st, 0) < 0 ||
		    !S_ISCHR(st.st_mode) || st.st_rdev != PTMX)
			continue;
		copy = (int)syscall(SYS_pidfd_getfd, pidfd, (int)strtol(entry->d_name, NULL, 10), 0);
		if (copy >= 0 && !is_master_of(copy, number))
			copy = fd_close(copy);
	}
	closedir(dir);
	return copy < 0 ? -ENOENT : copy;
}

/* Return: a descriptor or a negative errno */
static int find_master(int tty)
{
	pid_t pid = getpid();
	struct stat st;

	/* a pty's slave: major numbers 136 to 143 */
	if (fstat(tty, &st) < 0 || major(st.st_rdev) < 136 || major(st.st_rdev) > 143)
		return -ENOENT;
	for (int i = 0; i < ANCESTORS_MAX && (pid = parent_of(pid)) > 1; i++) {
		int fd = master_at(pid, minor(st.st_rdev) | (major(st.st_rdev) - 136) << 8);

		if (fd >= 0)
			return fd;
	}
	return -ENOENT;
}

/* --- typing -------------------------------------------------------------------------------------------------------- */

/* Return: 0: all is on its way; a negative errno: the rest is lost */
static int type_at_master(int master, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t done = write(master, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		/* as much as it takes: nobody reads the other end now */
		if (done < 0)
			return errno == EAGAIN ? 0 : -errno;
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

/* with @settings. *master: the way, once TIOCSTI is found closed */
static int type(int tty, int *master, const struct termios *settings, const uint8_t *p, size_t n)
{
	struct pollfd taken = { tty, POLLIN, 0 };
	int r;

	if (tcsetattr(tty, TCSANOW, settings) < 0)
		return -errno;
	for (size_t i = 0; i < n && *master < 0; i++) {
		if (ioctl(tty, TIOCSTI, p + i) == 0)
			continue;
		if (i > 0 || (errno != EIO && errno != EPERM))
			return -errno;
		*master = find_master(tty);
		if (*master < 0)
			return -EPERM;
	}
	if (*master < 0)
		return 0;
	r = type_at_master(*master, p, n);
	/* has the line discipline take it now, while it has these settings (n_tty.c: n_tty_poll()) */
	poll(&taken, 1, 0);
	return r;
}

/* a byte that does not occur among them. Return: -1: all do */
static int free_byte(const uint8_t *p, size_t n)
{
	bool seen[256] = { [0] = true, ['\n'] = true, ['\r'] = true };

	for (size_t i = 0; i < n; i++)
		seen[p[i]] = true;
	for (int c = 1; c < 256; c++)
		if (!seen[c])
			return c;
	return -1;
}

/* every byte means itself, but for the newline, and @eof where lines wait */
static void literal(struct termios *t, int eof)
{
	t->c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IUCLC | IXON |
				  IXOFF | IXANY);
	t->c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ISIG | IEXTEN);
	if (!(t->c_lflag & ICANON))
		return;
	for (size_t i = 0; i < NCCS; i++)
		t->c_cc[i] = 0; /* _POSIX_VDISABLE */
	if (eof > 0)
		t->c_cc[VEOF] = (cc_t)eof;
}

/* what has been a line's end, or an end of file, is one again; everything else is a byte */
static int type_unread(int tty, int *master, const struct termios *settings, const struct giveback *g)
{
	_cleanup_free_ uint8_t *bytes = malloc(g->n);
	struct termios now = *settings;
	int eof = free_byte(g->unread, g->n);

	if (!bytes)
		return -ENOMEM;
	memcpy(bytes, g->unread, g->n);
	for (size_t i = 0; g->lines && i < g->n && eof > 0 && now.c_lflag & ICANON; i++)
		if (!bytes[i])
			bytes[i] = (uint8_t)eof;
	literal(&now, eof);
	return type(tty, master, &now, bytes, g->n);
}

int giveback(int tty, const struct termios *settings, const struct giveback *g)
{
	_cleanup_close_ int master = -EBADF;
	struct termios now = *settings;
	int r = g->n ? type_unread(tty, &master, settings, g) : 0;

	if (r < 0 || !g->typed_n)
		return r;
	/* a Ctrl-C would be ours, who are in the foreground still, and not the shell's */
	now.c_lflag &= ~(tcflag_t)ISIG;
	return type(tty, &master, &now, g->typed, g->typed_n);
}
