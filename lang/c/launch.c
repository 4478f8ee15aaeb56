/* SPDX-License-Identifier: MIT */
/*
 * launch.c - launches ten clones of a template at once and waits for all.
 *
 *	warm build --name primes --ready call -- ./ready 5000000
 *	./launch primes ./ready 5000000
 *
 * The first argument names the template, the others are the program's own, as `warm build` had them; each
 * clone gets one more.
 */
#include <warm.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLONES 10

/* Return: 0, or a negative errno */
static int launch_one(struct warm *w, const char *name, char **argv, int argc, pid_t *ret_pid)
{
	struct warm_launch_options o = { .size = sizeof(o), .template_name = name };

	o.argv = argc ? argv : NULL; /* NULL: as it was built */
	o.fds[0] = -1; /* /dev/null */
	o.fds[1] = STDOUT_FILENO;
	o.fds[2] = STDERR_FILENO;
	return warm_launch(w, &o, ret_pid, NULL);
}

/* Return: was all well? */
static int wait_one(struct warm *w, pid_t pid)
{
	int status;

	if (warm_wait(w, pid, &status) < 0) {
		fprintf(stderr, "launch: %s\n", warm_error(w));
		return 0;
	}
	if (WIFEXITED(status))
		printf("clone %d: exit status %d\n", (int)pid, WEXITSTATUS(status));
	else
		printf("clone %d: %s\n", (int)pid, strsignal(WTERMSIG(status)));
	return status == 0;
}

int main(int argc, char **argv)
{
	struct warm *w;
	char word[16], **words;
	pid_t pids[CLONES];
	int n = 0, good = 0;

	if (argc < 2) {
		fprintf(stderr, "usage: launch TEMPLATE [PROGRAM [ARG...]]\n");
		return 2;
	}
	if (warm_open(&w, NULL) < 0) {
		fprintf(stderr, "launch: %s\n", warm_error(NULL));
		return 1;
	}
	words = calloc((size_t)argc + 1, sizeof(*words));
	if (words)
		memcpy(words, argv + 2, (size_t)(argc - 2) * sizeof(*words));
	for (; words && n < CLONES; n++) {
		snprintf(word, sizeof(word), "%d", 1000 * (n + 1));
		words[argc - 2] = word;
		if (launch_one(w, argv[1], words, argc - 2, &pids[n]) < 0) {
			fprintf(stderr, "launch: %s\n", warm_error(w));
			break;
		}
	}
	for (int i = 0; i < n; i++)
		good += wait_one(w, pids[i]);
	free(words);
	warm_close(w);
	return good != CLONES;
}
