/* SPDX-License-Identifier: MIT */
/* stats.h - order statistics of samples in nanoseconds */
#ifndef WARM_BENCH_STATS_H
#define WARM_BENCH_STATS_H

#include <stddef.h>
#include <stdint.h>

struct samples {
	uint64_t *ns; /* in the order they were taken */
	size_t n, room;
};

struct summary {
	size_t n;
	uint64_t min, p50, p90, p99, max; /* ns; all 0 when n is 0 */
};

/* 0 or -ENOMEM. */
int samples_add(struct samples *s, uint64_t ns);
void samples_free(struct samples *s);

/*
 * Percentiles are nearest-rank: always a sample that was measured, never an
 * interpolation; with fewer than 100 samples p99 is the maximum.
 * 0 or -ENOMEM.
 */
int samples_summary(const struct samples *s, struct summary *ret);

#endif
