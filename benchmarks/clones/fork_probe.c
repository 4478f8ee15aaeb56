/* SPDX-License-Identifier: MIT */
/* fork_probe.c - a plain fork(2) of whatever process loads this: programs/pandas_fork.py */
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int fork_probe(uint64_t times[2]);

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The bare system call: handlers of the libc and of libraries would count as the kernel's. 0 or -1 */
int fork_probe(uint64_t times[2])
{
	int ends[2];
	uint64_t t1 = 0;

	if (pipe(ends) < 0)
		return -1;
	times[0] = now();

	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

	if (pid == 0) {
		t1 = now();
		_exit(write(ends[1], &t1, sizeof(t1)) != sizeof(t1));
	}
	close(ends[1]);

	int r = pid > 0 && read(ends[0], &t1, sizeof(t1)) == sizeof(t1) ? 0 : -1;

	close(ends[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	times[1] = t1;
	return r;
}
