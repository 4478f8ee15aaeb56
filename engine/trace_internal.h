/* SPDX-License-Identifier: MIT */
/* trace_internal.h - a trace, between trace.c (events) and trace_calls.c (what a stopped tracee is made to do) */
#ifndef WARM_ENGINE_TRACE_INTERNAL_H
#define WARM_ENGINE_TRACE_INTERNAL_H

#include "engine/trace.h"

struct trace {
	const struct trace_ops *ops;
	void *data;
	pid_t root;
	struct tracee *list;
	uint64_t breakpoints[TRACE_BREAKPOINTS];
	uint64_t syscall_insn;
	bool freezing;
	uint64_t limit_at_ns, limit_quiet_ns; /* trace_set_limit() */
	uint64_t last_event_ns;
	unsigned int made; /* by the root's first thread: struct tracee's origin */
};

/** trace_wait_limited() - the next event, before a limit of trace_set_limit(). Return: as waitpid(2); 0: a limit is reached */
pid_t trace_wait_limited(struct trace *tr, int *status);

#endif
