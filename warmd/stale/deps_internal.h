/* SPDX-License-Identifier: MIT */
/* deps_internal.h - the inside of a dependency set, between the deps*.c; nobody else includes it */
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
	size_t count;
	struct map index; /* class letter and path -> index of its item + 1 */
	struct map seen; /* kind and path as they were added */
	struct map directories; /* canonical paths known to be directories */
};

/* append a record, taking its path over. Return: 0, -EEXIST, -ENOMEM (the path is the caller's still) */
int dep_set_append(struct dep_set *set, const struct dep_item *item);

/**
 * dep_set_record() - record one canonical path unless that is done
 * @st: as lstat(2) has it; NULL for ABSENT
 * @at_ns: CLOCK_REALTIME just before that
 */
int dep_set_record(struct dep_set *set, const char *path, enum dep_kind kind, const struct stat *st,
		   int64_t at_ns);

/* --- deps_walk.c --- */

/* a path on its walk: what is resolved, and what is left to walk */
struct dep_walk {
	char real[DEP_PATH_MAX]; /* canonical; no slash at the end but for "/" itself */
	size_t real_len;
	char rest[DEP_PATH_MAX];
	bool exists;
	struct stat st; /* lstat of real, if it exists */
	int64_t at_ns; /* before the stat */
};

/**
 * dep_walk() - from a path to the canonical one
 * @path: absolute
 * @nofollow: a symbolic link at the end is not followed
 * @links: links on the way are recorded
 * @w: where the walk ended
 *
 * Directories that a former walk went through are taken as such: if one was replaced by a link since, watch_add() refuses
 * to watch through it. Return: 0, or a negative errno.
 */
int dep_walk(struct dep_set *set, const char *path, bool nofollow, bool links, struct dep_walk *w);

/* --- deps_check.c --- */

struct dep_stat dep_stat_take(const struct stat *st);
/**
 * dep_hash_names() - the sum of a hash of each name in a directory, whose order does not count
 * @ret_all, @ret_modules: of all names, and of those that a module search looks at; 0 for a directory that cannot be read
 */
void dep_hash_names(const struct dep_set *set, const char *path, uint64_t *ret_all, uint64_t *ret_modules);

#endif
