/* SPDX-License-Identifier: MIT */
/*
 * trace.h - a program run under ptrace(2), every system call seen.
 *
 * trace_start() makes the child, trace_run() resumes everything that is
 * stopped and dispatches events until a callback says stop. The child and all its
 * threads and children are traced from their first instruction
 * (PTRACE_O_TRACECLONE and friends) and die with the tracer
 * (PTRACE_O_EXITKILL).
 *
 * A tracee that is given to a callback is stopped; it goes on when the
 * callback returns 0. A callback that returns non-zero leaves its tracee
 * stopped and ends trace_run() with that value; the others may still run:
 * trace_freeze() stops them.
 */
#ifndef WARM_ENGINE_TRACE_H
#define WARM_ENGINE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/error.h"
#include "engine/remote.h"
#include "regs.h" /* by architecture */

#define TRACE_BREAKPOINTS 4

enum tracee_stop {
	STOP_NONE, /* running */
	STOP_EVENT, /* at rest: an interrupt, an event, a signal */
	STOP_ENTRY, /* before a system call */
	STOP_EXIT, /* behind one */
	STOP_BREAKPOINT,
};

struct tracee {
	pid_t tid, tgid;
	enum tracee_stop stop;
	bool in_call; /* the last system call stop was an entry */
	bool frozen;
	bool fresh; /* made by clone, its first stop not seen yet */
	/*
	 * The root's first thread counts its calls of clone(2), fork(2) and vfork(2) from 1. Which of them made this thread or
	 * process, or one that it descends from; 0: it is the first thread itself.
	 */
	unsigned int origin;
	unsigned int
		making; /* what a thread or process that it makes in its present call gets as its origin */
	int signal; /* to be delivered when it goes on */
	int stop_signal; /* at rest in a group stop: its signal (SIGTRAP: none) */
	bool foreign; /* the call that it enters is of another architecture: its number means something else */
	int denied; /* trace_deny(): the negative errno that its call ends with; 0: none */
	long nr; /* of the call it is in, or was in last */
	uint64_t args[6];
	uint64_t entered_ns; /* CLOCK_MONOTONIC at the entry */
	struct tracee *next;
};

struct frozen_process;
struct trace;

struct trace_ops {
	/* before (@entry) and behind each system call; @ret is 0 at entry */
	int (*syscall)(void *data, struct tracee *t, bool entry, int64_t ret, struct error *err);
	/* a new program was executed; breakpoints are gone */
	int (*exec)(void *data, struct tracee *t, struct error *err);
	/* a thread or process is gone; its id may be used again. @origin: as struct tracee has it */
	void (*exited)(void *data, pid_t tid, unsigned int origin);
	int (*breakpoint)(void *data, struct tracee *t, int slot, struct error *err);
};

/**
 * trace_start() - fork a child that calls @child(@arg) under trace
 * @child: executes the program, does not return; what it returns is the exit status
 * @ret: owned by the caller, trace_free()
 */
int trace_start(struct trace **ret, const struct trace_ops *ops, void *data, int (*child)(void *arg),
		void *arg, struct error *err);
void trace_free(struct trace *tr);

/** trace_run() - Return: what a callback returned; -ECHILD when the program ended (err says how); TRACE_LIMIT; or another negative errno */
int trace_run(struct trace *tr, struct error *err);

#define TRACE_LIMIT 1000

/**
 * trace_set_limit() - from now on trace_run() ends with TRACE_LIMIT, everything left running,
 * @at_ns: at this time of CLOCK_MONOTONIC; 0: at none
 * @quiet_ns: once all tracees have been waiting in system calls for this long, none made or returned; 0: never
 *
 * SIGCHLD is blocked in the caller from here on.
 */
void trace_set_limit(struct trace *tr, uint64_t at_ns, uint64_t quiet_ns);

/**
 * trace_freeze() - stop all threads of the root process; system calls they are in are interrupted
 * @ret: set on success; the trace owns it until it is let go (frozen_thaw(): trace_run() continues, frozen_kill())
 * Return: 0. -EOPNOTSUPP: it has a seccomp filter that cannot be suspended. Other negative errno
 */
int trace_freeze(struct trace *tr, struct frozen_process **ret, struct error *err);

/** trace_others() - how many processes other than the root's own are alive; *ret_pid: one of them */
size_t trace_others(const struct trace *tr, pid_t *ret_pid);

/** trace_makes_task() - does system call @nr make a thread or process? */
bool trace_makes_task(long nr);

pid_t trace_root(const struct trace *tr);
/** trace_tracees() - list of all, in order of appearance; the root's main thread first */
struct tracee *trace_tracees(const struct trace *tr);

/**
 * trace_breakpoint() - execute breakpoint of debug register @slot for all threads of the root process
 * @addr: 0 clears the slot
 *
 * Hardware breakpoints: the text stays as it is, and no thread can run past one that is lifted
 * for another. Debug registers are per thread; new threads get them at their first stop.
 */
int trace_breakpoint(struct trace *tr, int slot, uint64_t addr, struct error *err);

/** trace_syscall() - have a stopped tracee make a system call. Return: its result; -EIO with err when it could not */
int trace_syscall(struct trace *tr, struct tracee *t, int64_t *ret, struct error *err, long nr, uint64_t a,
		  uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f);

/**
 * trace_call() - have a frozen thread call function @fn(@a, @b) of the program, and put it back where it is
 * @slot: a breakpoint that is free
 *
 * The others stay frozen. What it does to memory stays. Return: 0, -EDEADLK when it would wait for a lock, or another negative
 * errno; after an error the program is not to go on.
 */
int trace_call(struct trace *tr, struct tracee *t, int slot, uint64_t fn, uint64_t a, uint64_t b,
	       struct error *err);

/**
 * trace_step_out() - no frozen thread of the root process, @but one (or NULL), stays between @start and @end, both exclusive
 *
 * For code that a clone has different bytes in: it goes on at once, one instruction after the other.
 */
int trace_step_out(struct trace *tr, const struct tracee *but, uint64_t start, uint64_t end,
		   struct error *err);

/**
 * trace_skip() - a tracee in STOP_ENTRY is taken out of its system call,
 * which is not made. Afterwards it is in STOP_EVENT, registers as before the call but
 * for the result register.
 */
int trace_skip(struct trace *tr, struct tracee *t, struct error *err);

/**
 * trace_deny() - a tracee in STOP_ENTRY is refused its system call: the kernel does not make it, and it ends with @error
 * @error: a negative errno
 *
 * The exit of the call is reported as ever, with that result.
 */
int trace_deny(struct tracee *t, int error);

/** trace_read(), trace_write() - memory of a process that is traced, by its id: remote.h */
static inline int trace_read(pid_t pid, uint64_t addr, void *buf, size_t len)
{
	return remote_read(pid, addr, buf, len);
}
static inline int trace_write(pid_t pid, uint64_t addr, const void *buf, size_t len)
{
	return remote_write(pid, addr, buf, len);
}
/** trace_read_string() - up to @size - 1 bytes and a NUL. Return: length, or -EFAULT, -ENAMETOOLONG */
ssize_t trace_read_string(pid_t pid, uint64_t addr, char *buf, size_t size);

#endif
