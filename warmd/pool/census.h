/* SPDX-License-Identifier: MIT */
/* census.h - the processes that warmd has: clones that run, parked ones, skeletons */
#ifndef WARM_WARMD_POOL_CENSUS_H
#define WARM_WARMD_POOL_CENSUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "launcher/wire/words.h"

struct pools;
struct template;

#define CENSUS_SKELETON_ID                                                                                   \
	(1ull << 63) /* skeletons have the ids of their templates, behind those of all clones */

struct census_entry {
	uint64_t id; /* 0: by become */
	pid_t pid; /* 0: not forked yet, as far as is known */
	enum wire_clone_state state;
	uint64_t template_id;
	const char *label; /* of the template; lives as long as what it is of */
	bool quoted; /* the label is in quotes: all that is left of a template that is gone */
	uint32_t way; /* WIRE_CLONE_RUNNING: enum wire_way */
	uint64_t since_ns; /* CLOCK_REALTIME: launched, or begun to be made */
	bool detached;
	uint32_t client; /* PID of the process that launched it; 0: none, or gone */
};

/** census() - @fn for each, in no order. Those by become, which are no children of warmd, are not among them */
void census(const struct pools *all, void (*fn)(void *data, const struct census_entry *e), void *data);

/** census_become() - @fn for each of the last launches by become: it may have ended since, and its PID be another's */
void census_become(const struct pools *all, void (*fn)(void *data, const struct census_entry *e), void *data);

/** census_find() - by PID, of both. Return: false: there is none */
bool census_find(const struct pools *all, pid_t pid, struct census_entry *ret);

struct census_count {
	uint64_t template_id;
	const struct template *template;
	unsigned int states[WIRE_CLONE_STATES];
};

/**
 * census_count() - how many of each template that there is, by descending ids
 * @ret: malloc'd; the caller frees
 * Return: how many templates; 0 also when there is no memory
 */
size_t census_count(const struct pools *all, struct census_count **ret);
struct census_count *census_of(struct census_count *v, size_t n, uint64_t template_id);

#endif
