/* SPDX-License-Identifier: MIT */
/*
 * program.h - what the test programs share: the readiness protocol as any C program can
 * speak it (docs/adaptor.md), and checks.
 *
 * Each program takes the name of a case, brings itself into a state, calls
 * ready(), and prints what became of that state. Cold and warm must print the same, so
 * nothing that differs from run to run is printed: ids, addresses, times are compared here.
 */
#ifndef TEST_PROGRAM_H
#define TEST_PROGRAM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static char ready_context[1 << 16];

/* blocks at the readiness point; 1 in a clone, 0 when not under warm */
__attribute__((unused)) static int ready(void)
{
	const char *word = getenv("WARM_FD");
	size_t len = 0;
	ssize_t n;
	int fd;

	fflush(stdout);
	if (!word)
		return 0;
	fd = atoi(word);
	if (write(fd, "READY=1\n", 8) != 8)
		exit(99);
	do {
		n = read(fd, ready_context + len, sizeof(ready_context) - 1 - len);
		if (n > 0)
			len += (size_t)n;
	} while (n > 0);
	close(fd);
	unsetenv("WARM_FD");
	return len > 0;
}

__attribute__((unused, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
	va_list ap;
	int code = errno;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", strerror(code));
	exit(98);
}

/* a call that must work for the test to mean anything */
#define MUST(expr)                                                                                           \
	__extension__({                                                                                      \
		__typeof__(expr) must_ = (expr);                                                             \
		if (must_ == (__typeof__(expr))-1)                                                           \
			die("%s:%d: %s", __FILE__, __LINE__, #expr);                                         \
		must_;                                                                                       \
	})

/* one line a fact: "words: yes" */
#define SAY(what, truth) printf("%s: %s\n", (what), (truth) ? "yes" : "no")

__attribute__((unused)) static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* wait until thread @tid sleeps in the kernel, or has ended: the third field of its stat line, behind the name */
__attribute__((unused)) static void wait_asleep(pid_t tid)
{
	char path[64], text[512], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	for (;;) {
		fd = open(path, O_RDONLY);
		/* one whose time-out has passed by now, on a slow machine, has ended */
		if (fd < 0 && errno == ENOENT)
			return;
		n = read(MUST(fd), text, sizeof(text) - 1);
		close(fd);
		if (n < 0 && errno == ESRCH)
			return;
		MUST(n);
		text[n] = '\0';
		p = strrchr(text, ')');
		if (p && p[2] == 'S')
			return;
		sched_yield();
	}
}

struct test_case {
	const char *name;
	void (*run)(void);
};

__attribute__((unused)) static int run_case(const struct test_case *cases, size_t n, int argc, char **argv)
{
	for (size_t i = 0; i < n; i++) {
		if (argc > 1 && strcmp(cases[i].name, argv[1]) == 0) {
			cases[i].run();
			fflush(stdout);
			return 0;
		}
	}
	fprintf(stderr, "no case '%s'\n", argc > 1 ? argv[1] : "");
	return 97;
}
#define RUN_CASE(cases) run_case(cases, sizeof(cases) / sizeof((cases)[0]), argc, argv)

#endif
