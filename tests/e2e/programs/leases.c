/* SPDX-License-Identifier: MIT */
/*
 * leases.c - a client of libwarm that launches again and again on one handle. tests/e2e/test_lease.py starts it.
 *
 *	leases talk SOCKET		commands on standard input, a line of answer to each:
 *		start NAME [ARG...] [-- VAR=VALUE...]	launch; "PID" or "error CODE WORDS"
 *		wait PID				"status N OUTPUT" (of the last start), or "error CODE WORDS"
 *	leases load SOCKET NAME THREADS COUNTERS	launches until its standard input ends
 *
 * Fields are separated by tabs. COUNTERS is a file of four 64-bit numbers: what was written last (ours to read), launches that
 * were right, that failed with words or by SIGKILL, that were wrong. `load` takes output N for right if N was written
 * last when the launch began, or later.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "warm.h"

extern char **environ;

static struct warm *w;

/* until its end, without line feeds */
static void read_all(int fd, char *ret, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len < size - 1 && (n = read(fd, ret + len, size - 1 - len)) > 0)
		len += (size_t)n;
	ret[len] = '\0';
	for (char *p = ret; (p = strchr(p, '\n'));)
		*p = p[1] ? '|' : '\0';
}

static int launch(const char *name, char **argv, char **envp, pid_t *pid, int *ret_out)
{
	struct warm_launch_options o = {
		.size = sizeof(o), .template_name = name, .argv = argv, .envp = envp
	};
	int pair[2], r;

	if (pipe2(pair, O_CLOEXEC) < 0)
		return -errno;
	o.fds[0] = -1;
	o.fds[1] = pair[1];
	o.fds[2] = 2;
	r = warm_launch(w, &o, pid, NULL);
	close(pair[1]);
	if (r < 0)
		close(pair[0]);
	else
		*ret_out = pair[0];
	return r;
}

static int talk(void)
{
	static char line[65536], output[65536];
	int out = -1;

	while (fgets(line, sizeof(line), stdin)) {
		char *words[64] = { NULL }, **envp = NULL;
		int n = 0, r, wstatus;
		pid_t pid;

		line[strcspn(line, "\n")] = '\0';
		for (char *p = strtok(line, "\t"); p && n < 63; p = strtok(NULL, "\t"))
			words[n++] = p;
		if (strcmp(words[0], "wait") == 0) {
			read_all(out, output, sizeof(output));
			close(out);
			r = warm_wait(w, atoi(words[1]), &wstatus);
			if (r == 0)
				printf("status %d %s\n", wstatus, output);
		} else {
			for (int i = 2; i < n; i++) {
				if (strcmp(words[i], "--") == 0) {
					words[i] = NULL;
					envp = words + i + 1;
					break;
				}
			}
			r = launch(words[1], words[2] ? words + 2 : NULL, envp, &pid, &out);
			if (r == 0)
				printf("%d\n", (int)pid);
		}
		if (r < 0)
			printf("error %d %s\n", -r, warm_error(w));
		fflush(stdout);
	}
	return 0;
}

static struct {
	uint64_t written, right, failed, wrong;
} * counters;
static const char *template_name;
static int done;

static void *load(void *unused)
{
	char output[4096], *end;

	(void)unused;
	while (!__atomic_load_n(&done, __ATOMIC_SEQ_CST)) {
		uint64_t least = __atomic_load_n(&counters->written, __ATOMIC_SEQ_CST), got;
		int out, wstatus, r;
		pid_t pid;

		r = launch(template_name, NULL, environ, &pid, &out);
		if (r < 0) {
			__atomic_add_fetch(&counters->failed, 1, __ATOMIC_SEQ_CST);
			fprintf(stderr, "failed %d %s\n", -r, warm_error(w));
			usleep(1000);
			continue;
		}
		read_all(out, output, sizeof(output));
		close(out);
		r = warm_wait(w, pid, &wstatus);
		got = strtoull(output, &end, 10);
		if (r < 0 || (WIFSIGNALED(wstatus) && WTERMSIG(wstatus) == SIGKILL)) {
			__atomic_add_fetch(&counters->failed, 1, __ATOMIC_SEQ_CST);
			fprintf(stderr, "ended %d %s\n", -r, r < 0 ? warm_error(w) : "killed");
		} else if (wstatus == 0 && end > output && !*end && got >= least &&
			   got <= __atomic_load_n(&counters->written, __ATOMIC_SEQ_CST) + 1) {
			__atomic_add_fetch(&counters->right, 1, __ATOMIC_SEQ_CST);
		} else {
			__atomic_add_fetch(&counters->wrong, 1, __ATOMIC_SEQ_CST);
			fprintf(stderr, "wrong: status %#x, '%s', at least %llu\n", (unsigned)wstatus, output,
				(unsigned long long)least);
		}
	}
	return NULL;
}

static int load_all(int nthreads, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	pthread_t t[64];
	char byte;

	counters = mmap(NULL, sizeof(*counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd < 0 || counters == MAP_FAILED || nthreads > 64)
		return 2;
	for (int i = 0; i < nthreads; i++)
		pthread_create(&t[i], NULL, load, NULL);
	while (read(0, &byte, 1) > 0)
		;
	__atomic_store_n(&done, 1, __ATOMIC_SEQ_CST);
	for (int i = 0; i < nthreads; i++)
		pthread_join(t[i], NULL);
	munmap(counters, sizeof(*counters));
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	int r;

	if (argc < 3 || warm_open(&w, argv[2]) < 0) {
		fprintf(stderr, "leases: %s\n", warm_error(NULL));
		return 2;
	}
	template_name = argv[3];
	r = strcmp(argv[1], "talk") == 0 ? talk() : load_all(atoi(argv[4]), argv[5]);
	warm_close(w);
	return r;
}
