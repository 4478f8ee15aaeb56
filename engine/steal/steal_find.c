/* SPDX-License-Identifier: MIT */
/* steal_find.c - processes and their terminals, as /proc has them */
#include "engine/steal/steal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"
#include "engine/base/pidfd.h"
#include "engine/base/proc_path.h"
#include "engine/proc.h"
#include "engine/frozen.h"

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#define GET_DEV _IOR('T', 0x32, unsigned int) /* TIOCGDEV */

/* as the kernel encodes device numbers for user space: new_encode_dev() */
static dev_t decode_dev(uint64_t number)
{
	return makedev(number >> 8 & 0xfff, (number & 0xff) | (number >> 12 & 0xfff00));
}

int steal_parse_stat(const char *text, struct steal_process *ret)
{
	const char *open = strchr(text, '('), *close = strrchr(text, ')');
	struct steal_process p = { 0 };
	uint64_t number[9] = { 0 };
	size_t len;

	if (!open || !close || close < open || close[1] != ' ')
		return -EBADMSG;
	p.pid = (pid_t)strtol(text, NULL, 10);
	p.state = close[2];
	len = (size_t)(close - open - 1);
	memcpy(p.name, open + 1, len < sizeof(p.name) ? len : sizeof(p.name) - 1);
	for (int field = 4; field <= 8; field++)
		if (proc_stat_field(text, field, &number[field]) < 0)
			return -EBADMSG;
	p.ppid = (pid_t)number[4];
	p.group = (pid_t)number[5];
	p.session = (pid_t)number[6];
	p.tty = number[7] ? decode_dev(number[7]) : 0;
	p.foreground = (pid_t)number[8];
	*ret = p;
	return 0;
}

int steal_processes_read(struct steal_processes *ret, struct error *err)
{
	struct steal_processes all = { 0 };
	struct dirent *entry;
	int r = 0;
	DIR *dir = opendir("/proc");

	if (!dir || access("/proc/self/stat", R_OK) < 0) {
		if (dir)
			closedir(dir);
		return error_set(err, ENOENT, "/proc is not mounted: mount -t proc proc /proc");
	}
	while (r == 0 && (entry = readdir(dir))) {
		_cleanup_free_ char *text = NULL;
		struct steal_process p, *added;

		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		if (read_file(proc_path(atoi(entry->d_name), "stat").text, &text, NULL) < 0 ||
		    steal_parse_stat(text, &p) < 0)
			continue;
		added = array_append(&all.v, &all.n, sizeof(*added));
		if (added)
			*added = p;
		else
			r = -ENOMEM;
	}
	closedir(dir);
	if (r < 0) {
		free(all.v);
		return error_set(err, ENOMEM, "no memory");
	}
	*ret = all;
	return 0;
}

const struct steal_process *steal_process_find(const struct steal_processes *all, pid_t pid)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->v[i].pid == pid)
			return &all->v[i];
	return NULL;
}

int steal_fd_flags(pid_t pid, int fd, int *ret_tty_index)
{
	_cleanup_free_ char *text = NULL;
	const char *flags, *index;
	int r;

	r = read_file(proc_path(pid, "fdinfo/%d", fd).text, &text, NULL);
	if (r < 0)
		return r;
	flags = strstr(text, "flags:");
	if (!flags)
		return -EBADMSG;
	if (ret_tty_index) {
		index = strstr(text, "\ntty-index:");
		*ret_tty_index = index ? (int)strtol(index + 11, NULL, 10) : -1;
	}
	return (int)strtol(flags + 6, NULL, 8);
}

/* /dev/tty is the controlling terminal that its opener had then: asked of the file itself */
static bool is_really(int pidfd, int fd, dev_t tty)
{
	_cleanup_close_ int copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	unsigned int number;

	return copy >= 0 && ioctl(copy, GET_DEV, &number) == 0 && decode_dev(number) == tty;
}

static DIR *open_fds(pid_t pid)
{

	return opendir(proc_path(pid, "fd").text);
}

ssize_t steal_tty_fds(pid_t pid, dev_t tty, struct steal_fd *fds, size_t room, struct error *err)
{
	_cleanup_close_ int pidfd = pidfd_open_process(pid);
	struct dirent *entry;
	size_t n = 0;
	DIR *dir = open_fds(pid);

	if (!dir)
		return errno == ENOENT ? 0 : frozen_denied(pid, errno, err);
	while (n < room && (entry = readdir(dir))) {
		int fd = (int)strtol(entry->d_name, NULL, 10), flags;
		struct stat st;

		if (entry->d_name[0] == '.' || fstatat(dirfd(dir), entry->d_name, &st, 0) < 0 ||
		    !S_ISCHR(st.st_mode))
			continue;
		if (st.st_rdev != tty && !(st.st_rdev == makedev(5, 0) && is_really(pidfd, fd, tty)))
			continue;
		flags = steal_fd_flags(pid, fd, NULL);
		/* O_PATH names it only */
		if (flags >= 0 && !(flags & O_PATH))
			fds[n++] = (struct steal_fd){ fd, flags };
	}
	closedir(dir);
	return (ssize_t)n;
}

/* --- who has the master ------------------------------------------------------------- */

/* the index tells the pty within one devpts, the session tells which devpts. Return: 1: it is that; 0; or a negative errno */
static int is_master(pid_t pid, int fd, pid_t session)
{
	_cleanup_close_ int pidfd = pidfd_open_process(pid);
	_cleanup_close_ int copy = pidfd < 0 ? -EBADF : (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	pid_t found;

	if (copy < 0)
		return errno == EPERM ? -EPERM : 0;
	return ioctl(copy, TIOCGSID, &found) == 0 && found == session;
}

/* Return: 0, or a negative errno: one that must not be left out */
static int look_at(struct steal *st, pid_t pid, DIR *dir, struct error *err)
{
	int index = (int)(minor(st->target.tty) | (major(st->target.tty) - 136) << 8), at, r;
	struct dirent *entry;

	while ((entry = readdir(dir))) {
		int fd = (int)strtol(entry->d_name, NULL, 10), flags;
		struct stat s;

		if (entry->d_name[0] == '.' || fstatat(dirfd(dir), entry->d_name, &s, 0) < 0 ||
		    !S_ISCHR(s.st_mode) || s.st_rdev != makedev(5, 2))
			continue;
		flags = steal_fd_flags(pid, fd, &at);
		if (flags < 0 || at != index)
			continue;
		r = is_master(pid, fd, st->target.session);
		if (r < 0)
			return frozen_denied(pid, -r, err);
		if (r == 0)
			continue;
		if (st->nholders == STEAL_HOLDERS_MAX)
			return error_set(err, E2BIG, "more than %d descriptors of it are open",
					 STEAL_HOLDERS_MAX);
		st->holders[st->nholders++] = (struct steal_holder){ pid, fd, flags };
	}
	return 0;
}

/* what the user can do: the emulator is nearly always the parent of the session's leader */
static int nobody(const struct steal *st, struct error *err)
{
	const struct steal_process *leader = steal_process_find(&st->all, st->target.session);
	const struct steal_process *parent = leader ? steal_process_find(&st->all, leader->ppid) : NULL;
	struct error why = { 0 };
	DIR *dir;

	if (!parent || parent->pid == 1)
		return error_set(
			err, ENOENT,
			"no process that may be looked into has the other end of that terminal: run 'warm "
			"attach --steal' as root");
	dir = open_fds(parent->pid);
	if (!dir && (errno == EACCES || errno == EPERM))
		frozen_denied(parent->pid, EPERM, &why);
	if (dir)
		closedir(dir);
	return error_set(
		err, ENOENT,
		"the other end of that terminal is out of reach; probably process %d (%s) has it%s%s",
		parent->pid, parent->name, why.text[0] ? ": " : ": run 'warm attach --steal' as root",
		why.text);
}

int steal_find_holders(struct steal *st, struct error *err)
{
	int r = 0;

	st->nholders = 0;
	for (size_t i = 0; i < st->all.n && r == 0; i++) {
		DIR *dir = st->all.v[i].pid == getpid() ? NULL : open_fds(st->all.v[i].pid);

		if (!dir)
			continue;
		r = look_at(st, st->all.v[i].pid, dir, err);
		closedir(dir);
	}
	if (r == 0 && st->nholders == 0)
		r = nobody(st, err);
	return r;
}
