/* SPDX-License-Identifier: MIT */
/* pump.h - one step of a pump: from the pty's master into the ring. For warmd while no writer is attached, and for the relay. */
#ifndef WARM_PTY_PUMP_H
#define WARM_PTY_PUMP_H

#include <sys/types.h>

#include "pty/ring.h"

/**
 * pump_read() - one read(2) of @master into @ring; wakes its followers
 * @master: O_NONBLOCK
 * @wake: eventfd (EFD_NONBLOCK) to be written to when the ring has followers; -EBADF: none
 *
 * One call reads at most 4 KiB (the kernel's line discipline has no more): call it again while the master is
 * readable, but let others have their turn. A pump that nobody reads behind simply forgets the oldest bytes.
 *
 * Return: bytes; -EAGAIN: nothing there; -EIO: every slave is closed and all is read; other negative errno
 */
ssize_t pump_read(int master, struct ring *ring, int wake);

/** pump_wake() - wake those that follow; also for the end of the program, so that they look */
void pump_wake(int wake);

#endif
