/* SPDX-License-Identifier: MIT */
/*
 * ready.c - a program that says itself where it is ready to be cloned.
 *
 *	warm build --name primes --ready call -- ./ready 5000000
 *	warm launch primes 100 1000 10000
 *
 * The slow part, a sieve, runs once, in the build. Each launch asks it for the numbers that it has as its
 * arguments. Run by itself the program does both.
 */
#include <warm.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Return: below[n]: how many primes are below n, for n up to @limit; NULL: no memory */
static unsigned int *count_primes(size_t limit)
{
	char *composite = calloc(limit + 1, 1);
	unsigned int *below = calloc(limit + 1, sizeof(*below));

	if (!composite || !below) {
		free(composite);
		free(below);
		return NULL;
	}
	for (size_t n = 2; n < limit; n++) {
		below[n + 1] = below[n] + !composite[n];
		for (size_t m = n * n; !composite[n] && m <= limit; m += n)
			composite[m] = 1;
	}
	free(composite);
	return below;
}

int main(int argc, char **argv)
{
	size_t limit = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000000;
	unsigned int *below = count_primes(limit);
	char *const *words = argv;
	int first = 2, r;

	if (!below) {
		perror("ready");
		return 1;
	}
	r = warm_ready();
	if (r < 0) {
		fprintf(stderr, "ready: %s\n", strerror(-r));
		return 1;
	}
	if (r == 1) { /* in a clone: arguments and environment are the launch's */
		argc = warm_argc();
		words = warm_argv();
	}
	for (int i = first; i < argc; i++) {
		size_t n = strtoul(words[i], NULL, 10);

		if (n <= limit)
			printf("%u primes below %zu\n", below[n], n);
		else
			printf("%zu is beyond %zu\n", n, limit);
	}
	free(below);
	return 0;
}
