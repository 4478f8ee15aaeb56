/* SPDX-License-Identifier: MIT */
/* clock.h - times as one number of nanoseconds. */
#ifndef WARM_ENGINE_BASE_CLOCK_H
#define WARM_ENGINE_BASE_CLOCK_H

#include <stdint.h>
#include <sys/resource.h>
#include <time.h>

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

/** timespec_ns() - @ts in ns; modulo 2^64 where it does not fit, so that times before the epoch survive a cast to int64_t */
static inline uint64_t timespec_ns(const struct timespec *ts)
{
	return (uint64_t)ts->tv_sec * NS_PER_S + (uint64_t)ts->tv_nsec;
}

/** rusage_ns() - processor time of a struct rusage, the system's and its own, in ns */
static inline uint64_t rusage_ns(const struct rusage *used)
{
	return (uint64_t)(used->ru_utime.tv_sec + used->ru_stime.tv_sec) * NS_PER_S +
	       (uint64_t)(used->ru_utime.tv_usec + used->ru_stime.tv_usec) * NS_PER_US;
}

/** clock_ns() - what @clock shows, in ns */
uint64_t clock_ns(clockid_t clock);

/** clock_ms() - CLOCK_MONOTONIC in ms: for deadlines */
static inline uint64_t clock_ms(void)
{
	return clock_ns(CLOCK_MONOTONIC) / NS_PER_MS;
}

#endif
