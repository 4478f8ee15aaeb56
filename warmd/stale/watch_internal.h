/* SPDX-License-Identifier: MIT */
/*
 * watch_internal.h - the inside of the watches.
 *
 * watch_nodes.c keeps what the kernel watches (nodes) and who wants to know
 * (entries); watch_register.c turns a dependency set into entries; watch.c
 * reads the events, finds the entries they concern, and reports;
 * watch_writers.c knows which files somebody could be writing to without an event.
 */
#ifndef WARM_WARMD_STALE_WATCH_INTERNAL_H
#define WARM_WARMD_STALE_WATCH_INTERNAL_H

#include <sys/queue.h>
#include <sys/stat.h>

#include "engine/base/map.h"
#include "warmd/stale/drain.h"
#include "warmd/stale/watch.h"

/* dep of an entry that stands for a directory on the way to dependencies */
#define ENTRY_COMPONENT UINT32_MAX

struct node;

/* a name in a watched directory, or (name NULL) the watched inode itself */
struct target {
	struct node *node;
	char *name;
	LIST_HEAD(, entry) entries;
};

/* one inotify watch: a directory, or a file of which the contents count */
struct node {
	int wd; /* -1: the kernel has dropped it */
	bool remote; /* on a file system that changes without events */
	bool contents; /* a directory: writes to its files are told too */
	bool timeless; /* on a file system where a store through a mapping sets no time */
	bool tells_opens; /* a file: watch_writers.c counts who has it open */
	bool quiet; /* nobody who could write had it open when that was asked, and nobody has opened it since */
	bool writer; /* somebody who could had it open when that was asked last */
	bool revoked; /* its users know that it is open */
	dev_t dev; /* with tells_opens: which file it is, as far as its path told when it was watched */
	ino_t ino;
	unsigned int opens; /* how often it is open, as far as events tell */
	unsigned int own_opens, own_closes; /* of our own, whose events are still to come */
	LIST_ENTRY(node) open; /* on watch->open while opens is not 0 */
	struct map names; /* name -> struct target */
	struct target self;
};

/* one registration's interest in one target */
struct entry {
	struct target *target;
	struct watch_user *user;
	uint32_t dep; /* index into the set, or ENTRY_COMPONENT */
	bool early; /* somebody had the file open for writing when it was entered */
	LIST_ENTRY(entry) in_target;
	SLIST_ENTRY(entry) in_user;
};
SLIST_HEAD(entry_list, entry);

/* what no watch can see: a dependency, or (path not NULL) a directory on the way */
struct unseen {
	uint32_t dep;
	char *path;
	dev_t dev;
	ino_t ino;
};

struct unseen_list {
	struct unseen *items;
	size_t count;
};

struct watch_user {
	struct watch *watch;
	const struct dep_set *set;
	void *data;
	struct entry_list entries;
	struct unseen_list unseen;
	bool queued; /* is on watch->pending */
	bool changed; /* report it */
	bool check; /* check all its dependencies first */
	bool refresh; /* register it again: its directories are no longer where they were */
	bool reported;
	char *path; /* what changed; may be NULL */
	LIST_ENTRY(watch_user) all;
	LIST_ENTRY(watch_user) pending;
};

struct watch {
	int fd; /* inotify */
	int mounts_fd; /* handed out */
	int own_mounts_fd; /* polled here: each open file reports a change once */
	watch_changed_fn changed;
	struct drain drain;
	void (*on_unseen)(void *data);
	struct map nodes; /* wd -> struct node */
	LIST_HEAD(, watch_user) users;
	LIST_HEAD(, watch_user) pending;
	LIST_HEAD(, node) open; /* files that somebody has open: watch_writers.c */
};

/* watch_nodes.c */

/** node_watch_dir() - the node of a directory, which may be new. Return: 0 or a negative errno, -ENOTDIR for a link */
int node_watch_dir(struct watch *w, const char *path, struct node **ret);
/** node_watch_contents() - of the directory @node at @path: writes to its files too. Return: 0 or a negative errno, -ESTALE: it is no longer there */
int node_watch_contents(struct watch *w, struct node *node, const char *path);
/** node_watch_file() - the inode itself, under whatever name it is written. @opens: tell of opening and closing too */
int node_watch_file(struct watch *w, const char *path, bool opens, struct node **ret);
/** node_release() - stop watching if nobody is interested */
void node_release(struct watch *w, struct node *node);
/** node_dropped() - the kernel has removed the watch */
void node_dropped(struct watch *w, struct node *node);
struct node *node_find(const struct watch *w, int wd);

/** entry_add() - interest of @user in @name (NULL: the inode itself) of @node */
int entry_add(struct watch_user *user, struct node *node, const char *name, size_t len, uint32_t dep);
/** entries_free() - end the interests, and the watches that only they needed */
void entries_free(struct watch *w, struct entry_list *list);

int unseen_add(struct unseen_list *list, uint32_t dep, const char *path, const struct stat *st);
void unseen_free(struct unseen_list *list);

/* watch_writers.c */

/** writers_matter() - can somebody write to this file without an event, and can that be watched? */
bool writers_matter(const char *path, const struct stat *st);
/** writers_find() - @node, a file at @path, is about to be entered: is it open for writing? */
void writers_find(struct watch *w, struct node *node, const char *path);
/** writers_event() - count who has it open */
void writers_event(struct watch *w, struct node *node, uint32_t mask);
/** writers_tell() - all events are taken in: those whose files are still open have something unseen */
void writers_tell(struct watch *w);
/** writers_check() - look at the open files of @user. Return: the dependency that changed, or -1 */
int64_t writers_check(struct watch_user *user);
/** writers_open() - does @user have files that are open? */
bool writers_open(const struct watch_user *user);
void writers_forget(struct node *node);

/* watch_register.c */

/**
 * user_register() - enter all dependencies and check each once its watches are in place
 *
 * Adds to user->entries and user->unseen. Return: 0, -ESTALE (*ret_path: what changed), or a negative errno.
 */
int user_register(struct watch_user *user, const char **ret_path);

#endif
