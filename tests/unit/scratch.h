/* SPDX-License-Identifier: MIT */
/* scratch.h - a directory of the test's own, with a canonical path: /tmp/test.XXXXXX. For tests of what reads the file system. */
#ifndef WARM_TESTS_SCRATCH_H
#define WARM_TESTS_SCRATCH_H

#include <limits.h>

extern char root[PATH_MAX];

/** scratch_make() - the directory; root is its path. Return: 0, or -1 with errno */
int scratch_make(void);
/** scratch_remove() - with all that is in it. Return: 0, or another number */
int scratch_remove(void);

/** at() - path of @name in the directory; the last 8 answers are valid */
const char *at(const char *name);
/** put() - write a file of it, in place if it is there */
void put(const char *name, const char *text);

#endif
