/* SPDX-License-Identifier: MIT */
/*
 * tool_stop.c - `warm stop`: ask warmd to end, and wait until it has.
 *
 * A daemon of another protocol version or one that hangs does not understand, and one with other rights than this
 * process' does not obey. It gets SIGTERM, as far as the kernel lets this process send it, through a pidfd so that the signal cannot meet a process that took over its number.
 */
#include "launcher/tool.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"

#define STOP_MS 10000 /* how long warmd may take to end */

struct daemon {
	pid_t pid; /* 0: not known to be warmd */
	int pidfd; /* -EBADF when pid is 0 */
};

/*
 * The peer is who called listen(2). Under socket activation that is the service manager, which
 * must neither be signalled nor waited for: hence the look at its name.
 */
static void find_daemon(int fd, struct daemon *ret)
{
	_cleanup_free_ char *name = NULL;
	_cleanup_close_ int pidfd = -EBADF;
	struct ucred peer;
	socklen_t len = sizeof(peer);

	*ret = (struct daemon){ .pidfd = -EBADF };
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.pid <= 1)
		return;
	pidfd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
	if (pidfd < 0 || read_file(proc_path(peer.pid, "comm").text, &name, NULL) < 0 ||
	    strcmp(name, "warmd\n") != 0)
		return;
	ret->pid = peer.pid;
	ret->pidfd = TAKE_FD(pidfd);
}

/* until the connection is closed and, where it is known, the process is gone */
static int wait_end(int fd, const struct daemon *daemon, struct error *err)
{
	struct pollfd p = { .fd = daemon->pidfd >= 0 ? daemon->pidfd : fd, .events = POLLIN };
	int r;

	do
		r = poll(&p, 1, STOP_MS); /* with pidfd: readable when the process has ended */
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return error_errno(err, errno, "cannot wait for warmd");
	if (r == 0 && daemon->pid)
		return error_set(err, ETIMEDOUT, "warmd does not end; end it with: kill -9 %d", daemon->pid);
	if (r == 0)
		return error_set(err, ETIMEDOUT, "warmd does not end");
	return 0;
}

static int ask(int fd, struct error *err)
{
	Warm__StopRequest stop = WARM__STOP_REQUEST__INIT;
	Warm__ControlRequest request = WARM__CONTROL_REQUEST__INIT;
	_cleanup_(tool_reply_freep) Warm__ControlReply *reply = NULL;
	int r;

	request.command_case = WARM__CONTROL_REQUEST__COMMAND_STOP;
	request.stop = &stop;
	r = tool_control_fd(fd, &request, TOOL_CONNECT_MS, &reply, err);
	/* it may be gone before its answer is out */
	return r == -ECONNRESET ? 0 : r;
}

static int stop(int fd, struct daemon *daemon, struct error *err)
{
	int r;

	find_daemon(fd, daemon);
	r = ask(fd, err);
	if ((r == -EPROTONOSUPPORT || r == -ETIMEDOUT || r == -EBADMSG || r == -EPERM) &&
	    daemon->pidfd >= 0) {
		if (syscall(SYS_pidfd_send_signal, daemon->pidfd, SIGTERM, NULL, 0) < 0 && errno != ESRCH)
			return error_errno(err, errno, "cannot signal warmd (process %d)", daemon->pid);
		r = 0;
	}
	return r < 0 ? r : wait_end(fd, daemon, err);
}

static int report_json(bool stopped, pid_t pid)
{
	cJSON *json = cJSON_CreateObject();

	cJSON_AddBoolToObject(json, "stopped", stopped);
	if (pid)
		cJSON_AddNumberToObject(json, "pid", pid);
	return tool_json_print(json);
}

static int run(const struct tool_command *self, int argc, char **argv)
{
	_cleanup_close_ int fd = -EBADF;
	struct daemon daemon;
	struct error err;
	bool json;
	int r;

	r = tool_options_json(self, argc, argv, &json);
	if (r >= 0)
		return r;
	fd = tool_connect(&err);
	if (fd == -ESRCH) {
		if (json)
			return report_json(false, 0);
		puts("warmd is not running");
		return tool_finish();
	}
	if (fd < 0)
		return tool_fail(&err);
	r = stop(fd, &daemon, &err);
	fd_close(daemon.pidfd);
	if (r < 0)
		return tool_fail(&err);
	return json ? report_json(true, daemon.pid) : 0;
}

const struct tool_command tool_stop = {
	.name = "stop",
	.run = run,
	.operands = "[--json]",
	.summary = "end warmd and drop all templates",
	.details = "Returns when warmd has ended; skeletons and parked clones end with it. Programs that\n"
		   "were launched from templates go on.\n"
		   "The next 'warm run' starts warmd again.\n"
		   "\n"
		   "  --json       as JSON: {\"stopped\": true, \"pid\": N}; false when none ran\n"
		   "\n"
		   "Examples:\n"
		   "  warm stop\n"
		   "  warm stop && warm run -v python3 report.py    # from scratch\n",
};
