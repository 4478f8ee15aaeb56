/* SPDX-License-Identifier: MIT */
/* drain.h - struct wire_drain: clients with a lease see whether events are being taken in (lease.h) */
#ifndef WARM_WARMD_STALE_DRAIN_H
#define WARM_WARMD_STALE_DRAIN_H

#include <stdbool.h>

#include "launcher/wire/protocol.h"

struct drain {
	int fd; /* -EBADF: there is none */
	struct wire_drain *shared; /* fd's memory, which nobody else can map for writing */
};

/** drain_init() - without one no leases are given */
void drain_init(struct drain *d);
void drain_done(struct drain *d);
/** drain_busy() - before the first event is read, and after the last is dealt with */
void drain_busy(struct drain *d, bool busy);

#endif
