/* SPDX-License-Identifier: MIT */
/* config.c - the configuration of clone_bench: entry.h */
#include "entry.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spawn/words.h"
#include "warm.h"

static const char *const kind_names[] = {
	[CLONE_HELPER] = "helper",
	[CLONE_SPAWN] = "spawn",
	[CLONE_PARKED] = "parked",
	[CLONE_FORK] = "fork",
};
static_assert(sizeof(kind_names) / sizeof(*kind_names) == CLONE_KIND_COUNT, "one name for each kind");

const char *clone_kind_name(enum clone_kind kind)
{
	return kind_names[kind];
}

/* Takes line on success. */
static int parse(char *line, struct clone_entry *ret)
{
	struct clone_entry e = { .line = line, .to = -EBADF, .from = -EBADF };
	char *fields[6], *rest = line, *end;
	unsigned kind;

	for (size_t i = 0; i < 6; i++) {
		fields[i] = strsep(&rest, "\t");
		if (!rest || !*fields[i])
			return -EINVAL;
	}
	e.name = fields[0];
	e.stride = (unsigned)strtoul(fields[2], &end, 10);
	e.socket = fields[3];
	e.daemon = fields[4];
	e.template_name = fields[5];
	if (parse_word(fields[1], kind_names, CLONE_KIND_COUNT, &kind) < 0 || *end || !e.stride)
		return -EINVAL;
	e.kind = (enum clone_kind)kind;
	e.argc = 1;
	for (const char *p = rest; *p; p++)
		e.argc += *p == '\t';
	e.argv = calloc(e.argc + 2, sizeof(*e.argv));
	if (!e.argv)
		return -ENOMEM;
	for (size_t i = 0; i < e.argc; i++)
		e.argv[i] = strsep(&rest, "\t");
	*ret = e;
	return 0;
}

static int append(struct clone_config *c, const struct clone_entry *e)
{
	struct clone_entry *p = reallocarray(c->entries, c->n + 1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	c->entries = p;
	c->entries[c->n++] = *e;
	return 0;
}

int clone_config_load(const char *path, struct clone_config *ret)
{
	struct clone_config c = { 0 };
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t room = 0;
	int r = f ? 0 : -errno;

	for (unsigned number = 1; !r && getline(&line, &room, f) >= 0; number++) {
		struct clone_entry e;

		line[strcspn(line, "\n")] = '\0';
		if (!*line || *line == '#')
			continue;
		r = parse(line, &e);
		if (!r) {
			line = NULL;
			room = 0;
			r = append(&c, &e);
		}
		if (r < 0)
			fprintf(stderr, "clone_bench: %s:%u: %s\n", path, number, strerror(-r));
	}
	if (r < 0 && !f)
		fprintf(stderr, "clone_bench: %s: %s\n", path, strerror(-r));
	free(line);
	if (f)
		fclose(f);
	if (r < 0)
		clone_config_free(&c);
	else
		*ret = c;
	return r;
}

static void entry_free(struct clone_entry *e)
{
	if (e->to >= 0)
		close(e->to);
	if (e->from >= 0)
		close(e->from);
	/* a helper ends at the end of its stdin */
	if (e->helper > 0)
		waitpid(e->helper, NULL, 0);
	warm_close(e->warm);
	samples_free(&e->samples);
	samples_free(&e->first);
	free(e->argv);
	free(e->line);
}

void clone_config_free(struct clone_config *c)
{
	for (size_t i = 0; i < c->n; i++)
		entry_free(&c->entries[i]);
	free(c->entries);
	*c = (struct clone_config){ 0 };
}
