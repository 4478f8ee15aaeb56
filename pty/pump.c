/* SPDX-License-Identifier: MIT */
#include "pty/pump.h"

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

void pump_wake(int wake)
{
	const uint64_t one = 1;
	uint64_t count;

	/* nobody has to read the counter, so one day it is full, and a write to it says so and wakes nobody */
	if (wake >= 0 && write(wake, &one, sizeof(one)) < 0 && errno == EAGAIN &&
	    read(wake, &count, sizeof(count)) == sizeof(count) && write(wake, &one, sizeof(one)) < 0)
		return;
}

ssize_t pump_read(int master, struct ring *ring, int wake)
{
	void *space;
	size_t size = ring_space(ring, &space);
	ssize_t n;

	do
		n = read(master, space, size);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n == 0 ? -EIO : -errno;
	ring_commit(ring, (size_t)n);
	if (ring_followers(ring))
		pump_wake(wake);
	return n;
}
