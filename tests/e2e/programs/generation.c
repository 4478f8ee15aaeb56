/* SPDX-License-Identifier: MIT */
/*
 * generation.c - which clone it is, by every counter that it has. Compiled with -DLIBRARY it is a library with a counter
 * of its own; the program takes such libraries as its arguments behind the case.
 */
#include <warm.h>

#ifdef LIBRARY
WARM_GENERATION_COUNTER(library_generation);

unsigned long long own_generation(void);
unsigned long long own_generation(void)
{
	return library_generation;
}
#else
#include "program.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

typedef unsigned long long count_fn(void);

WARM_GENERATION_COUNTER(program_generation);

static count_fn *load(const char *path)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	count_fn *f = library ? (count_fn *)dlsym(library, "own_generation") : NULL;

	if (!f)
		die("%s", path);
	return f;
}

/* as a debugger would have it: what lies where a counter would be is the file's */
static const char *map_as_data(const char *path, size_t *ret)
{
	int fd = MUST(open(path, O_RDONLY));
	struct stat st;
	char *at;

	MUST(fstat(fd, &st));
	at = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		die("mmap");
	close(fd);
	*ret = (size_t)st.st_size;
	return at;
}

/* Return: is all as in the file? */
static int is_as_the_file(const char *path, const char *at, size_t size)
{
	char *bytes = malloc(size);
	int fd = MUST(open(path, O_RDONLY)), same;

	same = read(fd, bytes, size) == (ssize_t)size && memcmp(at, bytes, size) == 0;
	close(fd);
	free(bytes);
	return same;
}

int main(int argc, char **argv)
{
	int wait = strcmp(argv[1], "idle") == 0;
	count_fn *early, *late;
	const char *data;
	size_t size;
	pid_t child;

	early = load(argv[2]);
	data = map_as_data(argv[2], &size);
	printf("before: %llu %llu %llu\n", warm_generation(), program_generation, early());
	fflush(stdout);
	if (strcmp(argv[1], "call") == 0)
		MUST(warm_ready());
	if (wait && getchar() < 0)
		return 96;
	printf("now: %llu %llu %llu\n", warm_generation(), program_generation, early());
	late = argc > 3 ? load(argv[3]) : NULL;
	printf("loaded later: %llu\n", late ? late() : 0);
	fflush(stdout);
	child = MUST(fork());
	if (!child) {
		printf("child: %llu\n", warm_generation());
		fflush(stdout);
		_exit(0);
	}
	MUST(waitpid(child, NULL, 0));
	SAY("the file mapped as data is the file", is_as_the_file(argv[2], data, size));
	return 0;
}
#endif
