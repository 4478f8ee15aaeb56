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
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
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

int fd_opened_to_write(struct observe *o, struct thread *t, const char *path, int fd)
{
	struct fd_info info = fd_get(t->proc, fd);
	int r;

	info.unread = true;
	r = fd_put(t->proc, fd, info);
	return r < 0 ? r : path_record(o, t, path, RULE_EXISTS, 0, -1);
}

/* a file that was opened to be written to is read all the same */
static int fd_read(struct observe *o, struct thread *t, int fd)
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

int on_fcntl_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	int fd = (int)c->args[0];

	(void)rule;
	switch ((int)c->args[1]) {
	case F_SETFL:
		return on_setfl(o, t, fd, (int)c->args[2]);
	case F_GETLK:
	case F_OFD_GETLK:
		return effect_on_fd(o, t, fd, "asks for locks of");
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		return effect_on_fd(o, t, fd, "locks");
	case F_SETLEASE:
		return effect_on_fd(o, t, fd, "takes a lease of");
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
	return effect_on_fd(o, t, (int)c->args[0], "locks");
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

static bool is_terminal(const struct thread *t, int fd)
{
	char link[64];
	struct stat st;

	snprintf(link, sizeof(link), "/proc/%d/fd/%d", t->tid, fd);
	return stat(link, &st) == 0 && S_ISCHR(st.st_mode) && major(st.st_rdev) != 1 /* null and its like */;
}

/* those that change a file, from linux/fs.h */
static int change_of_file(struct observe *o, struct thread *t, const struct observe_call *c)
{
	switch ((unsigned int)c->args[1]) {
	case FICLONE:
	case FICLONERANGE:
	case FIDEDUPERANGE:
		return effect_on_fd(o, t, (int)c->args[0], "writes to");
	case FS_IOC_SETFLAGS:
	case FS_IOC_FSSETXATTR:
		return effect_on_fd(o, t, (int)c->args[0], "changes attributes of");
	default:
		return 0;
	}
}

int on_ioctl_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	int fd = (int)c->args[0], origin = fd_get(t->proc, fd).origin, r;

	(void)rule;
	r = change_of_file(o, t, c);
	if (r || (origin < 0 && origin != ORIGIN_TTY))
		return r;
	if (origin > 2)
		return fd_look(o, t, fd);
	if (o->live && is_own_change(o, t, c))
		return 0;
	switch ((unsigned int)c->args[1]) {
	case FIONREAD:
		return origin == 0 && !o->live ? boundary(o, t, "asks how much standard input there is") : 0;
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
		return is_terminal(t, fd) ? boundary(o, t, "changes the terminal") : 0;
	default:
		return 0;
	}
}

int on_ioctl(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	int fd = (int)c->args[0], origin = fd_get(t->proc, fd).origin;

	(void)rule;
	if (origin < 0 && origin != ORIGIN_TTY)
		return 0;
	fd_looked_at(o, t, fd);
	if (c->ret < 0)
		return 0;
	if (o->live && is_own_change(o, t, c))
		return note_termios(o);
	switch ((unsigned int)c->args[1]) {
	case TIOCGWINSZ:
		o->keys.window_size = true;
		return 0;
	case TCGETS:
	case TCGETS2:
	case TCGETA:
		o->keys.termios |= o->live;
		return 0;
	default:
		return 0;
	}
}

/* is the descriptor one that leads outside? */
static bool is_outside(int origin)
{
	return origin >= 0 || origin == ORIGIN_TTY;
}

static int reads_outside(struct observe *o, const struct thread *t, int origin)
{
	if (origin == ORIGIN_TTY)
		return boundary(o, t, "reads the terminal");
	if (origin == 0)
		return boundary(o, t, "reads standard input");
	return boundary(o, t, "reads descriptor %d, which it inherited,", origin);
}

static int writes_outside(struct observe *o, const struct thread *t, int origin)
{
	if (origin == ORIGIN_TTY)
		return boundary(o, t, "writes to the terminal");
	return boundary(o, t, "writes to descriptor %d, which it inherited,", origin);
}

/* has a stand-in of this kind nothing to wait for? Nobody ever writes to the others */
static bool answers_at_once(const struct thread *t, int fd)
{
	char link[64];
	struct stat st;

	snprintf(link, sizeof(link), "/proc/%d/fd/%d", t->tid, fd);
	return stat(link, &st) < 0 || S_ISREG(st.st_mode) || (S_ISCHR(st.st_mode) && major(st.st_rdev) == 1);
}

int on_read_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	int fd = (int)c->args[0], origin = fd_get(t->proc, fd).origin;

	(void)rule;
	if (!is_outside(origin))
		return fd_read(o, t, fd);
	return (!o->live || answers_at_once(t, fd)) ? reads_outside(o, t, origin) : 0;
}

int on_read(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	int origin = fd_get(t->proc, (int)c->args[0]).origin;

	(void)rule;
	if (c->ret < 0 || !is_outside(origin))
		return 0;
	return refuse(o, t, false,
		      origin <= 0 ? "reads standard input" : "reads a descriptor that it inherited");
}

/* from one descriptor to another within the kernel, so that there is nothing to record */
int on_copy_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	int fd = (int)c->args[rule->path - 1], origin, r;

	if (rule->dirfd) {
		origin = fd_get(t->proc, (int)c->args[rule->dirfd - 1]).origin;
		if (is_outside(origin))
			return reads_outside(o, t, origin);
		r = fd_read(o, t, (int)c->args[rule->dirfd - 1]);
		if (r)
			return r;
	}
	origin = fd_get(t->proc, fd).origin;
	return is_outside(origin) ? writes_outside(o, t, origin) : effect_on_fd(o, t, fd, "writes to");
}

/* how much a call is about to write; of a vector only what can be read of it */
static uint64_t bytes_to_write(struct observe *o, const struct thread *t, const struct observe_call *c)
{
	struct iovec iov; /* the caller's layout is ours */
	uint64_t sum = 0;

	if (c->nr == SYS_write || c->nr == SYS_pwrite64)
		return c->args[2];
	for (uint64_t i = 0; i < c->args[2] && i < UIO_MAXIOV; i++) {
		if (peer_read(o, t->tid, c->args[1] + i * sizeof(iov), &iov, sizeof(iov)) < 0)
			break;
		sum += iov.iov_len;
	}
	return sum;
}

int on_write_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	struct fd_info info = fd_get(t->proc, (int)c->args[0]);

	(void)rule;
	if (info.origin > 2 || (info.origin == ORIGIN_TTY && o->terminal_master < 0))
		return writes_outside(o, t, info.origin);
	if (info.origin >= 0 || info.origin == ORIGIN_TTY)
		return o->output_len + bytes_to_write(o, t, c) > OBSERVE_OUTPUT_MAX
			       ? boundary(o, t, "writes more than %d KiB of output",
					  OBSERVE_OUTPUT_MAX / 1024)
			       : 0;
	if (info.family == AF_INET || info.family == AF_INET6)
		return boundary(o, t, "sends to the network");
	return info.origin == ORIGIN_OWN || info.family ? 0
							: effect_on_fd(o, t, (int)c->args[0], "writes to");
}

/* which standard descriptor it is written to again; -1: none */
static int output_origin(const struct observe *o, const struct thread *t, const struct observe_call *c)
{
	int origin = fd_get(t->proc, (int)c->args[0]).origin;

	return origin == ORIGIN_TTY ? o->terminal_fd : origin;
}

/* room for what was written, or *ret NULL if that is not wanted. Return: as a rule */
static int output_room(struct observe *o, const struct thread *t, const struct observe_call *c, char **ret)
{
	int origin = output_origin(o, t, c);

	*ret = NULL;
	if (c->ret <= 0 || origin < 0 || origin > 2)
		return 0;
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

/*
 * mmap(addr, len, prot, flags, fd, offset) reads as well. A shared mapping of a file that is open for writing can be
 * written to at any time, or made writable, and no call would tell.
 */
int on_mmap_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	int type = (int)c->args[3] & MAP_TYPE, fd = (int)c->args[4], origin, r;

	(void)rule;
	if (c->args[3] & MAP_ANONYMOUS)
		return 0;
	origin = fd_get(t->proc, fd).origin;
	if (is_outside(origin))
		return reads_outside(o, t, origin);
	r = fd_read(o, t, fd);
	if (r)
		return r;
	if ((type != MAP_SHARED && type != MAP_SHARED_VALIDATE) ||
	    (peer_fd_flags(t->tid, fd) & O_ACCMODE) != O_RDWR)
		return 0;
	return effect_on_fd(o, t, fd, "maps for writing");
}
