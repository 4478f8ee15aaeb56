/* SPDX-License-Identifier: MIT */
/*
 * process.c - what belongs to the process as a whole: signal dispositions,
 * pending signals, timers, names and small attributes.
 */
#include "engine/stub/stub.h"

#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/signal.h>
#include <linux/time.h>
#include <sys/syscall.h>

#ifndef PR_TIMER_CREATE_RESTORE_IDS
#define PR_TIMER_CREATE_RESTORE_IDS 77 /* Linux 6.16 */
#endif
#define MAX_TIMER_PROBES 65536

struct kernel_sigaction {
	uint64_t handler, flags, restorer, mask;
};

static void set_signals(const struct stub_launch *l, struct stub_process *p)
{
	const struct stub_sigaction *s = stub_at(p->sigactions);

	for (uint32_t i = 0; i < p->nsigactions; i++, s++) {
		struct kernel_sigaction sa = { s->handler, s->flags, s->restorer, s->mask };
		long r = SYSCALL4(SYS_rt_sigaction, s->signo, &sa, 0, 8);

		if (r < 0)
			stub_fail(l, "setting a signal's disposition", r);
	}
}

void stub_block_signals(struct stub_process *p, uint64_t blocked)
{
	const struct stub_thread *t = stub_at(p->threads);

	for (uint32_t i = 0; blocked != stub_data.start_blocked && i < p->nthreads; i++) {
		struct stub_ucontext *uc = stub_at(t[i].frame);

		if (uc->sigmask == stub_data.start_blocked)
			uc->sigmask = blocked;
	}
}

static void set_itimers(struct stub_process *p)
{
	const struct stub_itimer *t = stub_at(p->itimers);

	for (uint32_t i = 0; i < p->nitimers; i++, t++) {
		uint64_t v[4] = { t->interval_us / 1000000, t->interval_us % 1000000, t->value_us / 1000000,
				  t->value_us % 1000000 };

		SYSCALL3(SYS_setitimer, t->which, v, 0);
	}
}

/* a timer with the id that the program knows it by */
static long create_timer(const struct stub_timer *t, int32_t tid)
{
	struct {
		uint64_t value;
		int32_t signo, notify, tid, pad[11];
	} ev = { t->value, t->signo, t->notify, tid, { 0 } };
	int32_t id = t->id;
	long r;

	if (SYSCALL5(SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS, 1, 0, 0, 0) == 0) {
		r = SYSCALL3(SYS_timer_create, t->clock, &ev, &id);
		SYSCALL5(SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS, 0, 0, 0, 0);
		return r;
	}
	/* before 6.16 ids only count up: make and delete until ours comes */
	for (int n = 0; n < MAX_TIMER_PROBES; n++) {
		r = SYSCALL3(SYS_timer_create, t->clock, &ev, &id);
		if (r < 0 || id == t->id)
			return r;
		SYSCALL1(SYS_timer_delete, id);
		if (id > t->id)
			break;
	}
	return -11 /* EAGAIN */;
}

static void set_timer(const struct stub_launch *l, const struct stub_timer *t, int32_t tid)
{
	uint64_t v[4] = { t->interval_ns / 1000000000, t->interval_ns % 1000000000, t->value_ns / 1000000000,
			  t->value_ns % 1000000000 };
	long r = create_timer(t, tid);

	if (r < 0)
		stub_fail(l, "making a POSIX timer with its old id", r);
	SYSCALL4(SYS_timer_settime, t->id, 0, v, 0);
}

static void set_timers(const struct stub_launch *l, struct stub_process *p)
{
	const struct stub_timer *t = stub_at(p->timers);

	/* where one needs a thread, all are made later: in order, for the sake of their ids */
	for (uint32_t i = 0; i < p->ntimers && !stub_thread_timers(l, p, 0); i++, t++)
		set_timer(l, t, (int32_t)SYSCALL0(SYS_getpid));
}

/* SIGEV_THREAD_ID: glibc's SIGEV_THREAD has a helper thread wait for the signal */
uint32_t stub_thread_timers(const struct stub_launch *l, struct stub_process *p, int make)
{
	const struct stub_timer *t = stub_at(p->timers);
	const uint32_t *pairs = (const uint32_t *)l->context_tids;
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->ntimers; i++)
		n += t[i].thread_index > 0;
	for (uint32_t i = 0; n && make && i < p->ntimers; i++, t++)
		set_timer(l, t, (int32_t)pairs[t->thread_index > 0 ? 2 * t->thread_index + 1 : 1]);
	return n;
}

static void set_rlimits(const struct stub_launch *l, struct stub_process *p)
{
	const struct stub_rlimit *t = stub_at(p->rlimits);

	for (uint32_t i = 0; i < p->nrlimits; i++, t++) {
		uint64_t v[2] = { t->soft, t->hard };
		long r = SYSCALL4(SYS_prlimit64, 0, t->resource, v, 0);

		if (r < 0)
			stub_fail(l, "setting a resource limit that the program had set", r);
	}
}

static void set_oom_score(const struct stub_launch *l, struct stub_process *p)
{
	const char *text = stub_at(p->oom_score_adj);
	long fd, r;

	if (!p->oom_score_adj)
		return;
	fd = SYSCALL4(SYS_openat, AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC, 0);
	r = fd < 0 ? fd : SYSCALL3(SYS_write, fd, text, strlen(text));
	if (r < 0)
		stub_fail(l, "setting oom_score_adj", r);
	SYSCALL1(SYS_close, fd);
}

static void set_attributes(const struct stub_launch *l, struct stub_process *p)
{
	set_oom_score(l, p);
	if (l->drop_caps) {
		/* the launcher's file capability is not the program's */
		uint32_t header[2] = { 0x20080522, 0 }, none[6] = { 0 };

		SYSCALL2(SYS_capset, header, none);
		SYSCALL5(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
	}
	if (p->personality_set)
		SYSCALL1(SYS_personality, p->personality);
	if (p->dumpable == 0)
		SYSCALL5(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (p->pdeathsig)
		SYSCALL5(SYS_prctl, PR_SET_PDEATHSIG, p->pdeathsig, 0, 0, 0);
	if (p->subreaper)
		SYSCALL5(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	if (p->thp_disable)
		SYSCALL5(SYS_prctl, PR_SET_THP_DISABLE, 1, 0, 0, 0);
	if (p->timerslack_set)
		SYSCALL5(SYS_prctl, PR_SET_TIMERSLACK, p->timerslack_ns, 0, 0, 0);
	if (p->no_new_privs)
		SYSCALL5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (p->xcomp_perm)
		SYSCALL2(SYS_arch_prctl, STUB_ARCH_REQ_XCOMP_PERM, STUB_XFEATURE_XTILE_DATA);
}

static void fill_randoms(const struct stub_launch *l, struct stub_process *p)
{
	const struct stub_random *r = stub_at(p->randoms);

	for (uint32_t i = 0; i < p->nrandoms; i++, r++) {
		uint64_t done = 0;

		while (done < r->len) {
			long n = SYSCALL3(SYS_getrandom, r->addr + done, r->len - done, 0);

			if (n <= 0 && n != -4 /* EINTR */)
				stub_fail(l, "random bytes (getrandom)", n);
			done += n > 0 ? (uint64_t)n : 0;
		}
	}
}

void stub_set_generation(struct stub_process *p, uint64_t value)
{
	const uint64_t *at = stub_at(p->generations);

	for (uint32_t i = 0; i < p->ngenerations; i++)
		*(volatile uint64_t *)at[i] = value;
}

static void set_pids(struct stub_process *p)
{
	const uint64_t *at = stub_at(p->pids);
	int32_t pid = (int32_t)SYSCALL0(SYS_getpid);

	for (uint32_t i = 0; i < p->npids; i++)
		*(volatile int32_t *)at[i] = pid;
}

/* what the plan wants to be other than in the template's memory: plan_tables.c */
static void write_patches(const struct stub_process *p)
{
	const struct stub_patch *t = stub_at(p->patches);

	for (uint32_t i = 0; i < p->npatches; i++, t++)
		memcpy((void *)t->addr, stub_at(t->data), t->len);
}

void stub_settle(const struct stub_launch *l, struct stub_process *p)
{
	write_patches(p);
	if (p->npids)
		set_pids(p);
	fill_randoms(l, p);
	/* the pages are made while nobody waits for it; the number comes with the order */
	if (l->flags & STUB_LAUNCH_FORKED)
		stub_set_generation(p, 0);
	set_attributes(l, p);
	set_signals(l, p);
}

void stub_start(const struct stub_launch *l, struct stub_process *p)
{
	set_rlimits(l, p);
	if (p->umask >= 0)
		SYSCALL1(SYS_umask, p->umask);
	if (p->cwd) {
		long r = SYSCALL1(SYS_chdir, stub_at(p->cwd));

		if (r < 0)
			stub_fail(l, "changing to the program's directory", r);
	}
	set_itimers(p);
	set_timers(l, p);
}
