/* SPDX-License-Identifier: MIT */
#include "warmd/build/observe_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"

ssize_t peer_read(struct observe *o, pid_t tid, uint64_t addr, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = o->read(o->read_data, tid, addr + done, (char *)buf + done, len - done);

		if (n < 0)
			return n;
		if (n == 0)
			return -EFAULT;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t peer_string(struct observe *o, pid_t tid, uint64_t addr, char *buf, size_t size)
{
	size_t done = 0;

	while (done < size) {
		/* up to a boundary that every page size shares, lest a page beyond the string be missing */
		size_t want = 512 - (size_t)((addr + done) & 511);
		const char *end;
		ssize_t n;

		n = o->read(o->read_data, tid, addr + done, buf + done, MIN(want, size - done));
		if (n <= 0)
			return n < 0 ? n : -EFAULT;
		end = memchr(buf + done, '\0', (size_t)n);
		if (end)
			return end - buf;
		done += (size_t)n;
	}
	return -ENAMETOOLONG;
}

static int link_path(const char *link, char *buf)
{
	ssize_t n = readlink(link, buf, OBSERVE_PATH_MAX - 1);

	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

int peer_fd_path(pid_t tid, int fd, char *buf)
{
	static const char deleted[] = " (deleted)";
	struct stat st, at;
	struct proc_path link = proc_path(tid, "fd/%d", fd);
	size_t len;
	int r;

	r = link_path(link.text, buf);
	if (r < 0)
		return r;
	len = strlen(buf);
	if (buf[0] != '/' || strncmp(buf, "/memfd:", 7) == 0)
		return -ENOENT;
	/* a file may have such a name */
	if (len >= sizeof(deleted) && strcmp(buf + len - sizeof(deleted) + 1, deleted) == 0 &&
	    (stat(link.text, &st) < 0 || st.st_nlink == 0 || stat(buf, &at) < 0 || at.st_ino != st.st_ino ||
	     at.st_dev != st.st_dev))
		return -ENOENT;
	return 0;
}

int peer_fd_flags(pid_t tid, int fd)
{
	_cleanup_free_ char *text = NULL;
	const char *p;
	int r;

	r = read_file(proc_path(tid, "fdinfo/%d", fd).text, &text, NULL);
	if (r < 0)
		return r;
	p = strstr(text, "flags:");
	return p ? (int)strtol(p + 6, NULL, 8) : -EINVAL;
}

/* the directory that a relative path starts from */
int peer_dir_path(const struct thread *t, int dirfd, char *buf)
{
	int r;

	if (dirfd != AT_FDCWD)
		return peer_fd_path(t->tid, dirfd, buf);
	r = link_path(proc_path(t->tid, "cwd").text, buf);
	return r == 0 && buf[0] != '/' ? -ENOENT : r; /* "(unreachable)/..." */
}

int peer_path(struct observe *o, const struct thread *t, const struct observe_call *c, uint8_t dirfd,
	      uint8_t path, char *buf, bool *ret_cwd)
{
	int base = dirfd ? (int)c->args[dirfd - 1] : AT_FDCWD;
	char name[PATH_MAX];
	ssize_t len;
	size_t at;
	int r;

	*ret_cwd = false;
	if (c->args[path - 1] == 0)
		return 0;
	len = peer_string(o, t->tid, c->args[path - 1], name, sizeof(name));
	if (len <= 0)
		return (int)len;
	if (name[0] == '/') {
		memcpy(buf, name, (size_t)len + 1);
		return 1;
	}
	r = peer_dir_path(t, base, buf);
	if (r < 0)
		return r;
	*ret_cwd = base == AT_FDCWD;
	at = strlen(buf);
	if (at + (size_t)len + 2 > OBSERVE_PATH_MAX)
		return -ENAMETOOLONG;
	if (at > 1)
		buf[at++] = '/';
	memcpy(buf + at, name, (size_t)len + 1);
	return 1;
}

static bool is_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

enum path_class path_class(const char *path)
{
	if (is_below(path, "/dev/shm"))
		return PATH_SHM;
	if (is_below(path, "/dev"))
		return PATH_DEV;
	if (is_below(path, "/proc"))
		return PATH_PROC;
	if (is_below(path, "/sys"))
		return PATH_SYS;
	return PATH_REAL;
}

bool path_counts(const char *path)
{
	enum path_class class = path_class(path);

	return class == PATH_REAL || class == PATH_SHM;
}

bool path_is_terminal(const char *path)
{
	return strncmp(path, "/dev/tty", 8) == 0 || strncmp(path, "/dev/pts/", 9) == 0 ||
	       strcmp(path, "/dev/console") == 0;
}

/* a whole decimal number, or -1 */
static int number_of(const char *s)
{
	char *end;
	long n;

	if (s[0] < '0' || s[0] > '9')
		return -1;
	n = strtol(s, &end, 10);
	return *end == '\0' && n <= INT_MAX ? (int)n : -1;
}

/* what follows the process in /proc/PROCESS/..., and which process it is (0: the caller) */
static const char *after_process(const char *path, pid_t *ret_pid)
{
	char *end;

	*ret_pid = 0;
	if (strncmp(path, "/proc/", 6) != 0)
		return NULL;
	path += 6;
	if (strncmp(path, "self/", 5) == 0)
		return path + 5;
	if (strncmp(path, "thread-self/", 12) == 0)
		return path + 12;
	if (path[0] < '0' || path[0] > '9')
		return NULL;
	*ret_pid = (pid_t)strtol(path, &end, 10);
	return *end == '/' ? end + 1 : NULL;
}

int path_as_fd(const struct thread *t, const char *path)
{
	const char *rest;
	pid_t pid;

	if (strcmp(path, "/dev/stdin") == 0)
		return 0;
	if (strcmp(path, "/dev/stdout") == 0)
		return 1;
	if (strcmp(path, "/dev/stderr") == 0)
		return 2;
	if (strncmp(path, "/dev/fd/", 8) == 0)
		return number_of(path + 8);
	rest = after_process(path, &pid);
	if (!rest || (pid != 0 && pid != t->tid && pid != t->proc->pid) || strncmp(rest, "fd/", 3) != 0)
		return -1;
	return number_of(rest + 3);
}

void path_resolve_own(const struct observe *o, const struct thread *t, char *path)
{
	/* each step takes one such name away; links of the program's own may lead to another */
	for (int steps = 0; steps < 8; steps++) {
		const char *rest = path_in_proc_self(o, path), *behind;
		char target[OBSERVE_PATH_MAX];
		pid_t pid;

		if (!rest)
			return;
		after_process(path, &pid);
		behind = strchr(rest, '/');
		if (strncmp(rest, "fd/", 3) == 0)
			behind = strchrnul(rest + 3, '/');
		else if (behind && strncmp(rest, "cwd/", 4) != 0 && strncmp(rest, "root/", 5) != 0)
			return;
		if (!behind)
			return;
		if (link_path(proc_path(pid ? pid : t->tid, "%.*s", (int)(behind - rest), rest).text,
			      target) < 0 ||
		    target[0] != '/' || strlen(target) + strlen(behind) >= OBSERVE_PATH_MAX)
			return;
		memmove(path + strlen(target), behind, strlen(behind) + 1);
		memcpy(path, target, strlen(target));
	}
}

bool path_is_strangers(const struct observe *o, const char *path)
{
	char *end;
	long pid;

	if (strncmp(path, "/proc/", 6) != 0 || path[6] < '0' || path[6] > '9')
		return false;
	pid = strtol(path + 6, &end, 10);
	return (*end == '/' || *end == '\0') && !in_tree(o, (pid_t)pid);
}

const char *path_in_proc_self(const struct observe *o, const char *path)
{
	pid_t pid;
	const char *rest = after_process(path, &pid);

	return rest && (pid == 0 || in_tree(o, pid)) ? rest : NULL;
}
