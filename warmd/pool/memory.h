/* SPDX-License-Identifier: MIT */
/*
 * memory.h - is memory short, for the machine or for a control group that warmd is in?
 *
 * In a container or a slice with a limit the machine's own figures say nothing: the group's OOM killer comes long before
 * them. What counts in a group is what its processes could still get: its limit, less what it uses, plus what
 * the kernel can take back from its page cache.
 */
#ifndef WARM_WARMD_POOL_MEMORY_H
#define WARM_WARMD_POOL_MEMORY_H

#include <stdbool.h>

/* where the figures are; tests have others */
struct memory_files {
	const char *meminfo; /* proc_meminfo(5) */
	const char *cgroup; /* cgroups(7), /proc/PID/cgroup */
	const char *mounts; /* cgroup2 is here or in unified/, the v1 controller in memory/ */
};

extern const struct memory_files memory_of_system;

/**
 * memory_is_short() - is less than @percent of all memory available, or less than that of a limit on us or above us?
 * What cannot be read counts as plenty.
 */
bool memory_is_short(const struct memory_files *f, unsigned int percent);

#endif
