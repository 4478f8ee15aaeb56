/* SPDX-License-Identifier: MIT */
/*
 * steal_terminal.c - the terminal itself is taken, with all that is on it
 *
 * A pty lives as long as its master is open, wherever. We get a copy of the descriptor; then those who had it get
 * another behind theirs, the master of a pty of which the slave is closed: reading it gives a last line, then EIO,
 * which is what they would have seen if everybody had left the session.
 */
#include "engine/steal/steal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "engine/base/fd.h"
#include "engine/base/pidfd.h"
#include "engine/swap.h"

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

struct owner { /* a process that has the master */
	struct frozen_process *s;
	struct swap swap;
	bool prepared, applied;
};

static int take_copy(const struct steal *st, struct error *err)
{
	const struct steal_holder *h = &st->holders[0];
	_cleanup_close_ int pidfd = pidfd_open_process(h->pid);
	int copy = pidfd < 0 ? pidfd : (int)syscall(SYS_pidfd_getfd, pidfd, h->fd, 0);

	if (pidfd < 0)
		return frozen_denied(h->pid, pidfd, err);
	if (copy < 0)
		return frozen_denied(h->pid, errno, err);
	return copy;
}

/* the master of a pty that has ended. Return: a descriptor or a negative errno */
static int ended_master(const struct steal *st, int flags, struct error *err)
{
	_cleanup_close_ int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | (flags & O_NONBLOCK));
	_cleanup_close_ int slave = -EBADF;
	char line[128];
	int n;

	if (master < 0 || unlockpt(master) < 0)
		return error_errno(err, errno, "making a terminal (/dev/ptmx)");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return error_errno(err, errno, "opening a terminal (TIOCGPTPEER, Linux 4.13)");
	n = snprintf(line, sizeof(line),
		     "\n[warm: this terminal, with process %d, was taken to another window]\n",
		     st->target.pid);
	if (write(slave, line, (size_t)n) < 0)
		return error_errno(err, errno, "writing to a terminal");
	return TAKE_FD(master);
}

static int owner_prepare(const struct steal *st, struct owner *o, const struct steal_holder *first,
			 struct error *err)
{
	int r = frozen_seize(&o->s, first->pid, err);

	o->swap.s = o->s;
	for (size_t i = 0; i < st->nholders; i++) {
		const struct steal_holder *h = &st->holders[i];

		if (h->pid == first->pid)
			o->swap.fds[o->swap.nfds++] = (struct swap_fd){ .fd = h->fd,
									.cloexec = h->flags & O_CLOEXEC };
	}
	if (r == 0)
		r = o->swap.files[0] = ended_master(st, first->flags, err);
	if (r >= 0) {
		o->swap.nfiles = 1;
		r = frozen_stop(o->s, err);
	}
	if (r == 0)
		r = swap_prepare(&o->swap, err);
	o->prepared = r == 0;
	return r;
}

/* between the look and the stop a descriptor may have become another file's */
static int still_there(const struct steal *st, struct error *err)
{
	for (size_t i = 0; i < st->nholders; i++) {
		int index = -1, wanted = (int)(minor(st->target.tty) | (major(st->target.tty) - 136) << 8);

		if (steal_fd_flags(st->holders[i].pid, st->holders[i].fd, &index) < 0 || index != wanted)
			return error_set(err, EAGAIN,
					 "the terminal's owner (process %d) changed meanwhile: try again",
					 st->holders[i].pid);
	}
	return 0;
}

static void owner_done(struct owner *o, bool undo)
{
	if (o->applied && undo)
		swap_undo(&o->swap);
	if (o->prepared)
		swap_finish(&o->swap);
	frozen_thaw(o->s);
	if (o->swap.nfiles)
		fd_close(o->swap.files[0]);
}

static int replace(const struct steal *st, struct owner *owners, struct error *err)
{
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < st->nholders; i++) {
		size_t before = 0;

		while (before < i && st->holders[before].pid != st->holders[i].pid)
			before++;
		if (before == i)
			r = owner_prepare(st, &owners[n++], &st->holders[i], err);
	}
	if (r == 0)
		r = still_there(st, err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = swap_apply(&owners[i].swap, err);
		owners[i].applied = r == 0;
	}
	/* the last first: each restores the signal mask that it found */
	while (n > 0)
		owner_done(&owners[--n], r < 0);
	return r;
}

int steal_take_terminal(const struct steal *st, const struct winsize *size, int *ret_master,
			struct error *err)
{
	_cleanup_close_ int master = take_copy(st, err);
	struct owner *owners;
	const int off = 0;
	int r;

	if (master < 0)
		return master;
	owners = calloc(STEAL_HOLDERS_MAX, sizeof(*owners));
	if (!owners)
		return error_set(err, ENOMEM, "no memory");
	r = replace(st, owners, err);
	free(owners);
	if (r < 0)
		return r;
	/* ours alone now: bytes only, as pty/relay.h wants it */
	ioctl(master, TIOCPKT, &off);
	fcntl(master, F_SETFL, fcntl(master, F_GETFL) | O_NONBLOCK);
	ioctl(master, TIOCSWINSZ, size);
	*ret_master = TAKE_FD(master);
	return 0;
}
