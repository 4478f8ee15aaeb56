/* SPDX-License-Identifier: MIT */
#include "warmd/pool/skeleton.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#include "engine/base/fd.h"
#include "engine/base/packet.h"
#include "launcher/wire/protocol.h"
#include "warmd/template/template_send.h"

#define SOCKET_FD 3

/* the launcher lies beside warmd, or in ../../bin when warmd is in libexec/warm */
static int find_launcher(char *path, size_t size)
{
	static const char *const places[] = { "warm", "../../bin/warm" };
	char dir[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", dir, sizeof(dir) - 1);

	if (n < 0)
		return -errno;
	dir[n] = '\0';
	slash = strrchr(dir, '/');
	*slash = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if ((size_t)snprintf(path, size, "%s/%s", dir, places[i]) < size && access(path, X_OK) == 0)
			return 0;
	return -ENOENT;
}

static int spawn(const char *path, char **argv, int sock, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t all, none;
	int r;

	/* sigfillset(3) leaves out the two signals of the C library's own, and posix_spawn(3) would ignore those */
	memset(&all, 0xff, sizeof(all));
	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	/* a number of its own: dup2() onto itself would leave close-on-exec set */
	posix_spawn_file_actions_adddup2(&actions, sock, SOCKET_FD);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setsigmask(&attr, &none);
	r = posix_spawn(ret, path, &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return -r;
}

int skeleton_start(const struct template *t, pid_t *ret_pid, int *ret_sock, struct error *err)
{
	const struct request *req = t->request;
	_cleanup_close_ int ours = -EBADF, theirs = -EBADF;
	_cleanup_free_ char **argv = calloc(req->run.argc + 4u, sizeof(*argv));
	struct wire_run_reply reply;
	char path[PATH_MAX], number[8];
	int pair[2], r = find_launcher(path, sizeof(path));

	if (r < 0)
		return error_set(err, -r, "the launcher 'warm' is not beside warmd");
	if (!argv || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, argv ? errno : ENOMEM, "a skeleton's socket");
	ours = pair[0];
	/* above SOCKET_FD in any case */
	theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, SOCKET_FD + 1);
	close(pair[1]);
	snprintf(number, sizeof(number), "%d", SOCKET_FD);
	argv[0] = (char *)"warm";
	argv[1] = (char *)"skeleton";
	argv[2] = number;
	for (uint32_t i = 0; i < req->run.argc; i++)
		argv[3 + i] = req->argv[i];
	template_describe(t, &reply);
	reply.status = WIRE_WARM;
	r = template_send(ours, &reply, t);
	if (r == 0)
		r = spawn(path, argv, theirs, ret_pid);
	if (r < 0)
		return error_errno(err, r, "starting a skeleton");
	*ret_sock = TAKE_FD(ours);
	return 0;
}
