/* SPDX-License-Identifier: MIT */
/*
 * gap.c FILE - what CRIU restores: looks at the clock without end, and when it has not seen it for 20 ms, it was not
 * running meanwhile. Then it writes the first time that it saw again to FILE, and ends.
 *
 * Until a file FILE.armed is there gaps do not count: the machine may be busy.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv)
{
	char armed[4096], part[4096];
	uint64_t last, t = now();

	if (argc != 2)
		return 2;
	snprintf(armed, sizeof(armed), "%s.armed", argv[1]);
	snprintf(part, sizeof(part), "%s.part", argv[1]);
	do {
		last = t;
		t = now();
	} while (t - last < 20000000 || access(armed, F_OK) < 0);

	FILE *f = fopen(part, "w");

	if (!f)
		return 2;
	fprintf(f, "%llu\n", (unsigned long long)t);
	return fclose(f) || rename(part, argv[1]);
}
