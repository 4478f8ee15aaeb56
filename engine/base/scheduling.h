/* SPDX-License-Identifier: MIT */
/* scheduling.h - where and how a thread runs, as far as its children have it from it; the nice value is not among it */
#ifndef WARM_ENGINE_BASE_SCHEDULING_H
#define WARM_ENGINE_BASE_SCHEDULING_H

#include <stdint.h>

#define SCHEDULING_CPU_WORDS 16 /* 1024 processors */

/* also on the wire and in a clone's order: no padding */
struct scheduling {
	uint64_t cpus[SCHEDULING_CPU_WORDS]; /* sched_getaffinity(2), as far as it fits */
	uint64_t affinity; /* FNV-1a 64 of all that it says; 0 when it says nothing */
	uint64_t timerslack_ns; /* prctl(PR_GET_TIMERSLACK) */
	int32_t policy, priority; /* sched_getscheduler(2), SCHED_RESET_ON_FORK included; sched_getparam(2) */
	int32_t ioprio; /* ioprio_get(2) */
	int32_t reserved; /* 0 */
};

/** scheduling_get() - of the calling thread */
void scheduling_get(struct scheduling *ret);

#endif
