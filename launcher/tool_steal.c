/* SPDX-License-Identifier: MIT */
/* tool_steal.c - `warm attach --steal`: engine/steal/steal.h takes the process, pty/relay.h shows it here */
#include "launcher/follow.h"
#include "launcher/tool.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "engine/base/fd.h"
#include "engine/base/pidfd.h"
#include "engine/steal/steal.h"
#include "pty/relay.h"

struct show {
	struct relay *relay;
	struct steal_guard guard;
	int signals, pidfd;
	int master, number; /* the relay's descriptor, and which pty it is */
	bool ended;
	int wstatus; /* how it, or we, ended */
};

static const int watched[] = { SIGCHLD, SIGWINCH, SIGCONT, SIGTSTP, SIGINT, SIGTERM, SIGHUP, SIGQUIT };

/* from the very beginning: nothing but SIGKILL can end us while a process runs with foreign registers */
static int open_signals(struct error *err)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(watched); i++)
		sigaddset(&set, watched[i]);
	/* ignored ones would not come: a shell's background jobs have some, and a parent may have any */
	signal(SIGCHLD, SIG_DFL);
	signal(SIGTSTP, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? error_errno(err, errno, "signalfd") : fd;
}

/* our job stops, so that the shell prompts; returns when it goes on, or at once where nobody could continue it */
static void stop_ourselves(struct show *s)
{
	sigset_t set;

	relay_suspend(s->relay);
	sigemptyset(&set);
	sigaddset(&set, SIGTSTP);
	kill(0, SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	sigprocmask(SIG_BLOCK, &set, NULL);
	relay_resume(s->relay);
}

static void look(struct show *s)
{
	switch (steal_guard_look(&s->guard)) {
	case STEAL_STOPPED:
		stop_ourselves(s);
		steal_guard_continue(&s->guard);
		break;
	case STEAL_ENDED:
		s->ended = true;
		s->wstatus = s->guard.wstatus;
		break;
	default:
		break;
	}
}

static void take_signals(struct show *s)
{
	struct signalfd_siginfo info;

	while (!s->ended && read(s->signals, &info, sizeof(info)) == sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGCHLD:
			break;
		case SIGWINCH:
			relay_resize(s->relay);
			break;
		case SIGCONT:
			relay_resume(s->relay);
			break;
		case SIGTSTP:
			stop_ourselves(s);
			break;
		default:
			s->ended = true;
			s->wstatus = (int)info.ssi_signo;
			return;
		}
	}
	if (!s->ended)
		look(s);
}

/* its end, seen by the pidfd: how, where that can be learned */
static void take_end(struct show *s)
{
	look(s);
	if (s->ended)
		return;
	s->ended = true;
	if (pidfd_exit_status(s->pidfd, &s->wstatus) < 0 &&
	    pidfd_zombie_status(s->pidfd, s->guard.pid, &s->wstatus) < 0)
		s->wstatus = 0;
}

static int pty_number(int master)
{
	unsigned int n;

	return ioctl(master, TIOCGPTN, &n) < 0 ? -1 : (int)n;
}

static int show(struct show *s, struct error *err)
{
	bool drain = true;

	while (!s->ended) {
		struct pollfd p[RELAY_FDS + 2];
		int timeout = -1;
		size_t n = relay_poll(s->relay, p, &timeout);

		p[n] = (struct pollfd){ .fd = s->signals, .events = POLLIN };
		p[n + 1] = (struct pollfd){ .fd = s->pidfd, .events = POLLIN };
		if (poll(p, n + 2, timeout) < 0 && errno != EINTR)
			return error_errno(err, errno, "poll");
		switch (relay_handle(s->relay, p)) {
		case RELAY_HANGUP:
			s->ended = true;
			s->wstatus = SIGHUP;
			drain = false;
			break;
		case RELAY_END:
			/* another warm has taken it on: there is nothing left to show here */
			if (pty_number(s->master) != s->number)
				s->ended = true;
			break;
		case RELAY_ERROR:
			return error_set(err, EIO, "the terminal cannot be used any more");
		default:
			break;
		}
		if (!s->ended && p[n].revents)
			take_signals(s);
		if (!s->ended && p[n + 1].revents)
			take_end(s);
	}
	if (drain)
		relay_drain(s->relay);
	return 0;
}

static int follow(const struct steal *st, int master, pid_t pid, int signals, struct error *err)
{
	struct show s = {
		.signals = signals,
		.pidfd = pidfd_open_process(pid),
		.master = master,
		.number = pty_number(master),
	};
	const struct relay_options options = {
		.tty = STDIN_FILENO, .master = master, .wake = -EBADF, .active = true
	};
	pid_t group;
	int r;

	steal_guard_begin(&s.guard, st, pid);
	r = s.pidfd < 0 ? error_errno(err, s.pidfd, "process %d (pidfd_open)", pid)
			: relay_open(&s.relay, &options, err);
	if (r < 0) {
		fd_close(master);
	} else {
		/* the foreground draws itself anew, also where the size is the same */
		if (ioctl(master, TIOCGPGRP, &group) == 0 && group > 1)
			kill(-group, SIGWINCH);
		r = show(&s, err);
	}
	/* first, because the end of the terminal is the end of the process, which is not to wait for us */
	steal_guard_end(&s.guard);
	relay_close(s.relay);
	fd_close(s.pidfd);
	return r < 0 ? r : follow_exit(s.wstatus);
}

static int steal(pid_t pid, int signals, struct error *err)
{
	struct winsize size = { 0 };
	struct steal st;
	pid_t leader;
	int master, r;

	if (!isatty(STDIN_FILENO) || ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0)
		return error_set(err, ENOTTY, "standard input is not a terminal");
	if (tcgetpgrp(STDIN_FILENO) != getpgrp())
		return error_set(err, EINVAL,
				 "in the background there is no terminal to take it to: run it with 'fg'");
	r = steal_find(&st, pid, err);
	if (r < 0)
		return r;
	r = steal_take(&st, &size, &master, &leader, err);
	if (r == 0) {
		if (st.note[0])
			fprintf(stderr, "warm: %s\n", st.note);
		r = follow(&st, master, leader, signals, err);
	}
	steal_done(&st);
	return r;
}

static int run(const struct tool_command *self, int argc, char **argv)
{
	bool wanted = false;
	const struct tool_option options[] = { { "--steal", .flag = &wanted }, { 0 } };
	struct error err = { 0 };
	struct tool_args args;
	int r = tool_options(self, options, TOOL_OPERANDS_FREE, argc, argv, &args), signals;
	char *end;
	long pid;

	if (r >= 0)
		return r;
	if (!wanted)
		return tool_usage(self, "without --steal, '%s' is done by warm itself, not by warm-tool",
				  self->name);
	if (args.argc != 1)
		return tool_usage(self, "%s", args.argc ? "one PID at a time" : "whom? no PID was given");
	errno = 0;
	pid = strtol(args.argv[0], &end, 10);
	if (errno || *end || end == args.argv[0] || pid <= 0 || pid > INT32_MAX)
		return tool_usage(self, "'%s' is no PID", args.argv[0]);
	signals = open_signals(&err);
	r = signals < 0 ? signals : steal((pid_t)pid, signals, &err);
	return r < 0 ? tool_fail(&err) : r;
}

const struct tool_command tool_attach = {
	.name = "attach",
	.run = run,
	.operands = "[--view] [--detach-keys KEYS] PID, or: warm attach --steal PID",
	.summary = "come to the terminal of a clone; or take any process to this one",
	.details =
		"Comes to the terminal of a clone (warm ps lists them): what it has printed is shown again, and\n"
		"what is typed here is typed there. The clone gets this terminal's size. It is left, and goes on,\n"
		"by the detach keys, by closing this terminal, or by ending this process. While somebody is\n"
		"attached already, others only look on. The exit status is the clone's if it ends meanwhile.\n"
		"\n"
		"  --view   only look on; Ctrl-C leaves\n"
		"  --detach-keys KEYS  \"ctrl-\\\\,ctrl-d\" unless $WARM_DETACH_KEYS says otherwise; \"\": none\n"
		"  --steal  take PID, any process that runs in another terminal, to this one\n"
		"\n"
		"A process that is alone in its job (not its session's leader, without children in its\n"
		"session, not the first of a pipeline) leaves its session and gets a new terminal here; its old\n"
		"shell sees the job stop, and prompts. For any other process the whole terminal is taken,\n"
		"with every process on it: the old window sees its session end, and sessions, jobs and Ctrl-Z\n"
		"in here are those of before. If the terminal cannot be reached (an sshd of another\n"
		"user), a process whose children do not use it is taken alone; any other is refused.\n"
		"\n"
		"Such a process has no detach keys: closing this terminal hangs it up, as any terminal. Ctrl-Z that stops\n"
		"a process taken alone stops warm too, and fg continues both. The exit status is the\n"
		"process's; of a whole terminal, that of its session's leader.\n"
		"\n"
		"It needs permission to trace: of the same user, and Yama's ptrace_scope 0, or root. What is\n"
		"in the way is named, with what to change.\n"
		"\n"
		"Examples:\n"
		"  warm attach $(warm launch -d editor notes.txt)\n"
		"  warm attach --steal $(pgrep vim)\n",
};
