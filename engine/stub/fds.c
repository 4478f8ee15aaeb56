/* SPDX-License-Identifier: MIT */
/*
 * fds.c - the descriptors that the program had made before its readiness
 * point: each open file description is made once in every clone (fd_*.c), and its descriptors are put at their numbers.
 *
 * Each is put at its own number when it is made, if that is free. It is not where the launcher's own descriptors are, which
 * go on the way: what belongs there is put above the program's highest number first, and moved at the end. So no
 * new descriptor sits where another belongs, and a program may have nearly as many as its limit allows.
 */
#include "engine/stub/fds.h"

#include <sys/syscall.h>

#define RLIMIT_NOFILE 7 /* but on Alpha, MIPS and SPARC */
#define SPARE_FDS                                                                                            \
	64 /* for the launcher's few, besides the template's files, that stand where the program's belong */

_Static_assert(STUB_FDS_IN_LAUNCH * sizeof(int32_t) < STUB_LAUNCH_SIZE / 4,
	       "the stack, which is above, keeps enough of the launch area");

/* the lowest number above all that the program uses */
static long above(const struct stub_process *p)
{
	const struct stub_fd *f = stub_at(p->fds);
	long high = p->context_fd;

	for (uint32_t i = 0; i < p->nfds; i++)
		high = f[i].fd > high ? f[i].fd : high;
	return high + 1;
}

static int wanted(const struct stub_process *p, long n)
{
	const struct stub_fd *f = stub_at(p->fds);

	for (uint32_t i = 0; i < p->nfds; i++)
		if (f[i].fd == n)
			return 1;
	return n == p->context_fd;
}

/* below @high, where the limit leaves no room above: one that is free, and not the program's */
static long dup_below(const struct stub_process *p, long fd, long high)
{
	for (long n = 3; n < high; n++)
		if (!wanted(p, n) && SYSCALL2(SYS_fcntl, n, F_GETFD) == -EBADF)
			return SYSCALL3(SYS_dup3, fd, n, O_CLOEXEC);
	return -EMFILE;
}

static int32_t lift(const struct stub_launch *l, const struct stub_process *p, long fd, long high)
{
	long up;

	if (fd < 0)
		stub_fail(l, "making one of the program's descriptors", fd);
	up = SYSCALL3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, high);
	if (up < 0)
		up = dup_below(p, fd, high);
	if (up < 0)
		stub_fail(l, "making one of the program's descriptors (see ulimit -n)", up);
	SYSCALL1(SYS_close, fd);
	return (int32_t)up;
}

/*
 * A program that has not come to its readiness point yet writes to the descriptor first, as it would in a build, and reads
 * its context then: from a socket whose other end takes the words, and is nobody's.
 */
static long late_context(const struct stub_launch *l, const struct stub_process *p, long context)
{
	int32_t pair[2];
	long r = SYSCALL4(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair);

	while (r == 0 && (r = SYSCALL4(SYS_sendfile, pair[1], context, 0, 1 << 30)) > 0)
		r = 0;
	if (r == 0)
		r = SYSCALL2(SYS_shutdown, pair[1], SHUT_WR);
	if (r < 0)
		stub_fail(l, "handing on the launch context", r);
	SYSCALL3(SYS_fcntl, pair[0], F_SETFL, 0);
	SYSCALL1(SYS_close, context);
	if (pair[1] <= p->context_fd)
		lift(l, p, pair[1], p->context_fd + 1);
	return pair[0];
}

/* a limit that is lower than the build's may not allow it; while the launcher's descriptors are as they were, that is no loss */
static void check_context_number(const struct stub_launch *l, const struct stub_process *p)
{
	long fd = SYSCALL3(SYS_fcntl, l->context_fd, F_DUPFD_CLOEXEC, p->context_fd);

	if (fd < 0)
		stub_fail(l, "placing the launch context", fd);
	SYSCALL1(SYS_close, fd);
}

void stub_place_context(const struct stub_launch *l, struct stub_process *p, long context)
{
	long r = 0;

	if (p->context_late)
		context = late_context(l, p, context);
	if (context == p->context_fd)
		SYSCALL3(SYS_fcntl, context, F_SETFD, 0);
	else
		r = SYSCALL3(SYS_dup3, context, p->context_fd, 0);
	if (r < 0)
		stub_fail(l, "placing the launch context", r);
	if (context != p->context_fd)
		SYSCALL1(SYS_close, context);
}

long open_fd_again(int32_t fd, uint32_t flags)
{
	char path[32] = "/proc/self/fd/";
	char digits[12];
	int n = 0, len = 14;

	do {
		digits[n++] = (char)('0' + fd % 10);
		fd /= 10;
	} while (fd);
	while (n)
		path[len++] = digits[--n];
	return SYSCALL4(SYS_openat, AT_FDCWD, path, flags, 0);
}

static void close_launchers(const struct stub_launch *l)
{
	const int32_t *files = (const int32_t *)l->files;

	/* received one after the other: usually one range. A skeleton has closed some: -1 */
	int32_t low = l->control_fd, high = l->control_fd;

	if (low < 0)
		low = high = l->pages_fd;
	else if (l->pages_fd != high + 1)
		SYSCALL1(SYS_close, l->pages_fd);
	else
		high = l->pages_fd;
	for (uint32_t i = 0; i < l->nfiles; i++) {
		if (files[i] < 0)
			continue;
		if (files[i] == high + 1)
			high = files[i];
		else
			SYSCALL1(SYS_close, files[i]);
	}
	if (high - low > 1 && SYSCALL3(SYS_close_range, low, high, 0) == 0)
		return;
	for (; low <= high; low++)
		SYSCALL1(SYS_close, low);
}

/* in one place of the list, so that no kind is forgotten: fd_kinds.def */
static void make(const struct making *m, const struct stub_fd *f)
{
	const struct stub_description *d = stub_description(f->description);

	switch (d->kind) {
#define STUB_FD_KIND(name, word, maker)                                                                      \
	case STUB_FD_##name:                                                                                 \
		maker(m, f, d);                                                                              \
		return;
#include "engine/stub/fd_kinds.def"
#undef STUB_FD_KIND
	default:
		stub_fail(m->l, "making a descriptor of an unknown kind", -EBADF);
	}
}

void keep_fd(const struct making *m, uint32_t description, long fd, int32_t number)
{
	if (fd == number) {
		m->made[description] = number;
	} else if (fd >= 0 && number >= 0 && SYSCALL2(SYS_fcntl, number, F_GETFD) == -EBADF &&
		   SYSCALL3(SYS_dup3, fd, number, O_CLOEXEC) == number) {
		SYSCALL1(SYS_close, fd);
		m->made[description] = number;
	} else {
		m->made[description] = lift(m->l, m->p, fd, m->high);
	}
}

/* to its number, with the program's flags; the description's are set here too */
static void place(const struct stub_launch *l, int32_t up, const struct stub_fd *f, uint32_t flags)
{
	long r;

	if (up == f->fd) {
		SYSCALL3(SYS_fcntl, f->fd, F_SETFD, f->cloexec);
		SYSCALL3(SYS_fcntl, f->fd, F_SETFL, flags);
		return;
	}
	r = SYSCALL3(SYS_dup3, up, f->fd, f->cloexec ? O_CLOEXEC : 0);
	if (r < 0)
		stub_fail(l, "placing one of the program's descriptors", r);
	SYSCALL3(SYS_fcntl, f->fd, F_SETFL, flags);
	SYSCALL1(SYS_close, up);
}

void own_fd(int32_t fd, int32_t signo)
{
	if (!signo)
		return;
	SYSCALL3(SYS_fcntl, fd, F_SETOWN, SYSCALL0(SYS_getpid));
	if (signo > 0)
		SYSCALL3(SYS_fcntl, fd, F_SETSIG, signo);
}

void same_fd(long fd, const struct stub_fd *f)
{
	if (SYSCALL3(SYS_dup3, fd, f->fd, f->cloexec ? O_CLOEXEC : 0) < 0)
		SYSCALL1(SYS_close, f->fd);
}

/* all descriptions are in place, and the launcher's descriptors are closed */
static void settle(const struct stub_process *p)
{
	const struct stub_fd *f = stub_at(p->fds);

	for (uint32_t i = 0; i < p->nfds; i++, f++) {
		const struct stub_description *d = stub_description(f->description);

		if (is_outside(f->description))
			continue;
		if (f->same >= 0) {
			same_fd(f->same, f);
			continue;
		}
		if (d->kind == STUB_FD_PATH)
			SYSCALL3(SYS_lseek, f->fd, d->b, 0);
		own_fd(f->fd, d->owner_signo);
	}
}

/* the program may have raised its own limit, or lowered it since: for the time of making them only the hard one counts */
static void widen_limit(const struct stub_launch *l, const struct making *m, uint64_t before[2])
{
	uint64_t wide[2], most = (uint64_t)m->high + SPARE_FDS + l->nfiles + 2 * m->p->nfds;

	before[0] = before[1] = 0;
	SYSCALL4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, before);
	wide[0] = wide[1] = before[1];
	if (before[0] < most && before[0] < before[1])
		SYSCALL4(SYS_prlimit64, 0, RLIMIT_NOFILE, wide, 0);
}

static void make_all(const struct making *m)
{
	const struct stub_fd *f = stub_at(m->p->fds);

	for (uint32_t i = 0; i < stub_data.ndescriptions; i++)
		m->made[i] = -1;
	for (uint32_t i = 0; i < m->p->nfds; i++, f++)
		if (m->made[f->description] < 0)
			make(m, f);
}

static void place_all(const struct making *m)
{
	const struct stub_fd *f = stub_at(m->p->fds);

	for (uint32_t i = 0; i < m->p->nfds; i++, f++)
		if (f->same < 0 && m->made[f->description] >= 0)
			place(m->l, m->made[f->description], f, stub_description(f->description)->flags);
}

void stub_fds(struct stub_launch *l, struct stub_process *p)
{
	struct making m = { l, p, stub_at(p->fd_room ? p->fd_room : stub_data.launch), above(p) };
	int32_t context = -1;
	uint64_t limit[2];

	widen_limit(l, &m, limit);
	if (l->launcher_exe >= 0)
		l->launcher_exe = lift(l, p, l->launcher_exe, m.high);
	if (l->flags & STUB_LAUNCH_FORKED) {
		l->notes_fd = lift(l, p, l->notes_fd, m.high);
		l->channel_fd = lift(l, p, l->channel_fd, m.high);
	}
	if (l->context_fd >= 0)
		check_context_number(l, p);
	make_all(&m);
	if (l->context_fd >= 0)
		context = lift(l, p, l->context_fd, m.high);
	close_launchers(l);
	place_all(&m);
	if (context >= 0)
		stub_place_context(l, p, context);
	settle(p);
	fill_epolls(p, 0);
	SYSCALL4(SYS_prlimit64, 0, RLIMIT_NOFILE, limit, 0);
	/* a clone of a skeleton gets its caller's descriptors with its order */
	if (!(l->flags & STUB_LAUNCH_FORKED))
		stub_fds_outside(l, p);
}
