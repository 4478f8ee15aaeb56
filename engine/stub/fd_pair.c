/* SPDX-License-Identifier: MIT */
/* fd_pair.c - pipes and pairs of sockets: both ends are made at once, and what was queued is in them */
#include "engine/stub/fds.h"

#include <sys/syscall.h>

#define EIO 5

/* @to: the end that is written to, so that @d, the other one, can read what is queued for it */
static void refill(const struct making *m, const struct stub_description *d, long to)
{
	if (d->data_len && SYSCALL3(SYS_write, to, stub_at(d->data), d->data_len) != (long)d->data_len)
		stub_fail(m->l, "filling a pipe or socket", -EIO);
}

/*
 * @ends: by index of pair the description, STUB_NONE: closed; @numbers: where its first descriptor belongs, -1: in no place. Each
 * is moved there unless the other end is in the way, which goes first then.
 */
static void keep_pair(const struct making *m, const int32_t pair[2], const uint32_t ends[2],
		      const int32_t numbers[2])
{
	int first;

	for (int i = 0; i < 2; i++)
		if (ends[i] == STUB_NONE)
			SYSCALL1(SYS_close, pair[i]);
	first = pair[1] == numbers[0];
	for (int i = 0; i < 2; i++) {
		int at = i ^ first;

		if (ends[at] != STUB_NONE)
			keep_fd(m, ends[at], pair[at], numbers[at]);
	}
}

/* not to block in refill(), where nothing could end it, they are made O_NONBLOCK; fds.c sets the program's flags */
void make_pipe(const struct making *m, const struct stub_fd *f, const struct stub_description *d)
{
	/* [0] reads */
	int writes = (d->flags & O_ACCMODE) != O_RDONLY;
	const uint32_t ends[2] = { writes ? d->peer : f->description, writes ? f->description : d->peer };
	const int32_t numbers[2] = { writes ? f->peer : f->fd, writes ? f->fd : f->peer };
	int32_t pair[2];
	long r = SYSCALL2(SYS_pipe2, pair, O_CLOEXEC | O_NONBLOCK);

	if (r < 0)
		stub_fail(m->l, "making one of the program's pipes", r);
	if (d->b)
		SYSCALL3(SYS_fcntl, pair[0], F_SETPIPE_SZ, d->b);
	if (ends[0] != STUB_NONE)
		refill(m, stub_description(ends[0]), pair[1]);
	keep_pair(m, pair, ends, numbers);
}

/* what was shut down at one end is at the other: unix_shutdown(). SHUT_RD is 0 */
void make_socketpair(const struct making *m, const struct stub_fd *f, const struct stub_description *d)
{
	const uint32_t ends[2] = { f->description, d->peer };
	const int32_t numbers[2] = { f->fd, f->peer };
	int32_t pair[2];
	long r = SYSCALL4(SYS_socketpair, AF_UNIX, d->a | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair);

	if (r < 0)
		stub_fail(m->l, "making one of the program's pairs of sockets", r);
	refill(m, d, pair[1]);
	if (d->peer != STUB_NONE)
		refill(m, stub_description(d->peer), pair[0]);
	if (d->b)
		SYSCALL2(SYS_shutdown, pair[0], d->b - 1);
	keep_pair(m, pair, ends, numbers);
}
