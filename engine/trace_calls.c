/* SPDX-License-Identifier: MIT */
/* trace_calls.c - what a stopped tracee is made to do: calls of its own, of the kernel and of its functions, and its memory */
#include "engine/trace_internal.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "engine/base/fd.h"
#include "engine/elf.h"

int trace_syscall(struct trace *tr, struct tracee *t, int64_t *ret, struct error *err, long nr, uint64_t a,
		  uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	const struct remote_call call = { .nr = nr, .args = { a, b, c, d, e, f } };
	arch_regs saved;
	int r = tr->syscall_insn ? 0 : remote_find_insn(tr->root, &tr->syscall_insn, err);

	if (r < 0)
		return r;
	r = arch_get_regs(t->tid, &saved);
	if (r < 0)
		return error_errno(err, r, "reading registers");
	return remote_call(t->tid, tr->syscall_insn, &saved, &call, ret, &t->signal, err);
}

/* one step of a call: 1 when it has returned, 0 to go on, or a negative errno */
static int call_step(struct tracee *t, uint64_t pc, uint64_t sp, struct error *err)
{
	uint64_t args[6];
	arch_regs regs;
	long nr;
	int r, stop;

	if (ptrace(PTRACE_SYSCALL, t->tid, 0, 0) < 0)
		return error_errno(err, errno, "resuming a thread");
	stop = remote_wait(t->tid, err);
	if (stop < 0)
		return stop;
	stop = WSTOPSIG(stop);
	r = arch_get_regs(t->tid, &regs);
	if (r < 0)
		return error_errno(err, r, "reading registers");
	if (stop == SIGTRAP)
		return arch_pc(&regs) == pc && arch_sp(&regs) == sp;
	if (stop != (SIGTRAP | 0x80)) {
		t->signal = stop;
		return 0;
	}
	/* FUTEX_WAIT and FUTEX_WAIT_BITSET, be they private or not: nobody would wake it */
	arch_syscall_args(&regs, &nr, args);
	if (nr != SYS_futex || ((args[1] & 127) != 0 && (args[1] & 127) != 9))
		return 0;
	arch_leave_call(&regs);
	r = arch_set_regs(t->tid, &regs);
	if (r == 0)
		r = remote_to_syscall_stop(t->tid, &t->signal, err);
	return r < 0 ? r : error_set(err, EDEADLK, "another thread of it holds a lock of a library");
}

int trace_call(struct trace *tr, struct tracee *t, int slot, uint64_t fn, uint64_t a, uint64_t b,
	       struct error *err)
{
	uint8_t xstate[16384];
	struct iovec iov = { .iov_base = xstate, .iov_len = sizeof(xstate) };
	arch_regs saved, regs;
	uint64_t back, stack_slot;
	int r = arch_get_regs(t->tid, &saved), undone;

	if (r < 0 || ptrace(PTRACE_GETREGSET, t->tid, ARCH_XSTATE_NOTE, &iov) < 0)
		return error_errno(err, r < 0 ? r : errno, "reading registers");
	regs = saved;
	back = arch_pc(&saved);
	arch_prepare_call(&regs, fn, (const uint64_t[3]){ a, b }, &stack_slot);
	r = trace_write(t->tid, stack_slot, &back, sizeof(back));
	if (r < 0)
		return error_errno(err, r, "writing to the stack");
	r = trace_breakpoint(tr, slot, back, err);
	if (r == 0)
		r = arch_set_regs(t->tid, &regs);
	while (r == 0)
		r = call_step(t, back, stack_slot + sizeof(back), err);
	undone = arch_set_regs(t->tid, &saved);
	if (ptrace(PTRACE_SETREGSET, t->tid, ARCH_XSTATE_NOTE, &iov) < 0 && undone == 0)
		undone = -errno;
	if (r > 0)
		r = trace_breakpoint(tr, slot, 0, err);
	return r == 0 && undone < 0 ? error_errno(err, undone, "restoring registers") : r;
}

int trace_skip(struct trace *tr, struct tracee *t, struct error *err)
{
	arch_regs saved, regs;
	int r = arch_get_regs(t->tid, &saved);

	(void)tr;
	if (r < 0)
		return error_errno(err, r, "reading registers");
	regs = saved;
	arch_leave_call(&regs);
	r = arch_set_regs(t->tid, &regs);
	if (r == 0)
		r = remote_to_syscall_stop(t->tid, &t->signal, err);
	if (r == 0)
		r = arch_set_regs(t->tid, &saved);
	t->in_call = false;
	t->stop = STOP_EVENT;
	return r;
}

int trace_deny(struct tracee *t, int error)
{
	arch_regs regs;
	int r = arch_get_regs(t->tid, &regs);

	if (r < 0)
		return r;
	/* no call has this number: the kernel passes over it, and reports the exit */
	arch_leave_call(&regs);
	t->denied = error;
	return arch_set_regs(t->tid, &regs);
}

int trace_step_out(struct trace *tr, const struct tracee *but, uint64_t start, uint64_t end,
		   struct error *err)
{
	for (struct tracee *t = tr->list; t; t = t->next) {
		arch_regs regs;
		int r = t->tgid == tr->root && t != but ? arch_get_regs(t->tid, &regs) : -ESRCH;

		while (r == 0 && arch_pc(&regs) > start && arch_pc(&regs) < end) {
			if (ptrace(PTRACE_SINGLESTEP, t->tid, 0, 0) < 0)
				return error_errno(err, errno, "stepping a thread");
			r = remote_wait(t->tid, err);
			if (r < 0)
				return r;
			/* a signal is put off */
			if (WSTOPSIG(r) != SIGTRAP)
				t->signal = WSTOPSIG(r);
			t->stop = STOP_EVENT;
			r = arch_get_regs(t->tid, &regs);
		}
	}
	return 0;
}

ssize_t trace_read_string(pid_t pid, uint64_t addr, char *buf, size_t size)
{
	size_t done = 0;

	while (done < size) {
		/* never across a page that may not be there */
		size_t piece = 4096 - ((addr + done) & 4095), n;
		int r;

		if (piece > size - done)
			piece = size - done;
		r = trace_read(pid, addr + done, buf + done, piece);
		if (r < 0)
			return r;
		n = strnlen(buf + done, piece);
		done += n;
		if (n < piece)
			return (ssize_t)done;
	}
	return -ENAMETOOLONG;
}
