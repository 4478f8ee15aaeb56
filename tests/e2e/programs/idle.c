/* SPDX-License-Identifier: MIT */
/*
 * A program that waits for a line of standard input, and knows nothing of warm.
 *
 *	waits	threads of it wait in calls of several kinds, and are woken when the line has come
 *	busy	computes meanwhile, without a pause
 *	never	makes a call every millisecond
 *	child	has a child
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int pipe_ends[2], come;
static sem_t expired, handled;

static void *wait_for_condition(void *arg)
{
	pthread_mutex_lock(&lock);
	while (!come)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	return arg;
}

static void *wait_for_events(void *arg)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 77 };
	char byte = 0;

	epoll_ctl(epoll, EPOLL_CTL_ADD, pipe_ends[0], &ev);
	ev.data.u64 = 0;
	if (epoll_wait(epoll, &ev, 1, 3600 * 1000) != 1 || read(pipe_ends[0], &byte, 1) != 1)
		return NULL;
	return ev.data.u64 == 77 && byte == 'x' ? arg : NULL;
}

static void on_signal(int sig)
{
	(void)sig;
	sem_post(&handled);
}

static void *sleep_long(void *arg)
{
	struct timespec hour = { .tv_sec = 3600 }, left = { 0 };

	/* what is left of it is told, and an hour is much more than this program takes */
	return nanosleep(&hour, &left) < 0 && errno == EINTR && left.tv_sec > 1800 ? arg : NULL;
}

static void on_timer(union sigval value)
{
	if (value.sival_int == 5)
		sem_post(&expired);
}

static void read_line(void)
{
	char line[64];

	printf("waiting\n");
	fflush(stdout);
	printf("line: %s", fgets(line, sizeof(line), stdin) ? line : "none\n");
}

static int waits(void)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD,
			       .sigev_notify_function = on_timer,
			       .sigev_value.sival_int = 5 };
	struct itimerspec soon = { .it_value.tv_nsec = 1000000 };
	void *(*const work[])(void *) = { wait_for_condition, wait_for_events, sleep_long };
	pthread_t threads[3];
	timer_t timer;
	void *result;

	sem_init(&expired, 0, 0);
	sem_init(&handled, 0, 0);
	sigaction(SIGUSR1, &sa, NULL);
	if (pipe(pipe_ends) < 0 || timer_create(CLOCK_MONOTONIC, &ev, &timer) < 0)
		return 1;
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, work[i], &threads[i]);
	read_line();
	pthread_mutex_lock(&lock);
	come = 1;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	if (write(pipe_ends[1], "x", 1) != 1)
		return 1;
	for (int i = 0; i < 3; i++) {
		/* it may not have begun to sleep */
		while (i == 2 && pthread_tryjoin_np(threads[i], &result) == EBUSY) {
			pthread_kill(threads[i], SIGUSR1);
			usleep(1000);
		}
		if (i < 2)
			pthread_join(threads[i], &result);
		printf("thread %d: %s\n", i, result == &threads[i] ? "woken" : "wrong");
	}
	sem_wait(&handled);
	timer_settime(timer, 0, &soon, NULL);
	sem_wait(&expired);
	printf("timer: expired\n");
	return 0;
}

static int busy(void)
{
	struct pollfd p = { .fd = 0, .events = POLLIN };
	volatile unsigned long a = 0, b = 0;

	printf("busy\n");
	fflush(stdout);
	do {
		for (int i = 0; i < 1000000; i++)
			a++, b++;
	} while (poll(&p, 1, 0) == 0);
	read_line();
	printf("%s\n", a == b && a % 1000000 == 0 ? "right" : "wrong");
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "waits") == 0)
		return waits();
	if (strcmp(what, "busy") == 0)
		return busy();
	if (strcmp(what, "never") == 0)
		for (;;)
			usleep(1000);
	if (strcmp(what, "child") == 0 && fork() == 0) {
		pause();
		_exit(0);
	}
	read_line();
	return 0;
}
