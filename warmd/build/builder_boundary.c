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
 *   the first thread, adaptor in place	the adaptor is called where the thread stands, and ends the leading part as it
 *			does at its ordinary end: what was read is reported, the launch context taken. The way back from that call
 *			to the interrupted one is the stub's (stub_resume_leave), because no tracer is there in a clone.
 *   a child, or another thread, adaptor in place	the build is given up. A new one stops in front of the call by which the first
 *			thread made that child or thread, or its ancestor.
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

int builder_leave_frame(struct builder *b, struct tracee *t, struct error *err)
{
	int r = trace_skip(b->trace, t, err);

	return r < 0 ? r : write_frame(b, t, err);
}

static int begin_leaving(struct builder *b, struct tracee *t, struct error *err)
{
	int r = builder_drain(b, err);

	return r < 0 ? r : b->language->leave(b, t, err);
}

int builder_boundary(struct builder *b, struct tracee *t, const char *words, struct error *err)
{
	bool adaptor = b->adaptor_used;

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
