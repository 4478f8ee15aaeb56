/* SPDX-License-Identifier: MIT */
/*
 * dump_fds.c - a table of descriptors, and which of them share an open file description. What a description is in itself is
 * for its kind to tell: snapshot/kinds/fd.h.
 *
 * Which descriptors share one is asked of kcmp(2). Where that says nothing (no CONFIG_KCMP, a seccomp filter) a process that
 * has descriptors to be told apart is refused.
 */
#include "snapshot/dump/dump.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "snapshot/kinds/fd.h"

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

/* a process's descriptors, one at a time */
struct look {
	const struct model_process *p;
	struct model_fd_table *table;
	const struct dump_options *o;
	int pidfd;
	char link[4096];
	char *fdinfo;
	struct fd_source s;
};

/* to whom SIGIO goes: F_SETOWN, F_SETSIG of fcntl(2) */
static int dump_owner(const struct look *l, struct model_description *d)
{
	struct f_owner_ex owner = { 0 };
	int signo = fcntl(l->s.fd, F_GETSIG);

	if (fcntl(l->s.fd, F_GETOWN_EX, &owner) < 0 || owner.pid == 0)
		return 0;
	if (owner.type != F_OWNER_PID || owner.pid != l->p->pid)
		return fd_refuse(&l->s, "a file whose signals go to another process or a thread (F_SETOWN)");
	d->owner = (int)(l->p - l->s.model->processes);
	d->owner_signo = signo > 0 ? signo : -1;
	return 0;
}

/* the descriptor from outside that is the same pipe or file, but not the same open one; -1 */
static int same_outside(const struct look *l)
{
	const struct stat *st = &l->s.st;

	for (size_t i = 0; i < l->o->noutside; i++) {
		struct stat other;

		if (l->o->outside[i] && stat(proc_path(l->p->pid, "fd/%zu", i).text, &other) == 0 &&
		    other.st_dev == st->st_dev && other.st_ino == st->st_ino &&
		    (S_ISFIFO(st->st_mode) || S_ISREG(st->st_mode)))
			return (int)i;
	}
	return -1;
}

/* through a descriptor of this process for the same open file: what the dump wants to know of any kind */
static int look_into(struct look *l, struct model_description *d)
{
	struct fd_source *s = &l->s;

	if (s->fd < 0 || fstat(s->fd, &s->st) < 0)
		return error_errno(s->err, errno, "process %d: taking descriptor %d (pidfd_getfd)", s->pid,
				   s->number);
	if (strstr(s->fdinfo, "lock:\t"))
		return fd_refuse(s, "a file that it holds a lock or lease on");
	s->same_as = same_outside(l);
	return dump_owner(l, d);
}

/* a description that was not met before */
static int dump_description(struct look *l)
{
	struct fd_source *s = &l->s;
	struct model_description *d = array_append(&s->model->descriptions, &s->model->ndescriptions,
						   sizeof(*d));
	int r = 0;

	if (!d)
		return -ENOMEM;
	d->kind = MODEL_FD_KINDS; /* none yet */
	d->peer = MODEL_NONE;
	d->flags = (uint32_t)fd_info_number(s, "flags:\t", 8) & ~(uint32_t)O_CLOEXEC;
	s->same_as = -1;
	s->fd = -EBADF;
	if (s->dup_of < 0) {
		s->fd = (int)syscall(SYS_pidfd_getfd, l->pidfd, s->number, 0);
		r = look_into(l, d);
	}
	if (r == 0)
		r = fd_kind_dump(s, d);
	s->fd = fd_close(s->fd);
	return r;
}

/* Return: 1: @a and @b of the process are one open file; 0: they are not; -EOPNOTSUPP: nobody tells */
static int same_file(const struct look *l, int a, int b)
{
	long r = syscall(SYS_kcmp, l->p->pid, l->p->pid, KCMP_FILE, a, b);

	if (r >= 0)
		return r == 0;
	/* @b is there. @a, one of the caller's, may have been closed by the program */
	if (errno == EBADF)
		return 0;
	return error_set(
		l->s.err, EOPNOTSUPP,
		"process %d: the kernel does not tell whether descriptors %d and %d are one open file (kcmp: %s)",
		l->p->pid, a, b, strerror(errno));
}

/* the description of an earlier descriptor that is the same open file. Return: 1, 0: none, or a negative errno */
static int same_description(const struct look *l, int *ret)
{
	for (size_t i = 0; i < l->table->nfds; i++) {
		int r = same_file(l, l->table->fds[i].fd, l->s.number);

		*ret = l->table->fds[i].description;
		if (r != 0)
			return r;
	}
	return 0;
}

/* a dup of a descriptor that came from the caller is one in a clone too. @ret: its number, or -1. Return: 0 or a negative errno */
static int find_outside(const struct look *l, int *ret)
{
	*ret = -1;
	for (size_t i = 0; i < l->o->noutside; i++) {
		int r = l->o->outside[i] ? same_file(l, (int)i, l->s.number) : 0;

		if (r < 0)
			return r;
		if (r > 0) {
			*ret = (int)i;
			return 0;
		}
	}
	return 0;
}

/* Return: 0 with *ret the descriptor's description, or a negative errno */
static int find_description(struct look *l, int *ret)
{
	int r = same_description(l, ret);

	if (r != 0)
		return r < 0 ? r : 0;
	r = find_outside(l, &l->s.dup_of);
	if (r < 0)
		return r;
	*ret = (int)l->s.model->ndescriptions;
	return dump_description(l);
}

/* what /proc says of it */
static int read_info(struct look *l)
{
	ssize_t n = readlink(proc_path(l->p->pid, "fd/%d", l->s.number).text, l->link, sizeof(l->link) - 1);
	int r = n < 0 ? -errno : 0;

	if (r == 0) {
		l->link[n] = '\0';
		r = read_file(proc_path(l->p->pid, "fdinfo/%d", l->s.number).text, &l->fdinfo, NULL);
	}
	l->s.link = l->link;
	l->s.fdinfo = l->fdinfo;
	return r < 0 ? error_errno(l->s.err, r, "reading /proc/%d/fd/%d", l->p->pid, l->s.number) : 0;
}

static int add_fd(struct look *l)
{
	struct model_fd *f;
	int description = -1, r = read_info(l);

	if (r == 0)
		r = find_description(l, &description);
	if (r == 0) {
		f = array_append(&l->table->fds, &l->table->nfds, sizeof(*f));
		r = f ? 0 : -ENOMEM;
		if (f)
			*f = (struct model_fd){
				.fd = l->s.number,
				.description = description,
				.cloexec = fd_info_number(&l->s, "flags:\t", 8) & O_CLOEXEC,
			};
	}
	free(l->fdinfo);
	l->fdinfo = NULL;
	return r == -ENOMEM ? error_set(l->s.err, ENOMEM, "no memory") : r;
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
	struct look l = { .p = p, .table = &m->fd_tables[p->fd_table], .o = o, .pidfd = frozen->pidfd };
	DIR *dir = opendir(proc_path(p->pid, "fd").text);
	struct dirent *e;
	int r = 0;

	l.s = (struct fd_source){
		.model = m,
		.pid = p->pid,
		.fd_table = p->fd_table,
		.terminal = o->terminal,
		.terminal_of = o->terminal_fd,
		.err = err,
	};
	if (!dir)
		return error_errno(err, errno, "reading /proc/%d/fd", p->pid);
	while (r == 0 && (e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		l.s.number = atoi(e->d_name);
		if (!skip(o, l.s.number))
			r = add_fd(&l);
	}
	closedir(dir);
	if (r < 0)
		return r;
	if (l.table->nfds)
		qsort(l.table->fds, l.table->nfds, sizeof(*l.table->fds), by_number);
	return fd_kinds_link(m, p->pid, err);
}
