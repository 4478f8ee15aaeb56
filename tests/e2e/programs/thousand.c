/* SPDX-License-Identifier: MIT */
/*
 * thousand.c - more files mapped, and more descriptors open, than a thousand. The first argument is their number, the second a
 * folder with files of the names 0, 1, 2, ... that begin with their name.
 */
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "program.h"

static int open_number(const char *folder, int i)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%d", folder, i);
	return MUST(open(path, O_RDONLY | O_CLOEXEC));
}

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[1]) : 0, wrong = 0;
	char **mapped = calloc((size_t)n, sizeof(*mapped));
	int *fds = calloc((size_t)n, sizeof(*fds)), (*pipes)[2] = calloc((size_t)n, sizeof(*pipes));

	for (int i = 0; i < n; i++) {
		int fd = open_number(argv[2], i);

		mapped[i] = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
		close(fd);
	}
	for (int i = 0; i < n; i++) {
		/* files, pipes with contents, and duplicates of a file one after the other */
		if (i % 3 == 0) {
			fds[i] = open_number(argv[2], i);
			MUST(lseek(fds[i], 1, SEEK_SET));
		} else if (i % 3 == 1) {
			MUST(pipe(pipes[i]));
			MUST(write(pipes[i][1], &i, sizeof(i)));
		} else {
			fds[i] = MUST(dup(fds[i - 2]));
		}
	}
	ready();
	for (int i = 0; i < n; i++) {
		char text[32] = "", name[32];
		int number = -1;

		snprintf(name, sizeof(name), "%d\n", i);
		wrong += mapped[i] == MAP_FAILED || strncmp(mapped[i], name, strlen(name)) != 0;
		if (i % 3 == 1) {
			wrong += read(pipes[i][0], &number, sizeof(number)) != sizeof(number) || number != i;
		} else if (i % 3 == 0) {
			wrong += pread(fds[i], text, strlen(name), 0) < 0 || strcmp(text, name) != 0;
			wrong += lseek(fds[i], 0, SEEK_CUR) != 1;
		} else {
			/* one description: what moves there moves here */
			MUST(lseek(fds[i - 2], 2, SEEK_SET));
			wrong += lseek(fds[i], 0, SEEK_CUR) != 2;
		}
	}
	printf("%d of each, %d wrong\n", n, wrong);
	return wrong != 0;
}
