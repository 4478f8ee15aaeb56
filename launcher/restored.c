/* SPDX-License-Identifier: MIT */
#include "launcher/restored.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "engine/base/fd.h"
#include "engine/base/packet.h"
#include "launcher/client.h"
#include "launcher/words.h"

static const int passed_on[] = { SIGINT,  SIGTERM, SIGHUP,   SIGQUIT, SIGUSR1,
				 SIGUSR2, SIGCONT, SIGWINCH, SIGTSTP };

/* what restored_follow() waits for */
static void followed(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGCHLD);
	for (size_t i = 0; i < ARRAY_SIZE(passed_on); i++) {
		struct sigaction action;

		/* an ignored signal that is blocked would become pending, and is not the program's either */
		if (sigaction(passed_on[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
			sigaddset(set, passed_on[i]);
	}
}

/*
 * As warmd does: the answer, and more packets if there are too many descriptors for one. The last descriptor is the other
 * end of the socket, which holds a place for it among those that the stub closes.
 */
static int send_template(int sock, int theirs, const struct restored_launch *l)
{
	_cleanup_free_ int *fds = calloc(l->nfds + 1, sizeof(*fds));
	unsigned int nfds = l->nfds + 1, sent = 0;
	struct wire_run_reply reply = l->reply;
	struct iovec whole = { &reply, sizeof(reply) }, more = { &reply.header, sizeof(reply.header) };
	int r = 0;

	if (!fds)
		return -ENOMEM;
	memcpy(fds, l->fds, l->nfds * sizeof(*fds));
	fds[l->nfds] = theirs;
	reply.header = (struct wire_header){ WIRE_MAGIC, WIRE_VERSION_NUMBER, WIRE_RUN_REPLY, sizeof(reply),
					     0 };
	reply.status = WIRE_WARM;
	reply.nfds = nfds;
	while (r == 0 && sent < nfds) {
		unsigned int n = nfds - sent < WIRE_MAX_FDS ? nfds - sent : WIRE_MAX_FDS;

		if (sent)
			reply.header.size = sizeof(reply.header);
		r = packet_send(sock, sent ? &more : &whole, 1, fds + sent, n, 0);
		sent += n;
	}
	return r;
}

/*
 * In the child. It waits for a first packet: one that has a process id that it may not have never gets it. The last
 * signal handling that it changes is that of SIGCHLD, which the parent needed otherwise.
 */
static void __attribute__((noreturn))
enter(const struct restored_launch *l, const char *path, char **argv, int sock, const struct restored *r)
{
	char go;

	if (read_full(sock, &go, 1) < 0)
		_exit(EXIT_WARM);
	if (l->detach)
		setsid(); /* as a clone is */
	fcntl(sock, F_SETFD, 0);
	sigaction(SIGCHLD, &r->child_before, NULL);
	sigprocmask(SIG_SETMASK, &r->before, NULL);
	execve(path, argv, l->envp);
	dprintf(STDERR_FILENO, "warm: restore: %s: %s\n", path, strerror(errno));
	send(sock, "", 1, MSG_NOSIGNAL);
	_exit(EXIT_WARM);
}

/* Return: argv for `warm enter`; the caller frees it. NULL: no memory */
static char **enter_argv(const struct restored_launch *l, char *number)
{
	size_t n = 0;
	char **argv;

	while (l->argv[n])
		n++;
	argv = calloc(n + 4, sizeof(*argv));
	if (!argv)
		return NULL;
	argv[0] = (char *)"warm";
	argv[1] = (char *)"enter";
	argv[2] = number;
	memcpy(argv + 3, l->argv, n * sizeof(*argv));
	return argv;
}

/* Return: a process that waits in enter(), or a negative errno */
static pid_t make_process(const struct restored_launch *l, const char *path, char **argv, int sock,
			  const struct restored *r)
{
	pid_t wrong = -1, pid;

	for (;;) {
		pid = fork();
		if (pid == 0)
			enter(l, path, argv, sock, r);
		if (pid < 0 || pid != l->not_pid)
			break;
		wrong = pid; /* it keeps that number from the next one */
	}
	if (pid < 0)
		pid = -errno;
	if (wrong > 0) {
		kill(wrong, SIGKILL);
		waitpid(wrong, NULL, 0);
	}
	return pid;
}

/* Return: 0: the program runs; -ECANCELED: it does not, and has said why */
static int wait_begun(int sock, pid_t pid, struct error *err)
{
	char failed;
	ssize_t n;

	do
		n = recv(sock, &failed, 1, 0);
	while (n < 0 && errno == EINTR);
	/* a process that ended by itself without a word is followed to its end like any other */
	if (n == 0)
		return 0;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return error_set(err, ECANCELED, "the program could not be restored");
}

int restored_begin(const struct restored_launch *l, struct restored *ret, struct error *err)
{
	const struct sigaction standard = { .sa_handler = SIG_DFL };
	_cleanup_close_ int ours = -EBADF, theirs = -EBADF;
	_cleanup_free_ char **argv = NULL;
	char path[PATH_MAX], number[16];
	struct restored r = { 0 };
	sigset_t set;
	int pair[2], code;

	if (client_find("warm", path, sizeof(path)) < 0)
		return error_set(err, ENOENT,
				 "cannot find 'warm', which becomes the program, beside this one");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, errno, "a socket for the program");
	ours = pair[0];
	theirs = pair[1];
	snprintf(number, sizeof(number), "%d", theirs);
	argv = enter_argv(l, number);
	if (!argv)
		return error_set(err, ENOMEM, "no memory");
	/* its end is to be seen, even if the caller ignores such ends */
	sigaction(SIGCHLD, &standard, &r.child_before);
	followed(&set);
	sigprocmask(SIG_BLOCK, &set, &r.before);
	r.pid = make_process(l, path, argv, theirs, &r);
	if (r.pid < 0)
		return error_errno(err, r.pid, "making a process");
	code = send(ours, "", 1, MSG_NOSIGNAL) < 0 ? -errno : send_template(ours, theirs, l);
	theirs = fd_close(theirs);
	if (code < 0) {
		kill(r.pid, SIGKILL);
		waitpid(r.pid, NULL, 0);
		return error_errno(err, code, "handing the program over");
	}
	code = wait_begun(ours, r.pid, err);
	if (code == 0)
		*ret = r;
	return code;
}

/* does the terminal send its signals to the program too? */
static bool in_this_group(pid_t pid)
{
	return getpgid(pid) == getpgrp();
}

/* Return: true: *ret_wstatus says how it ended */
static bool take_change(const struct restored *r, int *ret_wstatus)
{
	int status;

	while (waitpid(r->pid, &status, WNOHANG | WUNTRACED) > 0) {
		if (!WIFSTOPPED(status)) {
			*ret_wstatus = status;
			return true;
		}
		/* the shell is to see a stopped job */
		kill(getpid(), SIGSTOP);
	}
	return false;
}

static void pass_on(const struct restored *r, const siginfo_t *info)
{
	siginfo_t change = { 0 };

	if (info->si_code == SI_KERNEL && in_this_group(r->pid))
		return;
	/* a shell continues the whole group at once, `kill -CONT` this process alone */
	if (info->si_signo == SIGCONT && waitid(P_PID, (id_t)r->pid, &change, WCONTINUED | WNOHANG) == 0 &&
	    change.si_pid == r->pid)
		return;
	kill(r->pid, info->si_signo);
}

int restored_follow(struct restored *r, struct error *err)
{
	sigset_t set;
	int wstatus;

	followed(&set);
	/* it may have changed before its end was waited for */
	while (!take_change(r, &wstatus)) {
		siginfo_t info;

		if (sigwaitinfo(&set, &info) < 0) {
			if (errno == EINTR)
				continue;
			return error_errno(err, errno, "waiting for the program");
		}
		if (info.si_signo != SIGCHLD)
			pass_on(r, &info);
	}
	return wstatus;
}
