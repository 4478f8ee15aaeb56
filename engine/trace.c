/* SPDX-License-Identifier: MIT */
#include "engine/trace_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/proc_path.h"

struct tracee *trace_find(const struct trace *tr, pid_t tid)
{
	for (struct tracee *t = tr->list; t; t = t->next)
		if (t->tid == tid)
			return t;
	return NULL;
}

bool trace_makes_task(long nr)
{
#ifdef SYS_fork
	if (nr == SYS_fork || nr == SYS_vfork)
		return true;
#endif
	return nr == SYS_clone || nr == SYS_clone3;
}

/* a field of /proc/TID/status, or 0 */
static pid_t status_number(pid_t tid, const char *field)
{
	_cleanup_free_ char *status = NULL;
	const char *line;

	if (read_file(proc_path(tid, "status").text, &status, NULL) < 0)
		return 0;
	line = strstr(status, field);
	return line ? (pid_t)strtol(line + strlen(field), NULL, 10) : 0;
}

static pid_t tgid_of(pid_t tid)
{
	pid_t tgid = status_number(tid, "\nTgid:");

	return tgid ? tgid : tid;
}

/* a new task may report before its maker does: that one is in its call still */
static unsigned int origin_of(const struct trace *tr, pid_t tid, pid_t tgid)
{
	pid_t parent = tgid == tid ? status_number(tid, "\nPPid:") : tgid;

	for (const struct tracee *t = tr->list; t; t = t->next)
		if (t->in_call && trace_makes_task(t->nr) && t->tgid == parent)
			return t->making;
	for (const struct tracee *t = tr->list; t; t = t->next)
		if (t->tgid == parent)
			return t->making;
	return tr->made;
}

static struct tracee *add(struct trace *tr, pid_t tid)
{
	struct tracee *t = calloc(1, sizeof(*t)), **end = &tr->list;

	if (!t)
		return NULL;
	t->tid = tid;
	t->tgid = tid == tr->root ? tid : tgid_of(tid);
	t->origin = tid == tr->root ? 0 : origin_of(tr, tid, t->tgid);
	t->making = t->origin;
	t->fresh = true;
	while (*end)
		end = &(*end)->next;
	*end = t;
	return t;
}

static void forget(struct trace *tr, pid_t tid)
{
	for (struct tracee **p = &tr->list; *p; p = &(*p)->next) {
		if ((*p)->tid == tid) {
			struct tracee *gone = *p;

			*p = gone->next;
			free(gone);
			return;
		}
	}
}

int trace_start(struct trace **ret, const struct trace_ops *ops, void *data, int (*child)(void *arg),
		void *arg, struct error *err)
{
	struct trace *tr = calloc(1, sizeof(*tr));
	int go[2];
	char byte = 0;

	if (!tr)
		return error_set(err, ENOMEM, "no memory for a trace");
	if (pipe2(go, O_CLOEXEC) < 0) {
		free(tr);
		return error_errno(err, errno, "pipe");
	}
	tr->ops = ops;
	tr->data = data;
	tr->root = fork();
	if (tr->root < 0) {
		int code = errno;

		close(go[0]);
		close(go[1]);
		free(tr);
		return error_errno(err, code, "fork");
	}
	if (tr->root == 0) {
		close(go[1]);
		while (read(go[0], &byte, 1) < 0 && errno == EINTR)
			;
		close(go[0]);
		_exit(child(arg));
	}
	close(go[0]);
	if (ptrace(PTRACE_SEIZE, tr->root, 0, TRACE_OPTIONS) < 0) {
		int code = errno;

		close(go[1]);
		kill(tr->root, SIGKILL);
		waitpid(tr->root, NULL, 0);
		free(tr);
		return error_errno(err, code, "tracing a child (PTRACE_SEIZE); see 'warm doctor'");
	}
	/* system calls are seen from the exec on: interrupt it once so that it is resumed by PTRACE_SYSCALL */
	if (!add(tr, tr->root) || ptrace(PTRACE_INTERRUPT, tr->root, 0, 0) < 0) {
		close(go[1]);
		trace_free(tr);
		return error_set(err, EIO, "cannot interrupt the child");
	}
	close(go[1]);
	*ret = tr;
	return 0;
}

void trace_free(struct trace *tr)
{
	if (!tr)
		return;
	if (tr->frozen)
		frozen_free(tr->frozen);
	for (struct tracee *t = tr->list; t; t = t->next)
		if (t->tid == t->tgid)
			kill(t->tid, SIGKILL);
	while (tr->list) {
		int status;
		pid_t tid = waitpid(-1, &status, __WALL);

		if (tid < 0 && errno != EINTR)
			break;
		if (tid > 0 && (WIFEXITED(status) || WIFSIGNALED(status)))
			forget(tr, tid);
	}
	while (tr->list)
		forget(tr, tr->list->tid);
	free(tr);
}

pid_t trace_root(const struct trace *tr)
{
	return tr->root;
}

struct tracee *trace_tracees(const struct trace *tr)
{
	return tr->list;
}

size_t trace_others(const struct trace *tr, pid_t *ret_pid)
{
	size_t n = 0;

	for (const struct tracee *t = tr->list; t; t = t->next) {
		if (t->tgid == tr->root || t->tid != t->tgid)
			continue;
		/* gone, and its end has not been read yet: a thread, too, whose process could not be told any more */
		if (kill(t->tid, 0) < 0 && errno == ESRCH)
			continue;
		*ret_pid = t->tid;
		n++;
	}
	return n;
}

void trace_resume(struct tracee *t)
{
	int signal = t->signal;

	t->signal = 0;
	t->stop = STOP_NONE;
	/* ESRCH: killed meanwhile; its end comes through waitpid. In a group stop it stays, and tells when that ends */
	if (frozen_is_stop_signal(t->stop_signal))
		ptrace(PTRACE_LISTEN, t->tid, 0, 0);
	else
		ptrace(PTRACE_SYSCALL, t->tid, 0, signal);
	t->stop_signal = 0;
}

int trace_breakpoint(struct trace *tr, int slot, uint64_t addr, struct error *err)
{
	tr->breakpoints[slot] = addr;
	for (struct tracee *t = tr->list; t; t = t->next) {
		int r;

		if (t->tgid != tr->root || t->fresh)
			continue;
		if (t->stop == STOP_NONE)
			continue; /* set at its next stop, see sync_breakpoints() */
		r = arch_set_breakpoint(t->tid, slot, addr);
		if (r < 0)
			return error_errno(
				err, r, "setting a hardware breakpoint (PTRACE_POKEUSER); see 'warm doctor'");
	}
	return 0;
}

static void set_breakpoints(const struct trace *tr, struct tracee *t)
{
	for (int i = 0; i < TRACE_BREAKPOINTS; i++)
		if (tr->breakpoints[i])
			arch_set_breakpoint(t->tid, i, tr->breakpoints[i]);
}

/* int $0x80 and 32-bit programs have numbers of their own, and x32 has a bit in them: PTRACE_GET_SYSCALL_INFO, Linux 5.3 */
static bool is_foreign(pid_t tid)
{
	struct __ptrace_syscall_info info;

	return ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) > 0 && info.arch != ARCH_AUDIT;
}

static int on_syscall_stop(struct trace *tr, struct tracee *t, struct error *err)
{
	arch_regs r;

	if (arch_get_regs(t->tid, &r) < 0)
		return 0;
	t->in_call = !t->in_call;
	t->stop = t->in_call ? STOP_ENTRY : STOP_EXIT;
	if (t->in_call) {
		t->foreign = is_foreign(t->tid);
		arch_syscall_args(&r, &t->nr, t->args);
		if (t->origin == 0 && trace_makes_task(t->nr))
			t->making = ++tr->made;
		t->entered_ns = clock_ns(CLOCK_MONOTONIC);
	}
	if (!t->in_call && t->denied) {
		arch_set_result(&r, t->denied);
		t->denied = 0;
		arch_set_regs(t->tid, &r);
	}
	/* what a frozen thread is about to do is taken back; what was done meanwhile counts. Other processes are not frozen */
	if (tr->freezing && t->tgid == tr->root && t->in_call)
		return 0;
	return tr->ops->syscall(tr->data, t, t->in_call, t->in_call ? 0 : (int64_t)arch_result(&r), err);
}

static int on_exec(struct trace *tr, struct tracee *t, struct error *err)
{
	pid_t former = 0;
	unsigned long message;

	/* a thread that was not the leader executed: it takes the leader's id */
	if (ptrace(PTRACE_GETEVENTMSG, t->tid, 0, &message) == 0 && (pid_t)message != t->tid)
		former = (pid_t)message;
	if (former)
		forget(tr, former);
	t->stop = STOP_EVENT;
	t->in_call = true; /* the exit stop of execve follows */
	if (t->tgid != tr->root)
		return 0;
	memset(tr->breakpoints, 0, sizeof(tr->breakpoints));
	tr->syscall_insn = 0;
	return tr->ops->exec(tr->data, t, err);
}

/*
 * The new thread or process reports for itself, but maybe late: it is known from
 * now on, so that nobody takes the others for all there are.
 */
static int on_clone(struct trace *tr, const struct tracee *t, struct error *err)
{
	unsigned long tid;

	if (ptrace(PTRACE_GETEVENTMSG, t->tid, 0, &tid) < 0 || trace_find(tr, (pid_t)tid))
		return 0;
	/* its reports may also have come first, to the last of them */
	if (syscall(SYS_tkill, (pid_t)tid, 0) < 0)
		return 0;
	return add(tr, (pid_t)tid) ? 0 : error_set(err, ENOMEM, "no memory for a tracee");
}

int trace_on_stop(struct trace *tr, struct tracee *t, int status, struct error *err)
{
	int signal = WSTOPSIG(status), event = status >> 16, slot;

	if (t->fresh) {
		t->fresh = false;
		t->in_call = false;
		if (t->tgid == tr->root)
			set_breakpoints(tr, t);
	}
	if (signal == (SIGTRAP | 0x80))
		return on_syscall_stop(tr, t, err);
	t->stop = STOP_EVENT;
	if (event == PTRACE_EVENT_EXEC)
		return on_exec(tr, t, err);
	if (event == PTRACE_EVENT_STOP) {
		t->stop_signal = signal;
		return 0;
	}
	if (event)
		return on_clone(tr, t, err);
	if (signal == SIGTRAP) {
		slot = arch_hit_breakpoint(t->tid);
		if (slot >= 0 && tr->breakpoints[slot]) {
			t->stop = STOP_BREAKPOINT;
			return tr->freezing ? 0 : tr->ops->breakpoint(tr->data, t, slot, err);
		}
		if (slot >= 0)
			return 0;
	}
	t->signal = signal;
	return 0;
}

int trace_next_event(struct trace *tr, struct tracee **ret, int *ret_status, struct error *err)
{
	bool limited = !tr->freezing && (tr->limit_at_ns || tr->limit_quiet_ns);
	int status;
	pid_t tid = limited ? trace_wait_limited(tr, &status) : waitpid(-1, &status, __WALL);

	*ret = NULL;
	if (tid == 0)
		return TRACE_LIMIT;
	if (tid < 0)
		return errno == EINTR ? 0 : error_errno(err, errno, "waiting for the program");
	*ret_status = status;
	*ret = trace_find(tr, tid);
	if (WIFEXITED(status) || WIFSIGNALED(status)) {
		unsigned int origin = *ret ? (*ret)->origin : 0;

		forget(tr, tid);
		if (tr->ops->exited)
			tr->ops->exited(tr->data, tid, origin);
		*ret = NULL;
		if (tid == tr->root && WIFEXITED(status))
			return error_set(err, ECHILD, "it ended with status %d before its readiness point",
					 WEXITSTATUS(status));
		if (tid == tr->root)
			return error_set(err, ECHILD, "signal %d (%s) ended it before its readiness point",
					 WTERMSIG(status), strsignal(WTERMSIG(status)));
		return 0;
	}
	if (!*ret)
		*ret = add(tr, tid);
	return *ret ? 0 : error_set(err, ENOMEM, "no memory for a tracee");
}

int trace_run(struct trace *tr, struct error *err)
{
	for (struct tracee *t = tr->list; t; t = t->next)
		if (t->stop != STOP_NONE)
			trace_resume(t);
	for (;;) {
		struct tracee *t;
		int status, r = trace_next_event(tr, &t, &status, err);

		if (r)
			return r;
		if (!t)
			continue;
		r = trace_on_stop(tr, t, status, err);
		if (r)
			return r;
		trace_resume(t);
	}
}
