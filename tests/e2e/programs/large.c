/* SPDX-License-Identifier: MIT */
/*
 * large.c - a program of many mappings, whose clones' memory has a holder (engine/stub/holder.c). Knows nothing of warm:
 * readiness point main. It says "ready PID", reads a line, and ends as its first argument says; the second is a program to execute.
 */
#include "program.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#define PAIRS 100

static pthread_t main_thread;
static char **words;

__attribute__((constructor)) static void make_mappings(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *p = mmap(NULL, 2 * PAIRS * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	for (size_t i = 0; i < PAIRS; i++) {
		p[2 * i * page] = p[(2 * i + 1) * page] = (char)(i + 1);
		MUST(mprotect(p + 2 * i * page, page, PROT_READ));
	}
}

static void say_ready(void)
{
	char line[64];

	printf("ready %d\n", getpid());
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		exit(96);
}

static void case_exit(void)
{
	exit(7);
}

static void case_wait(void)
{
	for (;;)
		pause();
}

static void case_crash(void)
{
	*(volatile int *)NULL = 0;
}

static void case_execute(void)
{
	execl(words[2], words[2], "wait", NULL);
	die("%s", words[2]);
}

static void *executing(void *arg)
{
	case_execute();
	return arg;
}

static void case_execute_thread(void)
{
	pthread_t t;

	pthread_create(&t, NULL, executing, NULL);
	case_wait();
}

static void *exiting(void *arg)
{
	exit(8);
	return arg;
}

static void case_exit_thread(void)
{
	pthread_t t;

	pthread_create(&t, NULL, exiting, NULL);
	case_wait();
}

/* the kernel wakes one of those who wait for a thread's end */
static void *joining(void *arg)
{
	int r = pthread_join(main_thread, NULL);

	printf("joined: %s\n", r ? strerrorname_np(r) : "yes");
	exit(9);
	return arg;
}

static void case_join(void)
{
	pthread_t t;

	pthread_create(&t, NULL, joining, NULL);
	pthread_exit(NULL);
}

static const struct test_case cases[] = {
	{ "exit", case_exit },
	{ "wait", case_wait },
	{ "crash", case_crash },
	{ "execute", case_execute },
	{ "execute_thread", case_execute_thread },
	{ "exit_thread", case_exit_thread },
	{ "join", case_join },
};

int main(int argc, char **argv)
{
	words = argv;
	main_thread = pthread_self();
	say_ready();
	return RUN_CASE(cases);
}
