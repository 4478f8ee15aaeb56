/* SPDX-License-Identifier: MIT */
/*
 * scheduling.c - a clone of warmd's runs where and how its caller does. All of it belongs to threads, so each sets its own, but
 * for what the program itself had set for that thread (image.h: sched_flags).
 */
#include "engine/stub/stub.h"

#include <linux/prctl.h>
#include <sys/syscall.h>

#define IOPRIO_WHO_PROCESS 1

static long set_nice(const struct stub_thread *t, const struct stub_order *o)
{
	if (!(o->flags & STUB_ORDER_NICE) || (t->sched_flags & 2))
		return 0;
	return SYSCALL3(SYS_setpriority, 0 /* PRIO_PROCESS */, 0, o->nice);
}

static long set_cpus(const struct stub_thread *t, const struct stub_order *o)
{
	if (!(o->flags & STUB_ORDER_CPUS) || (t->sched_flags & 4))
		return 0;
	return SYSCALL3(SYS_sched_setaffinity, 0, sizeof(o->scheduling.cpus), o->scheduling.cpus);
}

static long set_policy(const struct stub_thread *t, const struct stub_order *o)
{
	int32_t priority = o->scheduling.priority;

	if (!(o->flags & STUB_ORDER_POLICY) || (t->sched_flags & 1))
		return 0;
	return SYSCALL3(SYS_sched_setscheduler, 0, o->scheduling.policy, &priority);
}

/* without one of its own a thread's I/O priority follows its nice value and policy, which are set already */
static long set_ioprio(const struct stub_order *o)
{
	if (!(o->flags & STUB_ORDER_IOPRIO) ||
	    SYSCALL2(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) == o->scheduling.ioprio)
		return 0;
	return SYSCALL3(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, o->scheduling.ioprio);
}

const char *stub_take_scheduling(struct stub_process *p, const struct stub_thread *t,
				 const struct stub_order *o, long *ret_code)
{
	*ret_code = set_nice(t, o);
	if (*ret_code < 0)
		return "setting the caller's nice value";
	*ret_code = set_cpus(t, o);
	if (*ret_code < 0)
		return "setting the caller's CPU affinity";
	*ret_code = set_policy(t, o);
	if (*ret_code < 0)
		return "setting the caller's scheduling policy";
	*ret_code = set_ioprio(o);
	if (*ret_code < 0)
		return "setting the caller's I/O priority";
	if ((o->flags & STUB_ORDER_TIMERSLACK) && !p->timerslack_set)
		SYSCALL5(SYS_prctl, PR_SET_TIMERSLACK, o->scheduling.timerslack_ns, 0, 0, 0);
	if ((o->flags & STUB_ORDER_PERSONALITY) && !p->personality_set)
		SYSCALL1(SYS_personality, o->personality);
	return NULL;
}
