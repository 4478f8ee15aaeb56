/* SPDX-License-Identifier: MIT */
#include "words.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int parse_number(const char *s, unsigned min, unsigned max, unsigned *ret)
{
	char *end;

	errno = 0;
	unsigned long v = strtoul(s, &end, 10);
	if (errno || end == s || *end || v < min || v > max)
		return -EINVAL;
	*ret = (unsigned)v;
	return 0;
}

int parse_unsigned(const char *s, unsigned *ret)
{
	return parse_number(s, 0, 100000000, ret);
}

int parse_word(const char *s, const char *const *names, size_t n, unsigned *ret)
{
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(s, names[i])) {
			*ret = (unsigned)i;
			return 0;
		}
	}
	return -EINVAL;
}
