/* SPDX-License-Identifier: MIT */
/* machine.h - where a measurement was taken, and how quiet it was there */
#ifndef WARM_BENCH_MACHINE_H
#define WARM_BENCH_MACHINE_H

#include <stdint.h>
#include <sys/utsname.h>

struct machine {
	char cpu[128];
	struct utsname kernel;
	long cores;
	uint64_t memory; /* bytes */
	int policy; /* SCHED_* of this process */
	char hypervisor[64]; /* empty: none that the kernel knows of */
};

struct activity {
	double load1; /* load average of the last minute */
	double busy, steal, total; /* seconds of all CPUs since boot */
	double own; /* seconds of CPU of this process and its reaped children */
};

void machine_read(struct machine *ret);
void activity_read(struct activity *ret);

#endif
