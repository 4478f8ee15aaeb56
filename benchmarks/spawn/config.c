/* SPDX-License-Identifier: MIT */
#include "config.h"
#include "words.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const kind_names[] = {
	[KIND_FLOOR] = "floor", [KIND_TRUE] = "true",	[KIND_COLD] = "cold",
	[KIND_WARM] = "warm",	[KIND_OTHER] = "other",
};
static_assert(sizeof(kind_names) / sizeof(*kind_names) == KIND_COUNT, "one name for each kind");

const char *kind_name(enum kind kind)
{
	return kind_names[kind];
}

static int read_file(const char *path, char **ret, size_t *ret_size)
{
	FILE *f = fopen(path, "re");

	if (!f)
		return -errno;

	char *data = NULL;
	size_t size = 0, room = 0;
	int r = 0;

	for (;;) {
		if (size == room) {
			room = room ? room * 2 : 4096;
			char *p = realloc(data, room);

			if (!p) {
				r = -ENOMEM;
				break;
			}
			data = p;
		}
		size_t n = fread(data + size, 1, room - size, f);

		if (!n)
			break;
		size += n;
	}
	if (!r && ferror(f))
		r = -EIO;
	fclose(f);
	if (r) {
		free(data);
		return r;
	}
	*ret = data;
	*ret_size = size;
	return 0;
}

static void entry_free(struct entry *e)
{
	free(e->argv);
	free(e->env);
	free(e->expect);
	free(e->line);
	samples_free(&e->samples);
}

/* the words in front of the command that set variables. Return: how many, or -ENOMEM */
static int take_variables(struct entry *e, size_t argc)
{
	size_t n = 0, own = 0, kept = 0;

	while (n < argc && strchr(e->argv[n], '=') && strchr(e->argv[n], '=') < strchrnul(e->argv[n], '/'))
		n++;
	if (!n)
		return 0;
	while (environ[own])
		own++;
	e->env = calloc(n + own + 1, sizeof(*e->env));
	if (!e->env)
		return -ENOMEM;
	for (size_t i = 0; i < own; i++) {
		bool replaced = false;

		for (size_t k = 0; k < n; k++)
			replaced |= !strncmp(environ[i], e->argv[k], strcspn(e->argv[k], "=") + 1);
		if (!replaced)
			e->env[kept++] = environ[i];
	}
	memcpy(e->env + kept, e->argv, n * sizeof(*e->env));
	memmove(e->argv, e->argv + n, (argc - n + 1) * sizeof(*e->argv));
	return (int)n;
}

/* Takes line on success. On failure *what says which field is wrong. */
static int entry_parse(char *line, struct entry *ret, const char **what)
{
	struct entry e = { .line = line };
	char *fields[5], *rest = line;
	unsigned kind, status;
	int r;

	*what = "five fields and a command, separated by tabs, are needed";
	for (size_t i = 0; i < 5; i++) {
		fields[i] = strsep(&rest, "\t");
		if (!rest || !*fields[i])
			return -EINVAL;
	}
	e.name = fields[0];
	*what = "the kind is none of floor, true, cold, warm, other";
	if (parse_word(fields[1], kind_names, KIND_COUNT, &kind) < 0)
		return -EINVAL;
	e.kind = (enum kind)kind;
	*what = "the stride is not a number from 1";
	if (parse_number(fields[2], 1, INT_MAX, &e.stride) < 0)
		return -EINVAL;
	*what = "the exit status is not a number from 0 to 255";
	if (parse_number(fields[3], 0, 255, &status) < 0)
		return -EINVAL;
	e.status = status;
	size_t argc = 1;

	for (const char *p = rest; *p; p++)
		argc += *p == '\t';
	*what = "out of memory";
	e.argv = calloc(argc + 1, sizeof(*e.argv));
	if (!e.argv)
		return -ENOMEM;
	for (size_t i = 0; i < argc; i++)
		e.argv[i] = strsep(&rest, "\t");
	r = take_variables(&e, argc);
	if (r >= 0) {
		*what = "the command is not a path";
		r = e.argv[0] && strchr(e.argv[0], '/') ? 0 : -EINVAL;
	}
	if (r < 0) {
		free(e.argv);
		free(e.env);
		return r;
	}
	*what = "the file with the expected output cannot be read";
	if (strcmp(fields[4], "-") != 0) {
		r = read_file(fields[4], &e.expect, &e.expect_size);
		if (r < 0) {
			free(e.argv);
			free(e.env);
			return r;
		}
	}
	*ret = e;
	return 0;
}

static int config_append(struct config *c, const struct entry *e)
{
	struct entry *p = reallocarray(c->entries, c->n + 1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	c->entries = p;
	c->entries[c->n++] = *e;
	return 0;
}

int config_load(const char *path, struct config *ret)
{
	FILE *f = fopen(path, "re");

	if (!f) {
		int r = -errno;

		fprintf(stderr, "spawn_bench: %s: %s\n", path, strerror(-r));
		return r;
	}

	struct config c = { 0 };
	char *line = NULL;
	size_t room = 0;
	int r = 0;

	for (unsigned number = 1; !r && getline(&line, &room, f) >= 0; number++) {
		const char *what;
		struct entry e;

		line[strcspn(line, "\n")] = '\0';
		if (!*line || *line == '#')
			continue;
		r = entry_parse(line, &e, &what);
		if (r < 0) {
			fprintf(stderr, "spawn_bench: %s:%u: %s\n", path, number, what);
			break;
		}
		line = NULL;
		room = 0;
		r = config_append(&c, &e);
		if (r < 0)
			entry_free(&e);
	}
	free(line);
	fclose(f);
	if (!r && !c.n) {
		fprintf(stderr, "spawn_bench: %s: no entries\n", path);
		r = -EINVAL;
	}
	if (r < 0) {
		config_free(&c);
		return r;
	}
	*ret = c;
	return 0;
}

void config_free(struct config *c)
{
	for (size_t i = 0; i < c->n; i++)
		entry_free(&c->entries[i]);
	free(c->entries);
	*c = (struct config){ 0 };
}

const struct entry *config_find(const struct config *c, enum kind kind, const char *name)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct entry *e = &c->entries[i];

		if (e->kind == kind && (!name || !strcmp(e->name, name)))
			return e;
	}
	return NULL;
}
