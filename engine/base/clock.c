/* SPDX-License-Identifier: MIT */
#include "engine/base/clock.h"

uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return timespec_ns(&ts);
}
