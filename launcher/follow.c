/* SPDX-License-Identifier: MIT */
#include "launcher/follow.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "engine/base/fd.h"
#include "engine/base/pidfd.h"
#include "launcher/client.h"

#define REAPED_MS 10000 /* for init, or a subreaper, to do it: some are slow */

static const int passed_on[] = { SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGUSR1,
				 SIGUSR2, SIGTSTP, SIGCONT, SIGWINCH };
#define PASSED_ON (sizeof(passed_on) / sizeof(passed_on[0]))

int follow_begin(struct follow *f, uint64_t ignored, struct error *err)
{
	sigset_t set;

	sigemptyset(&set);
	for (unsigned int i = 0; i < PASSED_ON; i++)
		if (!(ignored >> (passed_on[i] - 1) & 1))
			sigaddset(&set, passed_on[i]);
	/* an ignored signal that is blocked would become pending */
	sigprocmask(SIG_BLOCK, &set, &f->before);
	f->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (f->signal_fd < 0) {
		int code = errno;

		sigprocmask(SIG_SETMASK, &f->before, NULL);
		return error_errno(err, code, "cannot wait for signals (signalfd)");
	}
	return 0;
}

void follow_end(struct follow *f)
{
	if (f->signal_fd < 0)
		return;
	close(f->signal_fd);
	f->signal_fd = -EBADF;
	sigprocmask(SIG_SETMASK, &f->before, NULL);
}

/*
 * Has the process the default action for SIGTSTP? A clone's parent is in another session, so its group counts as
 * orphaned, and the kernel takes that signal for nothing there (kernel/signal.c: is_current_pgrp_orphaned()).
 */
static bool stops_by_default(pid_t pid)
{
	static const char *const sets[] = { "SigBlk:", "SigIgn:", "SigCgt:" };
	char path[32], text[4096];
	const char *line;
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		n = read(fd, text, sizeof(text) - 1);
	fd_close(fd);
	text[n > 0 ? n : 0] = '\0';
	for (unsigned int i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		line = strstr(text, sets[i]);
		if (!line || strtoull(line + strlen(sets[i]), NULL, 16) >> (SIGTSTP - 1) & 1)
			return false;
	}
	return true;
}

static void pass_on(const struct follow *f, pid_t pid, int pidfd)
{
	struct signalfd_siginfo info;

	while (read(f->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		/* si_code SI_KERNEL: the terminal; WINCH and CONT concern the whole group anyway */
		bool group = info.ssi_code == SI_KERNEL || info.ssi_signo == SIGCONT;
		int sig = (int)info.ssi_signo;

		if (sig == SIGTSTP && stops_by_default(pid))
			sig = SIGSTOP;
		pidfd_kill(pidfd, pid, sig, group);
		/* the shell is to see a stopped job; SIGCONT wakes us, and is passed on in the next round */
		if (info.ssi_signo == SIGTSTP)
			kill(getpid(), SIGSTOP);
	}
}

/* the daemon is gone: its clones go on */
static int wait_alone(const struct follow *f, pid_t pid, int pidfd, int *ret_wstatus, struct error *err)
{
	struct pollfd p[2] = { { pidfd, POLLIN, 0 }, { f->signal_fd, POLLIN, 0 } };

	while (!(p[0].revents & POLLIN)) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return error_errno(err, errno, "poll");
		if (p[1].revents)
			pass_on(f, pid, pidfd);
	}
	if (pidfd_zombie_status(pidfd, pid, ret_wstatus) == 0)
		return 0;
	/* how it ended is told once its new parent has reaped it: POLLHUP, Linux 6.9 */
	p[0].events = 0;
	poll(p, 1, REAPED_MS);
	if (pidfd_exit_status(pidfd, ret_wstatus) < 0)
		return error_set(err, ECONNRESET,
				 "process %d has ended, but warmd died before it could tell how", (int)pid);
	return 0;
}

int follow_clone(struct follow *f, int conn, pid_t pid, int pidfd, int *ret_wstatus, struct error *err)
{
	struct pollfd p[2] = { { conn, POLLIN, 0 }, { f->signal_fd, POLLIN, 0 } };

	for (;;) {
		struct wire_exited end;
		int n = poll(p, 2, -1);

		if (n < 0 && errno != EINTR)
			return error_errno(err, errno, "poll");
		if (n <= 0)
			continue;
		if (p[1].revents)
			pass_on(f, pid, pidfd);
		if (!p[0].revents)
			continue;
		if (client_receive(conn, &end, sizeof(end), WIRE_EXITED, 1000, NULL, err) != sizeof(end))
			return wait_alone(f, pid, pidfd, ret_wstatus, err);
		if ((pid_t)end.pid != pid)
			continue;
		*ret_wstatus = end.wstatus;
		return 0;
	}
}

int follow_exit(int wstatus)
{
	const struct rlimit no_core = { 0, 0 };
	sigset_t set;
	int sig;

	if (WIFEXITED(wstatus))
		return WEXITSTATUS(wstatus);
	sig = WTERMSIG(wstatus);
	/* the core, if any, is the clone's */
	setrlimit(RLIMIT_CORE, &no_core);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	kill(getpid(), sig);
	return 128 + sig;
}
