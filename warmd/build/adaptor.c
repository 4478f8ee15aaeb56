/* SPDX-License-Identifier: MIT */
#include "warmd/build/adaptor.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"

#define LINE_MAX_BYTES 65536
#define LIST_MAX       65536

static int push(char ***list, size_t *n, const char *word)
{
	if (*n >= LIST_MAX)
		return -E2BIG;
	if (array_reserve(list, *n, 1, sizeof(char *)) < 0)
		return -ENOMEM;
	(*list)[*n] = strdup(word);
	return (*list)[*n] ? (*n)++, 0 : -ENOMEM;
}

static int keep(char **to, const char *word)
{
	free(*to);
	*to = strdup(word);
	return *to ? 0 : -ENOMEM;
}

static int take_argv(struct adaptor_lines *a, const char *value)
{
	char *end;

	if (strcmp(value, "*") == 0) {
		a->argv = LONG_MAX;
		return 0;
	}
	a->argv_from_end = value[0] == '-';
	value += a->argv_from_end;
	a->argv = strtol(value, &end, 10);
	return isdigit((unsigned char)*value) && !*end ? 0 : -EBADMSG;
}

int adaptor_add_random(struct adaptor_lines *a, struct adaptor_range range)
{
	struct adaptor_range *added = array_append(&a->randoms, &a->nrandoms, sizeof(*added));

	if (!added)
		return -ENOMEM;
	*added = range;
	return 0;
}

static int take_random(struct adaptor_lines *a, const char *value)
{
	struct adaptor_range range;
	char *end;

	range.addr = strtoull(value, &end, 16);
	if (end == value || *end != ':' || a->nrandoms >= LIST_MAX)
		return -EBADMSG;
	range.len = strtoull(end + 1, &end, 10);
	if (*end || !range.len || range.len > LINE_MAX_BYTES)
		return -EBADMSG;
	return adaptor_add_random(a, range);
}

static int take_line(struct adaptor_lines *a, char *line)
{
	char *value = strchr(line, '=');

	if (!value)
		return -EBADMSG;
	*value++ = '\0';
	if (strcmp(line, "READY") == 0) {
		a->ready = true;
		return strcmp(value, "1") == 0 ? 0 : -EBADMSG;
	}
	if (strcmp(line, "CONTEXT") == 0) {
		a->raw = true;
		return strcmp(value, "raw") == 0 ? 0 : -EBADMSG;
	}
	if (strcmp(line, "TRACK") == 0) {
		a->track_env |= strcmp(value, "env") == 0;
		a->track_argv |= strcmp(value, "argv") == 0;
		return 0;
	}
	if (strcmp(line, "ENV") == 0) {
		a->env_all |= strcmp(value, "*") == 0;
		return push(&a->env, &a->nenv, value);
	}
	if (strcmp(line, "SET") == 0)
		return strchr(value, '=') ? push(&a->set, &a->nset, value) : -EBADMSG;
	if (strcmp(line, "UNSET") == 0)
		return push(&a->unset, &a->nunset, value);
	if (strcmp(line, "ARGV") == 0)
		return take_argv(a, value);
	if (strcmp(line, "STDIO") == 0) {
		a->stdio = strcmp(value, "1") == 0;
		return 0;
	}
	if (strcmp(line, "SIGNALS") == 0) {
		char *end;

		a->signals = true;
		a->signals_looked_at = strtoull(value, &end, 16);
		return *value && !*end ? 0 : -EBADMSG;
	}
	if (strcmp(line, "MODULES") == 0)
		return push(&a->modules, &a->nmodules, value);
	if (strcmp(line, "LISTED") == 0)
		return push(&a->listed, &a->nlisted, value);
	if (strcmp(line, "RANDOM") == 0)
		return take_random(a, value);
	if (strcmp(line, "LEAVE") == 0) {
		a->leave = strtoull(value, &value, 16);
		return a->leave && !*value ? 0 : -EBADMSG;
	}
	if (strcmp(line, "EXIT") == 0)
		return keep(&a->exit, value);
	if (strcmp(line, "REFUSE") == 0)
		return keep(&a->refuse, value);
	/* sd_notify's other words (STATUS=, MAINPID=..) say nothing to us */
	return 0;
}

int adaptor_feed(struct adaptor_lines *a, const char *bytes, size_t len, struct error *err)
{
	char *more = realloc(a->partial, a->partial_len + len + 1);
	char *line, *newline;
	int r = 0;

	if (!more)
		return error_set(err, ENOMEM, "no memory");
	a->partial = more;
	memcpy(more + a->partial_len, bytes, len);
	a->partial_len += len;
	more[a->partial_len] = '\0';
	line = more;
	while (r == 0 && (newline = memchr(line, '\n', a->partial_len - (size_t)(line - more)))) {
		*newline = '\0';
		r = take_line(a, line);
		if (r < 0)
			return error_set(err, r, "the readiness protocol has no line '%.80s'", line);
		line = newline + 1;
	}
	a->partial_len -= (size_t)(line - more);
	memmove(more, line, a->partial_len);
	if (a->partial_len > LINE_MAX_BYTES)
		return error_set(err, EBADMSG, "a line of the readiness protocol exceeds %d bytes",
				 LINE_MAX_BYTES);
	return 0;
}

static void strings_free(char **v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(v[i]);
	free(v);
}

void adaptor_done(struct adaptor_lines *a)
{
	strings_free(a->env, a->nenv);
	strings_free(a->set, a->nset);
	strings_free(a->unset, a->nunset);
	strings_free(a->modules, a->nmodules);
	strings_free(a->listed, a->nlisted);
	free(a->randoms);
	free(a->exit);
	free(a->refuse);
	free(a->partial);
	memset(a, 0, sizeof(*a));
}

static int take_word(const char **p, const char *stop, char *out, size_t size)
{
	size_t len = strcspn(*p, stop);

	if (len == 0 || len >= size)
		return -EBADMSG;
	memcpy(out, *p, len);
	out[len] = '\0';
	*p += len;
	return 0;
}

int adaptor_parse_exit(const char *line, struct adaptor_exit *ret)
{
	struct adaptor_exit e = { 0 };
	const char *p = line;
	char *end;

	do {
		size_t len;

		if (e.n == ARRAY_SIZE(e.symbols) ||
		    take_word(&p, ",:", e.symbols[e.n], sizeof(e.symbols[0])) < 0)
			return -EBADMSG;
		len = strlen(e.symbols[e.n]);
		if (e.symbols[e.n][len - 1] == '!') {
			if (len == 1)
				return -EBADMSG;
			e.symbols[e.n][len - 1] = '\0';
			e.marked[e.n] = true;
		}
		e.n++;
	} while (*p++ == ',');
	if (p[-1] != ':' || take_word(&p, ",:", e.call, sizeof(e.call)) < 0 || *p++ != ',' ||
	    take_word(&p, ",:", e.value, sizeof(e.value)) < 0 || *p++ != ':')
		return -EBADMSG;
	errno = 0;
	e.arg = strtoull(p, &end, 16);
	if (!isxdigit((unsigned char)*p) || *end || errno)
		return -EBADMSG;
	*ret = e;
	return 0;
}
