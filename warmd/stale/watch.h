/* SPDX-License-Identifier: MIT */
/*
 * watch.h - one inotify instance over the dependencies of all templates.
 *
 * Each component of each path is watched in its directory, so the watch sees
 * contents that change, names that come, go or are replaced, symbolic links
 * that point elsewhere and directories that are renamed on the way. The
 * kernel queues an event before the system call that caused it returns:
 * after watch_drain() nothing that happened before the call is unknown.
 */
#ifndef WARM_WARMD_STALE_WATCH_H
#define WARM_WARMD_STALE_WATCH_H

#include <stdbool.h>

#include "warmd/stale/deps.h"

struct watch; /* the instance */
struct watch_user; /* one template's registration */

/*
 * Called from watch_drain() when a dependency of @data changed, at most once
 * a registration; @path is what changed, valid during the call. The callback
 * may call watch_remove() on its own registration or any other.
 */
typedef void (*watch_changed_fn)(void *data, const char *path);

int watch_new(struct watch **ret, watch_changed_fn changed, struct error *err);
void watch_free(struct watch *w);

/**
 * watch_add() - watch all of @set on behalf of @data
 * @w: the instance
 * @set: borrowed; must outlive the registration
 * @ret: the registration; its owner removes it with watch_remove()
 *
 * After the watches are in place the set is checked again, which closes the gap between
 * the build and the watch: -ESTALE (err names the path) if something changed
 * meanwhile. -ENOSPC: the user's inotify watches are used up (err says which sysctl).
 */
int watch_add(struct watch *w, const struct dep_set *set, void *data, struct watch_user **ret,
	      struct error *err);
void watch_remove(struct watch_user *user);

/**
 * watch_drain() - take in everything the kernel has queued, without blocking
 *
 * One read(2) that fails with EAGAIN when nothing is queued. After a queue
 * overflow or a change of the mount table every registration is checked in
 * full and those that changed are reported. Cheap enough to be called for each launch.
 */
void watch_drain(struct watch *w);

/**
 * watch_recheck() - stat what a watch cannot see
 *
 * Those of the registration's dependencies that lie on file systems where inotify does not see
 * every change (nfs, cifs/smb, fuse, 9p, ceph, afs, overlay's lower layers excepted), and those that
 * somebody has open: he may write without an event (watch_writers.c).
 * Return: 0 unchanged, 1 changed and reported through the callback.
 */
int watch_recheck(struct watch_user *user);

/**
 * watch_writer() - could somebody be writing to a dependency right now without any sign?
 *
 * Right after watch_recheck(). Return: the file that somebody has open for writing, or NULL
 */
const char *watch_writer(const struct watch_user *user);

/** watch_has_unseen() - is there anything for watch_recheck() to look at? */
bool watch_has_unseen(const struct watch_user *user);

/** watch_on_unseen() - have @fn called with a registration's data when it got such after watch_add(). It may not remove registrations */
void watch_on_unseen(struct watch *w, void (*fn)(void *data));

/** drain_fd() - struct wire_drain of the watch of @user, to be mapped for reading. Return: -EBADF: this kernel cannot guard it */
int drain_fd(const struct watch_user *user);

int watch_fd(const struct watch *w); /* poll for input */
int watch_mounts_fd(const struct watch *w); /* poll for POLLPRI (/proc/self/mountinfo) */
size_t watch_count(const struct watch *w); /* inotify watches in use */

#endif
