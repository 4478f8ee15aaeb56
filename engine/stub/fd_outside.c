/* SPDX-License-Identifier: MIT */
/* fd_outside.c - descriptors that come from the caller's: duplicates of them, their terminal or pipe opened once more */
#include "engine/stub/fds.h"

#include <sys/syscall.h>

#define ENXIO 6

void make_outside(const struct making *m, const struct stub_fd *f, const struct stub_description *d)
{
	/* stub_fds_outside() does it, once the caller's descriptors are in place */
	(void)m, (void)f, (void)d;
}

/*
 * A pipe whose last reader is gone makes an open for writing wait for another one, or fail (fifo(7)), though it is
 * open: so there is a reader for this moment.
 */
static long open_pipe_or_terminal(const struct stub_description *d, uint32_t flags)
{
	long reader, fd = open_fd_again((int32_t)d->a, flags | O_NONBLOCK);

	if (fd == -ENXIO) {
		reader = open_fd_again((int32_t)d->a, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		fd = open_fd_again((int32_t)d->a, flags | O_NONBLOCK);
		if (reader >= 0)
			SYSCALL1(SYS_close, reader);
	}
	if (fd >= 0 && !(flags & O_NONBLOCK))
		SYSCALL3(SYS_fcntl, fd, F_SETFL, flags);
	return fd;
}

/* all lower numbers are in place but for other terminals' and duplicates, which take their own from this one */
static void open_terminal(const struct stub_launch *l, const struct stub_fd *f,
			  const struct stub_description *d)
{
	uint32_t flags = d->flags | O_CLOEXEC;
	long r, fd = d->a == UINT64_MAX ? SYSCALL4(SYS_openat, AT_FDCWD, "/dev/tty", flags, 0)
					: open_pipe_or_terminal(d, flags);

	if (fd < 0)
		stub_fail(l, "opening the terminal, or a standard descriptor once more", fd);
	if (fd == f->fd) {
		SYSCALL3(SYS_fcntl, fd, F_SETFD, f->cloexec);
	} else {
		r = SYSCALL3(SYS_dup3, fd, f->fd, f->cloexec ? O_CLOEXEC : 0);
		SYSCALL1(SYS_close, fd);
		if (r < 0)
			stub_fail(l, "placing one of the program's descriptors", r);
	}
	own_fd(f->fd, d->owner_signo);
}

void stub_fds_outside(const struct stub_launch *l, struct stub_process *p)
{
	const struct stub_fd *f = stub_at(p->fds);

	for (uint32_t i = 0; i < p->nfds; i++, f++) {
		const struct stub_description *d = stub_description(f->description);

		if (!is_outside(f->description))
			continue;
		if (f->same >= 0)
			same_fd(f->same, f);
		else if (d->kind == STUB_FD_CALLER)
			same_fd((long)d->a, f);
		else
			open_terminal(l, f, d);
	}
	fill_epolls(p, 1);
}
