/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The build runs the program for real, beside the cold run that the user
 * waits for. So it may change nothing that anybody could notice. What it may:
 *
 *   - bytecode caches (__pycache__), as they are the same whoever writes them;
 *   - things of its own: made with O_EXCL, mkdir or under such a directory, and
 *     removed before the readiness point. What is left then is a
 *     refusal, retryable, since the next build finds it made.
 *
 * At the entry the path is judged by what is there. If the call would change
 * something real, and the kernel would let it, the refusal is raised then and
 * the caller can stop the program first. A new file without O_EXCL is refused
 * at its entry too, retryable: the cold run makes it.
 */
#include "warmd/observe_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "engine/base/fd.h"

/* the key of a path among the program's own: its directory resolved, its last name as it is */
static int own_key(const char *path, char *key)
{
	_cleanup_free_ char *real = NULL;
	char dir[OBSERVE_PATH_MAX];
	size_t len = strlen(path);
	char *slash;
	int n;

	while (len > 1 && path[len - 1] == '/')
		len--;
	if (len >= sizeof(dir))
		return -ENAMETOOLONG;
	memcpy(dir, path, len);
	dir[len] = '\0';
	slash = strrchr(dir, '/');
	if (!slash)
		return -EINVAL;
	*slash = '\0';
	real = realpath(slash == dir ? "/" : dir, NULL);
	if (!real)
		return -errno;
	n = snprintf(key, OBSERVE_PATH_MAX, "%s/%s", real[1] ? real : "", slash + 1);
	return n < 0 || n >= OBSERVE_PATH_MAX ? -ENAMETOOLONG : 0;
}

bool own_covers(const struct observe *o, const char *path)
{
	size_t len = strlen(path);

	if (o->own.count == 0)
		return false;
	while (len > 1) {
		if (map_has(&o->own, path, len))
			return true;
		while (len > 1 && path[--len] != '/')
			;
	}
	return false;
}

static int own_add(struct observe *o, const char *path)
{
	char key[OBSERVE_PATH_MAX];

	if (!o->check_effects || own_key(path, key) < 0 || own_covers(o, key))
		return 0;
	return map_put(&o->own, key, strlen(key), NULL);
}

static void own_remove(struct observe *o, const char *path)
{
	char key[OBSERVE_PATH_MAX];

	if (own_key(path, key) == 0)
		map_remove(&o->own, key, strlen(key));
}

/* changed with our leave: what was recorded of it before is not what the next run will find */
static int note_written(struct observe *o, const char *path)
{
	return map_put(&o->written, path, strlen(path), NULL);
}

static bool is_cache(const char *path)
{
	static const char name[] = "/__pycache__";
	const char *p = strstr(path, name);

	return p && (p[sizeof(name) - 1] == '/' || p[sizeof(name) - 1] == '\0');
}

static enum verdict verdict_of_device(dev_t dev)
{
	/* Documentation/admin-guide/devices.txt: null, zero, full, random, urandom; ptmx makes a terminal of one's own */
	if (major(dev) == 1 && minor(dev) != 1 && minor(dev) != 2 && minor(dev) != 4)
		return VERDICT_FREE;
	if (major(dev) == 5 && minor(dev) == 2)
		return VERDICT_FREE;
	if (major(dev) == 4 || major(dev) == 5 || (major(dev) >= 136 && major(dev) <= 143))
		return VERDICT_TTY;
	return VERDICT_REAL;
}

/* what a change of @path would touch; @follow: through a link at its end */
static enum verdict judge(const struct observe *o, const char *path, bool follow)
{
	char key[OBSERVE_PATH_MAX];
	enum path_class class = path_class(path);
	struct stat st;

	if (class == PATH_PROC) /* its own properties, which the checkpoint carries */
		return path_in_proc_self(o, path) ? VERDICT_FREE : VERDICT_REAL;
	if (class == PATH_SYS)
		return VERDICT_REAL;
	if (own_covers(o, path) || (o->own.count > 0 && own_key(path, key) == 0 && own_covers(o, key)))
		return VERDICT_OWN;
	if (is_cache(path))
		return VERDICT_CACHE;
	if ((follow ? stat(path, &st) : lstat(path, &st)) < 0)
		return errno == ENOENT ? VERDICT_NEW : VERDICT_NONE;
	if (S_ISCHR(st.st_mode))
		return verdict_of_device(st.st_rdev);
	return VERDICT_REAL;
}

/* would the kernel let the name be made, removed or replaced? warmd runs as the same user */
static bool parent_is_writable(const char *path)
{
	char dir[OBSERVE_PATH_MAX];
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;
	while (len > 1 && path[len - 1] != '/')
		len--;
	memcpy(dir, path, len);
	dir[len] = '\0';
	return faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) == 0;
}

/* a directory for everybody's temporary files: nobody looks for what has a new name there */
static bool parent_is_shared(const char *path)
{
	char dir[OBSERVE_PATH_MAX];
	struct stat st;
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;
	while (len > 1 && path[len - 1] != '/')
		len--;
	memcpy(dir, path, len);
	dir[len] = '\0';
	return stat(dir, &st) == 0 && (st.st_mode & S_ISVTX);
}

/* would it let the attributes be changed? */
static bool is_changeable(const char *path)
{
	struct stat st;

	if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0)
		return true;
	return lstat(path, &st) == 0 && (st.st_uid == geteuid() || geteuid() == 0);
}

bool open_is_effect(uint64_t flags)
{
	if (flags & O_PATH || (flags & O_TMPFILE) == O_TMPFILE)
		return false;
	return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
}

/* does opening a file that is there change it, or allow to? */
static bool open_changes(uint64_t flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
}

static bool open_is_exclusive(uint64_t flags)
{
	return (flags & O_CREAT) && (flags & O_EXCL);
}

static int refuse_open(struct observe *o, const struct thread *t, enum verdict verdict, const char *path)
{
	if (verdict == VERDICT_NEW)
		return refuse_effect(o, t, true, "makes %s", path);
	return refuse_effect(o, t, false, "opens %s for writing", path);
}

int effect_open_entry(struct observe *o, struct thread *t, const char *path, uint64_t flags)
{
	enum verdict verdict = judge(o, path, !(flags & O_NOFOLLOW) && !open_is_exclusive(flags));
	struct stat st;

	t->verdicts[0] = verdict;
	switch (verdict) {
	case VERDICT_NEW:
		if (!(flags & O_CREAT) || !parent_is_writable(path))
			return 0;
		/* one that waits for its user may wait with such a file open: an editor's, by which others see that it runs */
		if ((flags & O_EXCL) && (!o->live || parent_is_shared(path)))
			return 0;
		return refuse_open(o, t, verdict, path);
	case VERDICT_REAL:
		if (open_is_exclusive(flags) || !open_changes(flags))
			return 0;
		if (stat(path, &st) < 0 || S_ISDIR(st.st_mode) ||
		    faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) < 0)
			return 0; /* will fail */
		return refuse_open(o, t, verdict, path);
	default:
		return 0;
	}
}

int effect_open(struct observe *o, struct thread *t, const char *path, uint64_t flags, int fd)
{
	enum verdict verdict = t->verdicts[0];

	/* without a verdict from the entry, take what cannot be told from a new file as the program's own */
	if (verdict == VERDICT_NONE)
		verdict = open_is_exclusive(flags) ? VERDICT_NEW : judge(o, path, true);
	switch (verdict) {
	case VERDICT_NEW:
		if (!o->check_effects)
			return note_written(o, path);
		return own_add(o, path);
	case VERDICT_CACHE:
		return note_written(o, path);
	case VERDICT_REAL:
		if (!open_changes(flags)) /* O_CREAT of what is there */
			return path_record(o, t, path, 0, 0, fd);
		if (o->check_effects)
			return refuse_open(o, t, verdict, path);
		if ((flags & O_ACCMODE) == O_RDWR && !(flags & O_TRUNC) && path_class(path) != PATH_SHM) {
			int r = path_record(o, t, path, 0, 0, fd);

			if (r != 0)
				return r;
		}
		return note_written(o, path);
	default:
		return 0;
	}
}

/* may this verdict on what is there be changed freely? */
static bool is_allowed(enum verdict verdict)
{
	return verdict == VERDICT_FREE || verdict == VERDICT_OWN || verdict == VERDICT_CACHE;
}

static int rename_entry(struct observe *o, struct thread *t, const struct observe_call *c)
{
	enum verdict from = t->verdicts[0], to = t->verdicts[1];
	bool exchange = c->nr == SYS_renameat2 && (c->args[4] & RENAME_EXCHANGE);
	bool noreplace = c->nr == SYS_renameat2 && (c->args[4] & RENAME_NOREPLACE);

	if (from == VERDICT_NEW || from == VERDICT_NONE || to == VERDICT_NONE ||
	    !parent_is_writable(t->paths[1]))
		return 0; /* will fail */
	if (!is_allowed(from))
		return refuse_effect(o, t, false, "renames %s", t->paths[0]);
	if (is_allowed(to) || noreplace || (to == VERDICT_NEW && !exchange))
		return 0;
	return refuse_effect(o, t, false, "replaces %s", t->paths[1]);
}

/* the path that the effect is on */
static int effect_paths(struct observe *o, struct thread *t, const struct observe_call *c,
			const struct rule *rule)
{
	char path[OBSERVE_PATH_MAX];
	bool cwd;
	int r;

	if (rule->effect == EFFECT_CHANGE_FD) {
		r = peer_fd_path(t->tid, (int)c->args[rule->path - 1], path) == 0;
	} else {
		r = peer_path(o, t, c, rule->dirfd, rule->path, path, &cwd);
		if (r == 0 && rule->effect == EFFECT_CHANGE && rule->dirfd) /* utimensat(fd, NULL) */
			r = peer_fd_path(t->tid, (int)c->args[rule->dirfd - 1], path) == 0;
		else if (r > 0 && cwd)
			cwd_used(o, t);
	}
	if (r <= 0)
		return 0;
	t->paths[0] = strdup(path);
	if (!t->paths[0])
		return -ENOMEM;
	if (!rule->path2)
		return 1;
	r = peer_path(o, t, c, rule->dirfd2, rule->path2, path, &cwd);
	if (r <= 0)
		return 0;
	if (cwd)
		cwd_used(o, t);
	t->paths[1] = strdup(path);
	return t->paths[1] ? 1 : -ENOMEM;
}

/* does the change go through a link at the end of the path? */
static bool effect_follows(const struct observe_call *c, const struct rule *rule)
{
	if (rule->effect != EFFECT_CHANGE)
		return false;
	if (c->nr == SYS_utimensat)
		return !(c->args[3] & AT_SYMLINK_NOFOLLOW);
	if (c->nr == SYS_fchownat)
		return !(c->args[4] & AT_SYMLINK_NOFOLLOW);
#ifdef SYS_lchown
	if (c->nr == SYS_lchown)
		return false;
#endif
	return c->nr != SYS_lsetxattr && c->nr != SYS_lremovexattr;
}

int on_effect_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		    const struct rule *rule)
{
	int origin, r;

	if (rule->effect == EFFECT_CHANGE_FD) {
		origin = fd_get(t->proc, (int)c->args[rule->path - 1]).origin;
		if (origin >= 0)
			return refuse_effect(o, t, false, "%s descriptor %d, which it inherited,", rule->verb,
					     origin);
	}
	r = effect_paths(o, t, c, rule);
	if (r <= 0)
		return r;
	t->verdicts[0] = judge(o, t->paths[0], effect_follows(c, rule));
	if (t->paths[1])
		t->verdicts[1] = judge(o, t->paths[1], false);
	switch (rule->effect) {
	case EFFECT_RENAME:
		return rename_entry(o, t, c);
	case EFFECT_REMOVE:
		if (t->verdicts[0] != VERDICT_REAL && t->verdicts[0] != VERDICT_TTY)
			return 0;
		if (!parent_is_writable(t->paths[0]))
			return 0;
		return refuse_effect(o, t, true, "%s %s", rule->verb, t->paths[0]);
	case EFFECT_CREATE:
		return 0; /* fails, or makes something of its own */
	default:
		if (t->verdicts[0] != VERDICT_REAL && t->verdicts[0] != VERDICT_TTY)
			return 0;
		if (!is_changeable(t->paths[0]))
			return 0;
		return refuse_effect(o, t, false, "%s %s", rule->verb, t->paths[0]);
	}
}

/* a call that failed has looked at least */
static int effect_failed(struct observe *o, struct thread *t, const struct observe_call *c,
			 const struct rule *rule)
{
	if (rule->effect == EFFECT_RENAME || (c->ret != -ENOENT && c->ret != -EEXIST && c->ret != -ENOTDIR))
		return 0;
	return path_record(o, t, t->paths[0], RULE_NOFOLLOW | RULE_EXISTS, c->ret, -1);
}

static int effect_made(struct observe *o, const char *path, enum verdict verdict)
{
	if (verdict == VERDICT_CACHE || !o->check_effects)
		return note_written(o, path);
	return verdict == VERDICT_OWN ? 0 : own_add(o, path);
}

int on_effect(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	enum verdict verdict = t->verdicts[0];
	int r;

	if (!t->paths[0] || (rule->path2 && !t->paths[1]))
		return 0;
	if (c->ret < 0)
		return effect_failed(o, t, c, rule);
	switch (rule->effect) {
	case EFFECT_CREATE:
		return effect_made(o, t->paths[0], verdict);
	case EFFECT_REMOVE:
		if (verdict == VERDICT_REAL && o->check_effects)
			return refuse_effect(o, t, true, "%s %s", rule->verb, t->paths[0]);
		own_remove(o, t->paths[0]);
		return verdict == VERDICT_OWN ? 0 : note_written(o, t->paths[0]);
	case EFFECT_RENAME:
		own_remove(o, t->paths[0]);
		r = verdict == VERDICT_OWN ? 0 : note_written(o, t->paths[0]);
		return r < 0 ? r : effect_made(o, t->paths[1], t->verdicts[1]);
	default:
		if (verdict == VERDICT_OWN || verdict == VERDICT_FREE)
			return 0;
		if (verdict == VERDICT_REAL && o->check_effects)
			return refuse_effect(o, t, false, "%s %s", rule->verb, t->paths[0]);
		return note_written(o, t->paths[0]);
	}
}
