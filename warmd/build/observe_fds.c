/* SPDX-License-Identifier: MIT */
/*
 * Descriptors from outside. Each process has a table that says of each number
 * which descriptor of the launch it is, through dup and dup2; numbers that the
 * program opened itself are not in it. Close-on-exec is not tracked but looked up after an exec.
 */
#include "warmd/build/observe_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"
#include "engine/base/proc_path.h"

#define FDS_MAX 65536 /* numbers beyond it are taken for the program's own */

struct fd_info fd_get(const struct proc *p, int fd)
{
	if (fd < 0 || (size_t)fd >= p->nfds)
		return (struct fd_info){ .origin = ORIGIN_INSIDE };
	return p->fds[fd];
}

int fd_put(struct proc *p, int fd, struct fd_info info)
{
	if (fd < 0 || fd >= FDS_MAX)
		return 0;
	if ((size_t)fd >= p->nfds) {
		size_t n = (size_t)fd + 1;

		if (array_reserve(&p->fds, p->nfds, n - p->nfds, sizeof(*p->fds)) < 0)
			return -ENOMEM;
		while (p->nfds < n)
			p->fds[p->nfds++] = (struct fd_info){ .origin = ORIGIN_INSIDE };
	}
	p->fds[fd] = info;
	return 0;
}

int fds_of_root(struct proc *p, int own_fd)
{
	struct dirent *de;
	DIR *dir;
	int r = 0;

	dir = opendir(proc_path(p->pid, "fd").text);
	if (!dir)
		return -errno;
	while (r == 0 && (de = readdir(dir))) {
		int fd = atoi(de->d_name);

		if (de->d_name[0] == '.' || (p->pid == getpid() && fd == dirfd(dir)))
			continue;
		r = fd_put(p, fd, (struct fd_info){ .origin = fd == own_fd ? ORIGIN_OWN : fd });
	}
	closedir(dir);
	return r;
}

int fds_copy(struct proc *to, const struct proc *from)
{
	if (from->nfds == 0)
		return 0;
	to->fds = NULL;
	if (array_reserve(&to->fds, 0, from->nfds, sizeof(*to->fds)) < 0)
		return -ENOMEM;
	memcpy(to->fds, from->fds, from->nfds * sizeof(*to->fds));
	to->nfds = from->nfds;
	return 0;
}

void fds_after_exec(struct proc *p)
{

	for (size_t fd = 0; fd < p->nfds; fd++) {
		if (p->fds[fd].origin == ORIGIN_INSIDE && p->fds[fd].family == 0)
			continue;
		if (readlink(proc_path(p->pid, "fd/%zu", fd).text, (char[1]){ 0 }, 1) < 0 && errno == ENOENT)
			p->fds[fd] = (struct fd_info){ .origin = ORIGIN_INSIDE };
	}
}

int fd_opened_to_write(struct observe *o, struct thread *t, const char *path, int fd)
{
	struct fd_info info = fd_get(t->proc, fd);
	int r;

	info.unread = true;
	r = fd_put(t->proc, fd, info);
	return r < 0 ? r : path_record(o, t, path, RULE_EXISTS, 0, -1);
}

int fd_read(struct observe *o, struct thread *t, int fd)
{
	struct fd_info info = fd_get(t->proc, fd);
	char path[OBSERVE_PATH_MAX];
	int r;

	if (!info.unread)
		return 0;
	info.unread = false;
	r = fd_put(t->proc, fd, info);
	if (r < 0 || peer_fd_path(t->tid, fd, path) < 0)
		return r;
	return path_record(o, t, path, 0, 0, fd);
}

/* the stand-in for what the caller had open beside the standard descriptors is none of its kind */
int fd_look(struct observe *o, const struct thread *t, int fd)
{
	int origin = fd_get(t->proc, fd).origin;

	return origin > 2 ? boundary(o, t, "looks at what descriptor %d, which it inherited, is", origin) : 0;
}

void fd_looked_at(struct observe *o, const struct thread *t, int fd)
{
	int origin = fd_get(t->proc, fd).origin;

	if (origin < 0 || origin > 2)
		return;
	if (o->leading)
		o->keys.stdio |= 1u << origin;
	else
		o->keys.stdio_start |= 1u << origin;
}

/* a call that returns a new descriptor, or (rule->path) stores two of them */
int on_fd_made(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	const struct fd_info info = { .origin = ORIGIN_INSIDE };
	int fds[2], r;

	if (c->ret < 0)
		return 0;
	if (!rule->path)
		return fd_put(t->proc, (int)c->ret, info);
	if (peer_read(o, t->tid, c->args[rule->path - 1], fds, sizeof(fds)) < 0)
		return 0;
	r = fd_put(t->proc, fds[0], info);
	return r < 0 ? r : fd_put(t->proc, fds[1], info);
}

int on_dup(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)o;
	(void)rule;
	return c->ret < 0 ? 0 : fd_put(t->proc, (int)c->ret, fd_get(t->proc, (int)c->args[0]));
}

int on_close(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	uint64_t first = (unsigned int)c->args[0], last = first;

	(void)o;
	(void)rule;
	if (c->ret < 0 && c->ret != -EINTR) /* Linux has closed it then all the same */
		return 0;
	if (c->nr == SYS_close_range) {
		if (c->args[2]) /* CLOSE_RANGE_CLOEXEC closes later, UNSHARE is rare */
			return 0;
		last = (unsigned int)c->args[1];
	}
	for (uint64_t fd = first; fd <= last && fd < t->proc->nfds; fd++)
		t->proc->fds[fd] = (struct fd_info){ .origin = ORIGIN_INSIDE };
	return 0;
}

/*
 * Status flags belong to the description, which the launch shares with its
 * caller: a change would reach the caller's, and a clone's would lack it.
 */
static int on_setfl(struct observe *o, struct thread *t, int fd, int wanted)
{
	const int mask = O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME;
	int flags;

	if (fd_get(t->proc, fd).origin < 0)
		return 0;
	flags = peer_fd_flags(t->tid, fd);
	if (flags < 0 || ((flags ^ wanted) & mask) == 0)
		return 0;
	return boundary(o, t, "changes the flags of descriptor %d", fd_get(t->proc, fd).origin);
}

/* a lock on what the caller has open is the caller's, too, and would be taken on the stand-in */
static int locks(struct observe *o, struct thread *t, int fd, const char *verb)
{
	int origin = fd_get(t->proc, fd).origin;

	if (origin >= 0)
		return boundary(o, t, "%s descriptor %d, which it inherited,", verb, origin);
	return effect_on_fd(o, t, fd, verb);
}

int on_fcntl_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	int fd = (int)c->args[0], origin = fd_get(t->proc, fd).origin;

	(void)rule;
	switch ((int)c->args[1]) {
	case F_SETFL:
		return on_setfl(o, t, fd, (int)c->args[2]);
	case F_GETLK:
	case F_OFD_GETLK:
		return locks(o, t, fd, "asks for locks of");
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		return locks(o, t, fd, "locks");
	case F_SETLEASE:
		return locks(o, t, fd, "takes a lease of");
	case F_SETPIPE_SZ:
	case F_SETOWN:
	case F_SETSIG:
	case F_NOTIFY:
		return origin >= 0 ? boundary(o, t, "changes descriptor %d, which it inherited,", origin) : 0;
	case F_GETFL:
	case F_GETFD:
	case F_GETPIPE_SZ:
		return fd_look(o, t, fd);
	default:
		return 0;
	}
}

int on_lock_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	return locks(o, t, (int)c->args[0], "locks");
}

int on_fcntl(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	switch ((int)c->args[1]) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		return on_dup(o, t, c, rule);
	case F_GETFD: /* how one asks whether it is open: those beyond 2 are, as the caller's */
		if (fd_get(t->proc, (int)c->args[0]).origin > 2)
			return 0;
		fd_looked_at(o, t, (int)c->args[0]);
		return 0;
	case F_GETFL:
	case F_GETPIPE_SZ:
		fd_looked_at(o, t, (int)c->args[0]);
		return 0;
	default:
		return 0;
	}
}

/* where it is says nothing of a launch that is looked at as a new file; where it is moved to, or ends, does */
int on_lseek_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	int fd = (int)c->args[0], origin = fd_get(t->proc, fd).origin;

	(void)rule;
	if (origin < 0 || o->live || (c->args[1] == 0 && (int)c->args[2] == SEEK_CUR))
		return fd_look(o, t, fd);
	return boundary(o, t, "moves in descriptor %d, which it inherited,", origin);
}

int on_fstat_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	return fd_look(o, t, (int)c->args[0]);
}

int on_fstat(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	if (!stream_answered(o, t, c))
		fd_looked_at(o, t, (int)c->args[0]);
	return 0;
}
