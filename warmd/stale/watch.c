/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Events are taken in without calling out or changing any registration: those
 * concerned are only marked and queued (`pending`). Then the queue is worked
 * off one by one: what needs a closer look is checked, what changed is
 * reported. So a callback may add and remove registrations as it likes.
 *
 * A marked registration is one of
 *   changed  report it
 *   check    stat all its dependencies
 *   refresh  its directories may not be where they were (renamed, replaced,
 *            mounted over; or events were lost): watch anew, which checks too
 */
#include "warmd/stale/watch_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>

#include "engine/base/fd.h"

#define NAMES_CHANGED (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)

int watch_new(struct watch **ret, watch_changed_fn changed, struct error *err)
{
	struct watch *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return error_set(err, ENOMEM, "out of memory");
	w->changed = changed;
	w->mounts_fd = w->own_mounts_fd = -EBADF;
	drain_init(&w->drain);
	w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (w->fd < 0) {
		r = errno == EMFILE ? error_set(err, EMFILE,
						"all inotify instances of this user are in use "
						"(sysctl fs.inotify.max_user_instances)")
				    : error_errno(err, errno, "inotify_init1");
		watch_free(w);
		return r;
	}
	/* two, because a change is told once to each open file: the caller's poll must not hide it from ours */
	w->mounts_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	w->own_mounts_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	if (w->mounts_fd < 0 || w->own_mounts_fd < 0) {
		r = error_errno(err, errno, "/proc/self/mountinfo");
		watch_free(w);
		return r;
	}
	*ret = w;
	return 0;
}

void watch_free(struct watch *w)
{
	struct watch_user *user;

	if (!w)
		return;
	while ((user = LIST_FIRST(&w->users)))
		watch_remove(user);
	map_done(&w->nodes, NULL);
	fd_close(w->fd);
	fd_close(w->mounts_fd);
	fd_close(w->own_mounts_fd);
	drain_done(&w->drain);
	free(w);
}

int watch_fd(const struct watch *w)
{
	return w->fd;
}

int watch_mounts_fd(const struct watch *w)
{
	return w->mounts_fd;
}

size_t watch_count(const struct watch *w)
{
	return w->nodes.count;
}

static void user_unregister(struct watch_user *user)
{
	entries_free(user->watch, &user->entries);
	unseen_free(&user->unseen);
}

static int register_error(int r, const char *path, struct error *err)
{
	if (r == -ESTALE)
		return error_set(err, ESTALE, "%s changed since the build read it", path);
	if (r == -ENOSPC)
		return error_set(
			err, ENOSPC,
			"all inotify watches of this user are in use (sysctl fs.inotify.max_user_watches)");
	return error_errno(err, r, "cannot watch %s", path);
}

int watch_add(struct watch *w, const struct dep_set *set, void *data, struct watch_user **ret,
	      struct error *err)
{
	struct watch_user *user = calloc(1, sizeof(*user));
	const char *path = "";
	int r;

	if (!user)
		return error_set(err, ENOMEM, "out of memory");
	user->watch = w;
	user->set = set;
	user->data = data;
	r = user_register(user, &path);
	if (r < 0) {
		r = register_error(r, path, err);
		user_unregister(user);
		free(user);
		return r;
	}
	LIST_INSERT_HEAD(&w->users, user, all);
	*ret = user;
	return 0;
}

void watch_remove(struct watch_user *user)
{
	if (!user)
		return;
	user_unregister(user);
	if (user->queued)
		LIST_REMOVE(user, pending);
	LIST_REMOVE(user, all);
	free(user->path);
	free(user);
}

static void user_queue(struct watch_user *user)
{
	if (user->queued || user->reported)
		return;
	LIST_INSERT_HEAD(&user->watch->pending, user, pending);
	user->queued = true;
}

static void user_refresh(struct watch_user *user)
{
	user->refresh = true;
	user_queue(user);
}

/* @name: of the directory entry that made the difference, or NULL */
static void user_changed(struct watch_user *user, const char *path, const char *name)
{
	if (user->changed || user->reported)
		return;
	user->changed = true;
	if (!name)
		user->path = strdup(path);
	else if (asprintf(&user->path, "%s%s%s", path, path[1] ? "/" : "", name) < 0)
		user->path = NULL;
	user_queue(user);
}

/* an absent path that ends before its last name: it must be followed further */
static bool is_partial(const struct entry *entry, const struct dep *dep)
{
	const char *name = entry->target->name;
	size_t len = strlen(dep->path), name_len = name ? strlen(name) : 0;

	while (len > 1 && dep->path[len - 1] == '/')
		len--;
	return name && dep->kind == DEP_ABSENT &&
	       (len < name_len + 1 || dep->path[len - name_len - 1] != '/' ||
		memcmp(dep->path + len - name_len, name, name_len) != 0);
}

/* something happened to this name (or to the inode itself) */
static void entry_event(struct entry *entry, uint32_t mask)
{
	struct watch_user *user = entry->user;
	const struct dep *dep;

	if (user->changed || user->reported)
		return;
	if (entry->dep == ENTRY_COMPONENT) {
		if (mask & NAMES_CHANGED) {
			user_refresh(user);
		} else if (mask & IN_ATTRIB) {
			user->check = true;
			user_queue(user);
		}
		return;
	}
	if (mask & (IN_OPEN | IN_CLOSE_NOWRITE))
		return; /* writers_event() */
	dep = dep_set_get(user->set, entry->dep);
	/*
	 * A writer who is done may have written without an event: io_submit(2) raises none (fs/aio.c), nor does a store
	 * through a mapping. The times tell, if the file system sets them, and if the page was clean: not always for those who
	 * had it open before.
	 */
	if ((mask & IN_CLOSE_WRITE) && (entry->target->node->timeless || entry->early))
		mask |= IN_MODIFY;
	/* the contents changed, even where the clock's tick hides that from stat(2) */
	if ((mask & IN_MODIFY) && dep->kind == DEP_FILE)
		user_changed(user, dep->path, NULL);
	else if ((mask & IN_MODIFY) && dep->kind == DEP_INODE)
		return;
	else if (dep_set_check_one(user->set, entry->dep, NULL) != 0)
		user_changed(user, dep->path, NULL);
	else if ((mask & NAMES_CHANGED) && is_partial(entry, dep))
		user_refresh(user);
}

static bool name_leads_to_dir(const struct dep *dep, const char *name, uint32_t mask)
{
	char path[2 * PATH_MAX];
	struct stat st;
	int len;

	if (mask & IN_ISDIR)
		return true;
	/* links have no flag of their own. One that goes: what was found through it has records of its own */
	len = snprintf(path, sizeof(path), "%s/%s", dep->path, name);
	return len > 0 && (size_t)len < sizeof(path) && lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

/* a name came or went in a directory of which names count */
static void listing_event(struct entry *entry, const char *name, uint32_t mask)
{
	const struct dep_set *set = entry->user->set;
	const struct dep *dep = dep_set_get(set, entry->dep);

	if (dep->kind == DEP_LISTING || (dep->kind == DEP_MODULES && (dep_set_is_module(set, name, false) ||
								      (dep_set_is_module(set, name, true) &&
								       name_leads_to_dir(dep, name, mask)))))
		user_changed(entry->user, dep->path, name);
}

/* the directory itself was moved, removed or unmounted */
static void node_refresh_users(struct node *node)
{
	const struct map_slot *slot;
	struct entry *entry;
	size_t pos = 0;

	LIST_FOREACH(entry, &node->self.entries, in_target)
	user_refresh(entry->user);
	while ((slot = map_next(&node->names, &pos))) {
		LIST_FOREACH(entry, &((struct target *)slot->value)->entries, in_target)
		user_refresh(entry->user);
	}
}

static void refresh_all(struct watch *w)
{
	struct watch_user *user;

	LIST_FOREACH(user, &w->users, all)
	user_refresh(user);
}

static void event_take(struct watch *w, const struct inotify_event *ev)
{
	struct node *node;
	struct target *target;
	struct entry *entry;

	if (ev->mask & IN_Q_OVERFLOW) {
		refresh_all(w);
		return;
	}
	node = node_find(w, ev->wd);
	if (!node)
		return; /* of a watch that was removed meanwhile */
	if (ev->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED))
		node_refresh_users(node);
	if (ev->mask & IN_IGNORED) {
		node_dropped(w, node);
		return;
	}
	if (ev->len == 0) {
		writers_event(w, node, ev->mask);
		LIST_FOREACH(entry, &node->self.entries, in_target)
		entry_event(entry, ev->mask);
		return;
	}
	if (ev->mask & NAMES_CHANGED) {
		LIST_FOREACH(entry, &node->self.entries, in_target)
		listing_event(entry, ev->name, ev->mask);
	}
	target = map_get(&node->names, ev->name, strlen(ev->name));
	if (!target)
		return;
	LIST_FOREACH(entry, &target->entries, in_target)
	entry_event(entry, ev->mask);
}

/* look closer at a marked registration: sets user->changed if need be */
static void user_verify(struct watch_user *user)
{
	const char *path = "";
	int r;

	if (user->refresh) {
		struct entry_list old = user->entries;

		/* the new entries first: watches that both need stay in place */
		SLIST_INIT(&user->entries);
		unseen_free(&user->unseen);
		r = user_register(user, &path);
		entries_free(user->watch, &old);
		if (r == 0 && user->unseen.count && user->watch->on_unseen)
			user->watch->on_unseen(user->data);
	} else {
		r = dep_set_check(user->set, &path);
	}
	user->check = user->refresh = false;
	if (r != 0)
		user_changed(user, path, NULL);
}

static void user_report(struct watch_user *user)
{
	struct watch *w = user->watch;
	_cleanup_free_ char *path = TAKE_PTR(user->path);

	user->reported = true;
	user_unregister(user);
	w->changed(user->data, path ? path : ""); /* the callback may free user */
}

static void pending_work(struct watch *w)
{
	struct watch_user *user;

	while ((user = LIST_FIRST(&w->pending))) {
		if (!user->changed)
			user_verify(user);
		LIST_REMOVE(user, pending);
		user->queued = false;
		if (user->changed && !user->reported)
			user_report(user);
	}
}

void watch_drain(struct watch *w)
{
	/* room for many events, so that a burst costs few calls */
	char buf[32 * 1024] __attribute__((aligned(__alignof__(struct inotify_event))));
	const size_t largest = sizeof(struct inotify_event) + NAME_MAX + 1;
	struct pollfd mounts = { .fd = w->own_mounts_fd, .events = POLLPRI };
	ssize_t n;

	drain_busy(&w->drain, true);
	do {
		n = read(w->fd, buf, sizeof(buf)); /* does not block, so there is no EINTR */
		for (char *p = buf; n > 0 && p < buf + n;) {
			const struct inotify_event *ev = (const struct inotify_event *)p;

			event_take(w, ev);
			p += sizeof(*ev) + ev->len;
		}
		/* less than full: the queue was empty then, and that spares the call that says so */
	} while (n > 0 && (size_t)n + largest > sizeof(buf));
	if (poll(&mounts, 1, 0) > 0 && (mounts.revents & (POLLPRI | POLLERR)))
		refresh_all(w);
	pending_work(w);
	writers_tell(w);
	drain_busy(&w->drain, false);
}

bool watch_has_unseen(const struct watch_user *user)
{
	return user->unseen.count > 0 || writers_open(user);
}

void watch_on_unseen(struct watch *w, void (*fn)(void *data))
{
	w->on_unseen = fn;
}

int drain_fd(const struct watch_user *user)
{
	return user->watch->drain.fd;
}

int watch_recheck(struct watch_user *user)
{
	int64_t dep;

	if (user->reported)
		return 1;
	dep = writers_check(user);
	if (dep >= 0)
		user_changed(user, dep_set_get(user->set, (size_t)dep)->path, NULL);
	for (size_t i = 0; i < user->unseen.count && !user->changed; i++) {
		const struct unseen *item = &user->unseen.items[i];
		struct stat st;

		if (!item->path) {
			if (dep_set_check_one(user->set, item->dep, NULL) != 0)
				user_changed(user, dep_set_get(user->set, item->dep)->path, NULL);
		} else if (lstat(item->path, &st) < 0 || st.st_dev != item->dev || st.st_ino != item->ino) {
			user_changed(user, item->path, NULL);
		}
	}
	if (!user->changed)
		return 0;
	LIST_REMOVE(user, pending);
	user->queued = false;
	user_report(user);
	return 1;
}
