/* SPDX-License-Identifier: MIT */
/* trace_internal.h - a trace, between trace.c (events), trace_freeze.c (all at rest) and trace_calls.c (what a stopped tracee is made to do) */
#ifndef WARM_ENGINE_TRACE_INTERNAL_H
#define WARM_ENGINE_TRACE_INTERNAL_H

#include "engine/frozen_internal.h"
#include "engine/trace.h"

#define TRACE_OPTIONS                                                                                        \
	(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |            \
	 PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)

struct trace {
	const struct trace_ops *ops;
	void *data;
	pid_t root;
	struct tracee *list;
	uint64_t breakpoints[TRACE_BREAKPOINTS];
	uint64_t syscall_insn;
	bool freezing;
	struct frozen_process *frozen; /* trace_freeze(); NULL: it is not */
	uint64_t limit_at_ns, limit_quiet_ns; /* trace_set_limit() */
	uint64_t last_event_ns;
	unsigned int made; /* by the root's first thread: struct tracee's origin */
};

struct tracee *trace_find(const struct trace *tr, pid_t tid);
/** trace_resume() - a stopped tracee goes on; in a group stop it stays */
void trace_resume(struct tracee *t);
/** trace_next_event() - @ret: who stopped, NULL: nobody, somebody has ended. Return: 0, TRACE_LIMIT or a negative errno */
int trace_next_event(struct trace *tr, struct tracee **ret, int *ret_status, struct error *err);
/** trace_on_stop() - tell the callbacks. Return: what they return */
int trace_on_stop(struct trace *tr, struct tracee *t, int status, struct error *err);

/** trace_wait_limited() - the next event, before a limit of trace_set_limit(). Return: as waitpid(2); 0: a limit is reached */
pid_t trace_wait_limited(struct trace *tr, int *status);

#endif
