/* SPDX-License-Identifier: MIT */
/* deps_check.c - what is looked at of a path, and whether it is as it was */
#include "warmd/stale/deps_internal.h"

#include <dirent.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"

#define RACY_NS (20 * 1000000LL)

struct dep_stat dep_stat_take(const struct stat *st)
{
	return (struct dep_stat){
		.dev = st->st_dev,
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.mtime_ns = (int64_t)timespec_ns(&st->st_mtim),
		.ctime_ns = (int64_t)timespec_ns(&st->st_ctim),
		.mode = st->st_mode,
		.uid = st->st_uid,
		.gid = st->st_gid,
	};
}

/*
 * Hash the names of a directory, without regard to their order. Links count as
 * directories, since they may lead to one. An unreadable directory has no names:
 * the program could not read them either.
 */
void dep_hash_names(const struct dep_set *set, const char *path, uint64_t *ret_all, uint64_t *ret_modules)
{
	struct dirent *de;
	DIR *dir = opendir(path);

	*ret_all = *ret_modules = 0;
	if (!dir)
		return;
	while ((de = readdir(dir))) {
		bool may_be_dir = de->d_type == DT_DIR || de->d_type == DT_LNK || de->d_type == DT_UNKNOWN;
		uint64_t hash;

		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		/* the type counts as well: scandir(3) tells it */
		hash = map_hash64(de->d_name, strlen(de->d_name)) * (2u * de->d_type + 1);
		*ret_all += hash;
		if (dep_set_is_module(set, de->d_name, may_be_dir))
			*ret_modules += hash;
	}
	closedir(dir);
}

bool dep_set_racy(const struct dep_set *set, const char **ret_path)
{
	for (size_t i = 0; i < set->count; i++) {
		const struct dep_item *item = &set->items[i];
		int64_t age;

		/* these look at nothing that a time stamp stands for */
		if (item->dep.kind == DEP_ABSENT || item->dep.kind == DEP_EXISTS ||
		    item->dep.kind == DEP_INODE)
			continue;
		/* a file system may tell any ctime */
		if (__builtin_sub_overflow(item->recorded_ns, item->dep.st.ctime_ns, &age) || age > RACY_NS ||
		    age < -RACY_NS)
			continue;
		if (ret_path)
			*ret_path = item->dep.path;
		return true;
	}
	return false;
}

static bool names_changed(const struct dep_set *set, const struct dep_item *item)
{
	uint64_t all, modules;

	dep_hash_names(set, item->dep.path, &all, &modules);
	if (item->dep.kind == DEP_MODULES)
		return modules != item->names_modules;
	return all != item->names_all;
}

static bool item_changed(const struct dep_set *set, const struct dep_item *item, const struct stat *st)
{
	const struct dep_stat *was = &item->dep.st;
	struct dep_stat is = dep_stat_take(st);

	if (is.mode != was->mode || is.uid != was->uid || is.gid != was->gid)
		return true;
	if (item->dep.kind == DEP_EXISTS)
		return false;
	if (is.dev != was->dev || is.ino != was->ino)
		return true;
	if (item->dep.kind == DEP_INODE)
		return false;
	if (item->dep.kind == DEP_FILE)
		return is.size != was->size || is.mtime_ns != was->mtime_ns || is.ctime_ns != was->ctime_ns;
	return is.mtime_ns != was->mtime_ns && names_changed(set, item);
}

int dep_set_check_one(const struct dep_set *set, size_t i, struct stat *ret_st)
{
	const struct dep_item *item = &set->items[i];
	struct stat st = { 0 };
	bool exists = lstat(item->dep.path, &st) == 0;

	if (ret_st)
		*ret_st = st;
	if (item->dep.kind == DEP_ABSENT)
		return exists;
	return !exists || item_changed(set, item, &st);
}

int dep_set_check(const struct dep_set *set, const char **ret_path)
{
	for (size_t i = 0; i < set->count; i++) {
		if (dep_set_check_one(set, i, NULL) == 0)
			continue;
		if (ret_path)
			*ret_path = set->items[i].dep.path;
		return 1;
	}
	return 0;
}
