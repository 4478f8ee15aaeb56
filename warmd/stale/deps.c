/* SPDX-License-Identifier: MIT */
/* deps.c - a dependency set: what is recorded, once for each path and kind. How a path is walked: deps_walk.c */
#include "warmd/stale/deps_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"

#define SHM_DIR "/dev/shm"

/* LISTING and MODULES share a key, as the one wins over the other; ABSENT beside FILE is a contradiction that must show */
static char kind_class(enum dep_kind kind)
{
	switch (kind) {
	case DEP_FILE:
		return 'F';
	case DEP_ABSENT:
		return 'A';
	case DEP_EXISTS:
		return 'E';
	case DEP_INODE:
		return 'I';
	case DEP_LISTING:
	case DEP_MODULES:
		break;
	}
	return 'L';
}

static size_t make_key(char *key, char class, const char *path)
{
	size_t len = strlen(path);

	key[0] = class;
	memcpy(key + 1, path, len);
	return len + 1;
}

int dep_set_new(struct dep_set **ret)
{
	struct dep_set *set = calloc(1, sizeof(*set));

	if (!set)
		return -ENOMEM;
	*ret = set;
	return 0;
}

void dep_set_free(struct dep_set *set)
{
	if (!set)
		return;
	for (size_t i = 0; i < set->count; i++)
		free(set->items[i].dep.path);
	free(set->items);
	free(set->module_names);
	map_done(&set->index, NULL);
	map_done(&set->seen, NULL);
	map_done(&set->directories, NULL);
	free(set);
}

/* what the index holds for an item: its place + 1, so that no place is NULL */
static struct dep_item *item_at(const struct dep_set *set, const void *handle)
{
	return handle ? &set->items[(uintptr_t)handle - 1] : NULL;
}

/* the record of this key, or NULL */
static struct dep_item *item_find(const struct dep_set *set, char class, const char *path)
{
	char key[DEP_PATH_MAX + 1];
	size_t len = make_key(key, class, path);

	return item_at(set, map_get(&set->index, key, len));
}

int dep_set_append(struct dep_set *set, const struct dep_item *item)
{
	char key[DEP_PATH_MAX + 1];
	size_t len;

	if (array_reserve(&set->items, set->count, 1, sizeof(*set->items)) < 0)
		return -ENOMEM;
	len = make_key(key, kind_class(item->dep.kind), item->dep.path);
	if (map_has(&set->index, key, len))
		return -EEXIST;
	if (map_put(&set->index, key, len, (void *)(uintptr_t)(set->count + 1)) < 0)
		return -ENOMEM;
	set->items[set->count++] = *item;
	return 0;
}

/*
 * What the kernel makes up as it is read has no identity that stands for its
 * contents, and what /proc/self is depends on who asks. Also reached by links, such as /etc/mtab.
 * /dev/shm is a tmpfs, with files as any other has them.
 */
static bool path_is_synthetic(const char *path)
{
	static const char *const prefixes[] = { "/proc", "/sys", "/dev" };

	if (strncmp(path, SHM_DIR, strlen(SHM_DIR)) == 0 &&
	    (path[strlen(SHM_DIR)] == '/' || path[strlen(SHM_DIR)] == '\0'))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		size_t len = strlen(prefixes[i]);

		if (strncmp(path, prefixes[i], len) == 0 && (path[len] == '/' || path[len] == '\0'))
			return true;
	}
	return false;
}

int dep_set_record(struct dep_set *set, const char *path, enum dep_kind kind, const struct stat *st,
		   int64_t at_ns)
{
	struct dep_item item = { .recorded_ns = at_ns };
	struct dep_item *old = item_find(set, kind_class(kind), path);
	int r;

	if (path_is_synthetic(path))
		return 0;
	/* semaphores and shared memory of others come and go there all the time; modules (DEP_MODULES) count */
	if (kind == DEP_LISTING && strcmp(path, SHM_DIR) == 0)
		return 0;
	if (old) {
		if (kind == DEP_LISTING)
			old->dep.kind = DEP_LISTING;
		return 0;
	}
	item.dep.kind = kind;
	if (st)
		item.dep.st = dep_stat_take(st);
	if (kind == DEP_LISTING || kind == DEP_MODULES)
		dep_hash_names(set, path, &item.names_all, &item.names_modules);
	item.dep.path = strdup(path);
	if (!item.dep.path)
		return -ENOMEM;
	r = dep_set_append(set, &item);
	if (r < 0)
		free(item.dep.path);
	return r;
}

static int add(struct dep_set *set, const char *path, enum dep_kind kind, bool nofollow,
	       const struct stat *opened)
{
	char key[DEP_PATH_MAX + 1];
	struct dep_walk w;
	size_t len;
	int r;

	if (path[0] != '/')
		return -EINVAL;
	if (strlen(path) >= DEP_PATH_MAX)
		return -ENAMETOOLONG;
	/* most calls name a path that an earlier one named: no system call for those */
	len = make_key(key, (char)('0' + kind * 2 + nofollow), path);
	if (map_has(&set->seen, key, len))
		return 0;
	r = dep_walk(set, path, nofollow, true, &w);
	if (r < 0)
		return r;
	if (opened && (!w.exists || w.st.st_dev != opened->st_dev || w.st.st_ino != opened->st_ino))
		return 1;
	if (kind == DEP_ABSENT || !w.exists) {
		r = dep_set_record(set, w.real, DEP_ABSENT, NULL, w.at_ns);
	} else {
		mode_t type = w.st.st_mode & S_IFMT;

		if (kind == DEP_FILE && type != S_IFREG && type != S_IFLNK)
			kind = DEP_EXISTS;
		if ((kind == DEP_LISTING || kind == DEP_MODULES) && type != S_IFDIR)
			kind = DEP_FILE;
		r = dep_set_record(set, w.real, kind, &w.st, w.at_ns);
	}
	if (r < 0)
		return r;
	return map_put(&set->seen, key, len, NULL);
}

int dep_set_add(struct dep_set *set, const char *path, enum dep_kind kind)
{
	return add(set, path, kind, false, NULL);
}

int dep_set_add_link(struct dep_set *set, const char *path)
{
	return add(set, path, DEP_FILE, true, NULL);
}

int dep_set_add_opened(struct dep_set *set, const char *path, enum dep_kind kind, const struct stat *opened)
{
	return add(set, path, kind, false, opened);
}

static bool forget(struct dep_set *set, char class, const char *path)
{
	char key[DEP_PATH_MAX + 1];
	size_t len = make_key(key, class, path);
	struct dep_item *item = item_at(set, map_remove(&set->index, key, len));
	struct dep_item *last;

	if (!item)
		return false;
	last = &set->items[set->count - 1];
	free(item->dep.path);
	if (item != last) {
		*item = *last;
		len = make_key(key, kind_class(item->dep.kind), item->dep.path);
		map_put(&set->index, key, len,
			(void *)(uintptr_t)(item - set->items + 1)); /* is there: cannot fail */
	}
	set->count--;
	return true;
}

int dep_set_forget_absent(struct dep_set *set, const char *path)
{
	struct dep_walk w;
	int r;

	if (path[0] != '/')
		return -EINVAL;
	r = dep_walk(set, path, true, false, &w);
	if (r < 0)
		return r;
	forget(set, 'A', w.real);
	/* it may be looked for again */
	map_done(&set->seen, NULL);
	return 0;
}

size_t dep_set_count(const struct dep_set *set)
{
	return set->count;
}

const struct dep *dep_set_get(const struct dep_set *set, size_t i)
{
	return i < set->count ? &set->items[i].dep : NULL;
}
