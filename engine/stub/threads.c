/* SPDX-License-Identifier: MIT */
/*
 * threads.c - the program's threads, made and sent on their way.
 *
 * Each thread has a frame as the kernel lays it for a signal handler
 * (arch/x86/kernel/signal_64.c); rt_sigreturn takes registers, extended state,
 * alternate stack and signal mask from it. Thread ids are new: the C library's
 * copy is written over (set_tid_address points at it in glibc; musl's is found
 * by the dump).
 */
#include "engine/stub/stub.h"

#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/signal.h>
#include <sys/syscall.h>

static void own_locks(struct stub_process *p, const struct stub_thread *t, uint32_t tid)
{
	uint32_t index = (uint32_t)(t - (struct stub_thread *)stub_at(p->threads));
	const struct stub_owner *o = stub_at(p->owners);

	for (uint64_t i = 0; i < p->nowners; i++) {
		volatile uint32_t *word = (volatile uint32_t *)o[i].addr;

		if (o[i].thread == index)
			*word = (*word & ~(uint32_t)FUTEX_TID_MASK) | tid;
	}
}

/* what of the state is per thread and must be set by the thread itself */
static void adopt(struct stub_process *p, const struct stub_thread *t)
{
	uint32_t tid;

	if (t->fs_base)
		SYSCALL2(SYS_arch_prctl, STUB_ARCH_SET_FS, t->fs_base);
	if (t->gs_base)
		SYSCALL2(SYS_arch_prctl, STUB_ARCH_SET_GS, t->gs_base);
	tid = (uint32_t)SYSCALL1(SYS_set_tid_address, t->clear_tid);
	if (t->tid_addr)
		*(volatile uint32_t *)t->tid_addr = tid;
	own_locks(p, t, tid);
	if (t->robust_list)
		SYSCALL2(SYS_set_robust_list, t->robust_list, t->robust_len);
	if (t->rseq_addr)
		SYSCALL4(SYS_rseq, t->rseq_addr, t->rseq_size, 0, t->rseq_sig);
	if (t->sched_flags & 4)
		SYSCALL3(SYS_sched_setaffinity, 0, sizeof(t->affinity), t->affinity);
	if (t->sched_flags & 1) {
		int32_t prio = t->sched_priority;

		SYSCALL3(SYS_sched_setscheduler, 0, t->sched_policy, &prio);
	}
	if (t->sched_flags & 2)
		SYSCALL3(SYS_setpriority, 0, 0, t->nice);
}

/* into the buffer of the read at the readiness point; by the thread that reads, when all ids are known */
static void give_context(struct stub_process *p)
{
	const struct stub_launch *l = stub_launch_area();

	if (p->context_buf)
		memcpy((void *)p->context_buf, (const void *)l->context, l->context_len);
}

/*
 * Signals that were pending. Each thread queues its own: siginfo of tgkill(2) (SI_TKILL)
 * may only be sent by a thread to itself, rt_tgsigqueueinfo(2).
 */
static void queue_pendings(struct stub_process *p, uint32_t index)
{
	const struct stub_pending *q = stub_at(p->pendings);
	long pid = SYSCALL0(SYS_getpid), tid;

	for (uint32_t i = 0; i < p->npendings; i++, q++) {
		int32_t info[32];

		if (q->tid_index != index && (index || q->tid_index != UINT32_MAX))
			continue;
		memcpy(info, q->info, sizeof(info));
		/* words of siginfo_t: si_signo, si_errno, si_code, -, si_pid; what it sent to itself has its id of now */
		if ((info[2] == 0 || info[2] == -1 || info[2] == -6) && info[4] == (int32_t)p->old_pid)
			info[4] = (int32_t)pid;
		tid = SYSCALL0(SYS_gettid);
		if (q->tid_index == UINT32_MAX)
			SYSCALL3(SYS_rt_sigqueueinfo, pid, info[0], info);
		else
			SYSCALL4(SYS_rt_tgsigqueueinfo, pid, tid, info[0], info);
	}
}

static long wake_at_gate(struct stub_launch *l, int count)
{
	return SYSCALL6(SYS_futex, &l->gate, 129 /* FUTEX_WAKE_PRIVATE */, count, 0, 0, 0);
}

/*
 * Most of these threads go back to sleep as soon as they have come out, and the launch waits for the one that opens:
 * so they don't take its processor (a batch thread that wakes up preempts nobody), and it wakes only one, which wakes the others.
 */
static void wait_at_gate(struct stub_process *p, const struct stub_thread *t, uint32_t index)
{
	struct stub_launch *l = stub_launch_area();
	const int32_t priority = 0;
	int batch;

	if (!(l->flags & STUB_LAUNCH_FORKED) && !stub_thread_timers(l, p, 0))
		return;
	batch = (l->flags & STUB_LAUNCH_PARK) && !(l->flags & STUB_LAUNCH_SECCOMP) && !(t->sched_flags & 1) &&
		index != p->ready_thread && SYSCALL1(SYS_sched_getscheduler, 0) == SCHED_NORMAL &&
		SYSCALL3(SYS_sched_setscheduler, 0, SCHED_BATCH, &priority) == 0;
	while (!*(volatile uint32_t *)&l->gate)
		SYSCALL6(SYS_futex, &l->gate, 128 /* FUTEX_WAIT_PRIVATE */, 0, 0, 0, 0);
	if (p->nthreads > 2 && __atomic_exchange_n(&l->gate, 2, __ATOMIC_RELAXED) == 1)
		wake_at_gate(l, 0x7fffffff);
	if (batch)
		SYSCALL3(SYS_sched_setscheduler, 0, SCHED_NORMAL, &priority);
	/* the main thread has seen that it may */
	if (l->flags & STUB_LAUNCH_FORKED)
		stub_take_scheduling(p, t, (const struct stub_order *)l->context - 1, &(long){ 0 });
}

void stub_open_gate(struct stub_launch *l, struct stub_process *p)
{
	stub_thread_timers(l, p, 1);
	*(volatile uint32_t *)&l->gate = 1;
	if (p->nthreads > 1)
		wake_at_gate(l, 1);
}

static void thread_start(void *arg)
{
	struct stub_process *p = stub_self();
	const struct stub_thread *t = arg;
	uint32_t index = (uint32_t)(t - (struct stub_thread *)stub_at(p->threads));

	adopt(p, t);
	wait_at_gate(p, t, index);
	if (p->npendings)
		queue_pendings(p, index);
	if (index == p->ready_thread)
		give_context(p);
	stub_sigreturn(stub_at(t->frame));
}

/* __environ, program_invocation_name and so on: what main()'s caller has set from the old arguments */
static void set_main_context(const struct stub_launch *l, const struct stub_process *p,
			     struct stub_ucontext *uc)
{
	uint64_t *argv = (uint64_t *)l->argv;
	const char *name, *base;

	stub_set_main_args(uc, l->argc, l->argv, l->envp);
	for (unsigned int i = 0; i < 4; i++)
		if (p->environ_addr[i])
			*(uint64_t *)p->environ_addr[i] = l->envp;
	if (p->libc_argv_addr)
		*(uint64_t *)p->libc_argv_addr = l->argv;
	name = (const char *)argv[0];
	base = name;
	for (const char *c = name; *c; c++)
		if (*c == '/')
			base = c + 1;
	if (p->progname_full_addr)
		*(uint64_t *)p->progname_full_addr = (uint64_t)name;
	if (p->progname_short_addr)
		*(uint64_t *)p->progname_short_addr = (uint64_t)base;
}

static void set_name(const char *name)
{
	if (name[0])
		SYSCALL5(SYS_prctl, PR_SET_NAME, name, 0, 0, 0);
}

static int same_name(const char *a, const char *b)
{
	for (int i = 0; i < 16 && a[i] == b[i]; i++)
		if (!a[i])
			return 1;
	return 0;
}

/*
 * What other threads can see of a thread is right before it runs, because they may run first:
 * its id in the C library's copy (CLONE_PARENT_SETTID), its name (a thread begins with its maker's).
 */
static void start_thread(const struct stub_launch *l, struct stub_process *p, uint32_t i)
{
	unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
			      CLONE_SYSVSEM;
	uint32_t *pairs = (uint32_t *)l->context_tids;
	uint64_t note = pairs ? (uint64_t)&pairs[2 * i + 1] : 0;
	struct stub_thread *t = (struct stub_thread *)stub_at(p->threads) + i;
	/* the room in front of a thread's frame is its first stack */
	long tid;

	if (pairs) {
		pairs[2 * i] = t->old_tid;
		flags |= CLONE_CHILD_SETTID;
	}
	if (t->tid_addr)
		flags |= CLONE_PARENT_SETTID;
	/* a shortage of processes (RLIMIT_NPROC, pids.max) may pass: half a second in all */
	for (uint64_t ms = 1;; ms *= 2) {
		uint64_t wait[2] = { 0, ms * 1000000 };

		tid = stub_clone_thread(flags, stub_at(t->frame), t->tid_addr, note, 0, thread_start, t);
		if (tid != -11 /* EAGAIN */ || ms > 256)
			break;
		SYSCALL2(SYS_nanosleep, wait, 0);
	}
	if (tid < 0)
		stub_fail(l, "making a thread", tid);
	if (pairs)
		pairs[2 * i + 1] = (uint32_t)tid;
}

void stub_set_context(const struct stub_launch *l, struct stub_process *p)
{
	struct stub_thread *ready = (struct stub_thread *)stub_at(p->threads) + p->ready_thread;
	struct stub_ucontext *uc = stub_at(ready->frame);

	stub_set_generation(p, ((const struct stub_context *)l->context)->generation);
	if (ready->resume == STUB_RESUME_CONTEXT)
		stub_set_result(uc, l->context_len);
	else if (ready->resume == STUB_RESUME_MAIN)
		set_main_context(l, p, uc);
}

void stub_make_threads(const struct stub_launch *l, struct stub_process *p)
{
	struct stub_thread *t = stub_at(p->threads);
	const char *name = "";

	if (l->context_tids) {
		((uint32_t *)l->context_tids)[0] = t[0].old_tid;
		((uint32_t *)l->context_tids)[1] = (uint32_t)SYSCALL0(SYS_getpid);
	}
	/* the thread at the readiness point is made last: its context has the ids of all */
	for (uint32_t i = 1; i <= p->nthreads; i++) {
		uint32_t n = i < p->nthreads ? i : p->ready_thread;

		if (!n || (i < p->nthreads && n == p->ready_thread))
			continue;
		if (!same_name(name, t[n].comm)) {
			name = t[n].comm;
			set_name(name);
		}
		start_thread(l, p, n);
	}
	set_name(t[0].comm);
	adopt(p, &t[0]);
}

void stub_leave(struct stub_process *p)
{
	struct stub_thread *t = stub_at(p->threads);

	if (!p->ready_thread)
		give_context(p);
	if (p->npendings)
		queue_pendings(p, 0);
	stub_sigreturn(stub_at(t[0].frame));
}
