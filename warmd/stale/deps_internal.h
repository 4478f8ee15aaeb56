/* SPDX-License-Identifier: MIT */
/* deps_internal.h - the inside of a dependency set, for deps.c and deps_pack.c */
#ifndef WARM_WARMD_STALE_DEPS_INTERNAL_H
#define WARM_WARMD_STALE_DEPS_INTERNAL_H

#include <limits.h>

#include "warmd/stale/deps.h"
#include "engine/base/map.h"

/* a link's target with the rest of the path behind it; the kernel has no limit on the sum, PATH_MAX on each part */
#define DEP_PATH_MAX (2 * PATH_MAX)

struct dep_item {
	struct dep dep;
	int64_t recorded_ns; /* CLOCK_REALTIME just before dep.st was taken */
	uint64_t names_all, names_modules; /* LISTING, MODULES: hashes of the names */
};

#define DEP_MODULE_NAMES_MAX 4096

struct dep_set {
	char *module_names; /* of dep_set_module_names(); NULL: none were set */
	struct dep_item *items;
	size_t count, size;
	struct map index; /* class letter and path -> index of its item + 1 */
	struct map seen; /* kind and path as they were added */
	struct map directories; /* canonical paths known to be directories */
};

/* append a record, taking its path over. Return: 0, -EEXIST, -ENOMEM (the path is the caller's still) */
int dep_set_append(struct dep_set *set, const struct dep_item *item);

#endif
