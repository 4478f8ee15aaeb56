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

#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/signal.h>
#include <sys/syscall.h>

/* what of the state is per thread and must be set by the thread itself */
static void adopt(const struct stub_thread *t)
{
	uint32_t tid;

	if (t->fs_base)
		SYSCALL2(SYS_arch_prctl, STUB_ARCH_SET_FS, t->fs_base);
	if (t->gs_base)
		SYSCALL2(SYS_arch_prctl, STUB_ARCH_SET_GS, t->gs_base);
	tid = (uint32_t)SYSCALL1(SYS_set_tid_address, t->clear_tid);
	if (t->tid_addr)
		*(volatile uint32_t *)t->tid_addr = tid;
	if (t->robust_list)
		SYSCALL2(SYS_set_robust_list, t->robust_list, t->robust_len);
	if (t->rseq_addr)
		SYSCALL4(SYS_rseq, t->rseq_addr, t->rseq_size, 0, t->rseq_sig);
	if (t->comm[0])
		SYSCALL5(SYS_prctl, PR_SET_NAME, t->comm, 0, 0, 0);
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
static void give_context(void)
{
	const struct stub_launch *l = stub_launch_area();

	if (stub_data.context_buf)
		memcpy((void *)stub_data.context_buf, (const void *)l->context, l->context_len);
}

static void thread_start(void *arg)
{
	const struct stub_thread *t = arg;

	adopt(t);
	if (t == (struct stub_thread *)stub_at(stub_data.threads) + stub_data.ready_thread)
		give_context();
	stub_sigreturn(stub_at(t->frame));
}

static void queue_pendings(const uint32_t *tids)
{
	const struct stub_pending *p = stub_at(stub_data.pendings);
	long pid = SYSCALL0(SYS_getpid);

	for (uint32_t i = 0; i < stub_data.npendings; i++, p++) {
		int signo = *(const int32_t *)p->info;

		if (p->tid_index == UINT32_MAX)
			SYSCALL3(SYS_rt_sigqueueinfo, pid, signo, p->info);
		else
			SYSCALL4(SYS_rt_tgsigqueueinfo, pid, tids[p->tid_index], signo, p->info);
	}
}

/* __environ, program_invocation_name and so on: what main()'s caller has set from the old arguments */
static void set_main_context(const struct stub_launch *l, struct stub_ucontext *uc)
{
	uint64_t *argv = (uint64_t *)l->argv;
	const char *name, *base;

	stub_set_main_args(uc, l->argc, l->argv, l->envp);
	for (unsigned int i = 0; i < 4; i++)
		if (stub_data.environ_addr[i])
			*(uint64_t *)stub_data.environ_addr[i] = l->envp;
	if (stub_data.libc_argv_addr)
		*(uint64_t *)stub_data.libc_argv_addr = l->argv;
	name = (const char *)argv[0];
	base = name;
	for (const char *p = name; *p; p++)
		if (*p == '/')
			base = p + 1;
	if (stub_data.progname_full_addr)
		*(uint64_t *)stub_data.progname_full_addr = (uint64_t)name;
	if (stub_data.progname_short_addr)
		*(uint64_t *)stub_data.progname_short_addr = (uint64_t)base;
}

static void start_thread(const struct stub_launch *l, uint32_t i, uint32_t *tids)
{
	unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
	uint32_t *pairs = (uint32_t *)l->context_tids;
	/* CLONE_PARENT_SETTID writes the id before the thread can run */
	uint64_t note = pairs ? (uint64_t)&pairs[2 * i + 1] : 0;
	struct stub_thread *t = (struct stub_thread *)stub_at(stub_data.threads) + i;
	/* the room in front of a thread's frame is its first stack */
	long tid;

	if (pairs) {
		pairs[2 * i] = t->old_tid;
		flags |= CLONE_PARENT_SETTID;
	}
	tid = stub_clone_thread(flags, stub_at(t->frame), note, 0, 0, thread_start, t);
	if (tid < 0)
		stub_fail(l, "making a thread", tid);
	if (stub_data.npendings && i < STUB_LAUNCH_SIZE / 8)
		tids[i] = (uint32_t)tid;
}

void stub_threads(const struct stub_launch *l)
{
	struct stub_thread *t = stub_at(stub_data.threads);
	struct stub_thread *ready = t + stub_data.ready_thread;
	struct stub_ucontext *uc = stub_at(ready->frame);
	uint32_t *tids = stub_at(stub_data.launch);	/* the low end of the launch area */
	uint64_t pid = (uint64_t)SYSCALL0(SYS_getpid);

	/* the context is complete before anybody can run, but for the ids of threads, which come below */
	if (ready->resume == STUB_RESUME_CONTEXT)
		stub_set_result(uc, l->context_len);
	else if (ready->resume == STUB_RESUME_MAIN)
		set_main_context(l, uc);
	if (l->context_tids) {
		((uint32_t *)l->context_tids)[0] = t[0].old_tid;
		((uint32_t *)l->context_tids)[1] = (uint32_t)pid;
	}
	if (stub_data.npendings)
		tids[0] = (uint32_t)pid;
	for (uint32_t i = 1; i < stub_data.nthreads; i++)
		if (i != stub_data.ready_thread)
			start_thread(l, i, tids);
	if (stub_data.ready_thread)
		start_thread(l, stub_data.ready_thread, tids);
	adopt(&t[0]);
	if (!stub_data.ready_thread)
		give_context();
	if (stub_data.npendings)
		queue_pendings(tids);
	stub_sigreturn(stub_at(t[0].frame));
}
