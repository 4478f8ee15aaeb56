/* SPDX-License-Identifier: MIT */
/*
 * fds.h - descriptors while they are made: fds.c puts them at their numbers, fd_*.c make one kind or some each.
 *
 * A maker makes the description whose first descriptor in the process's table is @f. Where that lies for now is told
 * by keep_fd(); of a pair both ends are made with the first.
 */
#ifndef WARM_ENGINE_STUB_FDS_H
#define WARM_ENGINE_STUB_FDS_H

#include "engine/stub/stub.h"

#include <linux/fcntl.h>

#define EBADF  9
#define EMFILE 24

#define AF_UNIX	      1 /* <sys/socket.h> is the libc's */
#define SOCK_STREAM   1
#define SHUT_WR	      1
#define SOCK_CLOEXEC  O_CLOEXEC
#define SOCK_NONBLOCK O_NONBLOCK

struct making {
	const struct stub_launch *l;
	struct stub_process *p;
	int32_t *made; /* by description: its number for now; -1: not made yet */
	long high; /* the lowest number above all that the program uses */
};

/** keep_fd() - @fd, or a negative errno, is the description's: to its own number, if that is free, or above all */
void keep_fd(const struct making *m, uint32_t description, long fd, int32_t number) HIDDEN;
/** open_fd_again() - through /proc/self/fd: a description of its own, of exactly that inode. Return: a descriptor or a negative errno */
long open_fd_again(int32_t fd, uint32_t flags) HIDDEN;
/** own_fd() - to whom SIGIO goes: F_SETOWN, F_SETSIG */
void own_fd(int32_t fd, int32_t signo) HIDDEN;
/** same_fd() - @f becomes a duplicate of @fd; closed, if that is */
void same_fd(long fd, const struct stub_fd *f) HIDDEN;

/** is_outside() - is the description (an index) the caller's, or opened from what is the caller's? */
static inline int is_outside(uint32_t description)
{
	uint32_t kind = description == STUB_NONE ? STUB_FD_CALLER : stub_description(description)->kind;

	return kind == STUB_FD_CALLER || kind == STUB_FD_TTY;
}

/** fill_epolls() - what the process's epolls watch: descriptors from outside, or (0) the others */
void fill_epolls(const struct stub_process *p, int outside) HIDDEN;

/* makers, each as often as it makes a kind */
typedef void stub_make_fn(const struct making *m, const struct stub_fd *f, const struct stub_description *d);
#define STUB_FD_KIND(name, word, maker) stub_make_fn maker HIDDEN;
#include "engine/stub/fd_kinds.def"
#undef STUB_FD_KIND

#endif
