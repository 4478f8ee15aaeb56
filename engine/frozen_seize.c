/* SPDX-License-Identifier: MIT */
/*
 * frozen_seize.c - the way in for a process that somebody else started and that runs.
 *
 * It knows nothing of us, and must never learn: PTRACE_SEIZE stops nobody, and PTRACE_INTERRUPT leaves no signal behind.
 */
#include "engine/frozen_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/pidfd.h"
#include "engine/base/proc_path.h"
#include "engine/proc.h"

static int status_text(pid_t pid, pid_t tid, char **ret)
{

	return read_file(proc_path(pid, "task/%d/status", tid).text, ret, NULL);
}

/* Return: 0: ended */
static char thread_state(pid_t pid, pid_t tid)
{
	_cleanup_free_ char *text = NULL;
	const char *line;

	if (status_text(pid, tid, &text) < 0)
		return 0;
	line = strstr(text, "\nState:\t");
	return !line || line[8] == 'Z' || line[8] == 'X' ? 0 : line[8];
}

static int attach(struct frozen_process *p, pid_t tid, struct error *err)
{
	bool filter = frozen_filters(p->pid, tid) > 0;
	long options = PTRACE_O_TRACESYSGOOD | (filter ? FROZEN_SUSPEND_SECCOMP : 0);
	int code;

	/* first, so that nothing can fail once it is traced */
	if (!frozen_add_thread(p, tid, err))
		return -ENOMEM;
	if (ptrace(PTRACE_SEIZE, tid, 0, options) == 0)
		return 0;
	code = errno;
	p->n--;
	/* of a process whose first thread has ended, that is still listed */
	if (!thread_state(p->pid, tid))
		return 0;
	if (filter && (code == EPERM || code == EINVAL) &&
	    ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD) == 0) {
		p->n++;
		return error_set(
			err, EPERM,
			"process %d has a seccomp filter, which might kill it for the system calls needed here; "
			"root may suspend that: run 'warm attach --steal' as root",
			p->pid);
	}
	return frozen_denied(p->pid, code, err);
}

/* Return: how many threads were new, or a negative errno */
static int attach_all(struct frozen_process *p, struct error *err)
{
	struct dirent *entry;
	int new = 0, r = 0;
	DIR *dir;

	dir = opendir(proc_path(p->pid, "task").text);
	if (!dir)
		return error_set(err, ESRCH,
				 access("/proc/self", F_OK) < 0
					 ? "/proc is not mounted: mount -t proc proc /proc"
					 : "there is no such process");
	while (r == 0 && (entry = readdir(dir))) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
		size_t before = p->n, i = 0;

		while (i < p->n && p->threads[i].tid != tid)
			i++;
		if (tid <= 0 || i < p->n)
			continue;
		r = attach(p, tid, err);
		new += p->n > before;
	}
	closedir(dir);
	return r < 0 ? r : new;
}

static bool is_our_child(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	long parent = 0;

	return status_text(pid, pid, &text) == 0 && proc_status_long(text, "PPid:", &parent) == 0 &&
	       parent == getpid();
}

/*
 * Killed: its parent is told only when we have taken the reports of all its threads (wait_task_zombie()). Are we its
 * parent, the last of them is left for whoever made it.
 */
static void await_end(const struct frozen_process *p)
{
	bool ours = is_our_child(p->pid);
	siginfo_t info;

	for (size_t i = p->n; i > 0; i--) {
		pid_t tid = p->threads[i - 1].tid;
		int status;

		if (ours && tid == p->pid)
			waitid(P_PID, (id_t)tid, &info, WEXITED | WNOWAIT | __WALL);
		else
			while (frozen_wait(tid, &status, UINT64_MAX) == 0 && WIFSTOPPED(status))
				ptrace(PTRACE_CONT, tid, 0, 0);
	}
}

static void detach_all(struct frozen_process *p)
{
	uint64_t deadline = clock_ms() + FROZEN_STOP_MS;

	/* only one that is stopped can be let go */
	for (size_t i = 0; i < p->n; i++)
		if (!p->threads[i].stopped)
			ptrace(PTRACE_INTERRUPT, p->threads[i].tid, 0, 0);
	for (size_t i = 0; i < p->n; i++) {
		struct frozen_thread *t = &p->threads[i];

		if (t->stopped || frozen_await_stop(t, deadline) > 0)
			ptrace(PTRACE_DETACH, t->tid, 0, 0);
	}
}

static void let_go(struct frozen_process *p)
{
	sigset_t before = p->blocked_before;

	if (p->killed)
		await_end(p);
	else
		detach_all(p);
	frozen_free(p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int frozen_seize(struct frozen_process **ret, pid_t pid, struct error *err)
{
	struct frozen_process *p = calloc(1, sizeof(*p));
	sigset_t child;
	int r;

	if (!p)
		return error_set(err, ENOMEM, "no memory");
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &child, &p->blocked_before);
	p->pid = pid;
	p->let_go = let_go;
	p->pidfd = pidfd_open_process(pid);
	r = p->pidfd;
	if (r < 0)
		error_errno(err, r, "process %d (pidfd_open)", pid);
	else
		r = attach_all(p, err);
	if (r == 0)
		r = error_set(err, ESRCH, "process %d has ended", pid);
	if (r < 0) {
		frozen_thaw(p);
		return r;
	}
	*ret = p;
	return 0;
}

static int stop_known(struct frozen_process *p, uint64_t deadline, struct error *err)
{
	for (size_t i = 0; i < p->n; i++)
		if (!p->threads[i].stopped)
			ptrace(PTRACE_INTERRUPT, p->threads[i].tid, 0, 0);
	for (size_t i = 0; i < p->n;) {
		struct frozen_thread *t = &p->threads[i];
		int r = t->stopped ? 1 : frozen_await_stop(t, deadline);

		if (r == -ETIMEDOUT)
			return error_set(
				err, EBUSY,
				"thread %d of process %d does not stop (state %c in /proc/%d/status): try again later",
				t->tid, p->pid, thread_state(p->pid, t->tid), p->pid);
		if (r == 0)
			frozen_forget_thread(p, t);
		else
			i++;
	}
	return p->n ? 0 : error_set(err, ESRCH, "process %d has ended", p->pid);
}

static void look_at(const struct frozen_process *p, struct frozen_thread *t)
{
	arch_regs regs;

	frozen_settle(p, t);
	if (arch_get_regs(t->tid, &regs) == 0)
		arch_syscall_args(&regs, &t->in.nr, t->in.args);
	t->entered_ns = clock_ns(CLOCK_MONOTONIC);
}

int frozen_stop(struct frozen_process *p, struct error *err)
{
	uint64_t deadline = clock_ms() + FROZEN_STOP_MS;
	int r;

	/* threads that run may make others; when all that are known are stopped and none is new, these are all */
	do {
		r = stop_known(p, deadline, err);
		if (r == 0)
			r = attach_all(p, err);
	} while (r > 0);
	for (size_t i = 0; r == 0 && i < p->n; i++)
		look_at(p, &p->threads[i]);
	return r;
}

/* --- and on ------------------------------------------------------------------- */

void frozen_run(struct frozen_process *p)
{
	frozen_end_calls(p);
	for (size_t i = 0; i < p->n; i++) {
		struct frozen_thread *t = &p->threads[i];

		if (t->stopped)
			ptrace(frozen_is_stop_signal(t->stop_signal) ? PTRACE_LISTEN : PTRACE_CONT, t->tid, 0,
			       0);
		t->stopped = false;
	}
}

int frozen_deliver(struct frozen_thread *t, int signal)
{
	t->stopped = false;
	return ptrace(PTRACE_CONT, t->tid, 0, signal) < 0 ? -errno : 0;
}

/* Return: 1: for the caller; 0: nothing to tell */
static int on_report(struct frozen_thread *t, int status, int *ret_signal)
{
	int signal = WSTOPSIG(status);

	t->stopped = true;
	t->stop_signal = signal;
	*ret_signal = 0;
	if (status >> 16 == PTRACE_EVENT_STOP) {
		if (frozen_is_stop_signal(signal))
			return 1;
		frozen_deliver(t, 0);
		return 0;
	}
	t->stop_signal = SIGTRAP;
	*ret_signal = signal;
	return 1;
}

int frozen_next(struct frozen_process *p, uint64_t deadline_ms, struct frozen_thread **ret, int *ret_signal)
{
	while (p->n) {
		for (size_t i = 0; i < p->n; i++) {
			struct frozen_thread *t = &p->threads[i];
			int status, r = t->stopped ? -ETIMEDOUT : frozen_wait(t->tid, &status, 0);

			if (r == -ETIMEDOUT)
				continue;
			*ret = t;
			if (r == 0 && WIFSTOPPED(status)) {
				if (on_report(t, status, ret_signal))
					return 0;
				continue;
			}
			frozen_forget_thread(p, t);
			break;
		}
		if (p->n && clock_ms() >= deadline_ms)
			return -ETIMEDOUT;
		if (p->n) {
			const struct timespec ts = { .tv_nsec = 10 * NS_PER_MS };
			sigset_t child;

			sigemptyset(&child);
			sigaddset(&child, SIGCHLD);
			sigtimedwait(&child, NULL, &ts);
		}
	}
	return -ESRCH;
}
