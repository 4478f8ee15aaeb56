/* SPDX-License-Identifier: MIT */
/* plain.c - a program that knows nothing of warm; readiness point `main` */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static int constructed;

__attribute__((constructor)) static void construct(void)
{
	constructed++;
}

__attribute__((destructor)) static void destruct(void)
{
	fprintf(stderr, "destructor\n");
}

static void at_exit(void)
{
	printf("atexit\n");
}

int main(int argc, char **argv, char **envp)
{
	const char *short_name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
	int n = 0, mine = 0;

	atexit(at_exit);
	printf("constructed %d\n", constructed);
	for (int i = 1; i < argc; i++)
		printf("argv[%d] '%s'\n", i, argv[i]);
	printf("argv ends %d environ %d\n", argv[argc] == NULL, environ == envp);
	for (char **e = environ; *e; e++, n++)
		mine += strncmp(*e, "TEST_", 5) == 0;
	printf("TEST variables %d, first %s, lost %s\n", mine, getenv("TEST_A") ? getenv("TEST_A") : "none",
	       getenv("TEST_NONE") ? "found" : "not there");
	setenv("TEST_NEW", "new", 1);
	unsetenv("TEST_A");
	printf("after setenv %s %s\n", getenv("TEST_NEW"), getenv("TEST_A") ? "still" : "gone");
	printf("names %d %d\n", strcmp(program_invocation_name, argv[0]) == 0,
	       strcmp(program_invocation_short_name, short_name) == 0);
	printf("SHLVL %s\n", getenv("SHLVL") ? getenv("SHLVL") : "none");
	if (argc > 1 && strcmp(argv[1], "child") == 0)
		fflush(stdout), system("echo child sees $TEST_NEW");
	if (argc > 2 && strcmp(argv[1], "exit") == 0)
		return atoi(argv[2]);
	if (argc > 1 && strcmp(argv[1], "abort") == 0)
		fflush(stdout), abort();
	return 0;
}
