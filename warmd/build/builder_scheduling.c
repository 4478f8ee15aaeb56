/* SPDX-License-Identifier: MIT */
/* builder_scheduling.c - how the kernel schedules the program under build */
#include <errno.h>
#include <sched.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "warmd/build/builder_internal.h"
#include "warmd/build/observe.h"

void builder_note_scheduling(struct builder *b, pid_t pid)
{
	struct builder_scheduling *s = &b->start_scheduling;
	struct sched_param priority = { 0 };
	long ioprio = syscall(SYS_ioprio_get, 1 /* IOPRIO_WHO_PROCESS */, pid);

	s->nice = getpriority(PRIO_PROCESS, (id_t)pid);
	s->policy = sched_getscheduler(pid);
	if (sched_getparam(pid, &priority) == 0)
		s->priority = priority.sched_priority;
	s->ioprio = ioprio > 0 ? (int32_t)ioprio : 0;
}

int builder_check_scheduling(const struct builder *b, struct error *err)
{
	const struct observe_keys *k = observe_keys(b->observe);
	const struct builder_scheduling *s = &b->start_scheduling;
	const struct wire_run *run = &b->req->run;

	if (k->nice && s->nice != run->nice)
		return error_set(err, EOPNOTSUPP,
				 "it looks at its nice value, and warmd may not set that of the launch, %d; "
				 "'warm stop' lets the next warmd start with that one",
				 run->nice);
	if (k->sched && (s->policy != run->scheduling.policy || s->priority != run->scheduling.priority))
		return error_set(
			err, EOPNOTSUPP,
			"it looks at its scheduling policy, and warmd may not set that of the launch (chrt(1))");
	if (k->ioprio && s->ioprio != run->scheduling.ioprio)
		return error_set(
			err, EOPNOTSUPP,
			"it looks at its I/O priority, and warmd may not set that of the launch (ionice(1))");
	return 0;
}
