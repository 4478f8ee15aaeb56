/* SPDX-License-Identifier: MIT */
/*
 * empty.c - the floor of a clone: fork(2) in a process that has nothing, from the call until the child's first
 * instruction. Static, without libc start-up or data: its text, a page of stack, and what the kernel maps.
 *
 *	empty                      for each line on stdin: forks, prints "T0 T1": before the call, and in the child
 *	empty rate SECONDS PROGRAM  fork + execve + wait4 of PROGRAM, one after the other; prints "LIVES NANOSECONDS"
 *	empty first                prints "T": its first instruction after execve, for the peer posix_spawn
 *
 * Times are CLOCK_MONOTONIC in nanoseconds, which all processes share.
 */
#include "call.h"

#include <asm/unistd.h>
#include <linux/time.h>

#define SIGCHLD 17

typedef unsigned long long u64;

void start(char **stack);

ARCH_START;

static u64 now(void)
{
	struct timespec t;

	arch_call(__NR_clock_gettime, CLOCK_MONOTONIC, (long)&t, 0, 0, 0);
	return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
}

static __attribute__((noreturn)) void leave(int status)
{
	for (;;)
		arch_call(__NR_exit_group, status, 0, 0, 0, 0);
}

static void print(u64 a, char separator, u64 b, int both)
{
	char text[64];
	int i = sizeof(text);

	text[--i] = '\n';
	for (; both; b /= 10) {
		text[--i] = (char)('0' + b % 10);
		if (b < 10)
			break;
	}
	if (both)
		text[--i] = separator;
	for (;; a /= 10) {
		text[--i] = (char)('0' + a % 10);
		if (a < 10)
			break;
	}
	arch_call(__NR_write, 1, (long)(text + i), (long)sizeof(text) - i, 0, 0);
}

static long do_fork(void)
{
	return arch_call(__NR_clone, SIGCHLD, 0, 0, 0, 0);
}

static void serve(void)
{
	char line[256];
	int ends[2];

	if (arch_call(__NR_pipe2, (long)ends, 0, 0, 0, 0) < 0)
		leave(2);
	while (arch_call(__NR_read, 0, (long)line, sizeof(line), 0, 0) > 0) {
		u64 t0 = now(), t1;
		long pid = do_fork();

		if (pid == 0) {
			t1 = now();
			arch_call(__NR_write, ends[1], (long)&t1, sizeof(t1), 0, 0);
			leave(0);
		}
		if (pid < 0 || arch_call(__NR_read, ends[0], (long)&t1, sizeof(t1), 0, 0) != sizeof(t1))
			leave(2);
		arch_call(__NR_wait4, pid, 0, 0, 0, 0);
		print(t0, ' ', t1, 1);
	}
}

static void rate(u64 seconds, char *program)
{
	char *argv[] = { program, 0 }, *envp[] = { 0 };
	u64 begin = now(), t, n = 0;

	for (t = begin; t - begin < seconds * 1000000000u; t = now(), n++) {
		long pid = do_fork();
		int status = -1;

		if (pid == 0) {
			arch_call(__NR_execve, (long)program, (long)argv, (long)envp, 0, 0);
			leave(2);
		}
		if (pid < 0 || arch_call(__NR_wait4, pid, (long)&status, 0, 0, 0) != pid || status)
			leave(2);
	}
	print(n, ' ', t - begin, 1);
}

__attribute__((used)) void start(char **stack)
{
	u64 t = now(), seconds = 0;
	long argc = (long)stack[0];

	if (argc == 1)
		serve();
	if (argc == 2)
		print(t, 0, 0, 0);
	if (argc == 4) {
		for (const char *c = stack[3]; *c; c++)
			seconds = seconds * 10 + (u64)(*c - '0');
		rate(seconds, stack[4]);
	}
	leave(0);
}
