/* SPDX-License-Identifier: MIT */
/* What goes in and out by descriptors: output is kept to be written again, input cannot be had twice, files are not written to. */
#include "warmd/build/observe_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"
#include "engine/base/proc_path.h"

int output_add(struct observe *o, struct observe_output item)
{
	struct observe_output *added = array_append(&o->output, &o->noutput, sizeof(*added));

	if (!added) {
		free((void *)item.data);
		return -ENOMEM;
	}
	*added = item;
	if (!item.termios)
		o->output_len += item.len;
	return 0;
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
	struct stat st;

	return stat(proc_path(t->tid, "fd/%d", fd).text, &st) < 0 || S_ISREG(st.st_mode) ||
	       (S_ISCHR(st.st_mode) && major(st.st_rdev) == 1);
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

/* bytes that go to one of the program's own descriptors */
static int into_fd(struct observe *o, struct thread *t, int fd)
{
	struct fd_info info = fd_get(t->proc, fd);

	if (info.origin == ORIGIN_OWN)
		return 0;
	switch (info.family) {
	case 0:
		return effect_on_fd(o, t, fd, "writes to");
	case AF_UNIX: /* of a pair, or connected to a name service */
	case AF_ALG:
		return 0;
	default:
		return boundary(o, t, "sends to the network");
	}
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
	if (is_outside(origin))
		return writes_outside(o, t, origin);
	return into_fd(o, t, fd);
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
	return into_fd(o, t, (int)c->args[0]);
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

static int keep_output(struct observe *o, struct thread *t, const struct observe_call *c, bool vector)
{
	char *data;
	int r = output_room(o, t, c, &data);
	size_t len;

	if (!data)
		return r;
	len = (size_t)c->ret;
	if ((vector ? gather(o, t->tid, c->args[1], c->args[2], data, len)
		    : peer_read(o, t->tid, c->args[1], data, len)) < 0) {
		free(data);
		return refuse(o, t, true, "writes output that could not be read back");
	}
	return output_add(o,
			  (struct observe_output){ .fd = output_origin(o, t, c), .data = data, .len = len });
}

int on_write(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	return keep_output(o, t, c, false);
}

int on_writev(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	return keep_output(o, t, c, true);
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
