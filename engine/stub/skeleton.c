/* SPDX-License-Identifier: MIT */
/*
 * skeleton.c - the template's process that only forks: order.h, "A skeleton".
 *
 * fork(2) copies page tables where memory has pages of its own; a skeleton's
 * mappings have none but for the stub's data, so that a fork costs a VMA copy for each mapping and nothing for
 * each page (mm/memory.c: vma_needs_copy()).
 *
 * Clones are children of warmd (CLONE_PARENT), which reaps them. All signals
 * are blocked here: only SIGKILL ends a skeleton, and end of file on its socket.
 */
#include "engine/stub/stub.h"

#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <sys/syscall.h>

#define SOL_SOCKET	 1 /* <sys/socket.h> is the libc's */
#define SCM_RIGHTS	 1
#define MSG_CTRUNC	 0x8
#define MSG_TRUNC	 0x20
#define MSG_NOSIGNAL	 0x4000
#define MSG_CMSG_CLOEXEC 0x40000000
#define EINTR		 4
#define EBADMSG		 74

struct piece {
	void *base;
	uint64_t len;
};

struct message {
	void *name;
	uint32_t namelen;
	struct piece *pieces;
	uint64_t npieces;
	void *control;
	uint64_t controllen;
	int flags;
};

struct ancillary { /* struct cmsghdr with SCM_RIGHTS behind it */
	uint64_t len;
	int level, type;
	int32_t fds[STUB_ORDER_FDS + 1];
};

long stub_receive(int32_t fd, void *a, uint64_t alen, void *b, uint64_t blen, struct stub_received *ret,
		  int flags)
{
	struct ancillary c;
	struct piece pieces[2] = { { a, alen }, { b, blen } };
	struct message m = { .pieces = pieces, .npieces = b ? 2 : 1, .control = &c, .controllen = sizeof(c) };
	long n;

	ret->n = 0;
	do
		n = SYSCALL3(SYS_recvmsg, fd, &m, flags | MSG_CMSG_CLOEXEC);
	while (n == -EINTR);
	if (n <= 0)
		return n;
	if (m.controllen >= 16 && c.level == SOL_SOCKET && c.type == SCM_RIGHTS) {
		ret->n = (uint32_t)((c.len - 16) / 4);
		memcpy(ret->fds, c.fds, 4ul * ret->n);
	}
	return m.flags & (MSG_CTRUNC | MSG_TRUNC) ? -EBADMSG : n;
}

void stub_note(const struct stub_launch *l, uint32_t kind, long value, const char *what)
{
	struct stub_note note = { .kind = kind, .value = (int32_t)value, .id = l->fork_id };

	for (uint32_t i = 0; what && what[i] && i < sizeof(note.what) - 1; i++)
		note.what[i] = what[i];
	if (l->notes_fd >= 0)
		SYSCALL6(SYS_sendto, l->notes_fd, &note, sizeof(note), MSG_NOSIGNAL, 0, 0);
}

static void close_all(const struct stub_received *got)
{
	for (uint32_t i = 0; i < got->n; i++)
		SYSCALL1(SYS_close, got->fds[i]);
}

/* pages to be made ahead, as they are known by now: clones have the list from here */
static void read_hot(struct stub_process *p, int32_t control)
{
	uint64_t head = stub_data.text_size;
	uint32_t n;

	if (SYSCALL4(SYS_pread64, control, &n, sizeof(n),
		     head + (uint64_t)((char *)&p->nhot - (char *)&stub_data)) != sizeof(n) ||
	    n > p->hot_room)
		return;
	if (SYSCALL4(SYS_pread64, control, stub_at(p->hot), n * sizeof(struct stub_range), head + p->hot) ==
	    (long)(n * sizeof(struct stub_range)))
		p->nhot = n;
}

/*
 * Libraries tell by getpid(2) that they are in another process (OpenSSL's generators do), so a clone never has the id that
 * the program had in its build. One that gets it is gone before anybody hears of it, and its id is not given out again at once.
 */
static long fork_clone(struct stub_process *p, const struct stub_fork *order, int32_t cgroup)
{
	struct clone_args args = { .flags = CLONE_PARENT | CLONE_INTO_CGROUP, .cgroup = (uint64_t)cgroup };
	long pid;

	do {
		if (order->flags & STUB_FORK_CGROUP)
			pid = SYSCALL2(SYS_clone3, &args, sizeof(args));
		else
			pid = SYSCALL5(SYS_clone, CLONE_PARENT | 17 /* SIGCHLD */, 0, 0, 0, 0);
		if (pid == 0 && SYSCALL0(SYS_getpid) == p->old_pid)
			SYSCALL1(SYS_exit_group, 0);
	} while (pid == p->old_pid);
	return pid;
}

/* in the child: everything that no launch decides */
static void __attribute__((noreturn)) be_clone(struct stub_launch *l, struct stub_process *p,
					       const struct stub_fork *order, const struct stub_received *got)
{
	uint32_t terminal = order->flags & STUB_FORK_TERMINAL ? 2 : 0; /* descriptors */

	l->flags = (l->flags & ~(uint32_t)(STUB_LAUNCH_SKELETON | STUB_LAUNCH_EXE)) | STUB_LAUNCH_FORKED;
	if (order->flags & STUB_FORK_PARK)
		l->flags |= STUB_LAUNCH_PARK;
	else if (!terminal)
		l->flags |= STUB_LAUNCH_QUIET;
	l->fork_id = order->id;
	l->channel_fd = got->fds[0];
	l->pid = (uint32_t)SYSCALL0(SYS_getpid);
	for (uint32_t i = 1; i < got->n - terminal; i++)
		SYSCALL1(SYS_close, got->fds[i]);
	/* none with a terminal, where it would be a child of the session's leader; in a cgroup of the caller's no clone parks */
	if ((order->flags & STUB_FORK_PARK) && !terminal && stub_may_hold(l, p))
		l->flags |= STUB_LAUNCH_HOLD;
	/* a group of its own in the skeleton's session: setpgrp(2) fails in a session's leader. With a terminal it has one */
	if (terminal)
		SYSCALL0(SYS_setsid);
	else
		SYSCALL2(SYS_setpgid, 0, 0);
	if (terminal)
		stub_session(l, got->fds[got->n - 2], got->fds[got->n - 1]);
	stub_memory_own(l, p);
	stub_fds(l, p);
	stub_settle(l, p);
	stub_launch_clone(l, p);
}

static void obey(struct stub_launch *l, struct stub_process *p, const struct stub_fork *order,
		 const struct stub_received *got)
{
	uint32_t cgroup = 1 + !!(order->flags & STUB_FORK_CONTROL),
		 want = cgroup + !!(order->flags & STUB_FORK_CGROUP) +
			(order->flags & STUB_FORK_TERMINAL ? 2 : 0);
	long pid = -EBADMSG;

	if (got->n == want && order->size == sizeof(*order)) {
		if (order->flags & STUB_FORK_CONTROL)
			read_hot(p, got->fds[1]);
		pid = fork_clone(p, order, got->fds[order->flags & STUB_FORK_CGROUP ? cgroup : 0]);
		if (pid == 0)
			be_clone(l, p, order, got);
	}
	l->fork_id = order->id;
	stub_note(l, STUB_NOTE_FORKED, pid, NULL);
	close_all(got);
}

/* files that were needed for mappings alone are not kept: each would be one more descriptor to copy and to close in a fork */
static void close_mapped(struct stub_launch *l, struct stub_process *p)
{
	const struct stub_map *m = stub_at(p->maps);
	int32_t *files = (int32_t *)l->files;

	SYSCALL1(SYS_close, l->control_fd);
	l->control_fd = -1;
	for (uint32_t i = 0; i < l->nfiles; i++) {
		int needed = 0;

		for (uint32_t j = 0; j < p->nmaps && !needed; j++)
			needed = m[j].file == (int32_t)i + 1 && stub_only_in_clones(m + j);
		if (needed)
			continue;
		SYSCALL1(SYS_close, files[i]);
		files[i] = -1;
	}
}

void stub_skeleton(struct stub_launch *l, struct stub_process *p)
{
	if (l->drop_caps) {
		/* the launcher's file capability is not the clones' */
		uint32_t header[2] = { 0x20080522, 0 }, none[6] = { 0 };

		SYSCALL2(SYS_capset, header, none);
		SYSCALL5(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
		l->drop_caps = 0;
	}
	if (l->launcher_exe >= 0)
		SYSCALL1(SYS_close, l->launcher_exe);
	l->launcher_exe = -1;
	close_mapped(l, p);
	/* clones share these pages; /proc/self, where they are written through, costs each process that opens it an inode */
	stub_hooks(p, (l->flags & STUB_LAUNCH_EXIT_HOOKS) && !p->exit.learn_only, 0);
	SYSCALL5(SYS_prctl, PR_SET_NAME, "warm-skeleton", 0, 0, 0);
	SYSCALL0(SYS_setsid);
	stub_note(l, STUB_NOTE_READY, SYSCALL0(SYS_getpid), NULL);
	for (;;) {
		struct stub_received got;
		struct stub_fork order;
		long n = stub_receive(l->notes_fd, &order, sizeof(order), NULL, 0, &got, 0);

		if (n == sizeof(order))
			obey(l, p, &order, &got);
		else
			close_all(&got);
		if (n == 0 || (n < 0 && n != -EBADMSG))
			SYSCALL1(SYS_exit_group, 0);
	}
}
