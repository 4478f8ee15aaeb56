/* SPDX-License-Identifier: MIT */
#include "warmd/stale/watch_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/vfs.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"

/*
 * The masks are added to what is watched of the inode already. Writes are told of the files whose contents count
 * alone: the log that a clone writes to all the time need not wake us each time. The files themselves are watched, not
 * their directories, because an event names the directory in which the writer found the file: not ours if that is
 * another hard link, nor any name if the writer made the file with O_TMPFILE and linked it later.
 */
#define DIR_MASK                                                                                             \
	(IN_MASK_ADD | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF |    \
	 IN_MOVE_SELF | IN_ONLYDIR | IN_DONT_FOLLOW)
#define FILE_MASK                                                                                            \
	(IN_MASK_ADD | IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF |              \
	 IN_DONT_FOLLOW)
#define OPENS_MASK (IN_OPEN | IN_CLOSE_NOWRITE)

/* file systems that others change: from <linux/magic.h>, which lacks some of them */
static bool magic_is_remote(unsigned long magic)
{
	static const unsigned long remote[] = {
		0x6969, /* nfs */
		0x517b, /* smb */
		0xff534d42, /* cifs */
		0xfe534d42, /* smb2, smb3 */
		0x65735546, /* fuse, virtiofs */
		0x01021997, /* 9p */
		0x00c36400, /* ceph */
		0x5346414f, /* afs */
		0x6b414653, /* kafs */
		0x73757245, /* coda */
		0x01161970, /* gfs2 */
		0x7461636f, /* ocfs2 */
		0x0bd00bd0, /* lustre */
		0x47504653, /* gpfs */
		0x786f4256, /* vboxsf */
		0xbacbacbc, /* vmhgfs */
	};

	for (size_t i = 0; i < ARRAY_SIZE(remote); i++) {
		if (remote[i] == (magic & 0xffffffff))
			return true;
	}
	return false;
}

/* nobody is told when their pages become dirty, so their times stay: mm/shmem.c has no page_mkwrite() */
static bool magic_is_timeless(unsigned long magic)
{
	magic &= 0xffffffff;
	return magic == 0x01021994 /* tmpfs */ || magic == 0x858458f6 /* ramfs */ ||
	       magic == 0x958458f6 /* hugetlbfs */;
}

struct node *node_find(const struct watch *w, int wd)
{
	return map_get(&w->nodes, &wd, sizeof(wd));
}

static int node_watch(struct watch *w, const char *path, uint32_t mask, struct node **ret)
{
	int wd = inotify_add_watch(w->fd, path, mask);
	struct statfs fs;
	struct node *node;

	if (wd < 0)
		return -errno;
	/* the kernel knows inodes: two paths to one give one wd, and one node serves both */
	node = node_find(w, wd);
	if (!node) {
		node = calloc(1, sizeof(*node));
		if (!node || map_put(&w->nodes, &wd, sizeof(wd), node) < 0) {
			inotify_rm_watch(w->fd, wd);
			free(node);
			return -ENOMEM;
		}
		node->wd = wd;
		node->self.node = node;
		if (statfs(path, &fs) == 0) {
			node->remote = magic_is_remote((unsigned long)fs.f_type);
			node->timeless = magic_is_timeless((unsigned long)fs.f_type);
		}
	}
	*ret = node;
	return 0;
}

int node_watch_dir(struct watch *w, const char *path, struct node **ret)
{
	return node_watch(w, path, DIR_MASK, ret);
}

int node_watch_contents(struct watch *w, struct node *node, const char *path)
{
	int wd;

	if (node->contents)
		return 0;
	wd = inotify_add_watch(w->fd, path, DIR_MASK | IN_MODIFY);
	if (wd < 0)
		return -errno;
	if (wd != node->wd) { /* another directory by now */
		if (!node_find(w, wd))
			inotify_rm_watch(w->fd, wd);
		return -ESTALE;
	}
	node->contents = true;
	return 0;
}

int node_watch_file(struct watch *w, const char *path, bool opens, struct node **ret)
{
	int r = node_watch(w, path, FILE_MASK | (opens ? OPENS_MASK : 0), ret);

	if (r == 0 && opens)
		writers_find(w, *ret, path);
	return r;
}

void node_dropped(struct watch *w, struct node *node)
{
	map_remove(&w->nodes, &node->wd, sizeof(node->wd));
	node->wd = -1;
	writers_forget(node);
}

void node_release(struct watch *w, struct node *node)
{
	if (node->names.count > 0 || !LIST_EMPTY(&node->self.entries))
		return;
	if (node->wd >= 0) {
		inotify_rm_watch(w->fd, node->wd);
		node_dropped(w, node);
	}
	map_done(&node->names, NULL);
	free(node);
}

int entry_add(struct watch_user *user, struct node *node, const char *name, size_t len, uint32_t dep)
{
	struct target *target = name ? map_get(&node->names, name, len) : &node->self;
	struct entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return -ENOMEM;
	if (!target) {
		target = calloc(1, sizeof(*target));
		if (target)
			target->name = strndup(name, len);
		if (!target || !target->name || map_put(&node->names, name, len, target) < 0) {
			if (target)
				free(target->name);
			free(target);
			free(entry);
			return -ENOMEM;
		}
		target->node = node;
	}
	entry->target = target;
	entry->user = user;
	entry->dep = dep;
	LIST_INSERT_HEAD(&target->entries, entry, in_target);
	SLIST_INSERT_HEAD(&user->entries, entry, in_user);
	return 0;
}

void entries_free(struct watch *w, struct entry_list *list)
{
	struct entry *entry;

	while ((entry = SLIST_FIRST(list))) {
		struct target *target = entry->target;
		struct node *node = target->node;

		SLIST_REMOVE_HEAD(list, in_user);
		LIST_REMOVE(entry, in_target);
		free(entry);
		if (!LIST_EMPTY(&target->entries))
			continue;
		if (target->name) {
			map_remove(&node->names, target->name, strlen(target->name));
			free(target->name);
			free(target);
		}
		node_release(w, node);
	}
}

int unseen_add(struct unseen_list *list, uint32_t dep, const char *path, const struct stat *st)
{
	struct unseen *item;

	if (array_reserve(&list->items, list->count, 1, sizeof(*list->items)) < 0)
		return -ENOMEM;
	item = &list->items[list->count];
	*item = (struct unseen){ .dep = dep };
	if (path) {
		item->path = strdup(path);
		if (!item->path)
			return -ENOMEM;
		item->dev = st->st_dev;
		item->ino = st->st_ino;
	}
	list->count++;
	return 0;
}

void unseen_free(struct unseen_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i].path);
	free(list->items);
	*list = (struct unseen_list){ 0 };
}
