/* SPDX-License-Identifier: MIT */
#include "engine/base/affinity.h"

#include <unistd.h>
#include <sys/syscall.h>

#define MAX_CPU_BYTES 1024 /* 8192 processors: the largest CONFIG_NR_CPUS */

uint64_t affinity_hash(void)
{
	unsigned char cpus[MAX_CPU_BYTES];
	uint64_t hash = 0xcbf29ce484222325ull;
	/* the system call, unlike the wrapper, returns how many bytes it wrote */
	long n = syscall(SYS_sched_getaffinity, 0, sizeof(cpus), cpus);

	if (n <= 0)
		return 0;
	for (long i = 0; i < n; i++)
		hash = (hash ^ cpus[i]) * 0x100000001b3ull;
	return hash;
}
