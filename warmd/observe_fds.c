/* SPDX-License-Identifier: MIT */
/*
 * Descriptors from outside. Each process has a table that says of each number
 * which descriptor of the launch it is, through dup and dup2; numbers that the
 * program opened itself are not in it. Close-on-exec is not tracked but looked up after an exec.
 */
#include "warmd/observe_internal.h"

#include <asm/termbits.h> /* struct termios2, for TCSETS2; <termios.h> would clash */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/base/fd.h"

#define TERMIOS_ROOM 256 /* more than any architecture's struct termios */
#define FDS_MAX	     65536 /* numbers beyond it are taken for the program's own */

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
		size_t n = p->nfds ? p->nfds : 16;
		struct fd_info *fds;

		while (n <= (size_t)fd)
			n *= 2;
		fds = reallocarray(p->fds, n, sizeof(*fds));
		if (!fds)
			return -ENOMEM;
		for (size_t i = p->nfds; i < n; i++)
			fds[i] = (struct fd_info){ .origin = ORIGIN_INSIDE };
		p->fds = fds;
		p->nfds = n;
	}
	p->fds[fd] = info;
	return 0;
}

int fds_of_root(struct proc *p, int own_fd)
{
	char path[64];
	struct dirent *de;
	DIR *dir;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", p->pid);
	dir = opendir(path);
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
	to->fds = malloc(from->nfds * sizeof(*to->fds));
	if (!to->fds)
		return -ENOMEM;
	memcpy(to->fds, from->fds, from->nfds * sizeof(*to->fds));
	to->nfds = from->nfds;
	return 0;
}

void fds_after_exec(struct proc *p)
{
	char link[64];

	for (size_t fd = 0; fd < p->nfds; fd++) {
		if (p->fds[fd].origin == ORIGIN_INSIDE && p->fds[fd].family == 0)
			continue;
		snprintf(link, sizeof(link), "/proc/%d/fd/%zu", p->pid, fd);
		if (readlink(link, (char[1]){ 0 }, 1) < 0 && errno == ENOENT)
			p->fds[fd] = (struct fd_info){ .origin = ORIGIN_INSIDE };
	}
}

void fd_looked_at(struct observe *o, const struct thread *t, int fd)
{
	int origin = fd_get(t->proc, fd).origin;

	/* the stand-in is none of its kind; the builder hears of it when the program is ready */
	if (origin > 2)
		refuse(o, t, false, "looks at what descriptor %d, which it inherited, is", origin);
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
int on_fcntl_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	const int mask = O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME;
	int fd = (int)c->args[0], flags;

	(void)rule;
	if ((int)c->args[1] != F_SETFL || fd_get(t->proc, fd).origin < 0)
		return 0;
	flags = peer_fd_flags(t->tid, fd);
	if (flags < 0 || ((flags ^ (int)c->args[2]) & mask) == 0)
		return 0;
	return refuse_effect(o, t, false, "changes the flags of descriptor %d", fd_get(t->proc, fd).origin);
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

int on_fstat(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	if (!stream_answered(o, t, c))
		fd_looked_at(o, t, (int)c->args[0]);
	return 0;
}

/* keep what was written; takes the data over */
static int output_add(struct observe *o, struct observe_output item)
{
	struct observe_output *more;

	if ((o->noutput & (o->noutput - 1)) == 0) { /* grow at each power of two */
		more = reallocarray(o->output, o->noutput ? o->noutput * 2 : 1, sizeof(*more));
		if (!more) {
			free((void *)item.data);
			return -ENOMEM;
		}
		o->output = more;
	}
	o->output[o->noutput++] = item;
	if (!item.termios)
		o->output_len += item.len;
	return 0;
}

/* the terminal's settings as they are now, asked at its other end */
static int note_termios(struct observe *o)
{
	struct observe_output *last = o->noutput ? &o->output[o->noutput - 1] : NULL;
	char *data = calloc(1, TERMIOS_ROOM);

	if (!data || ioctl(o->terminal_master, TCGETS, data) < 0) {
		free(data);
		return data ? 0 : -ENOMEM;
	}
	o->keys.termios = true;
	/* nothing was written with the ones before */
	if (last && last->termios) {
		free((void *)last->data);
		last->data = data;
		return 0;
	}
	return output_add(o, (struct observe_output){ .fd = o->terminal_fd,
						      .termios = true,
						      .data = data,
						      .len = sizeof(struct termios) });
}

static bool same_size(struct observe *o, const struct thread *t, uint64_t addr)
{
	struct winsize size;

	return peer_read(o, t->tid, addr, &size, sizeof(size)) > 0 && size.ws_row == o->rows &&
	       size.ws_col == o->columns;
}

static bool own_group(struct observe *o, const struct thread *t, uint64_t addr)
{
	pid_t group;

	return peer_read(o, t->tid, addr, &group, sizeof(group)) > 0 && group == getpgid(o->root);
}

/* does it change nothing but the settings of the terminal, which a clone is given, too? */
static bool is_own_change(struct observe *o, const struct thread *t, const struct observe_call *c)
{
	if (o->terminal_master < 0)
		return false;
	switch ((unsigned int)c->args[1]) {
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
	case TCSETS2:
	case TCSETSW2:
	case TCSETSF2:
	case TCSETA:
	case TCSETAW:
	case TCSETAF:
	case TCFLSH: /* nothing was typed, and output is recorded already */
		return true;
	case TCSBRK:
		return c->args[2] != 0; /* tcdrain(3) */
	case TIOCSWINSZ:
		return same_size(o, t, c->args[2]);
	case TIOCSPGRP:
		return own_group(o, t, c->args[2]);
	default:
		return false;
	}
}

int on_ioctl(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	int fd = (int)c->args[0], origin = fd_get(t->proc, fd).origin;

	(void)rule;
	if (origin < 0 && origin != ORIGIN_TTY)
		return 0;
	fd_looked_at(o, t, fd);
	if (o->live && c->ret >= 0 && is_own_change(o, t, c))
		return note_termios(o);
	switch ((unsigned int)c->args[1]) {
	case TIOCGWINSZ:
		if (c->ret >= 0)
			o->keys.window_size = true;
		return 0;
	case TCGETS:
	case TCGETS2:
	case TCGETA:
		if (c->ret >= 0 && o->live)
			o->keys.termios = true;
		return 0;
	case FIONREAD:
		return c->ret >= 0 && origin == 0 && !o->live
			       ? refuse(o, t, false, "asks how much standard input there is")
			       : 0;
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
	case TCSETS2:
	case TCSETSW2:
	case TCSETSF2:
	case TCSETA:
	case TCSETAW:
	case TCSETAF:
	case TCSBRK:
	case TCSBRKP:
	case TCXONC:
	case TCFLSH:
	case TIOCSWINSZ:
	case TIOCSPGRP:
	case TIOCSCTTY:
	case TIOCNOTTY:
	case TIOCSTI:
	case TIOCSETD:
	case TIOCEXCL:
		return c->ret >= 0 ? refuse_effect(o, t, false, "changes the terminal") : 0;
	default:
		return 0;
	}
}

/* is the descriptor one that leads outside? */
static bool is_outside(int origin)
{
	return origin >= 0 || origin == ORIGIN_TTY;
}

static int refuse_reading(struct observe *o, const struct thread *t, int origin)
{
	if (origin == ORIGIN_TTY)
		return refuse(o, t, false, "reads the terminal");
	if (origin == 0)
		return refuse(o, t, false, "reads standard input");
	return refuse(o, t, false, "reads descriptor %d, which it inherited,", origin);
}

static int refuse_writing(struct observe *o, const struct thread *t, int origin)
{
	if (origin == ORIGIN_TTY)
		return refuse(o, t, false, "writes to the terminal");
	return refuse(o, t, false, "writes to descriptor %d, which it inherited,", origin);
}

int on_read_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	int origin = fd_get(t->proc, (int)c->args[0]).origin;

	(void)rule;
	/* whether there was anything is told by its end */
	return is_outside(origin) && !o->live ? refuse_reading(o, t, origin) : 0;
}

int on_read(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	int origin = fd_get(t->proc, (int)c->args[0]).origin;

	(void)rule;
	return c->ret >= 0 && is_outside(origin) ? refuse_reading(o, t, origin) : 0;
}

/* from one descriptor to another within the kernel, so that there is nothing to record */
int on_copy_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	int origin;

	if (rule->dirfd) {
		origin = fd_get(t->proc, (int)c->args[rule->dirfd - 1]).origin;
		if (is_outside(origin))
			return refuse_reading(o, t, origin);
	}
	origin = fd_get(t->proc, (int)c->args[rule->path - 1]).origin;
	return is_outside(origin) ? refuse_writing(o, t, origin) : 0;
}

int on_write_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	struct fd_info info = fd_get(t->proc, (int)c->args[0]);

	(void)rule;
	if (info.origin > 2 || (info.origin == ORIGIN_TTY && o->terminal_master < 0))
		return refuse_writing(o, t, info.origin);
	if (info.family == AF_INET || info.family == AF_INET6)
		return refuse_effect(o, t, false, "sends to the network");
	return 0;
}

/* which standard descriptor it is written to again; -1: none */
static int output_origin(const struct observe *o, const struct thread *t, const struct observe_call *c)
{
	int origin = fd_get(t->proc, (int)c->args[0]).origin;

	return origin == ORIGIN_TTY ? o->terminal_fd : origin;
}

/* room for @len bytes of output, or *ret NULL if that is too much or not wanted. Return: as a rule */
static int output_room(struct observe *o, const struct thread *t, const struct observe_call *c, char **ret)
{
	int origin = output_origin(o, t, c);

	*ret = NULL;
	if (c->ret <= 0 || origin < 0 || origin > 2)
		return 0;
	if (o->output_len + (size_t)c->ret > OBSERVE_OUTPUT_MAX)
		return refuse(o, t, false, "writes more than %d KiB of output", OBSERVE_OUTPUT_MAX / 1024);
	*ret = malloc((size_t)c->ret);
	return *ret ? 0 : -ENOMEM;
}

int on_write(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	char *data;
	int r;

	(void)rule;
	r = output_room(o, t, c, &data);
	if (!data)
		return r;
	if (peer_read(o, t->tid, c->args[1], data, (size_t)c->ret) < 0) {
		free(data);
		return refuse(o, t, true, "writes output that could not be read back");
	}
	return output_add(o, (struct observe_output){
				     .fd = output_origin(o, t, c), .data = data, .len = (size_t)c->ret });
}

/* gather what a vector named: @len bytes of it were written */
static int gather(struct observe *o, pid_t tid, uint64_t vector, uint64_t count, char *data, size_t len)
{
	struct iovec iov; /* the caller's layout is ours */
	size_t done = 0;

	for (uint64_t i = 0; i < count && done < len; i++) {
		size_t n;

		if (peer_read(o, tid, vector + i * sizeof(iov), &iov, sizeof(iov)) < 0)
			return -EFAULT;
		n = MIN(iov.iov_len, len - done);
		if (n > 0 && peer_read(o, tid, (uint64_t)(uintptr_t)iov.iov_base, data + done, n) < 0)
			return -EFAULT;
		done += n;
	}
	return done == len ? 0 : -EFAULT;
}

int on_writev(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	char *data;
	int r;

	(void)rule;
	r = output_room(o, t, c, &data);
	if (!data)
		return r;
	if (gather(o, t->tid, c->args[1], c->args[2], data, (size_t)c->ret) < 0) {
		free(data);
		return refuse(o, t, true, "writes output that could not be read back");
	}
	return output_add(o, (struct observe_output){
				     .fd = output_origin(o, t, c), .data = data, .len = (size_t)c->ret });
}

/* mmap(addr, len, prot, flags, fd, offset) reads as well */
int on_mmap(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	int origin;

	(void)rule;
	if ((c->args[3] & MAP_ANONYMOUS) || (c->ret < 0 && c->ret > -4096))
		return 0;
	origin = fd_get(t->proc, (int)c->args[4]).origin;
	return is_outside(origin) ? refuse_reading(o, t, origin) : 0;
}
