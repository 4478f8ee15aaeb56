/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* The value of the first "KEY : value" line whose key is one of keys; empty if there is none. */
static void read_field(const char *path, const char *const *keys, char *ret, size_t size)
{
	FILE *f = fopen(path, "re");
	char line[512];

	*ret = '\0';
	if (!f)
		return;
	while (!*ret && fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':');

		if (!colon)
			continue;
		line[strcspn(line, "\n")] = '\0';
		for (size_t i = 0; keys[i]; i++)
			if (!strncmp(line, keys[i], strlen(keys[i])))
				snprintf(ret, size, "%s", colon + 1 + strspn(colon + 1, " \t"));
	}
	fclose(f);
}

static void read_line(const char *path, char *ret, size_t size)
{
	FILE *f = fopen(path, "re");

	*ret = '\0';
	if (!f)
		return;
	if (fgets(ret, size, f))
		ret[strcspn(ret, "\n")] = '\0';
	fclose(f);
}

void machine_read(struct machine *ret)
{
	/* arm64 has no "model name" in /proc/cpuinfo (arch/arm64/kernel/cpuinfo.c) */
	static const char *const keys[] = { "model name", "CPU part", NULL };

	*ret = (struct machine){ 0 };
	read_field("/proc/cpuinfo", keys, ret->cpu, sizeof(ret->cpu));
	uname(&ret->kernel);
	ret->cores = sysconf(_SC_NPROCESSORS_ONLN);
	ret->memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
	ret->policy = sched_getscheduler(0);
	read_line("/sys/class/dmi/id/sys_vendor", ret->hypervisor, sizeof(ret->hypervisor));
}

static double seconds(struct timeval t)
{
	return t.tv_sec + t.tv_usec / 1e6;
}

void activity_read(struct activity *ret)
{
	double hz = sysconf(_SC_CLK_TCK);
	unsigned long long t[8] = { 0 }; /* user nice system idle iowait irq softirq steal: proc_stat(5) */
	struct rusage self, children;
	FILE *f;

	*ret = (struct activity){ 0 };
	if (getloadavg(&ret->load1, 1) < 1)
		ret->load1 = -1;
	f = fopen("/proc/stat", "re");
	if (f) {
		if (fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3],
			   &t[4], &t[5], &t[6], &t[7]) == 8) {
			for (int i = 0; i < 8; i++)
				ret->total += t[i] / hz;
			ret->steal = t[7] / hz;
			ret->busy = ret->total - (t[3] + t[4] + t[7]) / hz;
		}
		fclose(f);
	}
	getrusage(RUSAGE_SELF, &self);
	getrusage(RUSAGE_CHILDREN, &children);
	ret->own = seconds(self.ru_utime) + seconds(self.ru_stime) + seconds(children.ru_utime) +
		   seconds(children.ru_stime);
}
