/* SPDX-License-Identifier: MIT */
/*
 * What the program asked of the machine and of its place on it.
 *
 * Facts of the machine are the same for all launches until somebody changes
 * the machine: their values are kept, and compared with those at a launch. How
 * the kernel schedules the process is the launch's own, and the build is
 * scheduled so. What never stays (free memory, load, clocks) does not count.
 *
 * Files of settings are read at each launch, in warmd's loop: some 40 us each. A program that reads them all (sysctl -a: about
 * 1,300) would hold up all launches, and to look at them less often would be to miss a change: it is no template.
 */
#include "warmd/build/observe_internal.h"

#include <stdint.h>
#include <string.h>
#include <sys/resource.h>

#include "engine/base/fd.h"

#define FACT_FILES_MAX 64 /* a large machine's NUMA nodes, for one, are some dozens */

static void ask(struct observe *o, enum fact fact)
{
	if (!o->keys.facts[fact])
		o->keys.facts[fact] = fact_value(fact);
}

int on_uname(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)t;
	(void)rule;
	if (c->ret == 0)
		ask(o, FACT_NAMES);
	return 0;
}

int on_sysinfo(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)t;
	(void)rule;
	if (c->ret == 0)
		ask(o, FACT_MEMORY);
	return 0;
}

/* its result counts from some time before the machine started */
int on_times(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)t;
	(void)c;
	(void)rule;
	o->keys.uptime = true;
	return 0;
}

static bool starts(const char *path, const char *with)
{
	return strncmp(path, with, strlen(with)) == 0;
}

static bool is_one_of(const char *path, const char *const *list)
{
	for (; *list; list++)
		if (strcmp(path, *list) == 0)
			return true;
	return false;
}

/* counters and random numbers among the settings below /proc/sys: sysctl/fs.rst, sysctl/kernel.rst */
static bool never_stays(const char *path)
{
	static const char *const list[] = {
		"/proc/sys/fs/aio-nr",
		"/proc/sys/fs/dentry-state",
		"/proc/sys/fs/file-nr",
		"/proc/sys/fs/inode-nr",
		"/proc/sys/fs/inode-state",
		"/proc/sys/kernel/ns_last_pid",
		"/proc/sys/kernel/pty/nr",
		"/proc/sys/kernel/random/entropy_avail",
		"/proc/sys/kernel/random/uuid",
		"/proc/sys/net/netfilter/nf_conntrack_count",
		NULL,
	};

	static const char *const of_node[] = { "meminfo", "numastat", "vmstat", NULL };
	const char *last = strrchr(path, '/');

	/* libnuma looks for the amount of memory in each node's meminfo, which says how much is free as well */
	return is_one_of(path, list) ||
	       (starts(path, "/sys/devices/system/node/node") && is_one_of(last + 1, of_node));
}

int fact_file_opened(struct observe *o, const struct thread *t, const char *path)
{
	static const char *const names[] = { "/proc/version",
					     "/proc/sys/kernel/hostname",
					     "/proc/sys/kernel/domainname",
					     "/proc/sys/kernel/osrelease",
					     "/proc/sys/kernel/ostype",
					     "/proc/sys/kernel/version",
					     NULL };
	static const char *const clocks[] = { "/proc/uptime", "/proc/stat", NULL };
	static const char *const cpus[] = { "/proc/cpuinfo", "/proc/stat", NULL };
	static const char *const other[] = { "/proc/sys/", "/proc/cmdline", "/proc/filesystems",
					     "/sys/devices/system/node/",
					     "/sys/kernel/mm/transparent_hugepage/" };

	if (is_one_of(path, clocks))
		o->keys.uptime = true;
	if (is_one_of(path, names)) {
		ask(o, FACT_NAMES);
		return 0;
	}
	if (is_one_of(path, cpus) || starts(path, "/sys/devices/system/cpu/")) {
		ask(o, FACT_CPUS);
		return 0;
	}
	if (strcmp(path, "/proc/meminfo") == 0 ||
	    (starts(path, "/sys/devices/system/node/") && strcmp(strrchr(path, '/'), "/meminfo") == 0))
		ask(o, FACT_MEMORY);
	for (size_t i = 0; i < ARRAY_SIZE(other); i++) {
		if (!starts(path, other[i]) || never_stays(path) ||
		    map_has(&o->fact_files, path, strlen(path)))
			continue;
		if (o->fact_files.count >= FACT_FILES_MAX)
			return refuse(
				o, t, false,
				"reads more than %d settings of the kernel (%.100s), which each launch would have to look at,",
				FACT_FILES_MAX, path);
		return map_put(&o->fact_files, path, strlen(path), (void *)(uintptr_t)fact_of_file(path));
	}
	return 0;
}

bool observe_fact_file(const struct observe *o, size_t *pos, const char **ret, uint64_t *ret_value)
{
	const struct map_slot *slot = map_next(&o->fact_files, pos);

	*ret = slot ? slot->key : NULL;
	*ret_value = slot ? (uintptr_t)slot->value : 0;
	return slot != NULL;
}

/* --- scheduling ---------------------------------------------------------------------- */

/* getpriority(which, who), setpriority(which, who, value), and ioprio_get(2) and ioprio_set(2), whose "which" begins with 1 */
static bool of_process(const struct observe *o, const struct observe_call *c, uint64_t process)
{
	return c->args[0] == process && is_ours(o, c->args[1]);
}

int on_getpriority(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	if (c->ret >= 0 && !t->proc->nice_own && of_process(o, c, PRIO_PROCESS))
		o->keys.nice = true;
	return 0;
}

int on_setpriority(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	if (c->ret >= 0 && of_process(o, c, PRIO_PROCESS))
		t->proc->nice_own = true;
	return 0;
}

int on_ioprio_get(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	if (c->ret >= 0 && !t->proc->ioprio_own && of_process(o, c, 1 /* IOPRIO_WHO_PROCESS */))
		o->keys.ioprio = true;
	return 0;
}

int on_ioprio_set(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	if (c->ret >= 0 && of_process(o, c, 1))
		t->proc->ioprio_own = true;
	return 0;
}

int on_getsched(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	if (c->ret < 0 || !is_ours(o, c->args[0]))
		return 0;
	if (!t->proc->sched_own)
		o->keys.sched = true;
	if (c->nr == SYS_sched_getattr && !t->proc->nice_own)
		o->keys.nice = true;
	return 0;
}

int on_setsched(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	if (c->ret >= 0 && is_ours(o, c->args[0]))
		t->proc->sched_own = true;
	return 0;
}
