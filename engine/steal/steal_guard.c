/* SPDX-License-Identifier: MIT */
/* steal_guard.c - a stolen process, followed: PTRACE_SEIZE of its first thread, which gets nearly all signals */
#include "engine/steal/steal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "engine/proc.h"
#include "engine/frozen.h"

#ifndef PTRACE_EVENT_STOP
#define PTRACE_EVENT_STOP 128
#endif

static bool read_process(pid_t pid, struct steal_process *ret)
{
	_cleanup_free_ char *text = NULL;

	return read_file(proc_path(pid, "stat").text, &text, NULL) == 0 && steal_parse_stat(text, ret) == 0;
}

static void add_holder(struct steal_guard *g, pid_t pid)
{
	if (pid > 1 && pid != g->pid && g->nholders < STEAL_HOLDERS_MAX)
		g->holders[g->nholders++] = pid;
}

void steal_guard_begin(struct steal_guard *g, const struct steal *st, pid_t pid)
{
	struct steal_process now;
	/* a shell that suspended itself; a single process has been continued */
	bool stopped = st->way == STEAL_TERMINAL && read_process(pid, &now) && now.state == 'T';
	int status;

	*g = (struct steal_guard){ .pid = pid, .stops = st->way == STEAL_PROCESS };
	if (st->way == STEAL_PROCESS) {
		g->left = st->target.session;
		add_holder(g, st->target.ppid);
		add_holder(g, st->target.session);
	}
	for (size_t i = 0; st->way == STEAL_TERMINAL && i < st->nholders; i++)
		add_holder(g, st->holders[i].pid);
	g->traced = ptrace(PTRACE_SEIZE, pid, 0, 0) == 0;
	/* the report of the stop it is in, which is none for steal_guard_look() */
	if (g->traced && stopped && frozen_wait(pid, &status, clock_ms() + FROZEN_STOP_MS) == 0)
		ptrace(PTRACE_LISTEN, pid, 0, 0);
	if (stopped)
		kill(pid, SIGCONT);
	kill(pid, SIGWINCH);
}

static bool is_default(pid_t pid, int signal)
{
	_cleanup_free_ char *text = NULL;
	uint64_t caught;

	return read_file(proc_path(pid, "status").text, &text, NULL) == 0 &&
	       proc_status_hex(text, "SigCgt:", &caught) == 0 && !(caught >> (signal - 1) & 1);
}

static bool from_those_left(const struct steal_guard *g)
{
	struct steal_process sender;
	siginfo_t info;

	if (ptrace(PTRACE_GETSIGINFO, g->pid, 0, &info) < 0 || info.si_code > 0)
		return false;
	for (size_t i = 0; i < g->nholders; i++)
		if (info.si_pid == g->holders[i])
			return true;
	return g->left && read_process(info.si_pid, &sender) && sender.session == g->left;
}

/* Return: what is to be delivered in its place; 0: nothing */
static int instead_of(const struct steal_guard *g, int signal)
{
	if (signal == SIGHUP && from_those_left(g))
		return 0;
	/* its group is orphaned in the kernel's eyes, which takes Ctrl-Z for nothing there; but we watch */
	if (signal == SIGTSTP && g->stops && is_default(g->pid, SIGTSTP))
		return SIGSTOP;
	return signal;
}

enum steal_event steal_guard_look(struct steal_guard *g)
{
	int status;

	while (g->traced) {
		pid_t r = waitpid(g->pid, &status, __WALL | WNOHANG);
		int signal;

		if (r == 0 || (r < 0 && errno == EINTR))
			return STEAL_NOTHING;
		if (r < 0) {
			/* another thread executed a program, and took the place of the one we trace */
			g->traced = false;
			return STEAL_LOST;
		}
		if (!WIFSTOPPED(status)) {
			g->traced = false;
			g->wstatus = status;
			return STEAL_ENDED;
		}
		signal = WSTOPSIG(status);
		if (status >> 16 != PTRACE_EVENT_STOP) {
			ptrace(PTRACE_CONT, g->pid, 0, instead_of(g, signal));
		} else if (signal == SIGTRAP) {
			ptrace(PTRACE_CONT, g->pid, 0, 0);
		} else {
			ptrace(PTRACE_LISTEN, g->pid, 0, 0);
			return STEAL_STOPPED;
		}
	}
	return STEAL_LOST;
}

void steal_guard_continue(struct steal_guard *g)
{
	kill(g->pid, SIGCONT);
}

void steal_guard_end(struct steal_guard *g)
{
	int status;

	if (!g->traced)
		return;
	g->traced = false;
	/* only one that is stopped can be let go; if it does not come now, the end of this process lets it go */
	ptrace(PTRACE_INTERRUPT, g->pid, 0, 0);
	if (frozen_wait(g->pid, &status, clock_ms() + FROZEN_STOP_MS) < 0 || !WIFSTOPPED(status))
		return;
	ptrace(PTRACE_DETACH, g->pid, 0, status >> 16 == PTRACE_EVENT_STOP ? 0 : WSTOPSIG(status));
}
