/* SPDX-License-Identifier: MIT */
/*
 * dump_threads.c - registers and what else the kernel keeps for each thread.
 *
 * A thread that was stopped inside a system call shows the kernel's internal
 * restart codes in its result register (signal(7), "Interruption of system
 * calls"). A clone makes such a call again; relative times go on with what was
 * left of them (engine/stub/x86_64/entry.S, stub_resume_timed).
 */
#include "snapshot/dump/dump.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/proc_path.h"

#ifndef PTRACE_GET_RSEQ_CONFIGURATION
#define PTRACE_GET_RSEQ_CONFIGURATION 0x420f
#endif

#define NO_TIME UINT64_MAX

/* the calls that take a relative time, and where: index of the argument; -1: none or absolute */
static int timed_argument(const struct frozen_thread *t, bool *ret_ms)
{
	*ret_ms = false;
	switch (t->in.nr) {
	case SYS_nanosleep:
		return 0;
	case SYS_clock_nanosleep:
		return t->in.args[1] & TIMER_ABSTIME ? -1 : 2;
#ifdef SYS_poll
	case SYS_poll:
		*ret_ms = true;
		return (int32_t)t->in.args[2] < 0 ? -1 : 2;
#endif
#ifdef SYS_epoll_wait
	case SYS_epoll_wait:
#endif
	case SYS_epoll_pwait:
		*ret_ms = true;
		return (int32_t)t->in.args[3] < 0 ? -1 : 3;
	case SYS_futex:
		/* FUTEX_WAIT's time is relative, FUTEX_WAIT_BITSET's and the others' absolute */
		return (t->in.args[1] & FUTEX_CMD_MASK) == FUTEX_WAIT && t->in.args[3] ? 3 : -1;
	case SYS_semtimedop:
	case SYS_epoll_pwait2:
		return t->in.args[3] ? 3 : -1;
	case SYS_rt_sigtimedwait:
		return t->in.args[2] ? 2 : -1;
	default:
		return -1;
	}
}

/* calls that end with EINTR on any interruption, even when no handler runs: signal(7) */
static bool never_restarted(long nr)
{
	switch (nr) {
#ifdef SYS_epoll_wait
	case SYS_epoll_wait:
#endif
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
	case SYS_semop:
	case SYS_semtimedop:
	case SYS_rt_sigtimedwait:
	case SYS_msgrcv:
	case SYS_msgsnd:
	case SYS_io_getevents:
		return true;
	default:
		return false;
	}
}

static uint64_t time_left(const struct frozen_process *frozen, const struct frozen_thread *t, int arg,
			  bool ms)
{
	uint64_t spent = clock_ns(CLOCK_MONOTONIC) - t->entered_ns, total;
	struct timespec ts;

	if (ms) {
		total = (uint64_t)(int32_t)t->in.args[arg] * 1000000u;
	} else {
		if (frozen_read(frozen, t->in.args[arg], &ts, sizeof(ts)) < 0)
			return 0;
		total = timespec_ns(&ts);
	}
	return total > spent ? total - spent : 0;
}

static void fix_call(const struct frozen_process *frozen, struct model_thread *th,
		     const struct frozen_thread *t)
{
	enum arch_restart how = arch_fix_restart(&th->regs);
	uint64_t words[4];
	int arg;

	th->restart = how;
	if (how == ARCH_RETURNED && (int64_t)arch_result(&th->regs) == -EINTR && never_restarted(t->in.nr)) {
		th->restart = ARCH_RESTART_TIMED;
		arch_make_again(&th->regs);
	} else if (how == ARCH_RESTART_TIMED) {
		arch_make_again(&th->regs);
	} else {
		return;
	}
	arg = timed_argument(t, &th->timeout_ms);
	if (arg < 0)
		return; /* no limit, or an absolute one: the call as it was */
	/* clones have four words there (plan_tables.c): the page must be among those that are stored */
	if (frozen_read(frozen, arch_retime_slot(&th->regs), words, sizeof(words)) == 0)
		frozen_write(frozen, arch_retime_slot(&th->regs), words, sizeof(words));
	th->timeout_arg = arg;
	th->timeout_ns = time_left(frozen, t, arg, th->timeout_ms);
}

static int dump_comm(pid_t pid, struct model_thread *th)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	r = read_file(proc_path(pid, "task/%d/comm", th->tid).text, &text, &len);
	if (r < 0)
		return r;
	if (len && text[len - 1] == '\n')
		text[--len] = '\0';
	snprintf(th->comm, sizeof(th->comm), "%.15s", text);
	return 0;
}

/*
 * glibc's set_tid_address points at the id in the thread descriptor; musl's (since 1.2) at
 * a lock, the id being one of the first words of the structure that the thread pointer names.
 */
static void find_tid(const struct frozen_process *frozen, struct model_thread *th)
{
	uint32_t words[64], value = 0;
	size_t len = sizeof(words), page = (size_t)sysconf(_SC_PAGESIZE);

	if (th->clear_tid && frozen_read(frozen, th->clear_tid, &value, 4) == 0 &&
	    value == (uint32_t)th->tid) {
		th->tid_addr = th->clear_tid;
		return;
	}
	if (!th->regs.fs_base)
		return;
	/* musl puts the structure, 200 bytes of it, at the very end of a thread's stack: nothing may follow */
	if (len > page - th->regs.fs_base % page)
		len = page - th->regs.fs_base % page;
	if (frozen_read(frozen, th->regs.fs_base, words, sizeof(words)) == 0)
		len = sizeof(words);
	else if (frozen_read(frozen, th->regs.fs_base, words, len) < 0)
		return;
	for (size_t i = 0; i < len / sizeof(words[0]); i++) {
		if (words[i] == (uint32_t)th->tid) {
			th->tid_addr = th->regs.fs_base + 4 * i;
			return;
		}
	}
}

static int dump_by_calls(struct frozen_process *frozen, struct frozen_thread *t, struct model_thread *th,
			 struct error *err)
{
	arch_regs regs;
	uint64_t at, ss[3];
	int64_t ret;
	int r = frozen_registers(t, &regs);

	if (r < 0)
		return error_errno(err, r, "reading registers of thread %d", t->tid);
	at = (arch_sp(&regs) - 1024) & ~63ull;
	r = frozen_call(frozen, t, &ret, err, SYS_sigaltstack, 0, at, 0, 0, 0, 0);
	if (r == 0 && ret == 0)
		r = frozen_read(frozen, at, ss, sizeof(ss));
	if (r < 0)
		return error_set(err, EIO, "asking thread %d for its alternate stack", t->tid);
	th->altstack[0] = ss[0];
	th->altstack[1] = (uint32_t)ss[1];
	th->altstack[2] = ss[2];
	if (th->altstack[1] & SS_ONSTACK)
		th->altstack[1] &= ~(uint64_t)SS_ONSTACK; /* the kernel works it out from sp */

	r = frozen_call(frozen, t, &ret, err, SYS_prctl, PR_GET_TID_ADDRESS, at, 0, 0, 0, 0);
	if (r < 0)
		return r;
	if (ret == 0)
		frozen_read(frozen, at, &th->clear_tid, 8);
	else
		return error_set(err, EOPNOTSUPP,
				 "the kernel lacks PR_GET_TID_ADDRESS (CONFIG_CHECKPOINT_RESTORE)");
	return 0;
}

static void dump_rseq(struct model_thread *th)
{
	struct {
		uint64_t addr;
		uint32_t size, sig, flags, pad;
	} conf;

	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, th->tid, sizeof(conf), &conf) != sizeof(conf))
		return;
	th->rseq_addr = conf.addr;
	th->rseq_size = conf.size;
	th->rseq_sig = conf.sig;
}

static void dump_sched(struct model_thread *th)
{
	struct sched_param param = { 0 };

	th->sched_policy = sched_getscheduler(th->tid);
	if (sched_getparam(th->tid, &param) == 0)
		th->sched_priority = param.sched_priority;
	th->nice = getpriority(PRIO_PROCESS, (id_t)th->tid);
	syscall(SYS_sched_getaffinity, th->tid, sizeof(th->affinity), th->affinity);
}

static int dump_thread(struct frozen_process *frozen, const struct dump_options *o, struct model_process *p,
		       struct frozen_thread *t, struct model_thread *th, struct error *err)
{
	struct {
		void *head;
		size_t len;
	} robust = { 0 };
	bool amx = false;
	int r;

	th->tid = t->tid;
	th->timeout_arg = -1;
	r = frozen_registers(t, &th->regs);
	if (r == 0)
		r = arch_read_xstate(t->tid, &th->xstate, &th->xstate_len, &amx);
	if (r == 0)
		r = frozen_sigmask(t, &th->sigmask);
	if (r < 0)
		return error_errno(err, r, "reading the registers of thread %d", t->tid);
	p->amx |= amx;
	if (t->tid == o->ready && o->resume == DUMP_RESUME_AGAIN) {
		arch_make_again(&th->regs);
		arch_wrap_call(&th->regs, o->wrapper);
	} else if (t->tid == o->ready) {
		th->resume = (enum model_resume)o->resume;
	} else {
		fix_call(frozen, th, t);
	}
	if (syscall(SYS_get_robust_list, t->tid, &robust.head, &robust.len) == 0) {
		th->robust_list = (uint64_t)robust.head;
		th->robust_len = robust.len;
	}
	dump_rseq(th);
	dump_sched(th);
	r = dump_by_calls(frozen, t, th, err);
	if (r < 0)
		return r;
	find_tid(frozen, th);
	r = dump_comm(p->pid, th);
	return r < 0 ? error_errno(err, r, "reading the name of thread %d", t->tid) : 0;
}

int dump_threads(struct frozen_process *frozen, const struct dump_options *o, struct model_process *p,
		 struct error *err)
{
	p->threads = calloc(frozen->n, sizeof(*p->threads));
	if (!p->threads)
		return error_set(err, ENOMEM, "no memory for %zu threads", frozen->n);
	for (size_t i = 0; i < frozen->n; i++) {
		struct frozen_thread *t = &frozen->threads[i];
		int r;

		if (frozen_is_stop_signal(t->stop_signal))
			return error_set(err, EOPNOTSUPP, "thread %d of process %d is stopped (%s)", t->tid,
					 p->pid, strsignal(t->stop_signal));
		r = dump_thread(frozen, o, p, t, &p->threads[p->nthreads++], err);
		if (r < 0)
			return r;
	}
	return 0;
}
