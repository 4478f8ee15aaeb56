/* SPDX-License-Identifier: MIT */
/* fd_simple.c - descriptions that one or two system calls make: files, sockets of no connection, eventfds and their like */
#include "engine/stub/fds.h"

#include <linux/eventpoll.h>
#include <sys/syscall.h>

void make_path(const struct making *m, const struct stub_fd *f, const struct stub_description *d)
{
	keep_fd(m, f->description, SYSCALL4(SYS_openat, AT_FDCWD, stub_at(d->data), d->flags | O_CLOEXEC, 0),
		f->fd);
}

void make_socket(const struct making *m, const struct stub_fd *f, const struct stub_description *d)
{
	const struct stub_option *o = stub_at(d->data);
	long fd = SYSCALL3(SYS_socket, d->a, d->b | SOCK_CLOEXEC, d->c), r = fd;

	for (uint64_t i = 0; i < d->data_len / sizeof(*o) && r >= 0; i++)
		r = SYSCALL5(SYS_setsockopt, fd, o[i].level, o[i].name, o[i].value, o[i].len);
	keep_fd(m, f->description, r < 0 ? r : fd, f->fd);
}

void make_eventfd(const struct making *m, const struct stub_fd *f, const struct stub_description *d)
{
	keep_fd(m, f->description, SYSCALL2(SYS_eventfd2, d->a, d->b | O_CLOEXEC), f->fd);
}

void make_epoll(const struct making *m, const struct stub_fd *f, const struct stub_description *d)
{
	(void)d;
	keep_fd(m, f->description, SYSCALL1(SYS_epoll_create1, O_CLOEXEC), f->fd);
}

void fill_epolls(const struct stub_process *p, int outside)
{
	const struct stub_epoll *e = stub_at(stub_data.epolls);
	const struct stub_process *all = stub_at(stub_data.processes);

	for (uint32_t i = 0; i < stub_data.nepolls; i++, e++) {
		struct {
			uint32_t events;
			uint64_t data;
		} __attribute__((packed)) ev = { e->events, e->data };

		if (all + e->process == p && is_outside(e->target) == outside)
			SYSCALL4(SYS_epoll_ctl, e->epfd, EPOLL_CTL_ADD, e->fd, &ev);
	}
}

void make_timerfd(const struct making *m, const struct stub_fd *f, const struct stub_description *d)
{
	keep_fd(m, f->description, SYSCALL2(SYS_timerfd_create, d->a, O_CLOEXEC), f->fd);
}

void stub_start_timerfds(struct stub_process *p)
{
	const struct stub_fd *f = stub_at(p->fds);

	for (uint32_t i = 0; i < p->nfds; i++, f++) {
		const struct stub_description *d = stub_description(f->description);
		uint64_t v[4] = { d->c / 1000000000, d->c % 1000000000, d->b / 1000000000,
				  d->b % 1000000000 };

		if (d->kind == STUB_FD_TIMERFD && f->same < 0 && (d->b || d->c))
			SYSCALL4(SYS_timerfd_settime, f->fd, 0, v, 0);
	}
}

void make_signalfd(const struct making *m, const struct stub_fd *f, const struct stub_description *d)
{
	keep_fd(m, f->description, SYSCALL4(SYS_signalfd4, -1, &d->a, 8, O_CLOEXEC), f->fd);
}
