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
#include "engine/base/proc_path.h"
#include "pty/raw.h"

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef TIOCGPTN
#define TIOCGPTN _IOR('T', 0x30, unsigned int)
#endif
#define ANCESTORS_MAX 32
#define TAKEN_MS      200
#define REST_MS	      20
#define QUEUE	      4096 /* what a terminal holds: N_TTY_BUF_SIZE */
#define QUOTE	      0x16 /* Ctrl-V: the next byte is nothing special */
#define END	      0x04 /* Ctrl-D */
#define PTMX	      makedev(5, 2)

/* --- the terminal's master, in the hands of an ancestor ------------------------------------------------------------ */

static pid_t parent_of(pid_t pid)
{
	_cleanup_close_ int fd = proc_open(pid, O_RDONLY, "stat");
	char text[512], *close_paren;
	ssize_t n;

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
	DIR *dir;

	dir = pidfd < 0 ? NULL : opendir(proc_path(pid, "fd").text);
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

/* *master: the way, once TIOCSTI is found closed */
static int type(int tty, int *master, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n && *master < 0; i++) {
		if (ioctl(tty, TIOCSTI, p + i) == 0)
			continue;
		if (i > 0 || (errno != EIO && errno != EPERM))
			return -errno;
		*master = find_master(tty);
		if (*master < 0)
			return -EPERM;
	}
	return *master < 0 ? 0 : type_at_master(*master, p, n);
}

/* --- what is typed --------------------------------------------------------------------------------------------------- */

/*
 * Nearly the settings that the terminal is about to have, so that what a user types meanwhile means what it will mean in
 * a moment: lines, with their ends, without echo.
 */
static void quiet(struct termios *t)
{
	t->c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
	if (!(t->c_lflag & ICANON)) {
		raw_settings(t);
		return;
	}
	t->c_iflag &= ~(tcflag_t)(PARMRK | ISTRIP | INLCR | IUCLC);
	t->c_lflag |= IEXTEN;
	t->c_cc[VLNEXT] = QUOTE;
	if (!t->c_cc[VEOF])
		t->c_cc[VEOF] = END;
}

static bool is_special(const struct termios *t, uint8_t c)
{
	/* _POSIX_VDISABLE is 0 */
	return c < ' ' || c == 0x7f || memchr(t->c_cc, c, NCCS);
}

/* what has been a line's end, or an end of file, is one again; everything else is a byte. @out: twice the room. Return: how many */
static size_t quote(uint8_t *out, const struct termios *t, const struct giveback *g)
{
	uint8_t *to = out;

	for (size_t i = 0; i < g->n; i++) {
		uint8_t c = g->unread[i];

		if (!c && g->lines && t->c_lflag & ICANON) {
			*to++ = t->c_cc[VEOF];
			continue;
		}
		if (c != '\n' && t->c_lflag & ICANON && is_special(t, c) &&
		    !(g->lines && i + g->fresh >= g->n))
			*to++ = QUOTE;
		*to++ = c;
	}
	return (size_t)(to - out);
}

/* Return: how many bytes of @p, which has room for QUEUE */
static size_t take_queue(int tty, const struct termios *t, uint8_t *p)
{
	struct pollfd typed = { tty, POLLIN, 0 };
	size_t n = 0;

	while (n < QUEUE && poll(&typed, 1, 0) == 1 && typed.revents & POLLIN) {
		ssize_t got = read(tty, p + n, QUEUE - n);

		if (got < 0)
			break;
		if (got == 0)
			p[n++] = t->c_cc[VEOF];
		n += (size_t)got;
	}
	return n;
}

/*
 * A master's bytes are taken by a work queue, whenever that runs (drivers/tty/tty_buffer.c), and what they mean is what
 * the terminal's settings say then. Lines are seen to arrive; a beginning of one is not, and has to be given time.
 */
static void wait_until_taken(int tty, const struct termios *t, const struct giveback *g)
{
	size_t whole = 0, seen = 0;
	int queued;

	for (size_t i = 0; i < g->n; i++) {
		bool end = !g->unread[i] && g->lines;

		seen += !(end && t->c_lflag & ICANON);
		if (end || g->unread[i] == '\n' || !(t->c_lflag & ICANON))
			whole = seen;
	}
	for (int i = 0; i < TAKEN_MS && ioctl(tty, FIONREAD, &queued) == 0 && queued < (int)whole; i++)
		poll(NULL, 0, 1);
	if (whole < seen)
		poll(NULL, 0, REST_MS);
}

int giveback(int tty, const struct termios *settings, const struct giveback *g)
{
	_cleanup_free_ uint8_t *quoted = malloc(2 * g->n + 1), *typed = malloc(g->typed_n + QUEUE);
	_cleanup_close_ int master = -EBADF;
	struct termios now = *settings;
	size_t n = g->typed_n;
	int r;

	if (!quoted || !typed)
		return -ENOMEM;
	quiet(&now);
	if (tcsetattr(tty, TCSANOW, &now) < 0)
		return -errno;
	if (n)
		memcpy(typed, g->typed, n);
	/* what came while it was raw is one line now, whatever is in it (n_tty.c: n_tty_set_termios()) */
	n += take_queue(tty, &now, typed + n);
	r = type(tty, &master, quoted, quote(quoted, &now, g));
	if (master >= 0)
		wait_until_taken(tty, &now, g);
	if (r < 0 || !n)
		return r;
	now = *settings;
	/* a Ctrl-C would be ours, who are in the foreground still, and not the shell's */
	now.c_lflag &= ~(tcflag_t)ISIG;
	if (tcsetattr(tty, TCSANOW, &now) < 0)
		return -errno;
	return type(tty, &master, typed, n);
}
