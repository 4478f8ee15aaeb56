/* SPDX-License-Identifier: MIT */
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char root[PATH_MAX];

int scratch_make(void)
{
	char made[] = "/tmp/test.XXXXXX";

	return mkdtemp(made) && realpath(made, root) ? 0 : -1;
}

int scratch_remove(void)
{
	char cmd[PATH_MAX + 16];

	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", root);
	return system(cmd);
}

const char *at(const char *name)
{
	static char paths[8][PATH_MAX + 64];
	static unsigned int turn;
	char *p = paths[turn++ % 8];

	snprintf(p, sizeof(paths[0]), "%s/%s", root, name);
	return p;
}

void put(const char *name, const char *text)
{
	FILE *f = fopen(at(name), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}
