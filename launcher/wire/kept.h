/* SPDX-License-Identifier: MIT */
/* kept.h - what stands in front of a Kept of control.proto where it is stored: in an entry of the cache, and as an image's facts */
#ifndef WARM_LAUNCHER_WIRE_KEPT_H
#define WARM_LAUNCHER_WIRE_KEPT_H

#include <stdint.h>

#define KEPT_MAGIC "WARMKEPT"

struct kept_head {
	char magic[8];
	uint64_t checksum; /* hash_bytes() of the packed message, which follows */
};

#endif
