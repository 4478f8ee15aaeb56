/* SPDX-License-Identifier: MIT */
/*
 * stamp.c - the C template: says when it got to the first instruction after warm_ready().
 *
 *	stamp [--heap MIB] TAG		in a clone: prints "T TAG VALUE\n", VALUE of the variable CLONE_BENCH
 *	stamp [--heap MIB] -		in a clone: nothing, ends at once
 *
 * Outside of warm it is what its clones are compared with: for each line on stdin it forks, and prints
 * "T0 T1\n": before the call, and in the child. The fork is the bare system call, without handlers of the libc.
 *
 * --heap: so much memory is written before the readiness point, no two pages alike.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "warm.h"

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static char *volatile heap; /* nobody reads it: the compiler would leave it out */

static int fill_heap(size_t mib)
{
	size_t size = mib << 20, page = (size_t)sysconf(_SC_PAGESIZE);

	heap = malloc(size);
	if (!heap)
		return -1;
	for (size_t i = 0; i < size; i += page)
		memcpy(heap + i, &i, sizeof(i));
	return 0;
}

static int serve(void)
{
	char line[256];
	int ends[2];

	if (pipe(ends) < 0)
		return 2;
	while (read(STDIN_FILENO, line, sizeof(line)) > 0) {
		uint64_t t1, t0 = now();
		pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

		if (pid == 0) {
			t1 = now();
			_exit(write(ends[1], &t1, sizeof(t1)) != sizeof(t1));
		}
		if (pid < 0 || read(ends[0], &t1, sizeof(t1)) != sizeof(t1))
			return 2;
		waitpid(pid, NULL, 0);
		dprintf(STDOUT_FILENO, "%llu %llu\n", (unsigned long long)t0, (unsigned long long)t1);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 3 && strcmp(argv[1], "--heap") == 0 && fill_heap(strtoul(argv[2], NULL, 10)) < 0)
		return 2;

	int clone = warm_ready();
	uint64_t t = now();

	if (clone < 0)
		return 2;
	if (clone == 0)
		return serve();

	const char *tag = warm_argv()[warm_argc() - 1], *value = getenv("CLONE_BENCH");
	char text[256];

	if (strcmp(tag, "-") == 0)
		return 0;

	int len = snprintf(text, sizeof(text), "%llu %s %s\n", (unsigned long long)t, tag,
			   value ? value : "(unset)");

	return write(STDOUT_FILENO, text, (size_t)len) != len;
}
