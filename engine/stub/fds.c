/* SPDX-License-Identifier: MIT */
/*
 * fds.c - the descriptors that the program had made before its readiness
 * point, each with a description of its own in every clone.
 *
 * Each is put at its own number when it is made, if that is free. It is not where the launcher's own descriptors are, which
 * go on the way: what belongs there is put above the program's highest number first, and moved at the end. So no
 * new descriptor sits where another belongs, and a program may have nearly as many as its limit allows.
 */
#include "engine/stub/stub.h"

#include <linux/eventpoll.h>
#include <linux/fcntl.h>
#include <sys/syscall.h>

#define AF_UNIX	      1 /* <sys/socket.h> is the libc's */
#define SOCK_STREAM   1
#define SHUT_WR	      1
#define SOCK_CLOEXEC  O_CLOEXEC
#define SOCK_NONBLOCK O_NONBLOCK
#define RLIMIT_NOFILE 7 /* but on Alpha, MIPS and SPARC */
#define SPARE_FDS     1024 /* for the launcher's, and what is in their way */

/* the lowest number above all that the program uses */
static long above(const struct stub_fd *d, uint32_t n)
{
	long high = stub_data.context_fd;

	for (uint32_t i = 0; i < n; i++) {
		high = d[i].fd > high ? d[i].fd : high;
		high = d[i].peer > high ? d[i].peer : high;
	}
	return high + 1;
}

static int wanted(long n)
{
	const struct stub_fd *d = stub_at(stub_data.fds);

	for (uint32_t i = 0; i < stub_data.nfds; i++)
		if (d[i].fd == n || d[i].peer == n)
			return 1;
	return n == stub_data.context_fd;
}

/* below @high, where the limit leaves no room above: one that is free, and not the program's */
static long dup_below(long fd, long high)
{
	for (long n = 3; n < high; n++)
		if (!wanted(n) && SYSCALL2(SYS_fcntl, n, F_GETFD) == -9 /* EBADF */)
			return SYSCALL3(SYS_dup3, fd, n, O_CLOEXEC);
	return -24; /* EMFILE */
}

static int32_t lift(const struct stub_launch *l, long fd, long high)
{
	long up;

	if (fd < 0)
		stub_fail(l, "making one of the program's descriptors", fd);
	up = SYSCALL3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, high);
	if (up < 0)
		up = dup_below(fd, high);
	if (up < 0)
		stub_fail(l, "making one of the program's descriptors (see ulimit -n)", up);
	SYSCALL1(SYS_close, fd);
	return (int32_t)up;
}

/*
 * A program that has not come to its readiness point yet writes to the descriptor first, as it would in a build, and reads
 * its context then: from a socket whose other end takes the words, and is nobody's.
 */
static long late_context(const struct stub_launch *l, long context)
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
	if (pair[1] <= stub_data.context_fd)
		lift(l, pair[1], stub_data.context_fd + 1);
	return pair[0];
}

/* a limit that is lower than the build's may not allow it; while the launcher's descriptors are as they were, that is no loss */
static void check_context_number(const struct stub_launch *l)
{
	long fd = SYSCALL3(SYS_fcntl, l->context_fd, F_DUPFD_CLOEXEC, stub_data.context_fd);

	if (fd < 0)
		stub_fail(l, "placing the launch context", fd);
	SYSCALL1(SYS_close, fd);
}

void stub_place_context(const struct stub_launch *l, long context)
{
	long r = 0;

	if (stub_data.context_late)
		context = late_context(l, context);
	if (context == stub_data.context_fd)
		SYSCALL3(SYS_fcntl, context, F_SETFD, 0);
	else
		r = SYSCALL3(SYS_dup3, context, stub_data.context_fd, 0);
	if (r < 0)
		stub_fail(l, "placing the launch context", r);
	if (context != stub_data.context_fd)
		SYSCALL1(SYS_close, context);
}

/* at its own number, or above all. @target: -1: it will not stay */
static int32_t keep(const struct stub_launch *l, long fd, int32_t target, long high)
{
	if (fd == target)
		return target;
	if (fd >= 0 && target >= 0 && SYSCALL2(SYS_fcntl, target, F_GETFD) == -9 /* EBADF */ &&
	    SYSCALL3(SYS_dup3, fd, target, O_CLOEXEC) == target) {
		SYSCALL1(SYS_close, fd);
		return target;
	}
	return lift(l, fd, high);
}

static void refill(const struct stub_launch *l, long fd, uint64_t data, uint64_t len)
{
	if (len && SYSCALL3(SYS_write, fd, stub_at(data), len) != (long)len)
		stub_fail(l, "filling a pipe or socket", -5);
}

/* through /proc/self/fd: a description of its own, of exactly that inode */
static long open_again(int32_t fd, uint32_t flags)
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

/* made descriptors wait here, in the launch area's low end: [0] fd, [1] peer for entry i */
static long make_socket(const struct stub_fd *d)
{
	const struct stub_option *o = stub_at(d->data);
	long fd = SYSCALL3(SYS_socket, d->a, d->b | SOCK_CLOEXEC, d->c), r = fd;

	for (uint64_t i = 0; i < d->data_len / sizeof(*o) && r >= 0; i++)
		r = SYSCALL5(SYS_setsockopt, fd, o[i].level, o[i].name, o[i].value, o[i].len);
	return r < 0 ? r : fd;
}

static void make(const struct stub_launch *l, const struct stub_fd *d, int32_t *up, long high)
{
	const int32_t *files = (const int32_t *)l->files;
	int32_t pair[2] = { -1, -1 };
	long r = 0;

	up[0] = up[1] = -1;
	switch (d->kind) {
	case STUB_FD_PATH:
		r = SYSCALL4(SYS_openat, AT_FDCWD, stub_at(d->data), d->flags | O_CLOEXEC, 0);
		up[0] = keep(l, r, d->fd, high);
		break;
	case STUB_FD_FILE:
		up[0] = keep(l, open_again(files[d->a - 1], d->flags | O_CLOEXEC), d->fd, high);
		break;
	case STUB_FD_PIPE:
		/* not to block in refill(), where nothing could end it; place() sets the program's flags */
		r = SYSCALL2(SYS_pipe2, pair, O_CLOEXEC | O_NONBLOCK);
		if (r == 0 && d->b)
			SYSCALL3(SYS_fcntl, pair[0], F_SETPIPE_SZ, d->b);
		break;
	case STUB_FD_SOCKETPAIR:
		r = SYSCALL4(SYS_socketpair, AF_UNIX, d->a | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair);
		break;
	case STUB_FD_SOCKET:
		r = make_socket(d);
		up[0] = keep(l, r, d->fd, high);
		break;
	case STUB_FD_EVENTFD:
		r = SYSCALL2(SYS_eventfd2, d->a, d->b | O_CLOEXEC);
		up[0] = keep(l, r, d->fd, high);
		break;
	case STUB_FD_EPOLL:
		r = SYSCALL1(SYS_epoll_create1, O_CLOEXEC);
		up[0] = keep(l, r, d->fd, high);
		break;
	case STUB_FD_TIMERFD:
		r = SYSCALL2(SYS_timerfd_create, d->a, O_CLOEXEC);
		up[0] = keep(l, r, d->fd, high);
		break;
	case STUB_FD_SIGNALFD:
		r = SYSCALL4(SYS_signalfd4, -1, &d->a, 8, O_CLOEXEC);
		up[0] = keep(l, r, d->fd, high);
		break;
	case STUB_FD_DUP:
	case STUB_FD_TTY:
		return;
	default:
		r = -22;
	}
	if (r < 0)
		stub_fail(l, "making one of the program's descriptors", r);
	if (pair[0] >= 0) {
		int last = pair[1] == d->fd; /* it must go from there first */

		up[last] = keep(l, pair[last], last ? d->peer : d->fd, high);
		up[!last] = keep(l, pair[!last], last ? d->fd : d->peer, high);
		/* a pipe's fd is its read end; a socket's data is what fd will read */
		refill(l, up[1], d->data, d->data_len);
		refill(l, up[0], d->data2, d->data2_len);
		/* what was shut down at one end is at the other: unix_shutdown(). SHUT_RD is 0 */
		if (d->kind == STUB_FD_SOCKETPAIR && d->b)
			SYSCALL2(SYS_shutdown, up[0], d->b - 1);
	}
}

static void place(const struct stub_launch *l, int32_t up, int32_t fd, uint32_t flags, uint32_t cloexec)
{
	long r;

	if (up < 0)
		return;
	if (up == fd) {
		SYSCALL3(SYS_fcntl, fd, F_SETFD, cloexec ? 1 /* FD_CLOEXEC */ : 0);
		SYSCALL3(SYS_fcntl, fd, F_SETFL, flags);
		return;
	}
	if (fd >= 0) {
		r = SYSCALL3(SYS_dup3, up, fd, cloexec ? O_CLOEXEC : 0);
		if (r < 0)
			stub_fail(l, "placing one of the program's descriptors", r);
		SYSCALL3(SYS_fcntl, fd, F_SETFL, flags);
	}
	SYSCALL1(SYS_close, up);
}

static void own(int32_t fd, int32_t signo)
{
	if (!signo || fd < 0)
		return;
	SYSCALL3(SYS_fcntl, fd, F_SETOWN, SYSCALL0(SYS_getpid));
	if (signo > 0)
		SYSCALL3(SYS_fcntl, fd, F_SETSIG, signo);
}

static void settle(const struct stub_fd *d)
{
	if (d->kind == STUB_FD_FILE || d->kind == STUB_FD_PATH)
		SYSCALL3(SYS_lseek, d->fd, d->b, 0);
	own(d->fd, d->owner_signo);
	own(d->peer, d->peer_owner_signo);
}

void stub_start_timerfds(void)
{
	const struct stub_fd *d = stub_at(stub_data.fds);

	for (uint32_t i = 0; i < stub_data.nfds; i++, d++) {
		uint64_t v[4] = { d->c / 1000000000, d->c % 1000000000, d->b / 1000000000,
				  d->b % 1000000000 };

		if (d->kind == STUB_FD_TIMERFD && (d->b || d->c))
			SYSCALL4(SYS_timerfd_settime, d->fd, 0, v, 0);
	}
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

/* is @fd the caller's, its terminal, or a dup of one of those? */
static int from_outside(int32_t fd)
{
	const struct stub_fd *d = stub_at(stub_data.fds), *end = d + stub_data.nfds;

	while (d < end)
		if (d->fd != fd && d->peer != fd) {
			d++;
		} else if (d->kind == STUB_FD_DUP) {
			fd = (int32_t)d->a;
			end = d;
			d = stub_at(stub_data.fds);
		} else {
			return d->kind == STUB_FD_TTY;
		}
	return 1;
}

static void fill_epolls(int outside)
{
	const struct stub_epoll *e = stub_at(stub_data.epolls);

	for (uint32_t i = 0; i < stub_data.nepolls; i++, e++) {
		struct {
			uint32_t events;
			uint64_t data;
		} __attribute__((packed)) ev = { e->events, e->data };

		if (from_outside(e->fd) == outside)
			SYSCALL4(SYS_epoll_ctl, e->epfd, EPOLL_CTL_ADD, e->fd, &ev);
	}
}

static void dup_one(const struct stub_fd *d)
{
	/* a dup of one that this caller has closed is closed */
	if (SYSCALL3(SYS_dup3, d->a, d->fd, d->cloexec & 1 ? O_CLOEXEC : 0) < 0)
		SYSCALL1(SYS_close, d->fd);
}

/*
 * A pipe whose last reader is gone makes an open for writing wait for another one, or fail (fifo(7)), though it is
 * open: so there is a reader for this moment.
 */
static long open_outside(const struct stub_fd *d, uint32_t flags)
{
	long reader, fd = open_again((int32_t)d->a, flags | O_NONBLOCK);

	if (fd == -6 /* ENXIO */) {
		reader = open_again((int32_t)d->a, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		fd = open_again((int32_t)d->a, flags | O_NONBLOCK);
		if (reader >= 0)
			SYSCALL1(SYS_close, reader);
	}
	if (fd >= 0 && !(flags & O_NONBLOCK))
		SYSCALL3(SYS_fcntl, fd, F_SETFL, flags);
	return fd;
}

/* all lower numbers are in place but for other terminals' and dups', which take their own from this one */
static void open_terminal(const struct stub_launch *l, const struct stub_fd *d)
{
	uint32_t flags = d->flags | O_CLOEXEC;
	long r, fd = d->a == UINT64_MAX ? SYSCALL4(SYS_openat, AT_FDCWD, "/dev/tty", flags, 0)
					: open_outside(d, flags);

	if (fd < 0)
		stub_fail(l, "opening the terminal, or a standard descriptor once more", fd);
	if (fd == d->fd) {
		SYSCALL3(SYS_fcntl, fd, F_SETFD, d->cloexec & 1);
	} else {
		r = SYSCALL3(SYS_dup3, fd, d->fd, d->cloexec & 1 ? O_CLOEXEC : 0);
		SYSCALL1(SYS_close, fd);
		if (r < 0)
			stub_fail(l, "placing one of the program's descriptors", r);
	}
	own(d->fd, d->owner_signo);
}

void stub_fds_outside(const struct stub_launch *l)
{
	const struct stub_fd *d = stub_at(stub_data.fds);

	for (uint32_t i = 0; i < stub_data.nfds; i++) {
		if (d[i].kind == STUB_FD_TTY)
			open_terminal(l, d + i);
		else if (d[i].kind == STUB_FD_DUP && from_outside(d[i].fd))
			dup_one(d + i);
	}
	fill_epolls(1);
}

/* the program may have raised its own limit, or lowered it since: for the time of making them only the hard one counts */
static void widen_limit(long high, uint64_t before[2])
{
	uint64_t wide[2];

	before[0] = before[1] = 0;
	SYSCALL4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, before);
	wide[0] = wide[1] = before[1];
	if (before[0] < (uint64_t)high + SPARE_FDS && before[0] < before[1])
		SYSCALL4(SYS_prlimit64, 0, RLIMIT_NOFILE, wide, 0);
}

void stub_fds(struct stub_launch *l)
{
	const struct stub_fd *d = stub_at(stub_data.fds);
	int32_t *up = stub_at(stub_data.fd_room ? stub_data.fd_room : stub_data.launch);
	uint32_t n = stub_data.nfds;
	long high = above(d, n);
	uint64_t limit[2];

	widen_limit(high, limit);
	if (l->launcher_exe >= 0)
		l->launcher_exe = lift(l, l->launcher_exe, high);
	if (l->flags & STUB_LAUNCH_FORKED) {
		l->notes_fd = lift(l, l->notes_fd, high);
		l->channel_fd = lift(l, l->channel_fd, high);
	}
	if (l->context_fd >= 0)
		check_context_number(l);
	for (uint32_t i = 0; i < n; i++)
		make(l, d + i, up + 2 * i, high);
	if (l->context_fd >= 0)
		up[2 * n] = lift(l, l->context_fd, high);
	close_launchers(l);
	for (uint32_t i = 0; i < n; i++) {
		if (d[i].kind == STUB_FD_DUP || d[i].kind == STUB_FD_TTY)
			continue;
		place(l, up[2 * i], d[i].fd, d[i].flags, d[i].cloexec & 1);
		place(l, up[2 * i + 1], d[i].peer, d[i].peer_flags, d[i].cloexec & 2);
	}
	if (l->context_fd >= 0)
		stub_place_context(l, up[2 * n]);
	for (uint32_t i = 0; i < n; i++) {
		if (d[i].kind == STUB_FD_TTY)
			continue;
		if (d[i].kind != STUB_FD_DUP)
			settle(d + i);
		else if (!from_outside(d[i].fd))
			dup_one(d + i);
	}
	fill_epolls(0);
	SYSCALL4(SYS_prlimit64, 0, RLIMIT_NOFILE, limit, 0);
	/* a clone of a skeleton gets its caller's descriptors with its order */
	if (!(l->flags & STUB_LAUNCH_FORKED))
		stub_fds_outside(l);
}
