/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Two ways to write to a file raise no event: io_submit(2), for which
 * fs/aio.c calls no fsnotify_modify(), and a store through a shared mapping.
 * Both need the file open for writing (a mapping keeps it open until
 * munmap(2)), and both set ctime: the first always, the second when it makes
 * a clean page dirty. So
 *
 *   - when a writer is done, IN_CLOSE_WRITE has the file looked at: watch.c.
 *     One who was there before the template may have stored into pages that
 *     he had made dirty before: then it counts as changed;
 *   - while a file is open, it is looked at for each launch. Opening and
 *     closing are counted. They don't say who may write, so readers count as
 *     well: most have closed it again when the queue is read.
 *
 * Whether one of them can write is told by a lease (fcntl(2): F_RDLCK is
 * refused while the file is open for writing). It is asked for when the watch
 * begins, because of those who had the file open before, and at each launch
 * while the file is open; once it was granted there is nothing to look at until
 * somebody opens the file again.
 *
 * The kernel joins equal events that follow each other. Too few closings are
 * made up for by the lease. Too few openings are not: a writer and a reader
 * who open the file at the same moment count as one, and the writer is
 * forgotten when the reader closes it (docs/staleness.md).
 *
 * A page that is dirty already takes stores without a sign, and all pages of
 * tmpfs do. So while somebody could store, nobody knows what the file says,
 * and watch_writer() tells those who can do without the template.
 *
 * This is done for the files of this user (a lease takes that), but for the
 * system's: package managers and editors replace those, and every process that
 * starts opens some of them (/etc/ld.so.cache), which would be told each time.
 */
#include "warmd/stale/watch_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "engine/base/fd.h"

static bool is_systems(const char *path, const struct stat *st)
{
	static const char *const prefixes[] = { "/usr/", "/lib", "/bin/", "/sbin/", "/etc/" };

	if (st->st_uid != 0 || (st->st_mode & (S_IWGRP | S_IWOTH)))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (strncmp(path, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

bool writers_matter(const char *path, const struct stat *st)
{
	uid_t uid = geteuid();

	return (uid == 0 || st->st_uid == uid) && !is_systems(path, st);
}

/*
 * Return: 1: somebody has it open for writing; 0: nobody; a negative errno: not to be known. -ESTALE: @path leads to another file
 * by now, whose openings are not told here, and which says nothing of the watched one.
 *
 * Whoever opens it for writing in between waits until the lease is given back, about a microsecond later; with O_NONBLOCK he is
 * told EWOULDBLOCK instead (docs/staleness.md). The signal
 * that tells the holder of that is one that is ignored by default; SIGIO would end us. The lease ends with the
 * descriptor, behind IN_CLOSE_NOWRITE (fs/file_table.c: __fput()): so the event of a writer who opens the file behind
 * our question is not joined with our own.
 */
static int has_writer(struct node *node, const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (st.st_dev != node->dev || st.st_ino != node->ino)
		return -ESTALE;
	node->own_opens++;
	node->own_closes++;
	if (fcntl(fd, F_SETSIG, SIGURG) < 0)
		return -errno;
	if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
		return errno == EAGAIN ? 1 : -errno;
	return 0;
}

static void set_opens(struct watch *w, struct node *node, unsigned int opens)
{
	if (!node->opens && opens)
		LIST_INSERT_HEAD(&w->open, node, open);
	if (node->opens && !opens)
		LIST_REMOVE(node, open);
	if (!opens)
		node->revoked = false;
	node->opens = opens;
}

void writers_forget(struct node *node)
{
	if (node->opens)
		LIST_REMOVE(node, open);
	node->opens = 0;
}

/*
 * Ask who has a file open that has just come to be watched, or is watched for one more template. If somebody can write to it, he is
 * counted as one opening more than the events have told of, for two reasons: he may have opened the file before it was watched; or
 * he opened it right before we did, and the kernel joined the events of both openings into one, which is taken for ours. One too
 * many only means that the file is looked at for longer than it need be.
 */
static void ask(struct watch *w, struct node *node, const char *path)
{
	int r = has_writer(node, path);

	if (r == 1)
		set_opens(w, node, node->opens + 1);
	node->quiet = r == 0;
	node->writer = r == 1;
	if (node->quiet)
		node->revoked = false;
}

void writers_find(struct watch *w, struct node *node, const char *path)
{
	struct stat st;

	/* if the path leads elsewhere since the watch began, the watch of its directory tells so */
	if (lstat(path, &st) == 0) {
		node->dev = st.st_dev;
		node->ino = st.st_ino;
	}
	/* one whose opening is told, and that nobody has open, needs no question */
	if (!node->tells_opens || node->opens)
		ask(w, node, path);
	node->tells_opens = true;
}

void writers_event(struct watch *w, struct node *node, uint32_t mask)
{
	if (!node->tells_opens)
		return;
	if ((mask & IN_OPEN) && node->own_opens) {
		node->own_opens--;
	} else if (mask & IN_OPEN) {
		node->quiet = false;
		set_opens(w, node, node->opens + 1);
	}
	if ((mask & IN_CLOSE_NOWRITE) && node->own_closes)
		node->own_closes--;
	else if ((mask & IN_CLOSE) && node->opens)
		set_opens(w, node, node->opens - 1);
}

void writers_tell(struct watch *w)
{
	struct node *node;
	struct entry *entry;

	LIST_FOREACH(node, &w->open, open)
	{
		if (node->revoked || node->quiet)
			continue;
		node->revoked = true;
		LIST_FOREACH(entry, &node->self.entries, in_target)
		{
			if (w->on_unseen && !entry->user->reported)
				w->on_unseen(entry->user->data);
		}
	}
}

/* the dependency of @user that this file is, or -1 */
static int64_t dep_of(const struct watch_user *user, const struct node *node)
{
	const struct entry *entry;

	LIST_FOREACH(entry, &node->self.entries, in_target)
	{
		if (entry->user == user && entry->dep != ENTRY_COMPONENT)
			return entry->dep;
	}
	return -1;
}

bool writers_open(const struct watch_user *user)
{
	const struct node *node;

	LIST_FOREACH(node, &user->watch->open, open)
	{
		if (!node->quiet && dep_of(user, node) >= 0)
			return true;
	}
	return false;
}

int64_t writers_check(struct watch_user *user)
{
	struct watch *w = user->watch;
	struct node *node;

	LIST_FOREACH(node, &w->open, open)
	{
		int64_t dep = node->quiet ? -1 : dep_of(user, node);
		int r;

		if (dep < 0)
			continue;
		/* first the question: what is written behind it is told by IN_OPEN */
		r = has_writer(node, dep_set_get(user->set, (size_t)dep)->path);
		node->writer = r == 1;
		node->quiet = r == 0;
		if (node->quiet)
			node->revoked = false;
		if (dep_set_check_one(user->set, (size_t)dep, NULL) != 0)
			return dep;
	}
	return -1;
}

/* clones of the template itself have it open, each from where the program stopped */
static bool is_held(const struct watch_user *user, const char *path)
{
	for (size_t i = 0; i < dep_set_count(user->set); i++) {
		const struct dep *dep = dep_set_get(user->set, i);

		if (dep->kind == DEP_INODE && strcmp(dep->path, path) == 0)
			return true;
	}
	return false;
}

const char *watch_writer(const struct watch_user *user)
{
	const struct node *node;

	LIST_FOREACH(node, &user->watch->open, open)
	{
		int64_t dep = node->quiet || !node->writer ? -1 : dep_of(user, node);
		const char *path = dep < 0 ? NULL : dep_set_get(user->set, (size_t)dep)->path;

		if (path && !is_held(user, path))
			return path;
	}
	return NULL;
}
