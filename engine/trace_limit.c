/* SPDX-License-Identifier: MIT */
/* trace_limit.c - the end of a trace by the clock: at a time, or when nothing has happened for a while */
#include "engine/trace_internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/proc_path.h"

void trace_set_limit(struct trace *tr, uint64_t at_ns, uint64_t quiet_ns)
{
	sigset_t set;

	/* sigtimedwait(2) takes it; its default, to be ignored, does not apply while it is blocked */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	tr->limit_at_ns = at_ns;
	tr->limit_quiet_ns = quiet_ns;
	tr->last_event_ns = clock_ns(CLOCK_MONOTONIC);
}

static bool all_in_calls(const struct trace *tr)
{
	for (const struct tracee *t = tr->list; t; t = t->next)
		if (t->fresh || t->stop != STOP_NONE || !t->in_call)
			return false;
	return true;
}

/* a call may also be busy, or wait for a disk: proc_pid_stat(5) */
static bool all_asleep(const struct trace *tr)
{
	for (const struct tracee *t = tr->list; t; t = t->next) {
		_cleanup_free_ char *stat = NULL;
		const char *end;

		if (read_file(proc_path(t->tgid, "task/%d/stat", t->tid).text, &stat, NULL) < 0)
			return false;
		end = strrchr(stat, ')');
		if (!end || strncmp(end, ") S", 3) != 0)
			return false;
	}
	return true;
}

/* when the next limit is reached if nothing happens until then; 0: never */
static uint64_t limit_ns(const struct trace *tr)
{
	uint64_t quiet = 0;

	if (tr->limit_quiet_ns && all_in_calls(tr))
		quiet = tr->last_event_ns + tr->limit_quiet_ns;
	if (!quiet || (tr->limit_at_ns && tr->limit_at_ns < quiet))
		return tr->limit_at_ns;
	return quiet;
}

pid_t trace_wait_limited(struct trace *tr, int *status)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (;;) {
		uint64_t until, now = clock_ns(CLOCK_MONOTONIC);
		struct timespec left;
		pid_t tid;

		/* also of a program that always has an event */
		if (tr->limit_at_ns && now >= tr->limit_at_ns)
			return 0;
		tid = waitpid(-1, status, __WALL | WNOHANG);
		if (tid != 0) {
			tr->last_event_ns = now;
			return tid;
		}
		until = limit_ns(tr);
		if (until && now >= until) {
			if (all_asleep(tr))
				return 0;
			tr->last_event_ns = now;
			until = limit_ns(tr);
		}
		left.tv_sec = (time_t)((until - now) / NS_PER_S);
		left.tv_nsec = (long)((until - now) % NS_PER_S);
		sigtimedwait(&set, NULL, until ? &left : NULL);
	}
}
