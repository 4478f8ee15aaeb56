/* SPDX-License-Identifier: MIT */
/* language.c - questions to all languages of the table */
#include "warmd/build/language.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/fd.h"
#include "warmd/build/builder_internal.h"

int language_detect(struct builder *b, bool asked, struct error *err)
{
	for (const struct language *const *l = languages; *l; l++) {
		int r = (*l)->detect(b, asked, err);

		if (r == 0)
			continue;
		if (r > 0)
			b->language = *l;
		return r;
	}
	return 0;
}

bool language_is_cache(const char *path)
{
	for (const struct language *const *l = languages; *l; l++)
		if ((*l)->is_cache && (*l)->is_cache(path))
			return true;
	return false;
}

bool language_makes_cache(const char *path, bool directory)
{
	for (const struct language *const *l = languages; *l; l++)
		if ((*l)->makes_cache && (*l)->makes_cache(path, directory))
			return true;
	return false;
}

bool language_is_launcher(const char *argument)
{
	for (const struct language *const *l = languages; *l; l++)
		if ((*l)->is_launcher && (*l)->is_launcher(argument))
			return true;
	return false;
}

void language_needs(const char *program, char *buf, size_t size)
{
	size_t at = 0;

	if (size)
		buf[0] = '\0';
	for (const struct language *const *l = languages; *l && at < size; l++) {
		int n = snprintf(buf + at, size - at, "%s%s (no %s in %s)", at ? " or " : "", (*l)->needs,
				 (*l)->lacks, program);

		at += n > 0 ? (size_t)n : 0;
	}
}
