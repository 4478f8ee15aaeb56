/* SPDX-License-Identifier: MIT */
/* facts.h - what programs ask of the machine, as numbers to be compared: they stay the same until somebody changes the machine */
#ifndef WARM_ENGINE_BASE_FACTS_H
#define WARM_ENGINE_BASE_FACTS_H

#include <stddef.h>
#include <stdint.h>

enum fact {
	FACT_NAMES, /* uname(2): the host's name, the kernel's release */
	FACT_MEMORY, /* sysinfo(2): how much there is, not how much is free */
	FACT_CPUS, /* which processors are there, and which are online */
	FACTS,
};

#define HASH_SEED 0xcbf29ce484222325ull

/** hash_bytes() - FNV-1a, 64 bits, of what went into @hash (HASH_SEED: nothing) and then @data */
uint64_t hash_bytes(uint64_t hash, const void *data, size_t len);

/** fact_value() - a hash of it as it is now; never 0 */
uint64_t fact_value(enum fact fact);
/** fact_of_file() - a hash of what a file of /proc or /sys says, at most 64 KiB of it; a value of its own when it cannot be read */
uint64_t fact_of_file(const char *path);
/** fact_name() - in words */
const char *fact_name(enum fact fact);

#endif
