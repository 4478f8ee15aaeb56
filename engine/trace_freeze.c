/* SPDX-License-Identifier: MIT */
/* trace_freeze.c - the way into a frozen process for one that is traced from its first instruction, and the way back */
#include "engine/trace_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ptrace.h>

#include "engine/base/pidfd.h"

static bool all_frozen(const struct trace *tr)
{
	for (const struct tracee *t = tr->list; t; t = t->next)
		if (t->tgid == tr->root && !t->frozen)
			return false;
	return true;
}

/* about to make a call: taken back, to be made when it goes on */
static int undo_entry(struct trace *tr, struct tracee *t, struct error *err)
{
	arch_regs regs;
	int r = trace_skip(tr, t, err);

	if (r == 0)
		r = arch_get_regs(t->tid, &regs);
	if (r < 0)
		return r;
	arch_make_again(&regs);
	arch_leave_call(&regs);
	return arch_set_regs(t->tid, &regs);
}

/*
 * Any stop will do for a thread that is to be frozen, because any stop takes the
 * place of the interrupt's own (ptrace_stop() clears JOBCTL_TRAP_STOP); but
 * a signal on its way is delivered first.
 */
static int freeze_at_stop(struct trace *tr, struct tracee *t, struct error *err)
{
	if (t->signal) {
		trace_resume(t);
		ptrace(PTRACE_INTERRUPT, t->tid, 0, 0);
		return 0;
	}
	if (t->stop == STOP_EVENT && t->in_call) {
		/* in the middle of clone(2) or the like: to its end, which comes at once */
		trace_resume(t);
		return 0;
	}
	t->frozen = true;
	return t->stop == STOP_ENTRY ? undo_entry(tr, t, err) : 0;
}

static int stop_all(struct trace *tr, struct error *err)
{
	int r;

	tr->freezing = true;
	for (struct tracee *t = tr->list; t; t = t->next) {
		if (t->tgid != tr->root)
			continue;
		if (t->stop == STOP_NONE) {
			ptrace(PTRACE_INTERRUPT, t->tid, 0, 0);
			continue;
		}
		r = t->stop == STOP_ENTRY ? undo_entry(tr, t, err) : 0;
		if (r < 0)
			return r;
		t->frozen = true;
	}
	while (!all_frozen(tr)) {
		struct tracee *t;
		int status;

		r = trace_next_event(tr, &t, &status, err);
		if (r < 0)
			return r;
		if (!t)
			continue;
		r = trace_on_stop(tr, t, status, err);
		if (r < 0)
			return r;
		if (t->tgid == tr->root)
			r = freeze_at_stop(tr, t, err);
		else
			trace_resume(t);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * Filters that we have ourselves let everything through that is done here, as far as we know: a container's. Others might
 * kill the program for a remote call.
 */
static int suspend_filters(const struct trace *tr, struct error *err)
{
	long own = frozen_filters(getpid(), getpid());

	for (const struct tracee *t = tr->list; t; t = t->next) {
		if (t->tgid != tr->root || frozen_filters(tr->root, t->tid) <= own)
			continue;
		if (ptrace(PTRACE_SETOPTIONS, t->tid, 0, TRACE_OPTIONS | FROZEN_SUSPEND_SECCOMP) < 0)
			return error_set(err, EOPNOTSUPP,
					 "it installed a seccomp filter before its readiness point");
	}
	return 0;
}

/* the process is the trace's again: all its threads are stopped, for trace_run() */
static void back_to_trace(struct frozen_process *p)
{
	struct trace *tr = p->way;

	for (size_t i = 0; i < p->n; i++) {
		const struct frozen_thread *th = &p->threads[i];
		struct tracee *t = trace_find(tr, th->tid);

		if (!t)
			continue;
		ptrace(PTRACE_SETOPTIONS, t->tid, 0, TRACE_OPTIONS);
		t->stop_signal = th->stop_signal;
		t->frozen = false;
	}
	tr->freezing = false;
	tr->frozen = NULL;
	frozen_free(p);
}

static int freeze(struct trace *tr, struct frozen_process *p, struct error *err)
{
	int r = stop_all(tr, err);

	if (r == 0)
		r = suspend_filters(tr, err);
	for (const struct tracee *t = tr->list; r == 0 && t; t = t->next) {
		struct frozen_thread *th;

		if (t->tgid != tr->root)
			continue;
		th = frozen_add_thread(p, t->tid, err);
		if (!th)
			return -ENOMEM;
		th->stopped = true;
		if (t->stop_signal)
			th->stop_signal = t->stop_signal;
		th->in.nr = t->nr;
		memcpy(th->in.args, t->args, sizeof(th->in.args));
		th->entered_ns = t->entered_ns;
		frozen_settle(p, th);
	}
	return r;
}

int trace_freeze(struct trace *tr, struct frozen_process **ret, struct error *err)
{
	struct frozen_process *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return error_set(err, ENOMEM, "no memory");
	p->pid = tr->root;
	p->way = tr;
	p->let_go = back_to_trace;
	p->pidfd = pidfd_open_process(tr->root);
	r = p->pidfd < 0 ? error_errno(err, p->pidfd, "process %d (pidfd_open)", tr->root)
			 : freeze(tr, p, err);
	if (r < 0) {
		frozen_free(p);
		return r;
	}
	tr->frozen = p;
	*ret = p;
	return 0;
}
