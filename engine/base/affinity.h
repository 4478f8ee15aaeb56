/* SPDX-License-Identifier: MIT */
/* affinity.h - this process's CPU affinity as one number, to be compared */
#ifndef WARM_BASE_AFFINITY_H
#define WARM_BASE_AFFINITY_H

#include <stdint.h>

/** affinity_hash() - FNV-1a 64 of what sched_getaffinity(2) says of the calling thread; 0 when it says nothing */
uint64_t affinity_hash(void);

#endif
