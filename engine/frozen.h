/* SPDX-License-Identifier: MIT */
/*
 * frozen.h - live processes, stopped, with what is needed to ask and change them, and let go as they were.
 *
 * Two ways lead in, and what dumps or changes a process does not see which it was:
 *
 *	trace_freeze()	a program that we have traced from its first instruction (trace.h)
 *	frozen_seize(), frozen_stop()	a process that somebody else started and that knows nothing of us
 *
 * and two lead out: frozen_thaw() and frozen_kill().
 *
 *	frozen_seize() ─► attached, running ── frozen_stop() ──► frozen ── frozen_thaw(), frozen_kill() ─► gone
 *	                     ▲    │                                │ ▲
 *	                     │    └─ frozen_next() may find it so ─┼─┘
 *	                     └──────────── frozen_run() ───────────┘
 *	trace_run() ── trace_freeze() ──► frozen ── frozen_thaw() ──► stopped, for the next trace_run()
 *
 * A thread is in one of these states:
 *
 *	running		(stopped is false) it executes, sleeps in a call, or is in a group stop that frozen_run() left it in.
 *			Memory may be read and written; nothing else is allowed.
 *	stopped		its registers may be read and written, and it may make calls. They are the program's own, as it will
 *			go on with them: what a frozen_call() uses is put back at its end.
 *	stopped in a group stop  (stop_signal is SIGSTOP or another) the same; it goes back into that stop.
 *	calling		a stopped one that has made a call: all its signals are blocked until it goes on, so that none
 *			is lost or handled in between; a signal that comes meanwhile is pending and so is dumped, too.
 *			frozen_sigmask() tells the program's own mask.
 *
 * What is settled here, so that nobody else has to know of it:
 *
 * - A call that the thread was in was interrupted by the stop and shows one of the kernel's restart codes in its
 *   result register. The kernel makes it again when the thread goes on (with its arguments, so a read of descriptor 0
 *   reads what descriptor 0 is by then; times go on with what is left). It looks for the code only where it handles
 *   signals, and a thread that has made a remote call is not there: frozen_thaw() leads it back. What cannot be made
 *   again ends with EINTR, as behind a stop by Ctrl-Z: epoll_wait(2) and the others of signal(7), "Interruption of
 *   system calls and library functions by stop signals".
 * - A restartable sequence (rseq) that the thread was in is left by its abort address as soon as it is stopped. The
 *   kernel would do the same when it goes on, but not if it found a remote call's registers instead.
 * - A seccomp filter might kill the process for a remote call: it is suspended (PTRACE_O_SUSPEND_SECCOMP, which needs
 *   root) or the process refused in words. A traced program may keep those filters that its tracer has itself.
 *
 * While a process is seized SIGCHLD is blocked in the calling thread. If the tracer is killed in the middle of a
 * frozen_call() a seized process goes on with foreign registers, and dies: the caller blocks what signals it can. A
 * traced one dies with its tracer in any case.
 */
#ifndef WARM_ENGINE_FROZEN_H
#define WARM_ENGINE_FROZEN_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/error.h"
#include "engine/remote.h"
#include "regs.h" /* by architecture */

#define FROZEN_STOP_MS                                                                                       \
	5000 /* for all threads to stop: longer sleeps that cannot be interrupted are refused */

struct frozen_thread {
	pid_t tid;
	bool stopped;
	int stop_signal; /* of the group stop it is in; SIGTRAP: in none */
	/*
	 * The system call it is in, or was in last; nr is -1 if none is known. entered_ns is of CLOCK_MONOTONIC; for a seized
	 * thread it is when it was stopped, as nobody saw it enter.
	 */
	struct remote_call in;
	uint64_t entered_ns;

	/* inside */
	bool calling; /* its signals are blocked; mask is its own */
	uint64_t mask;
	int held; /* a signal that cannot be blocked and came while it made calls (SIGSTOP); 0: none */
};

struct frozen_process {
	pid_t pid;
	int pidfd;
	/* the main thread first, unless it has ended. An element moves when threads are found or gone: frozen_stop(), frozen_next() */
	struct frozen_thread *threads;
	size_t n;

	/* inside */
	uint64_t insn; /* a system call instruction of its; 0: not looked for yet */
	uint64_t scratch; /* a page of its memory that is ours; 0: none yet */
	bool killed; /* frozen_kill() */
	void (*let_go)(struct frozen_process *p); /* the way out that belongs to the way in; frees it */
	void *way; /* for let_go */
	sigset_t blocked_before; /* of the calling thread, when it is seized */
};

/* --- a running process ------------------------------------------------------------- */

/**
 * frozen_seize() - begin to trace a process, which runs on
 * @ret: set on success; frozen_thaw()
 * Return: 0. -EPERM: not permitted; err says what to change. -ESRCH: there is none. Other negative errno
 */
int frozen_seize(struct frozen_process **ret, pid_t pid, struct error *err);

/** frozen_stop() - stop all threads of a seized process. Return: 0. -EBUSY: a thread does not stop. Other negative errno */
int frozen_stop(struct frozen_process *p, struct error *err);

/** frozen_run() - all threads of a seized process that are stopped go on (those of a group stop stay in it) */
void frozen_run(struct frozen_process *p);

/**
 * frozen_next() - wait until a signal is about to be delivered to a seized process, or it stopped
 * @deadline_ms: of clock_ms()
 * @ret_signal: a signal about to be delivered: pass it on (or 0) with frozen_deliver(). 0: it is in a group stop
 * Return: 0. -ETIMEDOUT; -ESRCH: it has ended
 */
int frozen_next(struct frozen_process *p, uint64_t deadline_ms, struct frozen_thread **ret, int *ret_signal);
int frozen_deliver(struct frozen_thread *t, int signal);

/** frozen_wait() - one report of a traced thread. Return: 0, -ETIMEDOUT, or -ECHILD: not traced any more */
int frozen_wait(pid_t tid, int *ret_status, uint64_t deadline_ms);

/**
 * frozen_denied() - why a process may not be traced, and what to change
 * @code: errno of PTRACE_SEIZE, pidfd_getfd(2) or of opening its files under /proc
 * Return: -@code; err has the words
 */
int frozen_denied(pid_t pid, int code, struct error *err);

/* --- asking and changing ------------------------------------------------------------- */

/**
 * frozen_call() - have a stopped thread make a system call
 * @t: which; NULL: the first
 * @ret: its result, negative errno included
 *
 * It must not be one that sleeps. Return: 0, or a negative errno when it could not be made
 */
int frozen_call(struct frozen_process *p, struct frozen_thread *t, int64_t *ret, struct error *err, long nr,
		uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f);

/** frozen_scratch() - a page of its memory for arguments; unmapped when it goes on. Whoever reads its mappings sees it */
int frozen_scratch(struct frozen_process *p, uint64_t *ret, struct error *err);

/** frozen_registers(), frozen_sigmask() - of a stopped thread, as it will go on with them. Return: 0 or a negative errno */
int frozen_registers(const struct frozen_thread *t, arch_regs *ret);
int frozen_sigmask(const struct frozen_thread *t, uint64_t *ret);

/** frozen_read(), frozen_write() - memory. Return: 0, or a negative errno (-EFAULT when it is not all there) */
int frozen_read(const struct frozen_process *p, uint64_t addr, void *buf, size_t len);
int frozen_write(const struct frozen_process *p, uint64_t addr, const void *buf, size_t len);

/* --- and out ------------------------------------------------------------------------- */

/**
 * frozen_thaw() - let it go, in the state it would be in without us; @p may be NULL, and is freed
 *
 * A seized process runs (or stays in its group stop), traced no more. A traced one is the trace's again: trace_run().
 */
void frozen_thaw(struct frozen_process *p);

/** frozen_kill() - end it, and free @p. Its parent is told of SIGKILL. Of a traced one trace_run() or trace_free() sees the end */
void frozen_kill(struct frozen_process *p);

static inline void frozen_thawp(struct frozen_process **p)
{
	frozen_thaw(*p);
	*p = NULL;
}

/** frozen_is_stop_signal() - does it begin a group stop? */
static inline bool frozen_is_stop_signal(int signal)
{
	return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

/* --- more than one -------------------------------------------------------------------- */

/* processes, each behind its parent */
struct frozen_tree {
	struct frozen_process **processes;
	ssize_t *parents; /* parents[n]: index of the parent of processes[n]; -1: the root */
	size_t n;
};

/** frozen_tree_add() - @parent: -1 for the first. Return: its index, or -ENOMEM. The tree does not own it until frozen_tree_thaw() or frozen_tree_kill() */
ssize_t frozen_tree_add(struct frozen_tree *tree, struct frozen_process *p, ssize_t parent);
/** frozen_tree_thaw(), frozen_tree_kill() - all its processes, children before their parents; the tree is empty then */
void frozen_tree_thaw(struct frozen_tree *tree);
void frozen_tree_kill(struct frozen_tree *tree);
/** frozen_tree_done() - free the tree and leave its processes alone */
void frozen_tree_done(struct frozen_tree *tree);

#endif
