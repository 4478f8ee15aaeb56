/* SPDX-License-Identifier: MIT */
/* limits.h - resource limits of a process that serves others: getrlimit(2) */
#ifndef WARM_ENGINE_BASE_LIMITS_H
#define WARM_ENGINE_BASE_LIMITS_H

/**
 * limits_raise() - soft limits to what the hard ones allow: they were meant for whoever started this process
 *
 * RLIMIT_CORE stays, and RLIMIT_STACK is only raised to what is usual: without a limit the kernel lays programs out in another
 * way (mmap_is_legacy()).
 */
void limits_raise(void);

#endif
