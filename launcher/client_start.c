/* SPDX-License-Identifier: MIT */
/*
 * client_start.c - starting warmd, once, and knowing when it listens.
 *
 * The daemon's readiness is an event: one byte on a pipe (see WIRE_READY_ENV).
 * Only one who lost the race for the lock file has no such event, since the winner
 * was started by somebody else: it asks again every few milliseconds, for a
 * bounded time, and then starts once more, which covers a warmd that was on its way out.
 */
#include "launcher/client.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/limits.h"

#define START_READY_FD 3 /* WARMD_READY_FD in the daemon */
#define START_MAX_ENV  4096 /* environment entries handed to the daemon */
#define START_TRIES    3
#define START_STEP_MS  5 /* between two questions after a lost race */
#define START_LOST_MS  250 /* how long the winner of a race gets before another try */

extern char **environ;

/* appends @text. Return: its end, or NULL when it does not fit */
static char *append(char *at, const char *end, const char *text, size_t len)
{
	if (!at || len + 1 > (size_t)(end - at))
		return NULL;
	memcpy(at, text, len);
	at[len] = '\0';
	return at + len;
}

/* a regular file that may be executed: what execve(2) would take */
static int is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* DIR[0, dir_len) + middle + name. Return: 1 if a program is there */
static int try_path(char *path, size_t size, const char *dir, size_t dir_len, const char *middle,
		    const char *name)
{
	const char *end = path + size;
	char *at = append(path, end, dir, dir_len);

	at = append(at, end, middle, strlen(middle));
	at = append(at, end, name, strlen(name));
	return at && is_program(path);
}

int client_find(const char *name, char *path, size_t size)
{
	const char *search = getenv("PATH");
	char self[PATH_MAX];
	ssize_t n;

	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n > 0) {
		size_t dir;

		self[n] = '\0';
		dir = (size_t)(strrchr(self, '/') - self);
		if (try_path(path, size, self, dir, "/", name) ||
		    try_path(path, size, self, dir, "/../libexec/warm/", name))
			return 0;
	}
	while (search && *search) {
		size_t len = strcspn(search, ":");

		/* an empty or relative entry would run whatever lies in the current directory */
		if (*search == '/' && try_path(path, size, search, len, "/", name))
			return 0;
		search += len + (search[len] == ':');
	}
	return -ENOENT;
}

static void reset_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig <= 64; sig++)
		signal(sig, SIG_DFL); /* those that cannot be set fail, and need not be */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void close_from(unsigned int first)
{
	if (syscall(SYS_close_range, first, ~0u, 0) == 0)
		return;
	for (int fd = (int)first; fd < 65536; fd++) /* before Linux 5.9, or forbidden by seccomp */
		close(fd);
}

static int is_variable(const char *entry, const char *name)
{
	size_t len = strlen(name);

	return strncmp(entry, name, len) == 0 && entry[len] == '=';
}

/*
 * The daemon serves others too, and outlives whoever happened to start it: what was set for that one alone goes, as far as
 * the kernel lets it. (A nice value and hard limits can only be put back with privilege; seccomp, no_new_privs, namespaces,
 * the control group and lost capabilities cannot be.)
 */
static void reset_process(void)
{
	const struct sched_param normal = { 0 };
	unsigned char all[1024]; /* 8192 processors: the largest CONFIG_NR_CPUS */
	int fd;

	limits_raise();
	umask(077);
	/* the class first: what is idle or real-time takes no nice value. Bit 30: SCHED_RESET_ON_FORK */
	syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, &normal);
	setpriority(PRIO_PROCESS, 0, 0);
	memset(all, 0xff, sizeof(all));
	syscall(SYS_sched_setaffinity, 0, sizeof(all), all);
	syscall(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, 0);
	personality(PER_LINUX);
	prctl(PR_SET_TIMERSLACK, 50000, 0, 0, 0); /* ns: init_task's */
	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (write(fd, "0", 1) < 0)
			errno = 0; /* it was raised by somebody with privilege, and stays */
		close(fd);
	}
}

/* would it change how the daemon is loaded or allocates, for the sake of the program that it was meant for? */
static int is_for_the_loader(const char *entry)
{
	static const char *const names[] = { "LD_PRELOAD=",	 "LD_AUDIT=",	"LD_DEBUG=",
					     "LD_DEBUG_OUTPUT=", "LD_PROFILE=", "LD_BIND_NOW=",
					     "GLIBC_TUNABLES=",	 "MALLOC_" };

	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(entry, names[i], strlen(names[i])) == 0)
			return 1;
	return 0;
}

/* words of a failure, to whoever waits at the other end of the pipe */
static void __attribute__((noreturn)) give_up(int fd, const char *what, int error)
{
	struct error words;

	error_errno(&words, error, "%s", what);
	if (write(fd, words.text, strlen(words.text)) < 0)
		_exit(126);
	_exit(127);
}

/* Runs in the grandchild. @path is warmd, @dir_env is "WARM_RUNTIME_DIR=..." */
static void __attribute__((noreturn)) exec_daemon(const char *path, char *dir_env, int ready_fd)
{
	static char ready_env[] = WIRE_READY_ENV "=3";
	char *envp[START_MAX_ENV + 3];
	char *argv[] = { (char *)"warmd", NULL };
	size_t n = 0;
	int fd;

	/* the pipe may be 0, 1 or 2 when the caller's were closed: away from there first */
	ready_fd = fcntl(ready_fd, F_DUPFD_CLOEXEC, START_READY_FD + 1);
	if (ready_fd < 0)
		_exit(127);
	fd = open("/dev/null", O_RDWR);
	if (fd < 0)
		give_up(ready_fd, "cannot open /dev/null", errno);
	for (int i = 0; i < 3; i++) {
		if (fd != i && dup2(fd, i) < 0)
			give_up(ready_fd, "cannot set up descriptors", errno);
	}
	if (dup2(ready_fd, START_READY_FD) < 0)
		give_up(ready_fd, "cannot set up descriptors", errno);
	close_from(START_READY_FD + 1);
	reset_signals();
	reset_process();
	if (chdir("/") < 0)
		give_up(START_READY_FD, "cannot change to /", errno);
	for (char **e = environ; e && *e && n < START_MAX_ENV; e++) {
		if (!is_variable(*e, "WARM_RUNTIME_DIR") && !is_variable(*e, WIRE_READY_ENV) &&
		    !is_variable(*e, "LISTEN_FDS") && !is_variable(*e, "LISTEN_PID") &&
		    !is_for_the_loader(*e))
			envp[n++] = *e;
	}
	envp[n++] = dir_env;
	envp[n++] = ready_env;
	envp[n] = NULL;
	execve(path, argv, envp);
	give_up(START_READY_FD, path, errno);
}

/* Return: 0 with *ret_ready the pipe's read end, or a negative errno */
static int spawn_daemon(const struct runtime_dir *dir, int *ret_ready, struct error *err)
{
	char dir_env[RUNTIME_DIR_MAX + sizeof("WARM_RUNTIME_DIR=")] = "WARM_RUNTIME_DIR=";
	char path[PATH_MAX];
	int ready[2];
	pid_t child;

	if (client_find("warmd", path, sizeof(path)) < 0)
		return error_set(err, ENOENT,
				 "cannot find warmd beside this program, in ../libexec/warm or on PATH");
	strcat(dir_env, dir->path);
	if (pipe2(ready, O_CLOEXEC) < 0)
		return error_errno(err, errno, "cannot make a pipe");
	child = fork();
	if (child == 0) {
		/* a session of its own, and not its leader: no terminal can come to it */
		setsid();
		child = fork();
		if (child != 0)
			_exit(child < 0);
		exec_daemon(path, dir_env, ready[1]);
	}
	close(ready[1]);
	if (child < 0) {
		int error = errno;

		close(ready[0]);
		return error_errno(err, error, "cannot start a process for warmd");
	}
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	*ret_ready = ready[0];
	return 0;
}

/* Return: 1 it listens, 0 it went in silence (another holds the lock), or a negative errno */
static int wait_ready(int fd, uint64_t deadline, struct error *err)
{
	char words[400];
	size_t len = 0;

	for (;;) {
		uint64_t now = clock_ms();
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n;
		int r;

		r = poll(&p, 1, now < deadline ? (int)(deadline - now) : 0);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return error_errno(err, errno, "cannot wait for warmd");
		if (r == 0)
			return error_set(err, ETIMEDOUT, "warmd was started, but does not listen yet");
		n = read(fd, words + len, sizeof(words) - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno, "cannot wait for warmd");
		len += (size_t)n;
		if (len == 1) /* one byte, whether or not the pipe is closed behind it */
			return 1;
		if (n == 0 || len == sizeof(words) - 1)
			break;
	}
	if (len == 0)
		return 0;
	while (len > 0 && (words[len - 1] == '\n' || words[len - 1] == '\0'))
		len--;
	words[len] = '\0';
	return error_set(err, ECANCELED, "warmd does not start: %s", words);
}

static unsigned int time_left(uint64_t deadline)
{
	uint64_t now = clock_ms();

	return now < deadline ? (unsigned int)(deadline - now) : 1;
}

/* another warmd has the lock: ask until it listens */
static int connect_other(const struct runtime_dir *dir, uint64_t deadline, struct error *err)
{
	uint64_t until = clock_ms() + START_LOST_MS;

	if (until > deadline)
		until = deadline;
	for (;;) {
		const struct timespec step = { .tv_nsec = START_STEP_MS * NS_PER_MS };
		int fd = client_connect(dir, time_left(deadline), err);

		if ((fd != -ENOENT && fd != -ECONNREFUSED) || clock_ms() >= until)
			return fd;
		nanosleep(&step, NULL);
	}
}

/* Return: 0, also when it was made meanwhile, by this user */
static int make_dir(const struct runtime_dir *dir, struct error *err)
{
	int fd;

	if (dir->exists)
		return 0;
	fd = runtime_dir_open(dir, 1, err);
	return fd < 0 ? fd : (fd_close(fd), 0);
}

int client_start_daemon(const struct runtime_dir *dir, unsigned int timeout_ms, struct error *err)
{
	uint64_t deadline = clock_ms() + timeout_ms;
	int r;

	r = make_dir(dir, err);
	if (r < 0)
		return r;
	for (int try = 0; try < START_TRIES; try++) {
		int ready;

		r = spawn_daemon(dir, &ready, err);
		if (r < 0)
			return r;
		r = wait_ready(ready, deadline, err);
		close(ready);
		if (r < 0)
			return r;
		r = r == 1 ? client_connect(dir, time_left(deadline), err)
			   : connect_other(dir, deadline, err);
		if ((r != -ENOENT && r != -ECONNREFUSED) || clock_ms() >= deadline)
			return r;
	}
	return error_set(err, ECONNREFUSED, "warmd was started %d times, but does not listen in %s",
			 START_TRIES, dir->path);
}

int client_open(int start, unsigned int timeout_ms, struct error *err)
{
	struct runtime_dir dir;
	int r;

	r = runtime_dir_find(&dir, err);
	if (r < 0)
		return r;
	r = client_connect(&dir, timeout_ms, err);
	if (!start || (r != -ENOENT && r != -ECONNREFUSED))
		return r;
	return client_start_daemon(&dir, timeout_ms, err);
}
