/* SPDX-License-Identifier: MIT */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static volatile sig_atomic_t running; /* the child, 0 when there is none */
static volatile sig_atomic_t timed_out;

static void on_alarm(int sig)
{
	(void)sig;
	timed_out = 1;
	if (running > 0)
		kill(running, SIGKILL);
	alarm(1); /* the alarm may have come before posix_spawn told the pid */
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static int open_sink(const char *dir)
{
	char *path;

	if (asprintf(&path, "%s/spawn_bench.XXXXXX", dir) < 0)
		return -ENOMEM;

	int fd = mkostemp(path, O_CLOEXEC);
	int r = fd < 0 ? -errno : fd;

	if (fd >= 0)
		unlink(path);
	free(path);
	return r;
}

int runner_init(struct runner *ret, enum sink sink, unsigned timeout, const char *dir, size_t largest_output)
{
	struct runner r = {
		.sink = sink,
		.timeout = timeout,
		.out_fd = -EBADF,
		.err_fd = -EBADF,
		.room = largest_output + 4096, /* more than is right, to see what came instead */
	};
	struct sigaction sa = { .sa_handler = on_alarm }; /* no SA_RESTART: read and waitpid end */
	int error = 0;

	if (sigaction(SIGALRM, &sa, NULL) < 0)
		return -errno;
	r.null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (r.null_fd < 0)
		return -errno;
	r.buffer = malloc(r.room);
	if (!r.buffer)
		error = -ENOMEM;
	if (!error && (r.err_fd = open_sink(dir)) < 0)
		error = r.err_fd;
	if (!error && sink == SINK_FILE && (r.out_fd = open_sink(dir)) < 0)
		error = r.out_fd;
	if (error) {
		runner_done(&r);
		return error;
	}
	*ret = r;
	return 0;
}

void runner_done(struct runner *r)
{
	close(r->null_fd);
	if (r->err_fd >= 0)
		close(r->err_fd);
	if (r->out_fd >= 0)
		close(r->out_fd);
	free(r->buffer);
}

/* Both sinks share their offset with the child: empty them and start again at 0. */
static int rewind_sink(int fd)
{
	if (fd < 0)
		return 0;
	if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	return 0;
}

struct outcome {
	uint64_t ns;
	int spawn_error; /* errno of posix_spawn */
	int wstatus;
	size_t size; /* bytes of stdout in the buffer */
};

/* Reads until the end, the end of the buffer, or the time-out. */
static size_t read_all(const struct runner *r, int fd, bool from_start)
{
	size_t size = 0;

	while (size < r->room) {
		ssize_t n = from_start ? pread(fd, r->buffer + size, r->room - size, size)
				       : read(fd, r->buffer + size, r->room - size);

		if (n == 0 || (n < 0 && (errno != EINTR || timed_out)))
			break;
		if (n > 0)
			size += n;
	}
	return size;
}

static void timed_run(struct runner *r, const struct entry *e, const posix_spawn_file_actions_t *actions,
		      int pipe_in, int pipe_out, struct outcome *ret)
{
	struct outcome o = { 0 };
	pid_t pid;
	uint64_t start = now();

	o.spawn_error = posix_spawn(&pid, e->argv[0], actions, NULL, e->argv, e->env ? e->env : environ);
	if (o.spawn_error) {
		if (pipe_out >= 0)
			close(pipe_out);
		*ret = o;
		return;
	}
	running = pid;
	if (r->sink == SINK_PIPE) {
		close(pipe_out);
		o.size = read_all(r, pipe_in, false);
		if (o.size == r->room)
			close(pipe_in); /* too much: SIGPIPE ends it instead of a full pipe blocking it */
	}
	while (waitpid(pid, &o.wstatus, 0) < 0 && errno == EINTR)
		;
	if (r->sink == SINK_FILE)
		o.size = read_all(r, r->out_fd, true);
	o.ns = now() - start;
	running = 0;
	if (r->sink == SINK_PIPE && o.size < r->room)
		close(pipe_in);
	*ret = o;
}

/* What the program said on stderr, up to the first line's end, for a message. */
static void describe_stderr(const struct runner *r, char *ret, size_t size)
{
	ssize_t n = pread(r->err_fd, ret, size - 1, 0);

	ret[n > 0 ? n : 0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}

/* 1: right; 0: wrong, and why. */
static int check(const struct runner *r, const struct entry *e, const struct outcome *o, char *why,
		 size_t why_size)
{
	char said[128];
	struct stat st;

	describe_stderr(r, said, sizeof(said));
	if (o->spawn_error)
		snprintf(why, why_size, "cannot run %s: %s", e->argv[0], strerror(o->spawn_error));
	else if (timed_out)
		snprintf(why, why_size, "took longer than %u s", r->timeout);
	else if (WIFSIGNALED(o->wstatus))
		snprintf(why, why_size, "killed by signal %d; stderr: %s", WTERMSIG(o->wstatus), said);
	else if (WEXITSTATUS(o->wstatus) != e->status)
		snprintf(why, why_size, "exit status %d instead of %d; stderr: %s", WEXITSTATUS(o->wstatus),
			 e->status, said);
	else if (o->size != e->expect_size || (o->size && memcmp(r->buffer, e->expect, o->size) != 0))
		snprintf(why, why_size, "%zu bytes of output that differ from the %zu expected; stderr: %s",
			 o->size, e->expect_size, said);
	else if (fstat(r->err_fd, &st) < 0 || st.st_size)
		snprintf(why, why_size, "wrote to stderr: %s", said);
	else
		return 1;
	return 0;
}

static int prepare_actions(const struct runner *r, int out, posix_spawn_file_actions_t *actions)
{
	int error = posix_spawn_file_actions_init(actions);

	if (error)
		return -error;
	error = posix_spawn_file_actions_adddup2(actions, r->null_fd, 0);
	if (!error)
		error = posix_spawn_file_actions_adddup2(actions, out, 1);
	if (!error)
		error = posix_spawn_file_actions_adddup2(actions, r->err_fd, 2);
	if (error)
		posix_spawn_file_actions_destroy(actions);
	return -error;
}

int runner_run(struct runner *r, const struct entry *e, uint64_t *ret_ns, char *why, size_t why_size)
{
	int ends[2] = { -EBADF, -EBADF };
	posix_spawn_file_actions_t actions;
	struct outcome o;
	int error;

	error = rewind_sink(r->err_fd);
	if (!error)
		error = rewind_sink(r->out_fd);
	if (error)
		return error;
	if (r->sink == SINK_PIPE && pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	error = prepare_actions(r, r->sink == SINK_PIPE ? ends[1] : r->out_fd, &actions);
	if (error) {
		if (ends[0] >= 0) {
			close(ends[0]);
			close(ends[1]);
		}
		return error;
	}
	timed_out = 0;
	alarm(r->timeout);
	timed_run(r, e, &actions, ends[0], ends[1], &o);
	alarm(0);
	if (o.spawn_error && ends[0] >= 0)
		close(ends[0]);
	posix_spawn_file_actions_destroy(&actions);

	int right = check(r, e, &o, why, why_size);

	if (right)
		*ret_ns = o.ns;
	return right;
}
