/* SPDX-License-Identifier: MIT */
#include "warmd/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define WORKER_SOCK 3

/* in the child: only the socket stays */
static void be_worker(int (*run)(void *data, int sock), void *data, int sock, pid_t warmd)
{
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* of a warmd that had ended before, no signal comes */
	if (getppid() != warmd)
		_exit(1);
	if (dup2(sock, WORKER_SOCK) < 0)
		_exit(1);
	fcntl(WORKER_SOCK, F_SETFD, FD_CLOEXEC);
	syscall(SYS_close_range, WORKER_SOCK + 1, ~0u, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	_exit(run(data, WORKER_SOCK));
}

int worker_start(int (*run)(void *data, int sock), void *data, pid_t *ret_pid, int *ret_sock)
{
	pid_t warmd = getpid(), pid;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid = fork();
	r = pid < 0 ? -errno : 0;
	if (pid == 0)
		be_worker(run, data, pair[1], warmd);
	close(pair[1]);
	if (r < 0) {
		close(pair[0]);
		return r;
	}
	*ret_pid = pid;
	*ret_sock = pair[0];
	return 0;
}
