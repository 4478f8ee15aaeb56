/* SPDX-License-Identifier: MIT */
/*
 * peer.c - templates are built with warmd's rights, and clones that warmd launches have them. So only a process that has
 * the very same may have anything built or launched, get a template, or hear of any (docs/security.md).
 *
 * The kernel keeps rights for each thread. Which one of the caller's is asking cannot be told, so all of them must
 * be as warmd is. This is checked once for each connection. What a process opened before it gave up rights it keeps,
 * as with any descriptor: a connection that was checked stays good for that process.
 */
#include "warmd/connection/peer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "engine/base/fd.h"
#include "engine/base/pidfd.h"
#include "engine/base/map.h"
#include "engine/base/proc_path.h"
#include "warmd/connection/connection.h"
#include "warmd/connection/oom_score.h"
#include "warmd/connection/rights.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

#define THREADS_MAX 16384 /* of a caller, looked at: nothing else is served meanwhile, some 100 us each */

struct threads {
	int dir; /* /proc/PID/task */
	struct map seen;
	unsigned int alive;
};

static int compare_thread(struct threads *t, const char *tid, struct error *err)
{
	_cleanup_close_ int proc = openat(t->dir, tid, O_PATH | O_DIRECTORY | O_CLOEXEC);
	unsigned int ignored;
	char who[64];
	bool ended;
	int r;

	if (proc < 0 && (errno == ENOENT || errno == ESRCH))
		return 0; /* it has ended */
	snprintf(who, sizeof(who), "the caller's thread %.16s", tid);
	if (proc < 0)
		return error_set(err, EACCES, "the rights of %s cannot be read: %s", who, strerror(errno));
	r = rights_compare(proc, -EBADF, who, &ended, &ignored, err);
	t->alive += r == 0 && !ended;
	return r;
}

/* the threads that were not seen before. Return: how many, or a negative errno with *err set */
static int compare_new_threads(struct threads *t, struct error *err)
{
	int fd = openat(t->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0, n = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	if (!dir) {
		fd_close(fd);
		return error_set(err, EACCES, "the caller's threads cannot be listed");
	}
	while (r == 0 && (e = readdir(dir))) {
		if (e->d_name[0] == '.' || map_has(&t->seen, e->d_name, strlen(e->d_name)))
			continue;
		n++;
		if (t->seen.count >= THREADS_MAX)
			r = error_set(err, EACCES, "the caller has, or starts, more than %d threads",
				      THREADS_MAX);
		else if (map_put(&t->seen, e->d_name, strlen(e->d_name), NULL) < 0)
			r = error_set(err, ENOMEM, "no memory to look at the caller's threads");
		else
			r = compare_thread(t, e->d_name, err);
	}
	closedir(dir);
	return r < 0 ? r : n;
}

/* a thread can start another and end before it is looked at: until there are no new ones */
static int compare_threads(int proc, struct error *err)
{
	struct threads t = { .dir = openat(proc, "task", O_PATH | O_DIRECTORY | O_CLOEXEC) };
	int r = 1;

	while (r > 0) /* each time there is one more in @seen, at least */
		r = compare_new_threads(&t, err);
	map_done(&t.seen, NULL);
	fd_close(t.dir);
	if (r == 0 && !t.alive)
		r = error_set(err, EACCES, "the caller has ended");
	return r;
}

static bool gone(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

/* @pidfd: of the process whose number is @pid as long as it has not ended */
static int compare_process(pid_t pid, int pidfd, struct error *err)
{
	_cleanup_close_ int proc = -EBADF;
	unsigned int threads;
	bool ended;
	int r;

	proc = proc_open(pid, O_PATH | O_DIRECTORY, ".");
	if (proc < 0)
		r = error_set(err, EACCES, "the rights of the caller cannot be read: /proc/%d: %s", pid,
			      strerror(-proc));
	else
		r = rights_compare(proc, pidfd, "the caller", &ended, &threads, err);
	/* the first thread may have ended before the others */
	if (r == 0 && (ended || threads != 1))
		r = compare_threads(proc, err);
	/* whatever was read may be of one that has its number now */
	if (gone(pidfd))
		r = error_set(err, EACCES, "the caller has ended");
	return r;
}

/* what to do. Return: @r */
static int advise(int r, struct error *err)
{
	size_t len = err ? strlen(err->text) : 0;

	if (r == -EACCES && err)
		snprintf(
			err->text + len, sizeof(err->text) - len,
			": a warmd that is started in a WARM_RUNTIME_DIR of its own has the caller's rights");
	return r;
}

int peer_compare(int sock, struct error *err)
{
	_cleanup_close_ int pidfd = -EBADF;
	struct ucred peer;
	socklen_t len = sizeof(peer), fd_len = sizeof(pidfd);
	bool by_number = false;

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return error_errno(err, errno, "who the caller is");
	if (peer.pid <= 0)
		return error_set(err, EACCES, "the caller is in another pid namespace than warmd");
	if (getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &fd_len) < 0) {
		by_number = errno == ENOPROTOOPT;
		pidfd = by_number ? pidfd_open_process(peer.pid) : -EBADF;
	}
	if (pidfd < 0)
		return error_set(err, EACCES, "the caller has ended");
	if (by_number && !peer_holds(sock, peer.pid))
		return error_set(
			err, EACCES,
			"process %d, which connected, has not kept the connection: who asks cannot be told "
			"before Linux 6.5",
			peer.pid);
	return advise(compare_process(peer.pid, pidfd, err), err);
}

int peer_check(struct connection *c, struct error *err)
{
	int r = c->checked ? 0 : peer_compare(c->fd, err);

	c->checked = r == 0;
	return r;
}

int peer_launcher(struct connection *c, int own_oom_score_adj, struct error *err)
{
	int r = peer_check(c, err);

	if (r < 0 || c->launcher)
		return r;
	for (int i = 0; i < WIRE_RLIMITS; i++) {
		struct rlimit limit;

		if (prlimit((pid_t)c->pid, (__rlimit_resource_t)i, NULL, &limit) < 0)
			return error_errno(err, EACCES, "the resource limits of the caller");
		c->hard_limits[i] = limit.rlim_max;
	}
	if (oom_score_read((pid_t)c->pid, &c->oom_score_adj) < 0)
		c->oom_score_adj = own_oom_score_adj;
	c->launcher = true;
	return 0;
}
