/* SPDX-License-Identifier: MIT */
#include "warmd/build/observe_internal.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "warmd/build/language.h"

#define INTERPRETERS_MAX 5 /* as the kernel: a script's interpreter may be a script */

void cwd_used(struct observe *o, const struct thread *t)
{
	if (!t->proc->cwd_own)
		o->keys.cwd = true;
}

/* did the call fail before it looked at the path, or fail for want of something that is no file? */
static bool says_nothing(int64_t ret)
{
	switch (-ret) {
	case EFAULT:
	case EINTR:
	case EBADF:
	case ENOMEM:
	case EMFILE:
	case ENFILE:
	case ENAMETOOLONG:
	case EAGAIN:
	case ENOSYS:
		return true;
	default:
		return ret <= -512; /* ERESTARTSYS and its like: the call comes again */
	}
}

/* the set's answers that are no reason to stop: odd paths do not make a dependency */
static int dep_result(int r)
{
	return r == -ENOMEM ? r : 0;
}

static int record_opened(struct observe *o, struct thread *t, const char *path, int fd)
{
	struct stat st;
	int r;

	if (stat(proc_path(t->tid, "fd/%d", fd).text, &st) < 0)
		return dep_result(dep_set_add(o->deps, path, DEP_FILE));
	r = dep_set_add_opened(o->deps, path, DEP_FILE, &st);
	if (r == 1)
		return refuse(o, t, true, "reads %s, which was replaced meanwhile,", path);
	return dep_result(r);
}

int path_record(struct observe *o, struct thread *t, const char *path, unsigned int how, int64_t ret, int fd)
{
	int as_fd = path_as_fd(t, path);
	const char *rest;

	if (as_fd >= 0) {
		fd_looked_at(o, t, as_fd);
		return 0;
	}
	if (!path_counts(path)) {
		rest = ret >= 0 ? path_in_proc_self(o, path) : NULL;
		if (rest)
			proc_file_looked_at(o, t, rest);
		return rest || fd < 0 ? 0 : fact_file_opened(o, t, path);
	}
	if (says_nothing(ret) || config_ignores_path(o->cfg, path))
		return 0;
	/* the cold run writes the same bytecode at any moment; the source is what counts */
	if (ret == -ENOENT && language_is_cache(path))
		return 0;
	if (ret == -ENOENT)
		return dep_result(dep_set_add(o->deps, path, DEP_ABSENT));
	if (how & RULE_NOFOLLOW)
		return dep_result(dep_set_add_link(o->deps, path));
	if (fd >= 0)
		return record_opened(o, t, path, fd);
	/* also for EACCES and such: mode and owner explain them. ENOTDIR finds its own way to ABSENT. */
	return dep_result(dep_set_add(o->deps, path, how & RULE_EXISTS ? DEP_EXISTS : DEP_FILE));
}

/* remember the path of a stat(2): an importer opens the same directory next */
static void set_looked_at(struct thread *t, const char *path)
{
	free(t->looked_at);
	t->looked_at = path ? strdup(path) : NULL;
}

int on_look_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	char path[OBSERVE_PATH_MAX];
	bool cwd;

	int r = peer_path(o, t, c, rule->dirfd, rule->path, path, &cwd), fd;

	if (r < 0)
		return 0;
	fd = r > 0 ? path_as_fd(t, path) : rule->dirfd ? (int)c->args[rule->dirfd - 1] : -1;
	if (fd >= 0)
		return fd_look(o, t, fd);
	if (r == 0 || !path_is_strangers(o, path))
		return 0;
	return boundary(o, t, "looks at another process (%s)", path);
}

/*
 * The name of a standard descriptor is another in each launch: a pipe's number, a terminal, a file (ttyname(3), realpath). What the
 * program would know in each clone is that of the build's stand-in. At `delay` and `idle` the terminal's name is the build's: programs
 * that draw on one ask for it when they start.
 */
int on_readlink_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		      const struct rule *rule)
{
	char path[OBSERVE_PATH_MAX];
	bool cwd;
	int fd, r = on_look_entry(o, t, c, rule);

	if (r)
		return r;
	if (o->live || peer_path(o, t, c, rule->dirfd, rule->path, path, &cwd) <= 0)
		return 0;
	fd = path_as_fd(t, path);
	if (fd < 0 || fd_get(t->proc, fd).origin < 0 || fd_get(t->proc, fd).origin > 2)
		return 0;
	return boundary(o, t, "asks for the name of its standard descriptor %d", fd_get(t->proc, fd).origin);
}

int on_look(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	unsigned int how = rule->how;
	char path[OBSERVE_PATH_MAX];
	bool cwd;
	int r;

	if (rule->flags && (how & RULE_FLAG_NOFOLLOW) && (c->args[rule->flags - 1] & AT_SYMLINK_NOFOLLOW))
		how |= RULE_NOFOLLOW;
	r = peer_path(o, t, c, rule->dirfd, rule->path, path, &cwd);
	if (r < 0)
		return 0; /* nor could the kernel read it */
	if (r == 0) {
		if (rule->dirfd && !stream_answered(o, t, c))
			fd_looked_at(o, t, (int)c->args[rule->dirfd - 1]);
		return 0;
	}
	if (cwd)
		cwd_used(o, t);
	set_looked_at(t, (how & RULE_STAT) && !(how & RULE_NOFOLLOW) && c->ret == 0 ? path : NULL);
	return path_record(o, t, path, how, c->ret, -1);
}

/* the flags of any of the calls that open */
static uint64_t open_flags(struct observe *o, const struct thread *t, const struct observe_call *c,
			   const struct rule *rule)
{
	uint64_t flags = 0;

	if (!rule->flags)
		return O_CREAT | O_WRONLY | O_TRUNC; /* creat(2) */
	if (c->nr != SYS_openat2)
		return c->args[rule->flags - 1];
	/* struct open_how begins with its flags */
	if (peer_read(o, t->tid, c->args[rule->flags - 1], &flags, sizeof(flags)) < 0)
		return 0;
	return flags;
}

int on_open_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	uint64_t flags = open_flags(o, t, c, rule);
	char path[OBSERVE_PATH_MAX];
	bool cwd;
	int fd;

	if (peer_path(o, t, c, rule->dirfd, rule->path, path, &cwd) <= 0)
		return 0;
	fd = path_as_fd(t, path);
	if (fd >= 0 && fd_get(t->proc, fd).origin != ORIGIN_INSIDE)
		return 0;
	/* by a descriptor of its own: what that is open on */
	path_resolve_own(o, t, path);
	if (fd >= 0 && peer_fd_path(t->tid, fd, path) < 0)
		return 0;
	return effect_open_entry(o, t, path, flags);
}

/* note what a new descriptor is */
static int opened(struct thread *t, const char *path, uint64_t flags, int fd)
{
	struct fd_info info = { .origin = ORIGIN_INSIDE };
	int as_fd = path_as_fd(t, path);

	if (as_fd >= 0)
		info.origin = fd_get(t->proc, as_fd).origin;
	else if (path_is_terminal(path))
		info.origin = ORIGIN_TTY;
	info.modules = (flags & O_DIRECTORY) && t->looked_at && strcmp(t->looked_at, path) == 0;
	return fd_put(t->proc, fd, info);
}

int on_open(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	uint64_t flags = open_flags(o, t, c, rule);
	unsigned int how = flags & O_NOFOLLOW ? RULE_NOFOLLOW : 0;
	char path[OBSERVE_PATH_MAX];
	int r, fd = c->ret >= 0 ? (int)c->ret : -1;
	bool cwd;

	r = peer_path(o, t, c, rule->dirfd, rule->path, path, &cwd);
	if (r <= 0)
		return 0;
	if (cwd)
		cwd_used(o, t);
	if (fd >= 0) {
		r = opened(t, path, flags, fd);
		if (r < 0)
			return r;
	}
	set_looked_at(t, NULL);
	if (strcmp(path, "/dev/tty") == 0)
		o->keys.terminal = true;
	if (fd >= 0 && (flags & O_TMPFILE) == O_TMPFILE)
		return 0; /* the path is only where the nameless file lives */
	if (open_is_effect(flags) && path_as_fd(t, path) < 0) {
		if (fd >= 0)
			return effect_open(o, t, path, fd);
		if (path_class(path) == PATH_SHM)
			return 0; /* a semaphore or shared memory: to be written, which no watch would see */
		if (c->ret == -EEXIST) /* a lock, perhaps: that it is there counts, not what is in it */
			return path_record(o, t, path, RULE_EXISTS, c->ret, -1);
		if (c->ret != -ENOENT)
			return 0;
	}
	return path_record(o, t, path, how, c->ret, fd);
}

int on_chdir_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	char path[OBSERVE_PATH_MAX];
	bool cwd;

	/* at the exit a relative path would start from the new directory */
	if (peer_path(o, t, c, rule->dirfd, rule->path, path, &cwd) <= 0)
		return 0;
	if (cwd)
		cwd_used(o, t);
	t->paths[0] = strdup(path);
	return t->paths[0] ? 0 : -ENOMEM;
}

int on_chdir(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	if (c->ret == 0)
		t->proc->cwd_own = true;
	return t->paths[0] ? path_record(o, t, t->paths[0], RULE_EXISTS, c->ret, -1) : 0;
}

/* the interpreter that a script's first line or an ELF program header names; the kernel opens those by itself */
static int interpreter_of(const char *path, char *ret, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char head[256];
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = pread(fd, head, sizeof(head) - 1, 0); /* BINPRM_BUF_SIZE */
	if (n < 0)
		return -errno;
	head[n] = '\0';
	if (head[0] == '#' && head[1] == '!') {
		const char *p = head + 2 + strspn(head + 2, " \t");
		size_t len = strcspn(p, " \t\n");

		if (len == 0 || len >= size)
			return -ENOEXEC;
		memcpy(ret, p, len);
		ret[len] = '\0';
		return 0;
	}
	memcpy(&eh, head, sizeof(eh));
	if ((size_t)n < sizeof(eh) || memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 ||
	    eh.e_ident[EI_CLASS] != ELFCLASS64)
		return -ENOEXEC;
	for (unsigned int i = 0; i < eh.e_phnum; i++) {
		if (pread_full(fd, &ph, sizeof(ph), (off_t)(eh.e_phoff + i * sizeof(ph))) < 0)
			return -ENOEXEC;
		if (ph.p_type != PT_INTERP)
			continue;
		if (ph.p_filesz == 0 || ph.p_filesz > size ||
		    pread_full(fd, ret, ph.p_filesz, (off_t)ph.p_offset) < 0)
			return -ENOEXEC;
		ret[ph.p_filesz - 1] = '\0';
		return 0;
	}
	return -ENOENT; /* static */
}

int observe_program(struct observe *o, const char *path)
{
	char file[OBSERVE_PATH_MAX];

	if (strlen(path) >= sizeof(file))
		return -ENAMETOOLONG;
	strcpy(file, path);
	for (int i = 0; i < INTERPRETERS_MAX && file[0] == '/'; i++) {
		if (path_counts(file) && !config_ignores_path(o->cfg, file)) {
			int r = dep_result(dep_set_add(o->deps, file, DEP_FILE));

			if (r < 0)
				return r;
		}
		if (interpreter_of(file, file, PATH_MAX) < 0)
			break;
	}
	return 0;
}

int on_exec_entry(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	char path[OBSERVE_PATH_MAX];
	bool cwd = false;
	int r;

	/* at the exit the memory that held path and environment is gone */
	r = environment_given(o, t, c->args[rule->dirfd ? 3 : 2]);
	if (r < 0)
		return r;
	r = peer_path(o, t, c, rule->dirfd, rule->path, path, &cwd);
	if (r == 0 && rule->dirfd)
		r = peer_fd_path(t->tid, (int)c->args[rule->dirfd - 1], path) == 0;
	if (r <= 0)
		return 0;
	if (cwd)
		cwd_used(o, t);
	t->paths[0] = strdup(path);
	return t->paths[0] ? 0 : -ENOMEM;
}

int on_exec(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	char path[OBSERVE_PATH_MAX];
	ssize_t n;

	(void)rule;
	if (c->ret != 0) {
		/* ENOENT may mean the interpreter: the set finds out itself whether the file is there */
		int64_t ret = c->ret == -ENOENT ? -EACCES : c->ret;

		return t->paths[0] ? path_record(o, t, t->paths[0], 0, ret, -1) : 0;
	}
	if (environment_taken(o, t) < 0)
		return -ENOMEM;
	fds_after_exec(t->proc);
	t->proc->executed = true;
	set_looked_at(t, NULL);
	if (t->paths[0])
		return dep_result(observe_program(o, t->paths[0]));
	/* another thread than the first called it, and took over the first one's number */
	n = readlink(proc_path(t->tid, "exe").text, path, sizeof(path) - 1);
	if (n < 0)
		return 0;
	path[n] = '\0';
	return dep_result(observe_program(o, path));
}

int on_getdents_entry(struct observe *o, struct thread *t, const struct observe_call *c,
		      const struct rule *rule)
{
	char path[OBSERVE_PATH_MAX];

	(void)rule;
	if (peer_fd_path(t->tid, (int)c->args[0], path) < 0 || strcmp(path, "/proc") != 0)
		return 0;
	return boundary(o, t, "lists all processes (/proc)");
}

int on_getdents(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	int fd = (int)c->args[0], r;
	struct fd_info info = fd_get(t->proc, fd);
	char path[OBSERVE_PATH_MAX];

	(void)rule;
	if (c->ret < 0 || info.listed)
		return 0;
	info.listed = true;
	r = fd_put(t->proc, fd, info);
	if (r < 0)
		return r;
	if (peer_fd_path(t->tid, fd, path) < 0 || !path_counts(path) || config_ignores_path(o->cfg, path))
		return 0;
	if (info.modules) {
		r = count_path(&o->candidates, path, o->watching);
		if (r < 0)
			return r;
	}
	return dep_result(dep_set_add(o->deps, path, info.modules ? DEP_MODULES : DEP_LISTING));
}
