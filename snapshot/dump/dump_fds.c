/* SPDX-License-Identifier: MIT */
/*
 * dump_fds.c - descriptors and the open file descriptions behind them.
 *
 * Which descriptors share a description is asked of kcmp(2). Where that says nothing (no CONFIG_KCMP, a seccomp filter)
 * a process that has descriptors to be told apart is refused.
 */
#include "snapshot/dump/dump.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "snapshot/dump/dump_sockets.h"

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

#define DEFAULT_PIPE_SIZE 65536 /* pipe(7), since 2.6.11; with 4 KiB pages */

struct source {
	struct model *m;
	struct model_process *p;
	struct model_fd_table *table;
	const struct dump_options *o;
	int pidfd;
	int fd; /* the number in the process */
	char link[4096];
	char *fdinfo;
	struct error *err;
};

static int refuse(const struct source *s, const char *what)
{
	return error_set(s->err, EOPNOTSUPP, "process %d has descriptor %d open on %s (%s)", s->p->pid, s->fd,
			 what, s->link);
}

static uint64_t info_number(const struct source *s, const char *key, int base)
{
	const char *p = strstr(s->fdinfo, key);

	return p ? strtoull(p + strlen(key), NULL, base) : 0;
}

static struct model_description *new_description(struct source *s)
{
	struct model_description *d = array_append(&s->m->descriptions, &s->m->ndescriptions, sizeof(*d));

	if (!d)
		return NULL;
	d->kind = MODEL_FD_KINDS;
	d->peer = MODEL_NONE;
	d->flags = (uint32_t)info_number(s, "flags:\t", 8) & ~(uint32_t)O_CLOEXEC;
	return d;
}

/*
 * What a clone opens for the file at @s->link. What lies below /proc/PID belongs to one process: a clone has its own in the
 * place of the program's. Its first thread opens them, so for that one there is a name; for the others, and for other
 * processes, there is none. Return: 0, 1 if there is none, or -ENOMEM
 */
static int path_in_clone(const struct source *s, char **ret)
{
	const char *rest;
	char *end;
	long pid;

	if (strncmp(s->link, "/proc/", 6) != 0 || s->link[6] < '0' || s->link[6] > '9') {
		*ret = strdup(s->link);
		return *ret ? 0 : -ENOMEM;
	}
	pid = strtol(s->link + 6, &end, 10);
	if (pid != s->p->pid || (*end && *end != '/'))
		return 1;
	rest = end;
	if (strncmp(rest, "/task/", 6) != 0)
		return asprintf(ret, "/proc/self%s", rest) < 0 ? -ENOMEM : 0;
	pid = strtol(rest + 6, &end, 10);
	if (pid != s->p->pid || (*end && *end != '/'))
		return 1;
	return asprintf(ret, "/proc/thread-self%s", end) < 0 ? -ENOMEM : 0;
}

static int dump_path(struct source *s, struct model_description *d, const struct stat *st)
{
	_cleanup_close_ int again = -EBADF;
	struct stat now;
	char *path;
	int r;

	if (stat(s->link, &now) < 0 || now.st_dev != st->st_dev || now.st_ino != st->st_ino)
		return refuse(s, "a file that was deleted or replaced");
	r = path_in_clone(s, &path);
	if (r != 0)
		return r < 0 ? r : refuse(s, "a file of /proc that belongs to another process or thread");
	d->kind = MODEL_FD_PATH;
	d->path.path = path;
	d->path.offset = info_number(s, "pos:\t", 10);
	d->path.dev = st->st_dev;
	d->path.ino = st->st_ino;
	/* what only made sense when it was first opened */
	d->flags &= ~(uint32_t)(O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY);
	/* its mode may allow less than when the program opened it */
	again = open(s->link, (int)d->flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return again < 0 ? refuse(s, "a file that cannot be opened again") : 0;
}

/*
 * A device whose open file is more than its name: a tun interface, an ALSA stream. What is opened again by its name is
 * known to have no such state (Documentation/admin-guide/devices.txt): null, zero, full, random, urandom, kmsg for
 * writing, and terminals, which are looked at elsewhere.
 */
static bool device_has_state(const struct model_description *d, dev_t dev)
{
	if (d->flags & O_PATH)
		return false;
	if (major(dev) == 1)
		switch (minor(dev)) {
		case 3:
		case 5:
		case 7:
		case 8:
		case 9:
			return false;
		case 11:
			return (d->flags & O_ACCMODE) != O_WRONLY;
		}
	return major(dev) != 4 && major(dev) != 5;
}

/* bytes waiting in a pipe, left where they are: tee(2) into another */
static int peek_pipe(struct source *s, struct model_description *d, int fd)
{
	_cleanup_close_ int out = -EBADF, in = -EBADF;
	int waiting = 0, ends[2];
	ssize_t n;

	if (ioctl(fd, FIONREAD, &waiting) < 0 || waiting == 0)
		return 0;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	out = ends[0];
	in = ends[1];
	fcntl(in, F_SETPIPE_SZ, fcntl(fd, F_GETPIPE_SZ));
	n = tee(fd, in, (size_t)waiting, SPLICE_F_NONBLOCK);
	if (n != waiting)
		return refuse(s, "a pipe whose contents cannot be read");
	d->data = malloc((size_t)n);
	if (!d->data)
		return -ENOMEM;
	d->data_len = (size_t)n;
	return read_full(out, d->data, d->data_len);
}

static int dump_pipe(struct source *s, struct model_description *d, const struct stat *st, int fd)
{
	d->kind = MODEL_FD_PIPE;
	d->pipe.inode = st->st_ino;
	if (strncmp(s->link, "pipe:", 5) != 0)
		return refuse(s, "a FIFO");
	d->pipe.room = (uint32_t)fcntl(fd, F_GETPIPE_SZ);
	if (d->pipe.room == DEFAULT_PIPE_SIZE)
		d->pipe.room = 0;
	return (d->flags & O_ACCMODE) == O_RDONLY ? peek_pipe(s, d, fd) : 0;
}

static int dump_one_socket(struct source *s, struct model_description *d, const struct stat *st, int fd)
{
	const char *refusal = "a socket";
	int r = dump_socket(d, fd, st->st_ino, &refusal);

	return r == -EOPNOTSUPP ? refuse(s, refusal) : r;
}

static int dump_epoll(struct source *s, struct model_description *d)
{
	int index = (int)(d - s->m->descriptions);

	d->kind = MODEL_FD_EPOLL;
	for (const char *p = s->fdinfo; (p = strstr(p, "tfd:")); p += 4) {
		struct model_epoll *added,
			t = { .description = index, .fd_table = s->p->fd_table, .target = MODEL_NONE };

		if (sscanf(p, "tfd: %d events: %x data: %lx", &t.fd, &t.events, &t.data) != 3)
			return refuse(s, "an epoll whose entries cannot be read");
		added = array_append(&s->m->epolls, &s->m->nepolls, sizeof(*added));
		if (!added)
			return -ENOMEM;
		*added = t;
	}
	return 0;
}

static int dump_timerfd(struct source *s, struct model_description *d)
{
	uint64_t sec = 0, nsec = 0;
	const char *p;

	d->kind = MODEL_FD_TIMERFD;
	d->timerfd.clock = (uint32_t)info_number(s, "clockid: ", 10);
	p = strstr(s->fdinfo, "it_value: (");
	if (p && sscanf(p, "it_value: (%lu, %lu)", &sec, &nsec) == 2)
		d->timerfd.value_ns = sec * 1000000000u + nsec;
	p = strstr(s->fdinfo, "it_interval: (");
	if (p && sscanf(p, "it_interval: (%lu, %lu)", &sec, &nsec) == 2)
		d->timerfd.interval_ns = sec * 1000000000u + nsec;
	if (info_number(s, "ticks: ", 10))
		return refuse(s, "a timerfd that has expired");
	return 0;
}

/* does a read take one from the count? The kernel says so since 6.5 or so; before, try and undo it */
static bool is_semaphore(const struct source *s, uint64_t count, int fd)
{
	uint64_t v = 2;

	if (strstr(s->fdinfo, "eventfd-semaphore:"))
		return info_number(s, "eventfd-semaphore:", 10);
	if (write(fd, &v, 8) != 8 || read(fd, &v, 8) != 8)
		return false;
	if (v == 1)
		return read(fd, &v, 8) == 8;
	if (count && write(fd, &count, 8) != 8)
		return false;
	return false;
}

static int dump_anon(struct source *s, struct model_description *d, int fd)
{
	if (strcmp(s->link, "anon_inode:[eventfd]") == 0) {
		d->kind = MODEL_FD_EVENTFD;
		d->eventfd.count = info_number(s, "eventfd-count:", 16);
		if (d->eventfd.count > UINT32_MAX)
			return refuse(s, "an eventfd with a count beyond 32 bits");
		d->eventfd.semaphore = is_semaphore(s, d->eventfd.count, fd);
		return 0;
	}
	if (strcmp(s->link, "anon_inode:[eventpoll]") == 0)
		return dump_epoll(s, d);
	if (strcmp(s->link, "anon_inode:[timerfd]") == 0)
		return dump_timerfd(s, d);
	if (strcmp(s->link, "anon_inode:[signalfd]") == 0) {
		d->kind = MODEL_FD_SIGNALFD;
		d->signalfd.mask = info_number(s, "sigmask:\t", 16);
		return 0;
	}
	if (strncmp(s->link, "anon_inode:inotify", 18) == 0)
		return refuse(s, "an inotify instance");
	if (strncmp(s->link, "anon_inode:[io_uring]", 21) == 0)
		return refuse(s, "an io_uring");
	return refuse(s, "an object that cannot be made again");
}

/* to whom SIGIO goes: F_SETOWN, F_SETSIG of fcntl(2) */
static int dump_owner(struct source *s, struct model_description *d, int fd)
{
	struct f_owner_ex owner = { 0 };
	int signo = fcntl(fd, F_GETSIG);

	if (fcntl(fd, F_GETOWN_EX, &owner) < 0 || owner.pid == 0)
		return 0;
	if (owner.type != F_OWNER_PID || owner.pid != s->p->pid)
		return refuse(s, "a file whose signals go to another process or a thread (F_SETOWN)");
	d->owner = (int)(s->p - s->m->processes);
	d->owner_signo = signo > 0 ? signo : -1;
	return 0;
}

/* one that the program opened by its name: the clone's own, /dev/tty or as its standard descriptor is */
static int dump_terminal(struct source *s, struct model_description *d, const struct stat *st)
{
	bool by_name = strcmp(s->link, "/dev/tty") == 0;

	if (!s->o->terminal || (!by_name && st->st_rdev != s->o->terminal))
		return refuse(s, "a terminal that it opened itself");
	d->kind = MODEL_FD_TTY;
	d->outside.of = by_name ? MODEL_DEV_TTY : s->o->terminal_fd;
	d->outside.path = strdup(s->link);
	d->flags &= ~(uint32_t)(O_CREAT | O_EXCL | O_TRUNC);
	d->flags |= O_NOCTTY;
	return d->outside.path ? 0 : -ENOMEM;
}

/*
 * One that came from the caller, opened once more by a name that it has in each process (/dev/stdout, /proc/self/fd/1): a clone opens its
 * own there. Of a file that is not appended to, the offset and what O_TRUNC did would be the stand-in's.
 */
static int dump_opened_again(struct source *s, struct model_description *d, const struct stat *st, int of)
{
	if (!S_ISFIFO(st->st_mode) && !(d->flags & O_APPEND))
		return refuse(
			s,
			"one of its standard descriptors, opened by name, which is a file (appending would be the same in each launch)");
	d->kind = MODEL_FD_TTY;
	d->outside.of = of;
	d->outside.path = strdup(s->link);
	d->flags &= ~(uint32_t)(O_CREAT | O_EXCL | O_TRUNC);
	return d->outside.path ? 0 : -ENOMEM;
}

/* the descriptor from outside that is the same pipe or file, but not the same open one; -1 */
static int same_outside(const struct source *s, const struct stat *st)
{
	for (size_t i = 0; i < s->o->noutside; i++) {
		char path[64];
		struct stat other;

		snprintf(path, sizeof(path), "/proc/%d/fd/%zu", s->p->pid, i);
		if (s->o->outside[i] && stat(path, &other) == 0 && other.st_dev == st->st_dev &&
		    other.st_ino == st->st_ino && (S_ISFIFO(st->st_mode) || S_ISREG(st->st_mode)))
			return (int)i;
	}
	return -1;
}

static int dump_by_kind(struct source *s, struct model_description *d, const struct stat *st, int fd)
{
	if (strncmp(s->link, "anon_inode:", 11) == 0)
		return dump_anon(s, d, fd);
	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
		if (strncmp(s->link, "/memfd:", 7) == 0)
			return refuse(s, "a memfd");
		return dump_path(s, d, st);
	case S_IFDIR:
		return dump_path(s, d, st);
	case S_IFCHR:
		if (strncmp(s->link, "/dev/pts/", 9) == 0 || strcmp(s->link, "/dev/tty") == 0 ||
		    strcmp(s->link, "/dev/ptmx") == 0)
			return dump_terminal(s, d, st);
		if (device_has_state(d, st->st_rdev))
			return refuse(s, "a device that keeps a state for who has it open");
		return dump_path(s, d, st);
	case S_IFBLK:
		return refuse(s, "a block device");
	case S_IFIFO:
		return dump_pipe(s, d, st, fd);
	case S_IFSOCK:
		return dump_one_socket(s, d, st, fd);
	default:
		return refuse(s, "a kind of file that cannot be made again");
	}
}

static int dump_one(struct source *s)
{
	_cleanup_close_ int fd = (int)syscall(SYS_pidfd_getfd, s->pidfd, s->fd, 0);
	struct model_description *d = new_description(s);
	struct stat st;
	int r, of;

	if (!d)
		return -ENOMEM;
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(s->err, errno, "process %d: taking descriptor %d (pidfd_getfd)", s->p->pid,
				   s->fd);
	if (strstr(s->fdinfo, "lock:\t"))
		return refuse(s, "a file that it holds a lock or lease on");
	r = dump_owner(s, d, fd);
	if (r < 0)
		return r;
	of = same_outside(s, &st);
	return of < 0 ? dump_by_kind(s, d, &st, fd) : dump_opened_again(s, d, &st, of);
}

/* Return: 1: @a and @b of the process are one open file; 0: they are not; -EOPNOTSUPP: nobody tells */
static int same_file(const struct source *s, int a, int b)
{
	long r = syscall(SYS_kcmp, s->p->pid, s->p->pid, KCMP_FILE, a, b);

	if (r >= 0)
		return r == 0;
	/* @b is there. @a, one of the caller's, may have been closed by the program */
	if (errno == EBADF)
		return 0;
	return error_set(
		s->err, EOPNOTSUPP,
		"process %d: the kernel does not tell whether descriptors %d and %d are one open file (kcmp: %s)",
		s->p->pid, a, b, strerror(errno));
}

/* the description of an earlier descriptor that is the same open file. Return: 1, 0: none, or a negative errno */
static int same_description(const struct source *s, int *ret)
{
	for (size_t i = 0; i < s->table->nfds; i++) {
		int r = same_file(s, s->table->fds[i].fd, s->fd);

		*ret = s->table->fds[i].description;
		if (r != 0)
			return r;
	}
	return 0;
}

/* a dup of a descriptor that came from the caller is one in a clone too. Return: 1 with its number, 0, or a negative errno */
static int dup_of_outside(const struct source *s, const struct dump_options *o, int *ret)
{
	for (size_t i = 0; i < o->noutside; i++) {
		int r = o->outside[i] ? same_file(s, (int)i, s->fd) : 0;

		*ret = (int)i;
		if (r != 0)
			return r;
	}
	return 0;
}

static int dump_dup(struct source *s, int of)
{
	struct model_description *d = new_description(s);

	if (!d)
		return -ENOMEM;
	d->kind = MODEL_FD_CALLER;
	d->outside.of = of;
	return 0;
}

/* one that was not met before. Return: 0 with *ret its description, or a negative errno */
static int add_description(struct source *s, const struct dump_options *o, int *ret)
{
	int outside, r = same_description(s, ret);

	if (r != 0)
		return r < 0 ? r : 0;
	r = dup_of_outside(s, o, &outside);
	if (r < 0)
		return r;
	*ret = (int)s->m->ndescriptions;
	return r ? dump_dup(s, outside) : dump_one(s);
}

static int add_fd(struct source *s, const struct dump_options *o)
{
	struct model_fd *added;
	char path[64];
	ssize_t n;
	int r, d;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", s->p->pid, s->fd);
	n = readlink(path, s->link, sizeof(s->link) - 1);
	if (n < 0)
		return error_errno(s->err, errno, "reading %s", path);
	s->link[n] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", s->p->pid, s->fd);
	r = read_file(path, &s->fdinfo, NULL);
	if (r < 0)
		return error_errno(s->err, r, "reading %s", path);
	r = add_description(s, o, &d);
	if (r == 0) {
		added = array_append(&s->table->fds, &s->table->nfds, sizeof(*added));
		if (!added)
			return -ENOMEM;
		*added = (struct model_fd){
			.fd = s->fd,
			.description = d,
			.cloexec = info_number(s, "flags:\t", 8) & O_CLOEXEC,
		};
	}
	free(s->fdinfo);
	s->fdinfo = NULL;
	return r == -ENOMEM ? error_set(s->err, ENOMEM, "no memory") : r;
}

/* one end of a pipe may have been closed; both of a pair of sockets must be here */
static int pair_up(struct model *m, const struct model_process *p, struct error *err)
{
	const char *refusal;

	for (size_t i = 0; i < m->ndescriptions; i++) {
		struct model_description *d = &m->descriptions[i];

		for (size_t j = 0; d->kind == MODEL_FD_PIPE && d->peer < 0 && j < m->ndescriptions; j++) {
			struct model_description *e = &m->descriptions[j];

			if (j == i || e->kind != MODEL_FD_PIPE || e->peer >= 0 ||
			    e->pipe.inode != d->pipe.inode || !((e->flags ^ d->flags) & O_ACCMODE))
				continue;
			d->peer = (int)j;
			e->peer = (int)i;
		}
	}
	if (dump_socket_pairs(m, &refusal) < 0)
		return error_set(err, EOPNOTSUPP, "process %d has %s", p->pid, refusal);
	return 0;
}

/* what epolls of this table watch; a number that is no descriptor of the process's own is its caller's */
static void find_targets(struct model *m, int table)
{
	const struct model_fd_table *t = &m->fd_tables[table];

	for (size_t i = 0; i < m->nepolls; i++)
		for (size_t j = 0; m->epolls[i].fd_table == table && j < t->nfds; j++)
			if (t->fds[j].fd == m->epolls[i].fd)
				m->epolls[i].target = t->fds[j].description;
}

static bool skip(const struct dump_options *o, int fd)
{
	return fd == o->skip_fd || ((size_t)fd < o->noutside && o->outside[fd]);
}

static int by_number(const void *a, const void *b)
{
	const struct model_fd *x = a, *y = b;

	return x->fd < y->fd ? -1 : x->fd > y->fd;
}

int dump_descriptors(const struct frozen_process *frozen, const struct dump_options *o, struct model *m,
		     struct model_process *p, struct error *err)
{
	struct source s = { .m = m,
			    .p = p,
			    .table = &m->fd_tables[p->fd_table],
			    .o = o,
			    .pidfd = frozen->pidfd,
			    .err = err };
	DIR *dir = opendir(proc_path(p->pid, "fd").text);
	struct dirent *e;
	int r = 0;

	if (!dir)
		return error_errno(err, errno, "reading /proc/%d/fd", p->pid);
	while (r == 0 && (e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		s.fd = atoi(e->d_name);
		if (!skip(o, s.fd))
			r = add_fd(&s, o);
	}
	closedir(dir);
	free(s.fdinfo);
	if (r < 0)
		return r;
	if (s.table->nfds)
		qsort(s.table->fds, s.table->nfds, sizeof(*s.table->fds), by_number);
	find_targets(m, p->fd_table);
	return pair_up(m, p, err);
}
