/* SPDX-License-Identifier: MIT */
/* entry.c - starts something once and reads when it got there: entry.h */
#include "entry.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "warm.h"

#define TIMEOUT_MS 20000 /* a cold import of pandas on a busy machine */

extern char **environ;

static int open_helper(struct clone_entry *e)
{
	posix_spawn_file_actions_t actions;
	int in[2], out[2], r;

	if (pipe2(in, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(out, O_CLOEXEC) < 0) {
		r = -errno;
		close(in[0]);
		close(in[1]);
		return r;
	}
	e->to = in[1];
	e->from = out[0];
	r = -posix_spawn_file_actions_init(&actions);
	if (!r) {
		r = -posix_spawn_file_actions_adddup2(&actions, in[0], 0);
		if (!r)
			r = -posix_spawn_file_actions_adddup2(&actions, out[1], 1);
		if (!r)
			r = -posix_spawn(&e->helper, e->argv[0], &actions, NULL, e->argv, environ);
		posix_spawn_file_actions_destroy(&actions);
	}
	close(in[0]);
	close(out[1]);
	return r;
}

/* the end that programs write to stays open, so that no launch has to make a pipe */
static int open_pipe(struct clone_entry *e)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	e->from = ends[0];
	e->to = ends[1];
	return 0;
}

int entry_open(struct clone_entry *e, char *why, size_t why_size)
{
	int r = e->kind == CLONE_HELPER ? open_helper(e) : open_pipe(e);

	if (r < 0) {
		snprintf(why, why_size, "%s: %s", e->argv[0], strerror(-r));
		return r;
	}
	if (e->kind == CLONE_PARKED || e->kind == CLONE_FORK) {
		r = warm_open(&e->warm, e->socket);
		if (r < 0)
			snprintf(why, why_size, "%s: %s", e->socket, warm_error(NULL));
	}
	return r;
}

/* One line, without its end. 1, or 0 with *why set. */
static int read_line(int fd, char *line, size_t size, char *why, size_t why_size)
{
	size_t n = 0;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int ready = poll(&p, 1, TIMEOUT_MS);
		ssize_t got = ready > 0 ? read(fd, line + n, size - 1 - n) : 0;

		if (got <= 0 || n + (size_t)got == size - 1) {
			snprintf(why, why_size, "%s",
				 ready ? "it said nothing, or too much" : "no answer in time");
			return 0;
		}
		n += (size_t)got;
		if (line[n - 1] == '\n') {
			line[n - 1] = '\0';
			return 1;
		}
	}
}

static int ended_well(int wstatus, char *why, size_t why_size)
{
	if (WIFEXITED(wstatus) && WEXITSTATUS(wstatus) == 0)
		return 1;
	if (WIFSIGNALED(wstatus))
		snprintf(why, why_size, "killed by signal %d", WTERMSIG(wstatus));
	else
		snprintf(why, why_size, "exit status %d", WEXITSTATUS(wstatus));
	return 0;
}

/* "T1", and what has to follow it */
static int take_time(const char *line, const char *rest, uint64_t t0, uint64_t *ret_ns, char *why,
		     size_t why_size)
{
	char *end;
	uint64_t t1 = strtoull(line, &end, 10);

	if (end == line || strcmp(end, rest) != 0 || t1 < t0) {
		snprintf(why, why_size, "it said '%.100s' instead of a time and '%.60s'", line, rest);
		return 0;
	}
	*ret_ns = t1 - t0;
	return 1;
}

static int run_helper(struct clone_entry *e, uint64_t *ret_ns, char *why, size_t why_size)
{
	char line[256], *rest;
	uint64_t t0;

	if (write(e->to, "\n", 1) != 1)
		return -errno;
	/* without an answer the next one would be taken for it */
	if (!read_line(e->from, line, sizeof(line), why, why_size))
		return -EIO;
	t0 = strtoull(line, &rest, 10);
	return take_time(rest, "", t0, ret_ns, why, why_size);
}

static int run_spawn(struct clone_entry *e, const char *tag, uint64_t *ret_ns, char *why, size_t why_size)
{
	posix_spawn_file_actions_t actions;
	char line[256] = "", rest[80] = "", said[128] = "";
	uint64_t t0;
	pid_t pid;
	int r, wstatus, right;

	r = posix_spawn_file_actions_init(&actions);
	if (r)
		return -r;
	r = posix_spawn_file_actions_adddup2(&actions, e->to, 1);
	t0 = clock_now();
	if (!r)
		r = posix_spawn(&pid, e->argv[0], &actions, NULL, e->argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r)
		return -r;
	right = read_line(e->from, line, sizeof(line), said, sizeof(said));
	if (!right)
		kill(pid, SIGKILL);
	waitpid(pid, &wstatus, 0);
	/* a script says its tag and its variable, the empty program says nothing */
	if (strchr(line, ' '))
		snprintf(rest, sizeof(rest), " %s %s", e->argv[e->argc - 1], tag);
	if (!right)
		snprintf(why, why_size, "%s", said);
	return right && ended_well(wstatus, why, why_size) &&
	       take_time(line, rest, t0, ret_ns, why, why_size);
}

/* was @pid among the daemon's children, as they were listed before the launch? */
static bool listed(const char *children, pid_t pid)
{
	char *end;

	for (const char *p = children; *p; p = end) {
		long other = strtol(p, &end, 10);

		if (end == p)
			return false;
		if (other == pid)
			return true;
	}
	return false;
}

/* proc(5): it may leave some out while others end, so it is read twice. Return: 0 or a negative errno */
static int list_children(const char *daemon, char *ret, size_t size)
{
	char path[64];
	int fd;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%s/task/%s/children", daemon, daemon);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, ret, size - 1);
	close(fd);
	if (n < 0 || (size_t)n == size - 1)
		return -EIO;
	ret[n] = '\0';
	return 0;
}

static int run_clone(struct clone_entry *e, const char *tag, uint64_t *ret_ns, char *why, size_t why_size)
{
	struct warm_launch_options o = { .size = sizeof(o),
					 .template_name = e->template_name,
					 .argv = e->argv,
					 .envp = environ,
					 .fds = { -1, e->to, 2 } };
	char line[256], rest[80], children[2][16384];
	pid_t pid;
	uint64_t t0;
	int r, wstatus, right;

	r = list_children(e->daemon, children[0], sizeof(children[0]));
	if (r == 0)
		r = list_children(e->daemon, children[1], sizeof(children[1]));
	if (r < 0) {
		snprintf(why, why_size, "warmd is gone");
		return 0;
	}
	t0 = clock_now();
	r = warm_launch(e->warm, &o, &pid, NULL);
	if (r < 0) {
		snprintf(why, why_size, "warm_launch: %s", warm_error(e->warm));
		return 0;
	}
	right = read_line(e->from, line, sizeof(line), why, why_size);
	if (!right)
		kill(pid, SIGKILL);
	r = warm_wait(e->warm, pid, &wstatus);
	if (r < 0) {
		snprintf(why, why_size, "warm_wait: %s", warm_error(e->warm));
		return 0;
	}
	snprintf(rest, sizeof(rest), " %s %s", tag, tag);
	if (!right || !ended_well(wstatus, why, why_size) ||
	    !take_time(line, rest, t0, ret_ns, why, why_size))
		return 0;
	if ((listed(children[0], pid) || listed(children[1], pid)) == (e->kind == CLONE_PARKED))
		return 1;
	snprintf(why, why_size, "%s",
		 e->kind == CLONE_PARKED ? "no clone was parked" : "a parked clone was there");
	return 0;
}

int entry_run(struct clone_entry *e, unsigned long tag, uint64_t *ret_ns, char *why, size_t why_size)
{
	char text[32];

	if (e->kind == CLONE_HELPER)
		return run_helper(e, ret_ns, why, why_size);
	snprintf(text, sizeof(text), "r%lu", tag);
	if (setenv("CLONE_BENCH", text, 1) < 0)
		return -errno;
	if (e->kind == CLONE_SPAWN)
		return run_spawn(e, text, ret_ns, why, why_size);
	e->argv[e->argc] = text;
	int r = run_clone(e, text, ret_ns, why, why_size);

	e->argv[e->argc] = NULL;
	return r;
}
