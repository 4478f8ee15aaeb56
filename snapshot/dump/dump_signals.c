/* SPDX-License-Identifier: MIT */
/* dump_signals.c - dispositions, pending signals, interval timers and POSIX timers */
#include "snapshot/dump/dump.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "engine/proc.h"

#define MAX_PENDING 1024

static int dump_dispositions(struct frozen_process *frozen, const struct model_process *p,
			     struct model_handlers *handlers, struct error *err)
{
	uint64_t at = dump_scratch(frozen);

	for (uint32_t signo = 1; signo <= 64; signo++) {
		struct {
			uint64_t handler, flags, restorer, mask;
		} sa;
		int64_t r;

		if (signo == SIGKILL || signo == SIGSTOP)
			continue;
		r = dump_call(frozen, SYS_rt_sigaction, signo, 0, at, 8);
		if (r < 0 || frozen_read(frozen, at, &sa, sizeof(sa)) < 0)
			return error_set(err, EIO, "asking process %d for its signal dispositions", p->pid);
		handlers->actions[signo - 1] = (struct model_sigaction){
			.handler = sa.handler,
			.flags = sa.flags,
			.restorer = sa.restorer,
			.mask = sa.mask,
		};
	}
	return 0;
}

static int peek(pid_t tid, int index, struct model_process *p, struct error *err)
{
	for (uint64_t off = 0; off < MAX_PENDING; off++) {
		struct __ptrace_peeksiginfo_args args = {
			.off = off, .flags = index == MODEL_NONE ? PTRACE_PEEKSIGINFO_SHARED : 0, .nr = 1
		};
		struct model_pending *more;
		siginfo_t info;
		long n = ptrace(PTRACE_PEEKSIGINFO, tid, &args, &info);

		if (n < 0)
			return error_errno(err, errno, "reading pending signals of thread %d", tid);
		if (n == 0)
			return 0;
		more = array_append(&p->pendings, &p->npendings, sizeof(*more));
		if (!more)
			return error_set(err, ENOMEM, "no memory");
		more->thread = index;
		memcpy(more->info, &info, sizeof(info) < 128 ? sizeof(info) : 128);
	}
	return error_set(err, EOPNOTSUPP, "thread %d has more than %d pending signals", tid, MAX_PENDING);
}

static void dump_itimers(struct frozen_process *frozen, struct model_process *p)
{
	uint64_t at = dump_scratch(frozen);

	for (int which = ITIMER_REAL; which <= ITIMER_PROF; which++) {
		uint64_t v[4];

		if (dump_call(frozen, SYS_getitimer, (uint64_t)which, at, 0, 0) < 0 ||
		    frozen_read(frozen, at, v, sizeof(v)) < 0 || (!v[2] && !v[3]))
			continue;
		p->itimers[p->nitimers++] = (struct model_itimer){
			.which = which,
			.interval_us = v[0] * 1000000 + v[1],
			.value_us = v[2] * 1000000 + v[3],
		};
	}
}

static int parse_timer(const char *text, struct model_timer *t, const struct model_process *p,
		       struct error *err)
{
	const char *notify;
	int signo, id, clock;
	void *value;
	long pid = 0;

	/* Documentation/filesystems/proc.rst, /proc/PID/timers: ID, signal: N/PTR, notify: how/pid.N, ClockID */
	if (sscanf(text, "ID: %d signal: %d/%p", &id, &signo, &value) != 3)
		return error_set(err, EBADMSG, "cannot read /proc/%d/timers", p->pid);
	notify = strstr(text, "notify: ");
	if (!notify || !strstr(notify, "ClockID: ") ||
	    sscanf(strstr(notify, "ClockID: "), "ClockID: %d", &clock) != 1)
		return error_set(err, EBADMSG, "cannot read /proc/%d/timers", p->pid);
	t->id = id;
	t->signo = signo;
	t->value = (uint64_t)value;
	t->clock = clock;
	t->thread = -1;
	if (strncmp(notify + 8, "none", 4) == 0)
		t->notify = SIGEV_NONE;
	else
		t->notify = SIGEV_SIGNAL;
	if (strncmp(notify + 8, "signal/tid.", 11) == 0) {
		t->notify = SIGEV_THREAD_ID;
		sscanf(notify + 19, "%ld", &pid);
		for (size_t i = 0; i < p->nthreads; i++)
			if (p->threads[i].tid == pid)
				t->thread = (int)i;
		if (t->thread < 0)
			return error_set(
				err, EOPNOTSUPP,
				"process %d has a POSIX timer that signals thread %ld, which is gone", p->pid,
				pid);
	}
	if (clock < 0)
		return error_set(err, EOPNOTSUPP, "process %d has a POSIX timer on a CPU clock", p->pid);
	return 0;
}

static int dump_timers(struct frozen_process *frozen, struct model_process *p, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	uint64_t at = dump_scratch(frozen);
	int r;

	r = read_file(proc_path(p->pid, "timers").text, &text, NULL);
	if (r < 0)
		return r == -ENOENT ? 0 : error_errno(err, r, "reading /proc/%d/timers", p->pid);
	for (const char *rest = text; (rest = strstr(rest, "ID: ")); rest += 4) {
		struct model_timer t = { 0 }, *more;
		uint64_t v[4];

		/* "ClockID: " ends each entry */
		if (rest > text && rest[-1] != '\n')
			continue;
		r = parse_timer(rest, &t, p, err);
		if (r < 0)
			return r;
		if (dump_call(frozen, SYS_timer_gettime, (uint64_t)t.id, at, 0, 0) < 0 ||
		    frozen_read(frozen, at, v, sizeof(v)) < 0)
			return error_set(err, EIO, "asking process %d for its timer %d", p->pid, t.id);
		t.interval_ns = v[0] * 1000000000u + v[1];
		t.value_ns = v[2] * 1000000000u + v[3];
		more = array_append(&p->timers, &p->ntimers, sizeof(*more));
		if (!more)
			return error_set(err, ENOMEM, "no memory");
		*more = t;
	}
	return 0;
}

/* which of the threads takes a signal to the process: the main one if it may, kernel/signal.c: complete_signal() */
static struct model_thread *taker(struct model_process *p, int signo)
{
	for (size_t i = 0; i < p->nthreads; i++)
		if (!(p->threads[i].sigmask >> (signo - 1) & 1))
			return &p->threads[i];
	return NULL;
}

/*
 * Sent when its thread has gone on it would come before the call, not in it, and who looks for a new size when
 * poll(2) ends with EINTR would wait: signal(7), "Interruption of system calls".
 */
static void interrupt(struct model_thread *th, bool sa_restart)
{
	bool ends = th->restart == ARCH_RESTART_TIMED || th->restart == ARCH_RESTART_NOHAND ||
		    (th->restart == ARCH_RESTART && !sa_restart);

	if (!ends || th->resume != MODEL_RESUME_FRAME)
		return;
	arch_end_call(&th->regs);
	th->timeout_arg = -1;
}

int dump_resize(const struct model *m, struct model_process *p, struct error *err)
{
	const struct model_sigaction *sa = &m->handlers[p->handlers].actions[SIGWINCH - 1];
	struct model_thread *th = taker(p, SIGWINCH);
	siginfo_t info = { .si_signo = SIGWINCH, .si_code = SI_KERNEL };
	struct model_pending *more;

	if (sa->handler <= 1 /* SIG_DFL, SIG_IGN */)
		return 0;
	more = array_append(&p->pendings, &p->npendings, sizeof(*more));
	if (!more)
		return error_set(err, ENOMEM, "no memory");
	more->thread = th ? (int)(th - p->threads) : MODEL_NONE;
	memcpy(more->info, &info, sizeof(info) < 128 ? sizeof(info) : 128);
	p->resized = true;
	if (th)
		interrupt(th, sa->flags & SA_RESTART);
	return 0;
}

int dump_signals(struct frozen_process *frozen, struct model *m, struct model_process *p, struct error *err)
{
	int r = dump_dispositions(frozen, p, &m->handlers[p->handlers], err);

	for (size_t i = 0; i < p->nthreads && r == 0; i++)
		r = peek(p->threads[i].tid, (int)i, p, err);
	if (r == 0)
		r = peek(p->pid, MODEL_NONE, p, err);
	if (r == 0)
		r = dump_timers(frozen, p, err);
	if (r == 0)
		dump_itimers(frozen, p);
	return r;
}
