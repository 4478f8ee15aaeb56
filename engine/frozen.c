/* SPDX-License-Identifier: MIT */
/* frozen.c - what all frozen processes have, whichever way they came: calls, memory, the way out */
#include "engine/frozen_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "engine/base/array.h"
#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/pidfd.h"
#include "engine/base/proc_path.h"
#include "engine/proc.h"

#define GET_RSEQ_CONFIGURATION 0x420f /* Linux 5.13; <linux/ptrace.h> cannot stand beside <sys/ptrace.h> */
#define LOOK_AGAIN_MS	       50
#define CALL_AGAIN	       8 /* times that a call may be interrupted */

/* --- threads ------------------------------------------------------------------- */

struct frozen_thread *frozen_add_thread(struct frozen_process *p, pid_t tid, struct error *err)
{
	struct frozen_thread *t = array_append(&p->threads, &p->n, sizeof(*t));

	if (t)
		*t = (struct frozen_thread){ .tid = tid, .stop_signal = SIGTRAP, .in.nr = -1 };
	else
		error_set(err, ENOMEM, "no memory");
	return t;
}

void frozen_forget_thread(struct frozen_process *p, struct frozen_thread *t)
{
	size_t at = (size_t)(t - p->threads);

	memmove(t, t + 1, (p->n - at - 1) * sizeof(*t));
	p->n--;
}

int frozen_wait(pid_t tid, int *ret_status, uint64_t deadline_ms)
{
	bool forever = deadline_ms == UINT64_MAX;
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	for (;;) {
		pid_t r = waitpid(tid, ret_status, forever ? __WALL : __WALL | WNOHANG);
		struct timespec ts = { 0 };
		uint64_t now, left;

		if (r == tid)
			return 0;
		if (r < 0 && errno != EINTR)
			return -errno;
		if (forever)
			continue;
		now = clock_ms();
		if (now >= deadline_ms)
			return -ETIMEDOUT;
		/* one SIGCHLD may stand for several reports, and for those of other threads: look again in any case */
		left = deadline_ms - now < LOOK_AGAIN_MS ? deadline_ms - now : LOOK_AGAIN_MS;
		ts.tv_nsec = (long)(left * NS_PER_MS);
		sigtimedwait(&child, NULL, &ts);
	}
}

int frozen_await_stop(struct frozen_thread *t, uint64_t deadline_ms)
{
	for (;;) {
		int status, r = frozen_wait(t->tid, &status, deadline_ms);

		if (r == -ETIMEDOUT)
			return r;
		if (r < 0 || !WIFSTOPPED(status))
			return 0;
		if (status >> 16 == PTRACE_EVENT_STOP) {
			t->stopped = true;
			t->stop_signal = WSTOPSIG(status);
			return 1;
		}
		/* a signal comes first; its stop took the place of the interrupt's (ptrace_stop() clears JOBCTL_TRAP_STOP) */
		ptrace(PTRACE_CONT, t->tid, 0,
		       status >> 16 || WSTOPSIG(status) == REMOTE_SYSCALL_STOP ? 0 : WSTOPSIG(status));
		ptrace(PTRACE_INTERRUPT, t->tid, 0, 0);
	}
}

long frozen_filters(pid_t pid, pid_t tid)
{
	_cleanup_free_ char *text = NULL;
	long mode = 0, filters = 1;

	if (read_file(proc_path(pid, "task/%d/status", tid).text, &text, NULL) < 0 ||
	    proc_status_long(text, "Seccomp:", &mode) < 0 || mode == 0)
		return 0;
	proc_status_long(text, "Seccomp_filters:", &filters);
	return filters;
}

struct rseq_configuration {
	uint64_t pointer;
	uint32_t size, signature, flags, pad;
};

/*
 * In the middle of a restartable sequence the kernel has a thread start over for being preempted when it goes on
 * (kernel/rseq.c: rseq_ip_fixup()). If it found foreign registers there, it would forget: done at once.
 */
void frozen_settle(const struct frozen_process *p, const struct frozen_thread *t)
{
	struct rseq_configuration conf = { 0 };
	struct {
		uint32_t version, flags;
		uint64_t start, length, abort;
	} cs;
	uint64_t at = 0;
	arch_regs regs;

	if (ptrace((enum __ptrace_request)GET_RSEQ_CONFIGURATION, t->tid, sizeof(conf), &conf) < 0 ||
	    !conf.pointer || remote_read(p->pid, conf.pointer + 8, &at, 8) < 0 || !at ||
	    remote_read(p->pid, at, &cs, sizeof(cs)) < 0 || arch_get_regs(t->tid, &regs) < 0)
		return;
	if (arch_pc(&regs) - cs.start >= cs.length)
		return;
	arch_set_pc(&regs, cs.abort);
	arch_set_regs(t->tid, &regs);
}

/* --- calls ------------------------------------------------------------------------ */

static int begin_calls(struct frozen_process *p, struct frozen_thread *t, struct error *err)
{
	uint64_t all = UINT64_MAX;
	arch_regs regs;
	int r = arch_get_regs(t->tid, &regs);

	if (r < 0)
		return error_errno(err, r, "reading registers");
	if (!arch_is_native(&regs))
		return error_set(err, ENOEXEC, "process %d is a 32-bit program, which warm cannot handle",
				 p->pid);
	if (!p->insn) {
		r = remote_find_insn(p->pid, &p->insn, err);
		if (r < 0)
			return r;
	}
	/* in a call with a mask of its own (pselect, sigsuspend) this is the one outside it, which the call sets again */
	if (ptrace(PTRACE_GETSIGMASK, t->tid, sizeof(t->mask), &t->mask) < 0 ||
	    ptrace(PTRACE_SETSIGMASK, t->tid, sizeof(all), &all) < 0)
		return error_errno(err, errno, "blocking signals of process %d", p->pid);
	t->calling = true;
	return 0;
}

static bool interrupted(int64_t result)
{
	return result == -EINTR || (result <= -512 && result >= -516); /* include/linux/errno.h */
}

static int make_call(struct frozen_process *p, struct frozen_thread *t, const struct remote_call *call,
		     int64_t *ret, struct error *err)
{
	arch_regs saved;
	int r = t->calling ? 0 : begin_calls(p, t, err);

	if (r == 0 && arch_get_regs(t->tid, &saved) < 0)
		r = -ESRCH;
	for (int times = 0; r == 0 && times < CALL_AGAIN; times++) {
		r = remote_call(t->tid, p->insn, &saved, call, ret, &t->held, err);
		if (r == 0 && !interrupted(*ret))
			return 0;
	}
	if (r == 0)
		return error_set(err, EINTR, "process %d is interrupted again and again", p->pid);
	if (r == -ESRCH) {
		/* its registers are nobody's now */
		t->calling = false;
		return error_set(err, ESRCH, "process %d was killed", p->pid);
	}
	return r;
}

int frozen_call(struct frozen_process *p, struct frozen_thread *t, int64_t *ret, struct error *err, long nr,
		uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	const struct remote_call call = { .nr = nr, .args = { a, b, c, d, e, f } };

	if (!t)
		t = p->threads;
	if (p->n == 0)
		return error_set(err, ESRCH, "process %d has ended", p->pid);
	if (!t->stopped)
		return error_set(err, EBUSY, "thread %d of process %d is not stopped", t->tid, p->pid);
	return make_call(p, t, &call, ret, err);
}

int frozen_scratch(struct frozen_process *p, uint64_t *ret, struct error *err)
{
	int64_t at;
	int r;

	if (!p->scratch) {
		r = frozen_call(p, NULL, &at, err, SYS_mmap, 0, (uint64_t)sysconf(_SC_PAGESIZE),
				PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, 0);
		if (r < 0)
			return r;
		if (at < 0 && at > -4096)
			return error_errno(err, (int)at, "memory in process %d", p->pid);
		p->scratch = (uint64_t)at;
	}
	*ret = p->scratch;
	return 0;
}

/*
 * The registers may say that a call is to be made again (-ERESTARTSYS and the like). The kernel looks at that only where
 * it handles signals (arch_do_signal_or_restart()), and the thread is behind a remote call: an interrupt leads there.
 */
static void end_calls(struct frozen_process *p, struct frozen_thread *t)
{
	arch_regs saved;

	if (!t->calling || arch_get_regs(t->tid, &saved) < 0)
		return;
	t->stopped = false;
	ptrace(PTRACE_INTERRUPT, t->tid, 0, 0);
	if (ptrace(PTRACE_CONT, t->tid, 0, 0) == 0)
		frozen_await_stop(t, UINT64_MAX);
	arch_set_regs(t->tid, &saved);
	ptrace(PTRACE_SETSIGMASK, t->tid, sizeof(t->mask), &t->mask);
	t->calling = false;
	if (t->held)
		kill(p->pid, t->held);
	t->held = 0;
}

void frozen_end_calls(struct frozen_process *p)
{
	int64_t ignored;

	if (p->scratch && p->n)
		frozen_call(p, NULL, &ignored, NULL, SYS_munmap, p->scratch, (uint64_t)sysconf(_SC_PAGESIZE),
			    0, 0, 0, 0);
	p->scratch = 0;
	for (size_t i = 0; i < p->n; i++)
		end_calls(p, &p->threads[i]);
}

/* --- what is asked ------------------------------------------------------------------ */

int frozen_registers(const struct frozen_thread *t, arch_regs *ret)
{
	return arch_get_regs(t->tid, ret);
}

int frozen_sigmask(const struct frozen_thread *t, uint64_t *ret)
{
	if (t->calling) {
		*ret = t->mask;
		return 0;
	}
	return ptrace(PTRACE_GETSIGMASK, t->tid, sizeof(*ret), ret) < 0 ? -errno : 0;
}

int frozen_read(const struct frozen_process *p, uint64_t addr, void *buf, size_t len)
{
	return remote_read(p->pid, addr, buf, len);
}

int frozen_write(const struct frozen_process *p, uint64_t addr, const void *buf, size_t len)
{
	return remote_write(p->pid, addr, buf, len);
}

/* --- out ----------------------------------------------------------------------------- */

void frozen_free(struct frozen_process *p)
{
	fd_close(p->pidfd);
	free(p->threads);
	free(p);
}

void frozen_thaw(struct frozen_process *p)
{
	if (!p)
		return;
	frozen_end_calls(p);
	p->let_go(p);
}

void frozen_kill(struct frozen_process *p)
{
	if (!p)
		return;
	p->killed = true;
	pidfd_kill(p->pidfd, p->pid, SIGKILL, false);
	p->let_go(p);
}

ssize_t frozen_tree_add(struct frozen_tree *tree, struct frozen_process *p, ssize_t parent)
{
	if (array_reserve(&tree->processes, tree->n, 1, sizeof(*tree->processes)) < 0 ||
	    array_reserve(&tree->parents, tree->n, 1, sizeof(*tree->parents)) < 0)
		return -ENOMEM;
	tree->processes[tree->n] = p;
	tree->parents[tree->n] = parent;
	return (ssize_t)tree->n++;
}

void frozen_tree_thaw(struct frozen_tree *tree)
{
	while (tree->n > 0)
		frozen_thaw(tree->processes[--tree->n]);
	frozen_tree_done(tree);
}

void frozen_tree_kill(struct frozen_tree *tree)
{
	while (tree->n > 0)
		frozen_kill(tree->processes[--tree->n]);
	frozen_tree_done(tree);
}

void frozen_tree_done(struct frozen_tree *tree)
{
	free(tree->processes);
	free(tree->parents);
	*tree = (struct frozen_tree){ 0 };
}
