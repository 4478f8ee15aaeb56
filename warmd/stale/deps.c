/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A path is walked component by component with lstat(2). Every symbolic link
 * met becomes a FILE record of its own, with the link's identity; what is left
 * at the end is a canonical path, and that is what gets recorded. So each
 * record can be checked by one lstat(2), and no record depends on another:
 * /lib/x.so is {FILE /lib (the link), FILE /usr/lib/x.so}.
 *
 * Where the walk ends early (a component is missing, is no directory or may
 * not be searched) the canonical part with the rest as it was named becomes
 * an ABSENT record: the lstat(2) of it fails now and must fail then.
 *
 * Directories of which names count carry hashes over their names. A check
 * reads the names only if the directory's mtime differs, so that a bytecode cache
 * written beside a module does not make the module's directory stale.
 */
#include "warmd/stale/deps_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"

#define SHM_DIR "/dev/shm"

#define LINKS_MAX 40 /* as the kernel's MAXSYMLINKS: more is ELOOP */
#define RACY_NS	  (20 * 1000000LL)

static struct dep_stat stat_take(const struct stat *st)
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

/*
 * Hash the names of a directory, without regard to their order. Links count as
 * directories, since they may lead to one. An unreadable directory has no names:
 * the program could not read them either.
 */
static void hash_names(const struct dep_set *set, const char *path, uint64_t *ret_all, uint64_t *ret_modules)
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

	if (set->count == set->size) {
		size_t size = set->size ? set->size * 2 : 64;
		struct dep_item *items = reallocarray(set->items, size, sizeof(*items));

		if (!items)
			return -ENOMEM;
		set->items = items;
		set->size = size;
	}
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

/* record one canonical path unless that is done; @st is NULL for ABSENT */
static int record(struct dep_set *set, const char *path, enum dep_kind kind, const struct stat *st,
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
		item.dep.st = stat_take(st);
	if (kind == DEP_LISTING || kind == DEP_MODULES)
		hash_names(set, path, &item.names_all, &item.names_modules);
	item.dep.path = strdup(path);
	if (!item.dep.path)
		return -ENOMEM;
	r = dep_set_append(set, &item);
	if (r < 0)
		free(item.dep.path);
	return r;
}

/* a path on its walk: what is resolved, and what is left to walk */
struct walk {
	char real[DEP_PATH_MAX]; /* canonical; no slash at the end but for "/" itself */
	size_t real_len;
	char rest[DEP_PATH_MAX];
	bool exists;
	struct stat st; /* lstat of real, if it exists */
	int64_t at_ns; /* before the stat */
};

static int walk_push(struct walk *w, const char *name, size_t len)
{
	size_t slash = w->real_len > 1;

	if (w->real_len + slash + len >= sizeof(w->real))
		return -ENAMETOOLONG;
	if (slash)
		w->real[w->real_len] = '/';
	memcpy(w->real + w->real_len + slash, name, len);
	w->real_len += slash + len;
	w->real[w->real_len] = '\0';
	return 0;
}

static void walk_pop(struct walk *w)
{
	while (w->real_len > 1 && w->real[w->real_len - 1] != '/')
		w->real_len--;
	if (w->real_len > 1)
		w->real_len--;
	w->real[w->real_len] = '\0';
}

/* the walk ends before its end: keep the rest as it was named (it begins with a slash, or is empty) */
static int walk_absent(struct walk *w, const char *rest)
{
	size_t len = strlen(rest);

	w->exists = false;
	if (w->real_len + len >= sizeof(w->real))
		return -ENAMETOOLONG;
	memcpy(w->real + w->real_len, rest, len + 1);
	w->real_len += len;
	return 0;
}

/* real is a link: continue with its target in its place */
static int walk_link(struct walk *w, const char *rest)
{
	char target[PATH_MAX], joined[DEP_PATH_MAX];
	ssize_t n = readlink(w->real, target, sizeof(target) - 1);
	int len;

	if (n < 0)
		return walk_absent(w, rest);
	target[n] = '\0';
	len = snprintf(joined, sizeof(joined), "%s%s", target, rest);
	if (len < 0 || (size_t)len >= sizeof(joined))
		return -ENAMETOOLONG;
	memcpy(w->rest, joined, (size_t)len + 1);
	if (target[0] == '/') {
		w->real_len = 1;
		w->real[1] = '\0';
	} else {
		walk_pop(w);
	}
	return 1;
}

/*
 * Walk @path; links on the way are recorded if @links. Directories that a
 * former walk went through are taken as such: if one was replaced
 * by a link since, watch_add() refuses to watch through it.
 */
static int walk_path(struct dep_set *set, const char *path, bool nofollow, bool links, struct walk *w)
{
	unsigned int nlinks = 0;
	int r;

	w->at_ns = (int64_t)clock_ns(CLOCK_REALTIME);
	w->exists = true;
	strcpy(w->real, "/");
	w->real_len = 1;
	if (strlen(path) >= sizeof(w->rest))
		return -ENAMETOOLONG;
	strcpy(w->rest, path);
	for (const char *p = w->rest;;) {
		size_t len;

		p += strspn(p, "/");
		len = strcspn(p, "/");
		if (len == 0)
			break;
		if (len == 1 && p[0] == '.') {
			p += len;
			continue;
		}
		if (len == 2 && p[0] == '.' && p[1] == '.') {
			walk_pop(w);
			p += len;
			continue;
		}
		r = walk_push(w, p, len);
		if (r < 0)
			return r;
		p += len;
		if (map_has(&set->directories, w->real, w->real_len))
			continue;
		if (lstat(w->real, &w->st) < 0)
			return walk_absent(w, p);
		if (S_ISDIR(w->st.st_mode)) {
			if (map_put(&set->directories, w->real, w->real_len, NULL) < 0)
				return -ENOMEM;
			continue;
		}
		if (!S_ISLNK(w->st.st_mode)) {
			if (p[0] == '\0')
				return 0;
			return walk_absent(w, p); /* ENOTDIR, also for a mere slash at the end */
		}
		if (p[0] == '\0' && nofollow)
			return 0;
		if (links) {
			r = record(set, w->real, DEP_FILE, &w->st, w->at_ns);
			if (r < 0)
				return r;
		}
		if (++nlinks > LINKS_MAX) /* the slash makes lstat(2) fail with ELOOP too */
			return walk_absent(w, p[0] ? p : "/");
		r = walk_link(w, p);
		if (r <= 0)
			return r;
		p = w->rest;
	}
	/* a directory */
	if (lstat(w->real, &w->st) < 0)
		return walk_absent(w, "");
	return 0;
}

static int add(struct dep_set *set, const char *path, enum dep_kind kind, bool nofollow,
	       const struct stat *opened)
{
	char key[DEP_PATH_MAX + 1];
	struct walk w;
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
	r = walk_path(set, path, nofollow, true, &w);
	if (r < 0)
		return r;
	if (opened && (!w.exists || w.st.st_dev != opened->st_dev || w.st.st_ino != opened->st_ino))
		return 1;
	if (kind == DEP_ABSENT || !w.exists) {
		r = record(set, w.real, DEP_ABSENT, NULL, w.at_ns);
	} else {
		mode_t type = w.st.st_mode & S_IFMT;

		if (kind == DEP_FILE && type != S_IFREG && type != S_IFLNK)
			kind = DEP_EXISTS;
		if ((kind == DEP_LISTING || kind == DEP_MODULES) && type != S_IFDIR)
			kind = DEP_FILE;
		r = record(set, w.real, kind, &w.st, w.at_ns);
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
	struct walk w;
	int r;

	if (path[0] != '/')
		return -EINVAL;
	r = walk_path(set, path, true, false, &w);
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

	hash_names(set, item->dep.path, &all, &modules);
	if (item->dep.kind == DEP_MODULES)
		return modules != item->names_modules;
	return all != item->names_all;
}

static bool item_changed(const struct dep_set *set, const struct dep_item *item, const struct stat *st)
{
	const struct dep_stat *was = &item->dep.st;
	struct dep_stat is = stat_take(st);

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
