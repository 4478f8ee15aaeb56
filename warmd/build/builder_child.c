/* SPDX-License-Identifier: MIT */
#include "warmd/build/builder_child.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "engine/base/fd.h"
#include "engine/base/scheduling.h"
#include "warmd/stale/keys.h"

static int open_pair(int pair[2], int i, int *inner, int *outer)
{
	/* standard input reads, the others write */
	*inner = i == 0 ? pair[0] : pair[1];
	*outer = i == 0 ? pair[1] : pair[0];
	return 0;
}

static int open_terminal(const struct request *req, struct builder_stdio *s)
{
	struct winsize size = { .ws_row = req->run.rows, .ws_col = req->run.columns };
	struct stat st;
	int master, slave;

	if (openpty(&master, &slave, NULL, NULL, &size) < 0)
		return -errno;
	if (req->run.termios_size == WIRE_TERMIOS_SIZE)
		ioctl(slave, TCSETS, req->run.termios);
	if (fstat(slave, &st) == 0)
		s->terminal_device = st.st_rdev;
	fcntl(master, F_SETFD, FD_CLOEXEC);
	fcntl(slave, F_SETFD, FD_CLOEXEC);
	for (int i = 0; i < 3; i++)
		if (req->run.stdio[i] == WIRE_STDIO_TTY)
			s->inner[i] = fcntl(slave, F_DUPFD_CLOEXEC, 3);
	close(slave);
	for (int i = 0; i < 3; i++) {
		if (req->run.stdio[i] == WIRE_STDIO_TTY) {
			s->outer[i] = master;
			s->terminal = i;
			return 0;
		}
	}
	close(master);
	return 0;
}

static int open_one(const struct request *req, struct builder_stdio *s, int i)
{
	int pair[2];

	switch (req->run.stdio[i]) {
	case WIRE_STDIO_CLOSED:
	case WIRE_STDIO_TTY:
		return 0;
	case WIRE_STDIO_PIPE:
		if (pipe2(pair, O_CLOEXEC) < 0)
			return -errno;
		/* nobody reads it: room for all that is kept (OBSERVE_OUTPUT_MAX) in many small writes; less where it is not allowed */
		if (i > 0)
			fcntl(pair[1], F_SETPIPE_SZ, 1 << 20);
		return open_pair(pair, i, &s->inner[i], &s->outer[i]);
	case WIRE_STDIO_SOCKET:
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
			return -errno;
		return open_pair(pair, i, &s->inner[i], &s->outer[i]);
	case WIRE_STDIO_FILE:
		s->inner[i] = memfd_create("warm-stdio", MFD_CLOEXEC);
		break;
	default:
		s->inner[i] = open("/dev/null", (i == 0 ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
	}
	return s->inner[i] < 0 ? -errno : 0;
}

int builder_stdio_open(const struct request *req, struct builder_stdio *ret, struct error *err)
{
	struct builder_stdio s = { { -EBADF, -EBADF, -EBADF }, { -EBADF, -EBADF, -EBADF }, -1, 0 };
	int r = open_terminal(req, &s);

	for (int i = 0; i < 3 && r == 0; i++)
		r = open_one(req, &s, i);
	if (r < 0) {
		builder_stdio_close(&s);
		return error_errno(err, r, "making stand-ins for standard descriptors");
	}
	*ret = s;
	return 0;
}

void builder_stdio_close(struct builder_stdio *s)
{
	for (int i = 0; i < 3; i++) {
		s->inner[i] = fd_close(s->inner[i]);
		s->outer[i] = fd_close(s->outer[i]);
	}
}

static int fail(const char *what)
{
	/* read by nobody but a person who debugs: the tracer sees the exit */
	fprintf(stderr, "warmd: build: %s: %s\n", what, strerror(errno));
	return 125;
}

static int set_limits(const struct request *req)
{
	for (int i = 0; i < WIRE_RLIMITS; i++) {
		struct rlimit want = { req->run.rlimits[i][0], req->run.rlimits[i][1] }, have;

		if (getrlimit((__rlimit_resource_t)i, &have) < 0 ||
		    (have.rlim_cur == want.rlim_cur && have.rlim_max == want.rlim_max))
			continue;
		if (setrlimit((__rlimit_resource_t)i, &want) == 0)
			continue;
		/* a harder limit of ours stays; a launch whose program read it will not match */
		if (want.rlim_cur > have.rlim_max)
			want.rlim_cur = have.rlim_max;
		want.rlim_max = have.rlim_max;
		setrlimit((__rlimit_resource_t)i, &want);
	}
	return 0;
}

/* before the limits, which may forbid it. What cannot be set is refused if the program looks at it: builder_ready.c */
static void set_scheduling(const struct wire_run *run)
{
	const struct scheduling *want = &run->scheduling;
	struct sched_param priority = { .sched_priority = want->priority };
	struct scheduling own;

	scheduling_get(&own);
	if (own.policy != want->policy || own.priority != want->priority)
		sched_setscheduler(0, want->policy, &priority);
	if (getpriority(PRIO_PROCESS, 0) != run->nice)
		setpriority(PRIO_PROCESS, 0, run->nice);
	/* where none was set it follows the nice value: block/ioprio.c */
	if (syscall(SYS_ioprio_get, 1 /* IOPRIO_WHO_PROCESS */, 0) != want->ioprio)
		syscall(SYS_ioprio_set, 1, 0, want->ioprio);
}

static void set_signals(const struct request *req)
{
	sigset_t blocked;

	for (int i = 1; i <= 64; i++) {
		if (i == SIGKILL || i == SIGSTOP || i == 32 || i == 33)
			continue;
		signal(i, req->run.ignored_signals >> (i - 1) & 1 ? SIG_IGN : SIG_DFL);
	}
	sigemptyset(&blocked);
	for (int i = 1; i <= 64; i++)
		if (req->run.blocked_signals >> (i - 1) & 1)
			sigaddset(&blocked, i);
	sigprocmask(SIG_SETMASK, &blocked, NULL);
}

/* what a program may read of it: how many processors it has, and what uname(2) says */
static void set_placement(const struct wire_run *run)
{
	struct scheduling own;
	int had = personality(0xffffffff), want;

	scheduling_get(&own);
	if (own.affinity != run->scheduling.affinity)
		syscall(SYS_sched_setaffinity, 0, sizeof(run->scheduling.cpus), run->scheduling.cpus);
	/* where memory lies is warmd's: clones of several launches have it */
	want = (int)(run->personality & ~TEMPLATE_LAYOUT_ONLY) | (had & (int)TEMPLATE_LAYOUT_ONLY);
	if (had >= 0 && want != had)
		personality((unsigned long)want);
}

/* what the caller has open keeps its numbers from the program; nothing of it can be read or written here */
static int occupy_inherited(const struct request *req)
{
	for (int n = 3; n < 256; n++) {
		_cleanup_close_ int fd = -EBADF;

		/* beyond warmd's own limit the program can make none either */
		if (!request_inherits(req, n) || n >= sysconf(_SC_OPEN_MAX))
			continue;
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		if (fd == n)
			fcntl(TAKE_FD(fd), F_SETFD, 0);
		else if (dup2(fd, n) < 0)
			return -errno;
	}
	return 0;
}

static int place_descriptors(struct builder_child *c)
{
	int high[4], above = c->warm_inner;

	/* out of the way first: a stand-in may sit on the number of another. No higher than it takes: see ulimit -n */
	for (int i = 0; i < 3; i++)
		above = c->stdio.inner[i] > above ? c->stdio.inner[i] : above;
	for (int i = 0; i < 4; i++) {
		int from = i < 3 ? c->stdio.inner[i] : c->warm_inner;

		high[i] = from < 0 ? -EBADF : fcntl(from, F_DUPFD_CLOEXEC, above + 1);
		if (from >= 0 && high[i] < 0)
			return -errno;
	}
	for (int i = 0; i < 3; i++) {
		if (high[i] < 0)
			close(i);
		else if (dup2(high[i], i) < 0)
			return -errno;
	}
	if (high[3] >= 0 && dup2(high[3], c->warm_fd) < 0)
		return -errno;
	syscall(SYS_close_range, 3, (unsigned int)c->warm_fd - 1, 0);
	syscall(SYS_close_range, (unsigned int)c->warm_fd + 1, ~0u, 0);
	return occupy_inherited(c->req);
}

static char **make_environment(const struct builder_child *c)
{
	size_t n = c->req->run.envc;
	static char announce[32];
	char **env;

	if (!c->announce)
		return c->req->envp;
	env = calloc(n + 2, sizeof(*env));
	if (!env)
		return NULL;
	memcpy(env, c->req->envp, n * sizeof(*env));
	snprintf(announce, sizeof(announce), "WARM_FD=%d", c->warm_fd);
	env[n] = announce;
	return env;
}

/* execvp(3) with the request's PATH, each attempt seen by the tracer */
static void execute(const struct request *req, char **env)
{
	const char *path = request_getenv(req, "PATH", 4);
	const char *file = req->argv[0];
	char full[4352];
	int saved = ENOENT;

	if (strchr(file, '/')) {
		execve(file, req->argv, env);
		return;
	}
	/* what execvp of musl, the launcher's libc, has for no PATH */
	if (!path)
		path = "/usr/local/bin:/bin:/usr/bin";
	while (path) {
		const char *end = strchrnul(path, ':');
		int len = (int)(end - path);

		if (snprintf(full, sizeof(full), "%.*s%s%s", len, path, len ? "/" : "", file) <
		    (int)sizeof(full)) {
			execve(full, req->argv, env);
			if (errno == EACCES)
				saved = EACCES;
			else if (errno != ENOENT && errno != ENOTDIR)
				return;
		}
		path = *end ? end + 1 : NULL;
	}
	errno = saved;
}

void builder_child_session(const struct builder_child *c)
{
	/* signals to warmd's group, and its terminal if it has one, are not the program's */
	setsid();
	if (c->stdio.terminal >= 0)
		ioctl(c->stdio.inner[c->stdio.terminal], TIOCSCTTY, 0);
}

/* as a shell with job control starts programs: a group of its own, in the terminal's foreground */
static void begin_job(int terminal)
{
	sigset_t stop, before;

	setpgid(0, 0);
	sigemptyset(&stop);
	sigaddset(&stop, SIGTTOU); /* tcsetpgrp(3): it is in the background until then */
	sigprocmask(SIG_BLOCK, &stop, &before);
	tcsetpgrp(terminal, getpid());
	sigprocmask(SIG_SETMASK, &before, NULL);
}

int builder_child_start(void *child)
{
	struct builder_child *c = child;
	char **env = make_environment(c);

	if (c->stdio.terminal >= 0)
		begin_job(c->stdio.inner[c->stdio.terminal]);
	if (!env || place_descriptors(c) < 0)
		return fail("descriptors");
	if (chdir(c->req->cwd) < 0)
		return fail(c->req->cwd);
	umask(c->req->run.umask);
	set_scheduling(&c->req->run);
	set_placement(&c->req->run);
	set_limits(c->req);
	set_signals(c->req);
	execute(c->req, env);
	return errno == ENOENT ? 127 : 126;
}
