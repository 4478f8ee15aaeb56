/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A record's path is canonical, so its components are plain directories: each
 * is watched for its name in its parent, down to the record's own name (the
 * leaf). IN_DONT_FOLLOW makes sure that no component has become a link since.
 * An ABSENT path may end early: then the first missing name is the
 * leaf, and when it appears without completing the path, the
 * registration is made anew, one directory deeper.
 *
 * A file whose contents count is watched by itself, besides its name in its
 * directory: whatever name it is written through.
 *
 * A directory that may not be watched (watching needs read permission, going
 * through it only search permission) and file systems that others
 * change leave entries in `unseen`, which watch_recheck() stats.
 */
#include "warmd/stale/watch_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"

/* a directory on the way: its node, or none where it cannot be watched */
struct place {
	struct node *node;
};

struct registering {
	struct watch_user *user;
	struct map places; /* path -> struct place, of this pass */
};

static bool error_is_unwatchable(int r)
{
	return r == -EACCES || r == -EPERM || r == -EOPNOTSUPP;
}

static int place_put(struct registering *reg, const char *path, size_t len, struct node *node,
		     struct place **ret)
{
	struct place *place = calloc(1, sizeof(*place));

	if (!place || map_put(&reg->places, path, len, place) < 0) {
		free(place);
		return -ENOMEM;
	}
	place->node = node;
	*ret = place;
	return 0;
}

/* watch the directory @path, known under @name in @parent (both NULL for "/") */
static int place_enter(struct registering *reg, const char *path, size_t len, struct place *parent,
		       const char *name, size_t name_len, struct place **ret)
{
	struct watch_user *user = reg->user;
	struct node *node = NULL;
	struct stat st;
	int r;

	*ret = map_get(&reg->places, path, len);
	if (*ret)
		return 0;
	r = node_watch_dir(user->watch, path, &node);
	if (r < 0 && !error_is_unwatchable(r))
		return r;
	r = place_put(reg, path, len, node, ret);
	if (r < 0) {
		if (node)
			node_release(user->watch, node);
		return r;
	}
	if (!parent)
		return 0;
	if (parent->node)
		return entry_add(user, parent->node, name, name_len, ENTRY_COMPONENT);
	if (lstat(path, &st) < 0) {
		/* in a directory that may not be searched: its own mode decides, and that is watched or looked at */
		return errno == EACCES ? 0 : -ESTALE;
	}
	if (!S_ISDIR(st.st_mode))
		return -ESTALE;
	return unseen_add(&user->unseen, ENTRY_COMPONENT, path, &st);
}

/*
 * Is the component that could not be entered the place where an absent path
 * ends? A link is not, unless it leads nowhere: then its own record tells when that changes.
 */
static bool ends_here(const struct dep *dep, const char *prefix)
{
	struct stat st;

	if (dep->kind != DEP_ABSENT)
		return false;
	if (lstat(prefix, &st) < 0)
		return true;
	if (S_ISLNK(st.st_mode))
		return stat(prefix, &st) < 0;
	return !S_ISDIR(st.st_mode);
}

/* @name, in @parent, is the end of the dependency's path, or the place where an absent one ends */
static int leaf_add(struct registering *reg, struct place *parent, const char *name, size_t len, uint32_t i)
{
	struct watch_user *user = reg->user;
	int r;

	if (!parent->node || parent->node->remote) {
		r = unseen_add(&user->unseen, i, NULL, NULL);
		if (r < 0 || !parent->node)
			return r;
	}
	return entry_add(user, parent->node, name, len, i);
}

/* the directory itself, for its names (and "/" for its attributes, as it has no parent) */
static int self_add(struct registering *reg, const char *path, struct place *parent, const char *name,
		    size_t name_len, uint32_t i)
{
	struct place *place;
	int r;

	r = place_enter(reg, path, strlen(path), parent, name, name_len, &place);
	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR ? -ESTALE : r;
	if (!place->node || place->node->remote) {
		r = unseen_add(&reg->user->unseen, i, NULL, NULL);
		if (r < 0 || !place->node)
			return r;
	}
	return entry_add(reg->user, place->node, NULL, 0, i);
}

/* walk to the leaf of dependency @i and watch it all the way */
static int chain_add(struct registering *reg, const struct dep *dep, uint32_t i)
{
	char prefix[2 * PATH_MAX];
	const char *p = dep->path;
	struct place *at, *next;
	int r;

	r = place_enter(reg, "/", 1, NULL, NULL, 0, &at);
	if (r < 0)
		return r;
	for (;;) {
		const char *name, *rest;
		size_t len, prefix_len;

		p += strspn(p, "/");
		len = strcspn(p, "/");
		if (len == 0)
			return self_add(reg, "/", NULL, NULL, 0, i);
		name = p;
		p += len;
		rest = p + strspn(p, "/");
		if (rest[0] == '\0') {
			r = leaf_add(reg, at, name, len, i);
			if (r < 0 || (dep->kind != DEP_LISTING && dep->kind != DEP_MODULES))
				return r;
			return self_add(reg, dep->path, at, name, len, i);
		}
		/* only what was missing can have dots in it; now that it is there, the record fits no more */
		if ((len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
			return -ESTALE;
		prefix_len = (size_t)(p - dep->path);
		if (prefix_len >= sizeof(prefix))
			return -ENAMETOOLONG;
		memcpy(prefix, dep->path, prefix_len);
		prefix[prefix_len] = '\0';
		r = place_enter(reg, prefix, prefix_len, at, name, len, &next);
		if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP)
			return ends_here(dep, prefix) ? leaf_add(reg, at, name, len, i) : -ESTALE;
		if (r < 0)
			return r;
		at = next;
	}
}

/* its directory tells of writes, too, but of those alone that come through this name */
static int watch_by_directory(struct registering *reg, const struct dep *dep)
{
	struct watch *w = reg->user->watch;
	const char *name = strrchr(dep->path, '/');
	char dir[2 * PATH_MAX];
	size_t len = name == dep->path ? 1 : (size_t)(name - dep->path);
	struct node *node;
	int r;

	if (len >= sizeof(dir))
		return -ENAMETOOLONG;
	memcpy(dir, dep->path, len);
	dir[len] = '\0';
	r = node_watch_dir(w, dir, &node);
	if (r == 0)
		r = node_watch_contents(w, node, dir);
	return r;
}

/*
 * The file itself, as its contents count. One that cannot be watched is watched by its directory, and looked at:
 * it may not be read (and then nor could the program), or the user's watches are used up.
 */
static int contents_add(struct registering *reg, const struct dep *dep, const struct stat *st, uint32_t i)
{
	struct watch_user *user = reg->user;
	struct node *node;
	int r;

	r = node_watch_file(user->watch, dep->path, writers_matter(dep->path, st), &node);
	if (error_is_unwatchable(r) || r == -ENOSPC) {
		r = watch_by_directory(reg, dep);
		if (r == 0 || error_is_unwatchable(r))
			return unseen_add(&user->unseen, i, NULL, NULL);
	}
	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR || r == -ELOOP ? -ESTALE : r;
	r = entry_add(user, node, NULL, 0, i);
	if (r < 0)
		node_release(user->watch, node);
	else
		SLIST_FIRST(&user->entries)->early = node->opens && node->writer;
	return r;
}

static int dep_register(struct registering *reg, uint32_t i)
{
	const struct dep_set *set = reg->user->set;
	const struct dep *dep = dep_set_get(set, i);
	struct stat st;
	int r;

	r = chain_add(reg, dep, i);
	if (r < 0)
		return r;
	if (dep_set_check_one(set, i, &st) != 0)
		return -ESTALE;
	if (dep->kind != DEP_FILE || !S_ISREG(st.st_mode))
		return 0;
	r = contents_add(reg, dep, &st, i);
	if (r < 0)
		return r;
	return dep_set_check_one(set, i, NULL) ? -ESTALE : 0;
}

int user_register(struct watch_user *user, const char **ret_path)
{
	struct registering reg = { .user = user };
	const struct map_slot *slot;
	size_t pos = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < dep_set_count(user->set); i++) {
		r = dep_register(&reg, (uint32_t)i);
		if (r < 0)
			*ret_path = dep_set_get(user->set, i)->path;
	}
	/* a directory entered last may have no entry if something failed right after */
	while ((slot = map_next(&reg.places, &pos))) {
		struct place *place = slot->value;

		if (place->node)
			node_release(user->watch, place->node);
	}
	map_done(&reg.places, free);
	return r;
}
