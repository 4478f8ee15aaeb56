/* SPDX-License-Identifier: MIT */
/*
 * seize.h - a process that somebody else started and that runs: stopped, made to do system calls, let go as it was.
 *
 * trace.h is for programs that we start, of which every call is seen. This is for a process that knows nothing
 * of us, and must never learn: PTRACE_SEIZE stops nobody, PTRACE_INTERRUPT leaves no signal behind, and a call
 * that it was in is made again by the kernel when it goes on (with its arguments, so a read of descriptor 0
 * reads what descriptor 0 is by then). What cannot be made again ends with EINTR, as behind a stop by Ctrl-Z:
 * epoll_wait(2) and the others of signal(7), "Interruption of system calls and library functions by stop signals".
 *
 *	open ─► running ── seize_stop() ──► stopped ── seize_call()... ──► stopped
 *	           ▲                          │  ▲
 *	           └────── seize_run() ───────┘  └─ seize_next() may find it so
 *	seize_close(): from any of these, back to a life without us
 *
 * While one is open, SIGCHLD is blocked in the calling thread. If the tracer is killed in the middle of
 * seize_call()s the process goes on with foreign registers, and dies: the caller blocks what signals it can.
 */
#ifndef WARM_ENGINE_SEIZE_H
#define WARM_ENGINE_SEIZE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/error.h"
#include "regs.h" /* by architecture */

#define SEIZE_STOP_MS 5000 /* for all threads to stop: longer sleeps that cannot be interrupted are refused */

struct seized_thread {
	pid_t tid;
	bool stopped;
	int stop_signal; /* of the group stop it is in; SIGTRAP: in none */
};

struct seized {
	pid_t pid;
	int pidfd;
	struct seized_thread *threads; /* the one that makes the calls first */
	size_t n, room;
	bool calling; /* registers and signal mask of the first thread are the next two */
	arch_regs saved;
	uint64_t mask;
	uint64_t insn; /* of a system call */
	uint64_t scratch; /* a page of its memory that is ours; 0: none yet */
	bool stop_again; /* SIGSTOP came while it made calls */
	sigset_t blocked_before; /* of the calling thread */
};

/**
 * seize_open() - begin to trace a process, which runs on
 * @ret: set on success; seize_close()
 * Return: 0. -EPERM: not permitted; err says what to change. -ESRCH: there is none. Other negative errno
 */
int seize_open(struct seized **ret, pid_t pid, struct error *err);

/** seize_stop() - stop all its threads. Return: 0. -EBUSY: a thread does not stop. Other negative errno */
int seize_stop(struct seized *s, struct error *err);

/** seize_run() - all threads that are stopped go on (those of a group stop stay in it) */
void seize_run(struct seized *s);

/**
 * seize_next() - wait until a signal is about to be delivered to it, or it stopped
 * @deadline_ms: of clock_ms()
 * @ret_signal: a signal about to be delivered: pass it on (or 0) with seize_deliver(). 0: it is in a group stop
 * Return: 0. -ETIMEDOUT; -ESRCH: it has ended
 */
int seize_next(struct seized *s, uint64_t deadline_ms, struct seized_thread **ret, int *ret_signal);
int seize_deliver(struct seized_thread *t, int signal);

/**
 * seize_call() - have the stopped process make a system call
 * @ret: its result, negative errno included
 *
 * It must not be one that sleeps. All its signals are blocked from the first call until seize_close() or seize_run().
 * Return: 0, or a negative errno when it could not be made
 */
int seize_call(struct seized *s, int64_t *ret, struct error *err, long nr, uint64_t a, uint64_t b, uint64_t c,
	       uint64_t d, uint64_t e, uint64_t f);

/** seize_scratch() - a page of its memory for arguments; unmapped when it goes on */
int seize_scratch(struct seized *s, uint64_t *ret, struct error *err);

/** seize_close() - let it go, in the state it would be in without us; @s may be NULL */
void seize_close(struct seized *s);

static inline void seize_closep(struct seized **s)
{
	seize_close(*s);
	*s = NULL;
}

/** seize_wait() - one report of a traced thread. Return: 0, -ETIMEDOUT, or -ECHILD: not traced any more */
int seize_wait(pid_t tid, int *ret_status, uint64_t deadline_ms);

/**
 * seize_denied() - why a process may not be traced, and what to change
 * @code: errno of PTRACE_SEIZE, pidfd_getfd(2) or of opening its files under /proc
 * Return: -@code; err has the words
 */
int seize_denied(pid_t pid, int code, struct error *err);

#endif
