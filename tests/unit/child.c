/* SPDX-License-Identifier: MIT */
/*
 * child.c MODE - a program for test_trace.c and test_dump_threads.c to trace.
 * "Ready" is a call that nobody else makes: getpriority(1000, ..).
 */
#include <pthread.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define MARK		   1000
#define FUTEX_WAIT_PRIVATE 128

void touch(int n);
int touched;

static void ready(void)
{
	syscall(SYS_getpriority, MARK, 0);
}

/* a breakpoint is set on it */
void __attribute__((noinline)) touch(int n)
{
	touched += n;
	__asm__ volatile("" : : : "memory");
}

/* --- threads in all kinds of waiting ------------------------------------------------------ */

static struct timespec hour = { .tv_sec = 3600 };
static uint32_t word;
static int pipe_fds[2], epfd;

static void in_nanosleep(void)
{
	syscall(SYS_nanosleep, &hour, NULL);
}
static void in_sleep_abs(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += 3600;
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}
static void in_futex(void)
{
	syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL);
}
static void in_futex_timed(void)
{
	syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &hour);
}
static void in_poll(void)
{
	poll(NULL, 0, -1);
}
static void in_poll_timed(void)
{
	poll(NULL, 0, 3600000);
}
static void in_read(void)
{
	char byte;

	if (read(pipe_fds[0], &byte, 1) < 0)
		_exit(9);
}
static void in_epoll(void)
{
	struct epoll_event e;

	epoll_wait(epfd, &e, 1, 3600000);
}
static void in_epoll_forever(void)
{
	struct epoll_event e;

	epoll_wait(epfd, &e, 1, -1);
}
static void in_sigtimedwait(void)
{
	uint64_t set = 1ull << (SIGUSR2 - 1);

	syscall(SYS_rt_sigtimedwait, &set, NULL, &hour, 8);
}
static void running(void)
{
	for (;;)
		__asm__ volatile("");
}

static const struct state {
	const char *name;
	void (*run)(void);
} states[] = {
	{ "nanosleep", in_nanosleep },
	{ "sleep_abs", in_sleep_abs },
	{ "futex", in_futex },
	{ "futex_timed", in_futex_timed },
	{ "poll", in_poll },
	{ "poll_timed", in_poll_timed },
	{ "read", in_read },
	{ "epoll", in_epoll },
	{ "epoll_forever", in_epoll_forever },
	{ "sigtimedwait", in_sigtimedwait },
	{ "running", running },
};
#define NSTATES (sizeof(states) / sizeof(states[0]))
static _Atomic int tids[NSTATES];

static void *thread(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	prctl(PR_SET_NAME, states[i].name);
	tids[i] = (int)syscall(SYS_gettid);
	states[i].run();
	return NULL;
}

/* the kernel's word for what a thread does: wchan is closed to users, the state is not */
static int sleeps(int tid)
{
	char path[64], text[512], *p;
	int fd;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = open(path, O_RDONLY);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	p = strrchr(text, ')');
	return p && p[2] == 'S';
}

static void start_threads(void)
{
	pthread_t t;

	if (pipe(pipe_fds) < 0)
		_exit(9);
	epfd = epoll_create1(0);
	for (size_t i = 0; i < NSTATES; i++)
		if (pthread_create(&t, NULL, thread, (void *)(uintptr_t)i) != 0)
			_exit(9);
	for (size_t i = 0; i < NSTATES; i++)
		while (!tids[i] || (states[i].run != running && !sleeps(tids[i])))
			sched_yield();
}

static void *touch_thread(void *arg)
{
	touch(1);
	return arg;
}

static volatile sig_atomic_t signals;

static void on_signal(int signo)
{
	signals += signo == SIGUSR1;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (strcmp(mode, "threads") == 0) {
		start_threads();
		ready();
		return 9;
	}
	if (strcmp(mode, "pause") == 0) {
		ready();
		pause();
	}
	if (strcmp(mode, "spin") == 0) {
		ready();
		for (;;)
			signals = 0;
	}
	if (strcmp(mode, "touch") == 0) {
		pthread_t t;

		touch(1);
		touch(1);
		if (pthread_create(&t, NULL, touch_thread, NULL) != 0)
			return 9;
		pthread_join(t, NULL);
		ready();
		return touched == 3 ? 0 : 9;
	}
	if (strcmp(mode, "fork") == 0) {
		for (int i = 0; i < 3; i++) {
			if (fork() == 0) {
				touch(1);
				for (;;)
					pause();
			}
		}
		ready();
		return 0;
	}
	if (strcmp(mode, "exec") == 0) {
		char *again[] = { argv[0], (char *)"touch", NULL };

		execv(argv[0], again);
		return 9;
	}
	if (strcmp(mode, "signal") == 0) {
		signal(SIGUSR1, on_signal);
		kill(getpid(), SIGUSR1);
		kill(getpid(), SIGUSR1);
		return signals == 2 ? 6 : 9;
	}
	if (strcmp(mode, "skip") == 0) {
		/* the tracer takes the first call out */
		syscall(SYS_getpriority, MARK, 0);
		syscall(SYS_close, 777);
		return 5;
	}
	if (strcmp(mode, "die") == 0)
		abort();
	return 7;
}
