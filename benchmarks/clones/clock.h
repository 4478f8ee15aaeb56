/* SPDX-License-Identifier: MIT */
/* clock.h - the clock of all samples: CLOCK_MONOTONIC is the same in every process */
#ifndef WARM_BENCH_CLOCK_H
#define WARM_BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#endif
