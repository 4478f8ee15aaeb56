/* SPDX-License-Identifier: MIT */
/*
 * peer.c - a clone launched by warmd has warmd's ids, capabilities, namespaces and
 * filters, not its caller's: only a caller that has the same may ask for one.
 *
 * Checked at the first launch of each connection, from /proc, which the caller cannot
 * forge. What a process opened before it gave up rights it keeps, as with any
 * descriptor: a connection that was checked stays good for that process (docs/security.md).
 */
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
#include "warmd/pool.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

/* each behind a newline, which the kernel escapes in the name above them */
static const char *const fields[] = { "Uid:",	 "Gid:",    "Groups:", "CapInh:",     "CapPrm:",
				      "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:" };
static const char *const namespaces[] = { "user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time" };

struct rights {
	char field[ARRAY_SIZE(fields)][512];
	ino_t ns[ARRAY_SIZE(namespaces)];
	dev_t root_dev;
	ino_t root_ino;
};

static int read_rights(pid_t pid, struct rights *r)
{
	_cleanup_free_ char *status = NULL;
	char path[64];
	struct stat st;
	int code;

	memset(r, 0, sizeof(*r));
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
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
	snprintf(path, sizeof(path), "/proc/%d/root", pid);
	if (stat(path, &st) < 0)
		return -errno;
	r->root_dev = st.st_dev;
	r->root_ino = st.st_ino;
	for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++) {
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, namespaces[i]);
		/* one that the kernel does not have is nobody's */
		if (stat(path, &st) == 0)
			r->ns[i] = st.st_ino;
		else if (errno != ENOENT)
			return -errno;
	}
	return 0;
}

static int compare(const struct rights *a, const struct rights *own, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (strcmp(a->field[i], own->field[i]) != 0)
			return error_set(err, EACCES,
					 "the caller and warmd differ in %.*s: a clone would have warmd's",
					 (int)strlen(fields[i]) - 1, fields[i]);
	if (a->root_dev != own->root_dev || a->root_ino != own->root_ino)
		return error_set(err, EACCES, "the caller has another root directory than warmd");
	for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++)
		if (a->ns[i] != own->ns[i])
			return error_set(err, EACCES, "the caller is in another %s namespace than warmd",
					 namespaces[i]);
	return 0;
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
	int r;

	if (c->checked)
		return 0;
	if (!have_own) {
		r = read_rights(getpid(), &own);
		if (r < 0)
			return error_errno(err, r, "reading /proc/self/status");
		have_own = true;
	}
	/* the number alone could be somebody else's by now */
	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) < 0)
		pidfd = errno == ENOPROTOOPT ? pidfd_open_process((pid_t)c->pid) : -EBADF;
	r = read_rights((pid_t)c->pid, &peer);
	if (r < 0 || pidfd < 0 || gone(pidfd))
		return error_set(err, EACCES, "the rights of the caller (process %u) cannot be read", c->pid);
	r = compare(&peer, &own, err);
	for (int i = 0; i < WIRE_RLIMITS && r == 0; i++) {
		struct rlimit limit;

		if (prlimit((pid_t)c->pid, (__rlimit_resource_t)i, NULL, &limit) < 0)
			r = error_errno(err, EACCES, "the resource limits of the caller");
		else
			c->hard_limits[i] = limit.rlim_max;
	}
	c->checked = r == 0;
	return r;
}
