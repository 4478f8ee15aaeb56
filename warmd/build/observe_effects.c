/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The build runs the program for real, beside the cold run that the user waits for, and may be ended at any
 * moment. So it changes nothing outside itself. Each call that would is a boundary (observe.h), raised at its entry: the
 * kernel has not made it, and the builder takes the template in front of it, for the clones to make it.
 *
 * The path is judged by what is there. A call that the kernel would let fail is no boundary: it has looked at most. Where the
 * judgement and the call could be overtaken by somebody else (a lock that is released between the two), the
 * call is denied with the very error that it was judged to get.
 *
 * Bytecode is the one thing that a build may want to write: an importer that cannot write it goes on without a word, and
 * the cold run beside the build writes the same. So it is denied, as if the file system were read-only.
 */
#include "warmd/build/observe_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "warmd/build/language.h"

static enum verdict verdict_of_device(dev_t dev)
{
	/* Documentation/admin-guide/devices.txt: null, zero, full, random, urandom; ptmx makes a terminal of one's own */
	if (major(dev) == 1 && (minor(dev) == 3 || minor(dev) == 5 || (minor(dev) >= 7 && minor(dev) <= 9)))
		return VERDICT_FREE;
	if (major(dev) == 5 && minor(dev) == 2)
		return VERDICT_FREE;
	if (major(dev) == 4 || major(dev) == 5 || (major(dev) >= 136 && major(dev) <= 143))
		return VERDICT_TTY;
	return VERDICT_DEVICE;
}

/* attributes of a process that the checkpoint carries; what else is below /proc/self leads away, or changes more than the process */
static bool is_carried(const char *rest)
{
	static const char *const names[] = { "comm",	   "oom_score_adj",   "oom_adj",
					     "clear_refs", "coredump_filter", "timerslack_ns",
					     "mem" };

	if (strncmp(rest, "task/", 5) == 0)
		return strlen(rest) > 5 && strcmp(rest + strlen(rest) - 5, "/comm") == 0;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(rest, names[i]) == 0)
			return true;
	return false;
}

/* reading these takes something away from others */
static bool is_consumed(const char *path)
{
	static const char pipe[] = "/trace_pipe";
	size_t len = strlen(path);

	return strcmp(path, "/proc/kmsg") == 0 ||
	       (len >= sizeof(pipe) - 1 && strcmp(path + len - (sizeof(pipe) - 1), pipe) == 0);
}

static enum verdict verdict_of(const struct stat *st)
{
	if (S_ISCHR(st->st_mode))
		return verdict_of_device(st->st_rdev);
	if (S_ISBLK(st->st_mode))
		return VERDICT_DEVICE;
	return S_ISFIFO(st->st_mode) ? VERDICT_FIFO : VERDICT_REAL;
}

/* what a change of @path would touch; @follow: through a link at its end */
static enum verdict judge(const struct observe *o, const char *path, bool follow)
{
	enum path_class class = path_class(path);
	struct stat st;

	if (class == PATH_PROC) {
		const char *rest = path_in_proc_self(o, path);

		return rest && is_carried(rest) ? VERDICT_FREE : VERDICT_REAL;
	}
	if ((follow ? stat(path, &st) : lstat(path, &st)) == 0)
		return class == PATH_SYS ? VERDICT_REAL : verdict_of(&st);
	switch (errno) {
	case ENOENT:
		/* a link that leads nowhere yet: what is made is somewhere else */
		return follow && lstat(path, &st) == 0 ? VERDICT_DANGLING : VERDICT_NEW;
	case ENOTDIR:
	case EACCES:
	case ELOOP:
		return VERDICT_NONE; /* will fail */
	default:
		return VERDICT_REAL; /* cannot be told */
	}
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

/* would it let the attributes be changed? */
static bool is_changeable(const char *path, bool follow)
{
	struct stat st;

	if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0)
		return true;
	return (follow ? stat(path, &st) : lstat(path, &st)) == 0 &&
	       (st.st_uid == geteuid() || geteuid() == 0);
}

bool open_is_effect(uint64_t flags)
{
	if (flags & O_PATH || (flags & O_TMPFILE) == O_TMPFILE)
		return false;
	return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
}

/*
 * A name that is made only where there is none (a lock, a temporary file) was looked for by some just before: each clone's own call
 * finds out for itself, so that clones that make and remove it do not spoil the template for the next ones.
 */
static int makes(struct observe *o, struct thread *t, const char *path, bool exclusive, const char *verb)
{
	int r = exclusive ? dep_set_forget_absent(o->deps, path) : 0;

	return r == -ENOMEM ? r : boundary(o, t, "%s %s", verb, path);
}

static int open_new(struct observe *o, struct thread *t, const char *path, uint64_t flags)
{
	if (!(flags & O_CREAT) || !parent_is_writable(path))
		return 0; /* will fail */
	if (language_makes_cache(path, false))
		return deny(o, EROFS);
	return makes(o, t, path, flags & O_EXCL, "makes");
}

static int open_real(struct observe *o, struct thread *t, const char *path, uint64_t flags)
{
	if ((flags & O_CREAT) && (flags & O_EXCL))
		return deny(o, EEXIST);
	/* to have it open for writing is no effect yet; the first write is */
	if (!(flags & O_TRUNC) || faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) < 0)
		return 0;
	return boundary(o, t, "truncates %s", path);
}

/* another one than the program's own, by a name of its own; /dev/tty is always the program's */
static bool is_other_terminal(const struct observe *o, const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_rdev != makedev(5, 0) && st.st_rdev != o->terminal_device;
}

int effect_open_entry(struct observe *o, struct thread *t, const char *path, uint64_t flags)
{
	bool exclusive = (flags & O_CREAT) && (flags & O_EXCL);
	bool nameless = (flags & O_TMPFILE) == O_TMPFILE;

	if (flags & O_PATH || nameless)
		return 0;
	if (path_is_strangers(o, path))
		return boundary(o, t, "looks at another process (%s)", path);
	if (is_consumed(path))
		return boundary(o, t, "reads %s", path);
	t->verdicts[0] = judge(o, path, !(flags & O_NOFOLLOW) && !exclusive);
	switch (t->verdicts[0]) {
	case VERDICT_FIFO: /* whoever waits at its other end goes on */
		return boundary(o, t, "opens the named pipe %s", path);
	case VERDICT_DEVICE:
		return boundary(o, t, "opens the device %s", path);
	case VERDICT_TTY:
		return is_other_terminal(o, path) ? boundary(o, t, "opens the terminal %s", path) : 0;
	case VERDICT_DANGLING:
		return flags & O_CREAT ? boundary(o, t, "makes what %s leads to", path) : 0;
	case VERDICT_NEW:
		return open_new(o, t, path, flags);
	case VERDICT_REAL:
		return open_is_effect(flags) ? open_real(o, t, path, flags) : 0;
	default:
		return 0;
	}
}

int effect_open(struct observe *o, struct thread *t, const char *path, int fd)
{
	switch (t->verdicts[0]) {
	case VERDICT_NEW:
		return refuse(o, t, true, "makes %s, which nobody else had made when it was looked for,",
			      path);
	case VERDICT_REAL:
		/* what is written alone is not read: of a log that grows only that it is there counts */
		return fd_opened_to_write(o, t, path, fd);
	default:
		return 0;
	}
}

int attributes_of_fd(struct observe *o, struct thread *t, int fd, const char *verb)
{
	char path[OBSERVE_PATH_MAX];

	return peer_fd_path(t->tid, fd, path) < 0 ? 0 : boundary(o, t, "%s %s", verb, path);
}

int effect_on_fd(struct observe *o, struct thread *t, int fd, const char *verb)
{
	char path[OBSERVE_PATH_MAX];
	const char *rest;
	struct stat st;

	/* a nameless file, a memfd or a pipe between the program's own processes is nobody else's */
	if (peer_fd_path(t->tid, fd, path) < 0)
		return 0;
	rest = path_in_proc_self(o, path);
	if (rest && is_carried(rest))
		return 0;
	if (stat(proc_path(t->tid, "fd/%d", fd).text, &st) < 0 || verdict_of(&st) == VERDICT_FREE ||
	    verdict_of(&st) == VERDICT_TTY)
		return 0;
	return boundary(o, t, "%s %s", verb, path);
}

static int rename_entry(struct observe *o, struct thread *t)
{
	enum verdict from = t->verdicts[0], to = t->verdicts[1];

	if (from == VERDICT_NEW || from == VERDICT_NONE || to == VERDICT_NONE ||
	    !parent_is_writable(t->paths[0]) || !parent_is_writable(t->paths[1]))
		return 0; /* will fail */
	return boundary(o, t, "renames %s", t->paths[0]);
}

/* the path that the effect is on */
static int effect_paths(struct observe *o, struct thread *t, const struct observe_call *c,
			const struct rule *rule)
{
	char path[OBSERVE_PATH_MAX];
	bool cwd = false;
	int r;

	r = peer_path(o, t, c, rule->dirfd, rule->path, path, &cwd);
	if (r == -ENAMETOOLONG)
		return r;
	if (r == 0 && rule->effect == EFFECT_CHANGE &&
	    rule->dirfd) /* utimensat(fd, NULL), fchownat(AT_FDCWD, "") */
		r = peer_dir_path(t, (int)c->args[rule->dirfd - 1], path) == 0;
	else if (r > 0 && cwd)
		cwd_used(o, t);
	if (r <= 0)
		return 0;
	path_resolve_own(o, t, path);
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
	path_resolve_own(o, t, path);
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

static int create_entry(struct observe *o, struct thread *t, const struct rule *rule)
{
	const char *path = t->paths[0];

	switch (t->verdicts[0]) {
	case VERDICT_NONE:
		return 0; /* will fail */
	case VERDICT_NEW:
		if (!parent_is_writable(path))
			return 0;
		return language_makes_cache(path, true) ? deny(o, EROFS)
							: makes(o, t, path, true, rule->verb);
	default:
		return deny(o, EEXIST);
	}
}

int on_effect_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		    const struct rule *rule)
{
	bool there, carried;
	int r;

	if (rule->effect == EFFECT_CHANGE_FD) {
		int fd = (int)c->args[rule->path - 1], origin = fd_get(t->proc, fd).origin;

		if (origin >= 0)
			return boundary(o, t, "%s descriptor %d, which it inherited,", rule->verb, origin);
		return rule->how & RULE_CONTENTS ? effect_on_fd(o, t, fd, rule->verb)
						 : attributes_of_fd(o, t, fd, rule->verb);
	}
	r = effect_paths(o, t, c, rule);
	if (r == -ENAMETOOLONG)
		return boundary(o, t, "%s something with a long path", rule->verb);
	if (r <= 0)
		return r;
	t->verdicts[0] = judge(o, t->paths[0], effect_follows(c, rule));
	if (t->paths[1])
		t->verdicts[1] = judge(o, t->paths[1], false);
	there = t->verdicts[0] != VERDICT_NEW && t->verdicts[0] != VERDICT_NONE &&
		t->verdicts[0] != VERDICT_DANGLING;
	/* a device that anybody may write to has attributes like any other */
	carried = t->verdicts[0] == VERDICT_FREE && path_class(t->paths[0]) == PATH_PROC;
	switch (rule->effect) {
	case EFFECT_RENAME:
		return rename_entry(o, t);
	case EFFECT_REMOVE:
		return there && parent_is_writable(t->paths[0])
			       ? boundary(o, t, "%s %s", rule->verb, t->paths[0])
			       : 0;
	case EFFECT_CREATE:
		return create_entry(o, t, rule);
	default:
		return there && !carried && is_changeable(t->paths[0], effect_follows(c, rule))
			       ? boundary(o, t, "%s %s", rule->verb, t->paths[0])
			       : 0;
	}
}

/* what was not held up at its entry has failed, and looked at least; or it was overtaken by somebody else */
int on_effect(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	if (!t->paths[0] || (rule->path2 && !t->paths[1]))
		return 0;
	if (c->ret >= 0)
		return t->verdicts[0] == VERDICT_FREE
			       ? 0
			       : refuse(o, t, true, "%s %s, which was about to change,", rule->verb,
					t->paths[0]);
	if (rule->effect == EFFECT_RENAME || (c->ret != -ENOENT && c->ret != -EEXIST && c->ret != -ENOTDIR))
		return 0;
	return path_record(o, t, t->paths[0], RULE_NOFOLLOW | RULE_EXISTS, c->ret, -1);
}
