/* SPDX-License-Identifier: MIT */
/*
 * peer.c - a clone launched by warmd has warmd's ids, capabilities, namespaces and
 * filters, not its caller's: only a caller that has the same may ask for one.
 *
 * The kernel keeps all of these for each thread. Which one of the caller's is asking cannot be told, so all of them must
 * be as warmd is.
 *
 * Checked at the first launch of each connection, from /proc, which the caller cannot
 * forge. What a process opened before it gave up rights it keeps, as with any
 * descriptor: a connection that was checked stays good for that process (docs/security.md).
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "engine/base/fd.h"
#include "engine/base/pidfd.h"
#include "warmd/deps_map.h"
#include "warmd/oom_score.h"
#include "warmd/pool.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

/* each behind a newline, which the kernel escapes in the name above them */
static const char *const fields[] = { "Uid:",	     "Gid:",	 "Groups:",	    "CapInh:",
				      "CapPrm:",     "CapEff:",	 "CapBnd:",	    "CapAmb:",
				      "NoNewPrivs:", "Seccomp:", "Seccomp_filters:" };
static const char *const namespaces[] = { "user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time" };

#define THREADS_MAX 16384 /* of a caller, looked at: nothing else is served meanwhile, some 40 us each */

struct rights {
	unsigned int threads; /* of the whole process */
	char field[ARRAY_SIZE(fields)][512];
	ino_t ns[ARRAY_SIZE(namespaces)];
	dev_t root_dev;
	ino_t root_ino;
};

/* @proc: /proc/PID or /proc/PID/task/TID. Return: 0 or a negative errno */
static int read_rights(const char *proc, struct rights *r)
{
	_cleanup_free_ char *status = NULL;
	const char *threads;
	char path[96];
	struct stat st;
	int code;

	memset(r, 0, sizeof(*r));
	snprintf(path, sizeof(path), "%s/status", proc);
	code = read_file(path, &status, NULL);
	if (code < 0)
		return code;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		char word[32];
		const char *line;

		snprintf(word, sizeof(word), "\n%s", fields[i]);
		line = strstr(status, word);
		if (line)
			snprintf(r->field[i], sizeof(r->field[i]), "%.*s", (int)strcspn(line + 1, "\n"),
				 line + 1);
	}
	threads = strstr(status, "\nThreads:");
	r->threads = threads ? (unsigned int)strtoul(threads + 9, NULL, 10) : 0;
	snprintf(path, sizeof(path), "%s/root", proc);
	if (stat(path, &st) < 0)
		return -errno;
	r->root_dev = st.st_dev;
	r->root_ino = st.st_ino;
	for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++) {
		snprintf(path, sizeof(path), "%s/ns/%s", proc, namespaces[i]);
		/* one that the kernel does not have is nobody's */
		if (stat(path, &st) == 0)
			r->ns[i] = st.st_ino;
		else if (errno != ENOENT)
			return -errno;
	}
	return 0;
}

/* @who: "the caller", or which of its threads */
static int compare(const struct rights *a, const struct rights *own, const char *who, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (strcmp(a->field[i], own->field[i]) != 0)
			return error_set(err, EACCES,
					 "%s and warmd differ in %.*s: a clone would have warmd's", who,
					 (int)strlen(fields[i]) - 1, fields[i]);
	if (a->root_dev != own->root_dev || a->root_ino != own->root_ino)
		return error_set(err, EACCES, "%s has another root directory than warmd", who);
	for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++)
		if (a->ns[i] != own->ns[i])
			return error_set(err, EACCES, "%s is in another %s namespace than warmd", who,
					 namespaces[i]);
	return 0;
}

/* it ends: exit_task_namespaces() in Linux. Nothing of its own will run again */
static bool has_no_namespaces(const struct rights *a, const struct rights *own)
{
	for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++)
		if (own->ns[i] && !a->ns[i])
			return true;
	return false;
}

static int compare_thread(pid_t pid, const char *tid, const struct rights *own, struct error *err)
{
	struct rights thread;
	char proc[64], who[64];
	struct stat st;
	int r;

	snprintf(proc, sizeof(proc), "/proc/%d/task/%.16s", pid, tid);
	snprintf(who, sizeof(who), "the caller's thread %.16s", tid);
	r = read_rights(proc, &thread);
	/* it has ended, or ends and has no root directory any more: exit_fs() */
	if (r == -ENOENT || r == -ESRCH || (r == 0 && has_no_namespaces(&thread, own)))
		return 0;
	/* links of one that is gone say EACCES: proc_fd_access_allowed() */
	if (r < 0 && stat(proc, &st) < 0 && errno == ENOENT)
		return 0;
	return r < 0 ? error_set(err, EACCES, "the rights of %s cannot be read", who)
		     : compare(&thread, own, who, err);
}

/* the threads that @seen does not have. Return: how many, or -EACCES with *err set */
static int compare_new_threads(pid_t pid, const struct rights *own, struct map *seen, struct error *err)
{
	const struct dirent *e;
	char path[64];
	int r = 0, n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return error_errno(err, EACCES, "the caller's threads");
	while (r == 0 && (e = readdir(dir))) {
		if (e->d_name[0] == '.' || map_has(seen, e->d_name, strlen(e->d_name)))
			continue;
		n++;
		if (seen->count >= THREADS_MAX)
			r = error_set(err, EACCES, "the caller has, or starts, more than %d threads",
				      THREADS_MAX);
		else if (map_put(seen, e->d_name, strlen(e->d_name), NULL) < 0)
			r = error_set(err, EACCES, "no memory to look at the caller's threads");
		else
			r = compare_thread(pid, e->d_name, own, err);
	}
	closedir(dir);
	return r < 0 ? r : n;
}

/* a thread can start another and end before it is looked at: until there are no new ones */
static int compare_threads(pid_t pid, const struct rights *own, struct error *err)
{
	struct map seen = { 0 };
	int r = 1;

	while (r > 0) /* each time there is one more in @seen, at least */
		r = compare_new_threads(pid, own, &seen, err);
	map_done(&seen, NULL);
	return r;
}

static bool gone(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

int peer_check(struct connection *c, struct error *err)
{
	static struct rights own;
	static bool have_own;
	_cleanup_close_ int pidfd = -EBADF;
	socklen_t len = sizeof(pidfd);
	struct rights peer;
	char proc[32];
	int r;

	if (c->checked)
		return 0;
	if (!have_own) {
		r = read_rights("/proc/self", &own);
		if (r < 0)
			return error_errno(err, r, "reading /proc/self/status");
		have_own = true;
	}
	/* the number alone could be somebody else's by now */
	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) < 0)
		pidfd = errno == ENOPROTOOPT ? pidfd_open_process((pid_t)c->pid) : -EBADF;
	snprintf(proc, sizeof(proc), "/proc/%u", c->pid);
	r = read_rights(proc, &peer);
	if (r == 0)
		r = compare(&peer, &own, "the caller", err);
	else
		r = error_set(err, EACCES, "the rights of the caller (process %u) cannot be read", c->pid);
	if (r == 0 && peer.threads != 1)
		r = compare_threads((pid_t)c->pid, &own, err);
	if (r == 0 && (pidfd < 0 || gone(pidfd)))
		r = error_set(err, EACCES, "the rights of the caller (process %u) cannot be read", c->pid);
	for (int i = 0; i < WIRE_RLIMITS && r == 0; i++) {
		struct rlimit limit;

		if (prlimit((pid_t)c->pid, (__rlimit_resource_t)i, NULL, &limit) < 0)
			r = error_errno(err, EACCES, "the resource limits of the caller");
		else
			c->hard_limits[i] = limit.rlim_max;
	}
	if (r == 0 && oom_score_read((pid_t)c->pid, &c->oom_score_adj) < 0)
		c->oom_score_adj = c->server->own_oom_score_adj;
	c->checked = r == 0;
	return r;
}
