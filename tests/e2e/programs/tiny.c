/* SPDX-License-Identifier: MIT */
/* tiny.c - as little as a program can be: prints its argument and the sum of some memory */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char buf[64];
	ssize_t n = 0;

	if (argc > 1 && strcmp(argv[1], "cat") == 0)
		n = read(0, buf, sizeof(buf));
	printf("out %.*s\n", (int)n, buf);
	return argc > 1 && n > 0 ? (buf[0] - '0') & 63 : 5;
}
