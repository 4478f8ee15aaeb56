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
#include <sys/signalfd.h>
#include <sys/syscall.h>

#include "engine/base/fd.h"
#include "engine/base/pidfd.h"
#include "engine/base/proc_path.h"
#include "launcher/client.h"

#define REAPED_MS 10000 /* for init, or a subreaper, to do it: some are slow */

static const int passed_on[] = { SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGUSR1,
				 SIGUSR2, SIGTSTP, SIGCONT, SIGWINCH };
#define PASSED_ON (sizeof(passed_on) / sizeof(passed_on[0]))

int follow_begin(struct follow *f, uint64_t ignored, struct error *err)
{
	sigset_t set;

	*f = (struct follow){ .conn = -EBADF, .pidfd = -EBADF, .terminal = TERMINAL_NONE };
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
	terminal_close(&f->terminal, false);
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
	int fd = proc_open(pid, O_RDONLY, "status");
	const char *line;
	char text[4096];
	ssize_t n = -1;

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

/* the clone has no terminal of its own */
static void pass_on(const struct follow *f, const struct signalfd_siginfo *info)
{
	/* si_code SI_KERNEL: the terminal; WINCH and CONT concern the whole group anyway */
	bool group = info->ssi_code == SI_KERNEL || info->ssi_signo == SIGCONT;
	int sig = (int)info->ssi_signo;

	if (sig == SIGTSTP && stops_by_default(f->pid))
		sig = SIGSTOP;
	pidfd_kill(f->pidfd, f->pid, sig, group);
	/* the shell is to see a stopped job; SIGCONT wakes us, and is passed on in the next round */
	if (info->ssi_signo == SIGTSTP)
		kill(getpid(), SIGSTOP);
}

/* it has one: that sends Ctrl-C and such itself, and its session's leader says when it stops */
static void pass_on_terminal(struct follow *f, const struct signalfd_siginfo *info)
{
	int sig = (int)info->ssi_signo;

	if (sig == SIGCONT) {
		terminal_continued(&f->terminal);
		return;
	}
	if (sig == SIGWINCH) {
		relay_resize(f->terminal.relay);
		/* the kernel tells its foreground alone */
		if (relay_is_active(f->terminal.relay))
			return;
	}
	pidfd_kill(f->pidfd, f->pid, sig, info->ssi_code == SI_KERNEL || sig == SIGTSTP);
}

/* Return: 0, or a signal that ends this process */
static int take_signals(struct follow *f)
{
	struct signalfd_siginfo info;

	while (read(f->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		int sig = (int)info.ssi_signo;

		if (f->attached && (sig == SIGINT || sig == SIGTERM || sig == SIGHUP || sig == SIGQUIT))
			return sig;
		if (f->terminal.relay)
			pass_on_terminal(f, &info);
		else
			pass_on(f, &info);
	}
	return 0;
}

/* the daemon is gone, and the clone has ended: Return: 0 or -ECONNRESET */
static int status_of_orphan(const struct follow *f, int *ret_wstatus, struct error *err)
{
	struct pollfd p = { f->pidfd, 0, 0 };

	if (pidfd_zombie_status(f->pidfd, f->pid, ret_wstatus) == 0)
		return 0;
	/* how it ended is told once its new parent has reaped it: POLLHUP, Linux 6.9 */
	poll(&p, 1, REAPED_MS);
	if (pidfd_exit_status(f->pidfd, ret_wstatus) < 0)
		return error_set(err, ECONNRESET,
				 "process %d has ended, but warmd died before it could tell how",
				 (int)f->pid);
	return 0;
}

/* Return: FOLLOW_ENDED; 1: not yet; -ECONNRESET */
static int take_end(struct follow *f, int *ret_wstatus, struct error *err)
{
	struct wire_exited end;

	if (f->conn < 0)
		return status_of_orphan(f, ret_wstatus, err);
	/* the daemon is gone: its clones go on */
	if (client_receive(f->conn, &end, sizeof(end), WIRE_EXITED, 1000, NULL, err) != sizeof(end)) {
		f->conn = -EBADF;
		return 1;
	}
	*ret_wstatus = end.wstatus;
	return (pid_t)end.pid == f->pid ? FOLLOW_ENDED : 1;
}

int follow_clone(struct follow *f, int *ret_wstatus, struct error *err)
{
	struct pollfd p[2 + TERMINAL_FDS];
	enum relay_result result;

	for (;;) {
		int timeout = -1, n, r;
		size_t terminal;

		p[0] = (struct pollfd){ f->conn >= 0 ? f->conn : f->pidfd, POLLIN, 0 };
		p[1] = (struct pollfd){ f->signal_fd, POLLIN, 0 };
		terminal = terminal_poll(&f->terminal, p + 2, &timeout);
		n = poll(p, 2 + terminal, timeout);
		if (n < 0 && errno != EINTR)
			return error_errno(err, errno, "poll");
		if (n < 0)
			continue;
		result = terminal_handle(&f->terminal, p + 2);
		if (result != RELAY_OK)
			return result == RELAY_DETACH ? FOLLOW_LEFT : FOLLOW_HANGUP;
		if (p[1].revents) {
			*ret_wstatus = take_signals(f);
			if (*ret_wstatus)
				return FOLLOW_SIGNAL;
		}
		if (!p[0].revents)
			continue;
		r = take_end(f, ret_wstatus, err);
		if (r == FOLLOW_ENDED)
			terminal_close(&f->terminal, true);
		if (r != 1)
			return r;
	}
}
