/* SPDX-License-Identifier: MIT */
#include "engine/base/scheduling.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_CPU_BYTES	   1024 /* 8192 processors: the largest CONFIG_NR_CPUS */
#define IOPRIO_WHO_PROCESS 1

static void get_affinity(struct scheduling *s)
{
	unsigned char cpus[MAX_CPU_BYTES];
	uint64_t hash = 0xcbf29ce484222325ull;
	/* the system call, unlike the wrapper, returns how many bytes it wrote */
	long n = syscall(SYS_sched_getaffinity, 0, sizeof(cpus), cpus);

	if (n <= 0)
		return;
	for (long i = 0; i < n; i++)
		hash = (hash ^ cpus[i]) * 0x100000001b3ull;
	s->affinity = hash;
	memcpy(s->cpus, cpus, (size_t)n < sizeof(s->cpus) ? (size_t)n : sizeof(s->cpus));
}

/* system calls: musl's sched_getscheduler() and sched_getparam() only fail, as POSIX means processes by them */
void scheduling_get(struct scheduling *s)
{
	int priority = 0;
	long n;

	memset(s, 0, sizeof(*s));
	get_affinity(s);
	n = syscall(SYS_sched_getscheduler, 0);
	s->policy = n > 0 ? (int32_t)n : 0;
	if (s->policy && syscall(SYS_sched_getparam, 0, &priority) == 0)
		s->priority = priority;
	n = syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0);
	s->ioprio = n > 0 ? (int32_t)n : 0;
	n = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
	s->timerslack_ns = n > 0 ? (uint64_t)n : 0;
}
