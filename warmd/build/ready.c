/* SPDX-License-Identifier: MIT */
/* ready.c - questions to the table of readiness points */
#include "warmd/build/ready.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "warmd/build/builder_internal.h"

int ready_parse(const char *word, struct ready *ret, struct error *err)
{
	size_t len = strcspn(word, "=");
	char words[512];

	for (const struct ready_point *const *at = ready_points; *at; at++) {
		const struct ready_point *p = *at;
		struct ready ready = { .kind = p };
		int r = 0;

		if (word[0] && (strlen(p->word) != len || memcmp(p->word, word, len) != 0))
			continue;
		if (word[len] && !p->argument)
			continue;
		if (p->parse)
			r = p->parse(word[len] ? word + len + 1 : NULL, &ready.ns, err);
		if (r == 0)
			*ret = ready;
		return r;
	}
	ready_words(words, sizeof(words));
	return error_set(err, EINVAL, "there is no readiness point '%.60s': it is %s", word, words);
}

void ready_words(char *buf, size_t size)
{
	size_t at = 0;

	buf[0] = '\0';
	for (const struct ready_point *const *e = ready_points; *e && at < size; e++) {
		const struct ready_point *p = *e;
		const char *between = !at ? "" : e[1] ? ", " : " or ";
		bool lacks = p->may_lack_argument;
		int n = snprintf(buf + at, size - at, "%s%s%s%s%s%s", between, p->word, lacks ? "[" : "",
				 p->argument ? "=" : "", p->argument ? p->argument : "", lacks ? "]" : "");

		at += n > 0 ? (size_t)n : 0;
	}
}

const struct ready_point *ready_in_use(const struct builder *b)
{
	const struct ready_point *p = b->point.kind;

	return p->in_use ? p->in_use(b) : p;
}

const char *ready_word(const struct builder *b)
{
	const struct ready_point *p = ready_in_use(b);

	return p->argument && p == b->point.kind ? b->req->ready : p->word;
}
