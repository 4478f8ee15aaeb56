/* SPDX-License-Identifier: MIT */
/*
 * many.c - a program that launches clones by libwarm. The first argument names the case, the second the template; both
 * descriptors of the tests' template `tiny cat` are pipes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <warm.h>

static struct warm *w;
static const char *name;
static int count;
static int next;

static void fail(const char *what, int r)
{
	dprintf(1, "%s: %s: %s\n", what, strerror(-r), warm_error(w));
	exit(1);
}

static void make_pipe(int *fds)
{
	if (pipe2(fds, O_CLOEXEC) < 0)
		fail("pipe", -errno);
}

/* until end of file. Return: its length, without the newline */
static int take_all(int fd, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += (size_t)n;
	buf[len] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return (int)strlen(buf);
}

/* one line: NUMBER ended|launch|wait STATUS TEXT */
static void one(int i)
{
	struct warm_launch_options o = { .size = sizeof(o), .template_name = name };
	int in[2], out[2], wstatus = 0, r;
	char text[64] = "";
	pid_t pid;

	make_pipe(in);
	make_pipe(out);
	dprintf(in[1], "%d-%d", i % 10, i);
	close(in[1]);
	o.fds[0] = in[0];
	o.fds[1] = out[1];
	o.fds[2] = -1;
	r = warm_launch(w, &o, &pid, NULL);
	close(in[0]);
	close(out[1]);
	if (r < 0) {
		dprintf(1, "%d launch %d %s\n", i, r, warm_error(w));
		close(out[0]);
		return;
	}
	take_all(out[0], text, sizeof(text));
	close(out[0]);
	r = warm_wait(w, pid, &wstatus);
	dprintf(1, "%d %s %d %s\n", i, r < 0 ? "wait" : "ended", r < 0 ? r : wstatus, text);
}

static void *worker(void *arg)
{
	int i;

	while ((i = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < count)
		one(i);
	return arg;
}

/* many NAME COUNT THREADS: each with words of its own */
static int case_many(char **words)
{
	pthread_t threads[128];
	int n = atoi(words[1]);

	count = atoi(words[0]);
	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, worker, NULL))
			fail("pthread_create", -EAGAIN);
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

/* outstanding NAME COUNT FILES: all of them at once, in a process that may have few descriptors. They wait for their input */
static int case_outstanding(char **words)
{
	struct warm_launch_options o = { .size = sizeof(o), .template_name = name, .fds = { 0, -1, -1 } };
	struct rlimit files = { (rlim_t)atoi(words[1]), (rlim_t)atoi(words[1]) };
	int n = atoi(words[0]), in[2], good = 0;
	pid_t *pids = calloc((size_t)n, sizeof(*pids));

	warm_close(w);
	if (setrlimit(RLIMIT_NOFILE, &files) < 0 || warm_open(&w, NULL) < 0)
		fail("warm_open", -errno);
	make_pipe(in);
	o.fds[0] = in[0];
	for (int i = 0; i < n; i++) {
		int r = warm_launch(w, &o, &pids[i], NULL);

		if (r < 0)
			fail("warm_launch", r);
		if (kill(pids[i], 0) < 0)
			fail("kill", -errno);
	}
	close(in[0]);
	close(in[1]);
	/* in any order */
	for (int i = n - 1; i >= 0; i--) {
		int wstatus, r = warm_wait(w, pids[i], &wstatus);

		if (r < 0)
			fail("warm_wait", r);
		good += WIFEXITED(wstatus) && WEXITSTATUS(wstatus) == 5; /* end of file */
	}
	free(pids);
	dprintf(1, "%d\n", good);
	return 0;
}

/* null NAME: fds {-1, -1, -1}; the clone's exit status tells what it has */
static int case_null(char **words)
{
	struct warm_launch_options o = { .size = sizeof(o), .template_name = name, .fds = { -1, -1, -1 } };
	int wstatus, pidfd = -1, r;
	pid_t pid;

	(void)words;
	for (int i = 0; i < 3; i++) {
		r = warm_launch(w, &o, &pid, &pidfd);
		if (r == 0)
			r = warm_wait(w, pid, &wstatus);
		if (r < 0)
			fail("null", r);
		dprintf(1, "%d\n", wstatus);
		close(pidfd);
	}
	return 0;
}

/* closed NAME: the caller has no standard descriptors at all; what it says goes to descriptor 9 */
static int case_closed(char **words)
{
	struct warm_launch_options o = { .size = sizeof(o), .template_name = name, .fds = { -1, -1, -1 } };
	int out[2], wstatus, r, say = 9;
	char text[64];
	pid_t pid;

	(void)words;
	warm_close(w);
	if (dup2(1, say) < 0)
		return 1;
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	r = warm_open(&w, NULL);
	dprintf(say, "open %d\n", r);
	for (int fd = 0; fd < 3; fd++)
		dprintf(say, "%d is open: %d\n", fd, fcntl(fd, F_GETFD) >= 0);
	for (int i = 0; i < 3; i++) {
		o.fds[i] = i;
		dprintf(say, "launch %s\n", strerrorname_np(-warm_launch(w, &o, NULL, NULL)));
		o.fds[i] = -1;
	}
	/* its numbers are 0 and 1 */
	make_pipe(out);
	o.fds[1] = out[1];
	r = warm_launch(w, &o, &pid, NULL);
	close(out[1]);
	take_all(out[0], text, sizeof(text));
	dprintf(say, "launch %d: '%s'\n", r, text);
	r = warm_wait(w, pid, &wstatus);
	dprintf(say, "wait %d: %d\n", r, WEXITSTATUS(wstatus));
	return 0;
}

static int churning = 1;

static void *nothing(void *arg)
{
	return arg;
}

static void *churn(void *arg)
{
	pthread_t thread;

	while (__atomic_load_n(&churning, __ATOMIC_RELAXED))
		if (pthread_create(&thread, NULL, nothing, NULL) == 0)
			pthread_join(thread, NULL);
	return arg;
}

/* COUNT handles, one launch each, while threads begin and end all the time */
static int case_churn(char **words)
{
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, churn, NULL))
			return 1;
	for (int i = 0; i < atoi(words[0]); i++) {
		int r;

		warm_close(w);
		r = warm_open(&w, NULL);
		if (r < 0)
			fail("warm_open", r);
		one(i);
	}
	__atomic_store_n(&churning, 0, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(char **words);
	} cases[] = {
		{ "many", case_many },	 { "outstanding", case_outstanding },
		{ "null", case_null },	 { "closed", case_closed },
		{ "churn", case_churn },
	};
	int r = warm_open(&w, NULL);

	if (argc < 3 || r < 0) {
		dprintf(1, "warm_open: %s\n", warm_error(NULL));
		return 1;
	}
	name = argv[2];
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(cases[i].name, argv[1]) == 0) {
			r = cases[i].run(argv + 3);
			warm_close(w);
			return r;
		}
	}
	return 2;
}
