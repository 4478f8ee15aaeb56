/* SPDX-License-Identifier: MIT */
/*
 * builder_boundary.c - a call is about to be made that no build may make (observe.h): the template is taken in
 * front of it, and the clones make it.
 *
 * Who is about to make the call decides how:
 *
 *   a thread of the program, no adaptor	its registers are as before the call, and the dump is taken right there
 *			(*early*). Nothing tells such a clone of its launch, so that arguments and environment are part of the key.
 *			With `call` it asks when it comes to its readiness point, and the answer lies there.
 *   Python's first thread, adaptor in place	the adaptor is called where the thread stands, and ends the leading part as it
 *			does at its ordinary end: what was read is reported, the launch context taken. The way back from that call
 *			to the interrupted one is the stub's (stub_resume_leave), because no tracer is there in a clone.
 *   a child, or another thread of Python	the build is given up. A new one stops in front of the call by which the first
 *			thread made that child or thread, or its ancestor.
 *
 * In Python that is, in C: state = PyGILState_Ensure(); PyErr_Fetch(&t, &v, &tb); PyObject_IsTrue(leave); and, by the stub,
 * PyErr_Restore(t, v, tb); PyGILState_Release(state). The first works with and without the interpreter's lock, in any thread that
 * the interpreter knows; C code may be in a call with an exception pending.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "engine/base/fd.h"
#include "engine/elf.h"
#include "engine/proc.h"
#include "engine/trace.h"
#include "warmd/build/builder_internal.h"
#include "warmd/build/observe.h"

#define RED_ZONE_ROOM 256 /* more than any ABI's red zone */

int builder_stop_before(struct builder *b, unsigned int origin, const char *words, struct error *err)
{
	if (origin == 0 || b->attempts >= BUILDER_ATTEMPTS)
		return error_set(err, EOPNOTSUPP, "%s before its readiness point", words);
	b->stop_at = origin;
	snprintf(b->stop_words, sizeof(b->stop_words), "%s", words);
	return error_set(err, ERESTART, "%s", words);
}

int builder_stop_before_redirection(struct builder *b, int fd, struct error *err)
{
	if (b->stop_at_redirection || b->attempts >= BUILDER_ATTEMPTS)
		return error_set(err, EOPNOTSUPP, "it closed or redirected descriptor %d, which it inherited",
				 fd);
	b->stop_at_redirection = true;
	return error_set(err, ERESTART, "closes or redirects descriptor %d", fd);
}

static bool is_callers(const struct builder *b, uint64_t fd)
{
	return fd < 3 || (fd < 256 && request_inherits(b->req, (int)fd));
}

int builder_redirects(const struct builder *b, const struct tracee *t)
{
	uint64_t fd = (unsigned int)t->args[0], last = fd;

	if (t->tgid != trace_root(b->trace))
		return -1;
	switch (t->nr) {
	case SYS_close:
		break;
#ifdef SYS_dup2
	case SYS_dup2:
#endif
	case SYS_dup3:
		fd = last = (unsigned int)t->args[1];
		break;
	case SYS_close_range:
		last = (unsigned int)t->args[1];
		break;
	default:
		return -1;
	}
	for (; fd <= last && fd < 256; fd++)
		if (is_callers(b, fd))
			return (int)fd;
	return -1;
}

static int by_another(struct builder *b, const struct tracee *t, const char *words, struct error *err)
{
	char comm[PROC_COMM_SIZE], longer[512];

	proc_comm(t->tid, comm);
	snprintf(longer, sizeof(longer), "starts a %s (%s) that %.400s",
		 t->tgid == trace_root(b->trace) ? "thread" : "process", comm, words);
	return builder_stop_before(b, t->origin, longer, err);
}

/* what rt_sigreturn(2) will take the thread back to: the call, not made yet */
static int write_frame(struct builder *b, struct tracee *t, struct error *err)
{
	arch_regs regs;
	_cleanup_free_ void *xstate = NULL, *frame = NULL;
	size_t xstate_len, size;
	uint64_t sigmask, ss[3] = { 0 }, at, wrapper;
	int64_t ret = 0;
	bool amx;
	int r = arch_get_regs(t->tid, &regs);

	if (r == 0)
		r = arch_read_xstate(t->tid, &xstate, &xstate_len, &amx);
	if (r == 0 && ptrace(PTRACE_GETSIGMASK, t->tid, 8, &sigmask) < 0)
		r = -errno;
	if (r < 0)
		return error_errno(err, r, "reading the program's registers");
	size = arch_frame_size(xstate_len);
	at = (arch_sp(&regs) - RED_ZONE_ROOM - size) & ~63ull;
	r = trace_syscall(b->trace, t, &ret, err, SYS_sigaltstack, 0, at, 0, 0, 0, 0);
	if (r == 0)
		r = trace_read(t->tid, at, ss, sizeof(ss));
	frame = r == 0 ? calloc(1, size) : NULL;
	if (!frame || ret < 0)
		return error_errno(err, r < 0 ? r : -ENOMEM, "asking for the program's alternate stack");
	ss[1] = (uint32_t)ss[1] &
		~(uint32_t)SS_ONSTACK; /* the kernel works that out from the stack pointer */
	r = builder_find_wrapper(b, &regs, &wrapper, err);
	if (r < 0)
		return r;
	arch_make_again(&regs);
	arch_wrap_call(&regs, wrapper);
	arch_write_frame(frame, at, &regs, xstate, xstate_len, sigmask, ss);
	r = trace_write(t->tid, at, frame, size);
	b->leave.frame = at;
	return r < 0 ? error_errno(err, r, "writing to the program's stack") : 0;
}

/* call @fn with three arguments below the frame and the exception, to return to a breakpoint at Py_RunMain */
static int call_below(struct builder *b, struct tracee *t, uint64_t fn, const uint64_t args[3],
		      struct error *err)
{
	arch_regs regs;
	int r = arch_get_regs(t->tid, &regs);

	if (r == 0) {
		arch_set_sp(&regs, b->leave.exception);
		arch_prepare_call(&regs, fn, args, &b->leave.slot);
		r = trace_write(t->tid, b->leave.slot, &b->runmain, sizeof(b->runmain));
	}
	if (r == 0)
		r = arch_set_regs(t->tid, &regs);
	if (r == 0)
		r = trace_breakpoint(b->trace, BUILDER_SLOT_MAIN, b->runmain, err);
	return r < 0 ? error_errno(err, r, "calling the adaptor") : 0;
}

static int begin_leaving(struct builder *b, struct tracee *t, struct error *err)
{
	struct elf_query q[] = { { .name = "PyGILState_Ensure" },
				 { .name = "PyErr_Fetch" },
				 { .name = "PyObject_IsTrue" },
				 { .name = "PyErr_Restore" },
				 { .name = "PyGILState_Release" } };
	int r = builder_drain(b, err);

	if (r < 0)
		return r;
	r = elf_lookup(trace_root(b->trace), q, ARRAY_SIZE(q));
	for (size_t i = 0; i < ARRAY_SIZE(q); i++)
		if (r < 0 || !q[i].addr || !b->lines.leave)
			return error_set(err, EOPNOTSUPP, "%s before its readiness point", b->boundary);
	b->leave.fetch = q[1].addr;
	b->leave.is_true = q[2].addr;
	b->leave.restore = q[3].addr;
	b->leave.release = q[4].addr;
	r = trace_skip(b->trace, t, err);
	if (r == 0)
		r = write_frame(b, t, err);
	if (r < 0)
		return r;
	b->leave.exception = b->leave.frame - 64;
	b->state = STATE_ENSURE;
	return call_below(b, t, q[0].addr, (const uint64_t[3]){ 0 }, err);
}

int builder_leave_next(struct builder *b, struct tracee *t, struct error *err)
{
	uint64_t exception = b->leave.exception;
	arch_regs regs;
	int r;

	if (b->state == STATE_FETCH) {
		b->state = STATE_LEAVING;
		return call_below(b, t, b->leave.is_true, (const uint64_t[3]){ b->lines.leave }, err);
	}
	r = arch_get_regs(t->tid, &regs);
	if (r < 0)
		return error_errno(err, r, "reading the program's registers");
	b->leave.gil_state = (uint32_t)arch_result(&regs);
	b->state = STATE_FETCH;
	return call_below(b, t, b->leave.fetch,
			  (const uint64_t[3]){ exception, exception + 8, exception + 16 }, err);
}

int builder_boundary(struct builder *b, struct tracee *t, const char *words, struct error *err)
{
	bool adaptor = b->adaptor_used && b->state != STATE_ENTRY;

	if (t->tgid != trace_root(b->trace) || (adaptor && t->origin != 0))
		return by_another(b, t, words, err);
	if (b->leave.frame)
		return error_set(err, EOPNOTSUPP, "%s before its readiness point", words);
	snprintf(b->boundary, sizeof(b->boundary), "%s", words);
	if (adaptor)
		return begin_leaving(b, t, err);
	b->early = true;
	b->ready = t;
	return 1;
}
