/* SPDX-License-Identifier: MIT */
#include "engine/seize.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/pidfd.h"
#include "engine/elf.h"
#include "engine/proc.h"
#include "engine/trace.h"

#ifndef PTRACE_EVENT_STOP
#define PTRACE_EVENT_STOP 128
#endif
#define SUSPEND_SECCOMP	       0x00200000 /* PTRACE_O_SUSPEND_SECCOMP, Linux 4.3 */
#define GET_RSEQ_CONFIGURATION 0x420f /* Linux 5.13; <linux/ptrace.h> cannot stand beside <sys/ptrace.h> */
#define SYSCALL_STOP	       (SIGTRAP | 0x80)
#define LOOK_AGAIN_MS	       50
#define CALL_AGAIN	       8 /* times that a call may be interrupted */

int seize_wait(pid_t tid, int *ret_status, uint64_t deadline_ms)
{
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	for (;;) {
		pid_t r = waitpid(tid, ret_status, __WALL | WNOHANG);
		uint64_t now = clock_ms(), left;
		struct timespec ts = { 0 };

		if (r == tid)
			return 0;
		if (r < 0 && errno != EINTR)
			return -errno;
		if (now >= deadline_ms)
			return -ETIMEDOUT;
		/* one SIGCHLD may stand for several reports, and for those of other threads: look again in any case */
		left = deadline_ms - now < LOOK_AGAIN_MS ? deadline_ms - now : LOOK_AGAIN_MS;
		ts.tv_nsec = (long)(left * NS_PER_MS);
		sigtimedwait(&child, NULL, &ts);
	}
}

static bool is_stop_signal(int signal)
{
	return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

static int status_text(pid_t pid, pid_t tid, char **ret)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, tid);
	return read_file(path, ret, NULL);
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

static bool has_seccomp(pid_t pid, pid_t tid)
{
	_cleanup_free_ char *text = NULL;
	long mode = 0;

	return status_text(pid, tid, &text) == 0 && proc_status_long(text, "Seccomp:", &mode) == 0 &&
	       mode != 0;
}

static int attach(struct seized *s, pid_t tid, struct error *err)
{
	bool filter = has_seccomp(s->pid, tid);
	long options = PTRACE_O_TRACESYSGOOD | (filter ? SUSPEND_SECCOMP : 0);
	struct seized_thread *more;
	int code;

	if (s->n == s->room) {
		more = realloc(s->threads, (s->room * 2 + 8) * sizeof(*more));
		if (!more)
			return error_set(err, ENOMEM, "no memory");
		s->threads = more;
		s->room = s->room * 2 + 8;
	}
	if (ptrace(PTRACE_SEIZE, tid, 0, options) == 0) {
		s->threads[s->n++] = (struct seized_thread){ .tid = tid };
		return 0;
	}
	code = errno;
	/* of a process whose first thread has ended, that is still listed */
	if (!thread_state(s->pid, tid))
		return 0;
	if (filter && (code == EPERM || code == EINVAL) &&
	    ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD) == 0) {
		ptrace(PTRACE_INTERRUPT, tid, 0, 0);
		s->threads[s->n++] = (struct seized_thread){ .tid = tid };
		return error_set(
			err, EPERM,
			"process %d has a seccomp filter, which might kill it for the system calls needed here; "
			"root may suspend that: run 'warm attach --steal' as root",
			s->pid);
	}
	return seize_denied(s->pid, code, err);
}

/* Return: how many threads were new, or a negative errno */
static int attach_all(struct seized *s, struct error *err)
{
	struct dirent *entry;
	char path[64];
	int new = 0, r = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", s->pid);
	dir = opendir(path);
	if (!dir)
		return error_set(err, ESRCH,
				 access("/proc/self", F_OK) < 0
					 ? "/proc is not mounted: mount -t proc proc /proc"
					 : "there is no such process");
	while (r == 0 && (entry = readdir(dir))) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
		size_t before = s->n, i = 0;

		while (i < s->n && s->threads[i].tid != tid)
			i++;
		if (tid <= 0 || i < s->n)
			continue;
		r = attach(s, tid, err);
		new += s->n > before;
	}
	closedir(dir);
	return r < 0 ? r : new;
}

int seize_open(struct seized **ret, pid_t pid, struct error *err)
{
	struct seized *s = calloc(1, sizeof(*s));
	sigset_t child;
	int r;

	if (!s)
		return error_set(err, ENOMEM, "no memory");
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &child, &s->blocked_before);
	s->pid = pid;
	s->pidfd = pidfd_open_process(pid);
	r = s->pidfd;
	if (r < 0)
		error_errno(err, r, "process %d (pidfd_open)", pid);
	else
		r = attach_all(s, err);
	if (r == 0)
		r = error_set(err, ESRCH, "process %d has ended", pid);
	if (r < 0) {
		seize_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

static void forget(struct seized *s, struct seized_thread *t)
{
	size_t at = (size_t)(t - s->threads);

	/* its registers are nobody's now */
	if (at == 0)
		s->calling = false;
	memmove(t, t + 1, (s->n - at - 1) * sizeof(*t));
	s->n--;
}

/* Return: 1: it has stopped; 0: it is gone; -ETIMEDOUT */
static int await_stop(struct seized_thread *t, uint64_t deadline)
{
	for (;;) {
		int status, r = seize_wait(t->tid, &status, deadline);

		if (r == -ETIMEDOUT)
			return r;
		if (r < 0 || !WIFSTOPPED(status))
			return 0;
		if (status >> 16 == PTRACE_EVENT_STOP) {
			t->stopped = true;
			t->stop_signal = WSTOPSIG(status);
			return 1;
		}
		/* a signal comes first; its stop took the place of the interrupt's (ptrace_stop() clears JOBCTL_TRAP_STOP) */
		ptrace(PTRACE_CONT, t->tid, 0,
		       status >> 16 || WSTOPSIG(status) == SYSCALL_STOP ? 0 : WSTOPSIG(status));
		ptrace(PTRACE_INTERRUPT, t->tid, 0, 0);
	}
}

static int stop_known(struct seized *s, uint64_t deadline, struct error *err)
{
	for (size_t i = 0; i < s->n; i++)
		if (!s->threads[i].stopped)
			ptrace(PTRACE_INTERRUPT, s->threads[i].tid, 0, 0);
	for (size_t i = 0; i < s->n;) {
		struct seized_thread *t = &s->threads[i];
		int r = t->stopped ? 1 : await_stop(t, deadline);

		if (r == -ETIMEDOUT)
			return error_set(
				err, EBUSY,
				"thread %d of process %d does not stop (state %c in /proc/%d/status): try again later",
				t->tid, s->pid, thread_state(s->pid, t->tid), s->pid);
		if (r == 0)
			forget(s, t);
		else
			i++;
	}
	return s->n ? 0 : error_set(err, ESRCH, "process %d has ended", s->pid);
}

int seize_stop(struct seized *s, struct error *err)
{
	uint64_t deadline = clock_ms() + SEIZE_STOP_MS;
	int r;

	/* threads that run may make others; when all that are known are stopped and none is new, these are all */
	do {
		r = stop_known(s, deadline, err);
		if (r == 0)
			r = attach_all(s, err);
	} while (r > 0);
	return r;
}

/* --- system calls ------------------------------------------------------------ */

static int gone(struct seized *s, struct error *err)
{
	s->calling = false;
	return error_set(err, ESRCH, "process %d was killed", s->pid);
}

/* Return: 0 at the next stop at a system call's entry or exit */
static int to_syscall_stop(struct seized *s, struct error *err)
{
	pid_t tid = s->threads[0].tid;

	for (;;) {
		int status;

		if (ptrace(PTRACE_SYSCALL, tid, 0, 0) < 0 || seize_wait(tid, &status, UINT64_MAX) < 0 ||
		    !WIFSTOPPED(status))
			return gone(s, err);
		if (status >> 8 == SYSCALL_STOP)
			return 0;
		/* all that can be blocked is */
		if (!(status >> 16) && WSTOPSIG(status) == SIGSTOP)
			s->stop_again = true;
	}
}

struct rseq_configuration {
	uint64_t pointer;
	uint32_t size, signature, flags, pad;
};

/*
 * In the middle of a restartable sequence the kernel would have it start over for being preempted, but finds
 * foreign registers instead and forgets (kernel/rseq.c: rseq_ip_fixup()): done here.
 */
static void leave_rseq(const struct seized *s, arch_regs *regs)
{
	struct rseq_configuration conf;
	struct {
		uint32_t version, flags;
		uint64_t start, length, abort;
	} cs;
	uint64_t at = 0;

	if (ptrace((enum __ptrace_request)GET_RSEQ_CONFIGURATION, s->threads[0].tid, sizeof(conf), &conf) <
		    0 ||
	    !conf.pointer || trace_read(s->pid, conf.pointer + 8, &at, 8) < 0 || !at ||
	    trace_read(s->pid, at, &cs, sizeof(cs)) < 0)
		return;
	if (arch_pc(regs) - cs.start < cs.length)
		arch_set_pc(regs, cs.abort);
}

static int find_insn(struct seized *s, struct error *err)
{
	uint8_t code[4096];
	uint64_t vdso = 0;
	ssize_t at;

	if (elf_auxv(s->pid, AT_SYSINFO_EHDR, &vdso) < 0 || !vdso ||
	    trace_read(s->pid, vdso, code, sizeof(code)) < 0)
		return error_set(err, ENOEXEC, "process %d has no vDSO that can be read", s->pid);
	at = arch_find_syscall(code, sizeof(code));
	if (at < 0)
		return error_set(err, ENOEXEC, "no system call instruction in the vDSO of process %d",
				 s->pid);
	s->insn = vdso + (uint64_t)at;
	return 0;
}

static int begin_calls(struct seized *s, struct error *err)
{
	pid_t tid = s->threads[0].tid;
	uint64_t all = UINT64_MAX;
	int r = arch_get_regs(tid, &s->saved);

	if (r < 0)
		return error_errno(err, r, "reading registers");
	if (!arch_is_native(&s->saved))
		return error_set(err, ENOEXEC, "process %d is a 32-bit program, which warm cannot handle",
				 s->pid);
	leave_rseq(s, &s->saved);
	if (!s->insn) {
		r = find_insn(s, err);
		if (r < 0)
			return r;
	}
	/* in a call with a mask of its own (pselect, sigsuspend) this is the one outside it, which the call sets again */
	if (ptrace(PTRACE_GETSIGMASK, tid, sizeof(s->mask), &s->mask) < 0 ||
	    ptrace(PTRACE_SETSIGMASK, tid, sizeof(all), &all) < 0)
		return error_errno(err, errno, "blocking signals of process %d", s->pid);
	s->calling = true;
	return 0;
}

static bool interrupted(int64_t result)
{
	return result == -EINTR || (result <= -512 && result >= -516); /* include/linux/errno.h */
}

int seize_call(struct seized *s, int64_t *ret, struct error *err, long nr, uint64_t a, uint64_t b, uint64_t c,
	       uint64_t d, uint64_t e, uint64_t f)
{
	const uint64_t args[6] = { a, b, c, d, e, f };
	int r = s->calling ? 0 : begin_calls(s, err);

	for (int times = 0; r == 0 && times < CALL_AGAIN; times++) {
		arch_regs regs = s->saved;

		arch_prepare_syscall(&regs, s->insn, nr, args);
		r = arch_set_regs(s->threads[0].tid, &regs);
		for (int stops = 0; r == 0 && stops < 2; stops++)
			r = to_syscall_stop(s, err);
		if (r < 0)
			return r == -ESRCH ? gone(s, err) : r;
		r = arch_get_regs(s->threads[0].tid, &regs);
		if (r < 0)
			return gone(s, err);
		*ret = (int64_t)arch_result(&regs);
		if (!interrupted(*ret))
			return 0;
	}
	return r < 0 ? r : error_set(err, EINTR, "process %d is interrupted again and again", s->pid);
}

int seize_scratch(struct seized *s, uint64_t *ret, struct error *err)
{
	int64_t at;
	int r;

	if (!s->scratch) {
		r = seize_call(s, &at, err, SYS_mmap, 0, (uint64_t)sysconf(_SC_PAGESIZE),
			       PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, 0);
		if (r < 0)
			return r;
		if (at < 0 && at > -4096)
			return error_errno(err, (int)at, "memory in process %d", s->pid);
		s->scratch = (uint64_t)at;
	}
	*ret = s->scratch;
	return 0;
}

/*
 * The saved registers may say that a call is to be made again (-ERESTARTSYS and the like). The kernel looks at that
 * only where it handles signals (arch_do_signal_or_restart()), and we are behind a call: an interrupt leads there.
 */
static void end_calls(struct seized *s)
{
	int64_t ignored;
	pid_t tid;

	if (!s->calling)
		return;
	if (s->scratch)
		seize_call(s, &ignored, NULL, SYS_munmap, s->scratch, (uint64_t)sysconf(_SC_PAGESIZE), 0, 0,
			   0, 0);
	s->scratch = 0;
	if (!s->calling)
		return;
	tid = s->threads[0].tid;
	s->threads[0].stopped = false;
	ptrace(PTRACE_INTERRUPT, tid, 0, 0);
	if (ptrace(PTRACE_CONT, tid, 0, 0) == 0)
		await_stop(&s->threads[0], UINT64_MAX);
	arch_set_regs(tid, &s->saved);
	ptrace(PTRACE_SETSIGMASK, tid, sizeof(s->mask), &s->mask);
	s->calling = false;
	if (s->stop_again)
		kill(s->pid, SIGSTOP);
	s->stop_again = false;
}

/* --- and on ------------------------------------------------------------------- */

void seize_run(struct seized *s)
{
	end_calls(s);
	for (size_t i = 0; i < s->n; i++) {
		struct seized_thread *t = &s->threads[i];

		if (t->stopped)
			ptrace(is_stop_signal(t->stop_signal) ? PTRACE_LISTEN : PTRACE_CONT, t->tid, 0, 0);
		t->stopped = false;
	}
}

int seize_deliver(struct seized_thread *t, int signal)
{
	t->stopped = false;
	return ptrace(PTRACE_CONT, t->tid, 0, signal) < 0 ? -errno : 0;
}

/* Return: 1: for the caller; 0: nothing to tell */
static int on_report(struct seized_thread *t, int status, int *ret_signal)
{
	int signal = WSTOPSIG(status);

	t->stopped = true;
	t->stop_signal = signal;
	*ret_signal = 0;
	if (status >> 16 == PTRACE_EVENT_STOP) {
		if (is_stop_signal(signal))
			return 1;
		seize_deliver(t, 0);
		return 0;
	}
	t->stop_signal = SIGTRAP;
	*ret_signal = signal;
	return 1;
}

int seize_next(struct seized *s, uint64_t deadline_ms, struct seized_thread **ret, int *ret_signal)
{
	while (s->n) {
		for (size_t i = 0; i < s->n; i++) {
			struct seized_thread *t = &s->threads[i];
			int status, r = t->stopped ? -ETIMEDOUT : seize_wait(t->tid, &status, 0);

			if (r == -ETIMEDOUT)
				continue;
			*ret = t;
			if (r == 0 && WIFSTOPPED(status)) {
				if (on_report(t, status, ret_signal))
					return 0;
				continue;
			}
			forget(s, t);
			break;
		}
		if (s->n && clock_ms() >= deadline_ms)
			return -ETIMEDOUT;
		if (s->n) {
			const struct timespec ts = { .tv_nsec = 10 * NS_PER_MS };
			sigset_t child;

			sigemptyset(&child);
			sigaddset(&child, SIGCHLD);
			sigtimedwait(&child, NULL, &ts);
		}
	}
	return -ESRCH;
}

void seize_close(struct seized *s)
{
	uint64_t deadline = clock_ms() + SEIZE_STOP_MS;

	if (!s)
		return;
	end_calls(s);
	for (size_t i = 0; i < s->n; i++) {
		struct seized_thread *t = &s->threads[i];

		/* only one that is stopped can be let go */
		if (!t->stopped)
			ptrace(PTRACE_INTERRUPT, t->tid, 0, 0);
	}
	for (size_t i = 0; i < s->n; i++) {
		struct seized_thread *t = &s->threads[i];

		if (t->stopped || await_stop(t, deadline) > 0)
			ptrace(PTRACE_DETACH, t->tid, 0, 0);
	}
	fd_close(s->pidfd);
	pthread_sigmask(SIG_SETMASK, &s->blocked_before, NULL);
	free(s->threads);
	free(s);
}
