/* SPDX-License-Identifier: MIT */
/*
 * What C has for the environment at the readiness point of a program with an
 * adaptor. A clone is given the launch's, and what the adaptor saw the program
 * write is written again. What was set past it (os.putenv(), setenv(3) in a
 * library) is not: it stays only as long as the launch says nothing of that
 * variable, or nothing else than the build.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"
#include "engine/elf.h"
#include "engine/trace.h"
#include "launcher/wire/protocol.h"
#include "warmd/build/builder_internal.h"
#include "engine/base/map.h"

#define SETTING_MAX   (128 * 1024) /* MAX_ARG_STRLEN */
#define VARIABLES_MAX 65536

/* name -> the setting's text; NULL: not set */
static int enter(struct map *m, const char *setting)
{
	size_t len = strcspn(setting, "=");

	/* getenv(3) finds the first of several */
	if (map_has(m, setting, len))
		return 0;
	return map_put(m, setting, len, (void *)(uintptr_t)setting);
}

/* as C has it now */
static int read_environment(const struct builder *b, struct map *m)
{
	struct elf_query q = { .name = "environ" };
	_cleanup_free_ char *setting = malloc(SETTING_MAX);
	pid_t pid = trace_root(b->trace);
	uint64_t array, at;

	if (!setting)
		return -ENOMEM;
	if (elf_lookup(pid, &q, 1) < 0 || !(q.in_exe || q.addr) ||
	    trace_read(pid, q.in_exe ? q.in_exe : q.addr, &array, sizeof(array)) < 0)
		return -ENOENT;
	for (size_t i = 0; array && i < VARIABLES_MAX; i++) {
		char *copy;
		int r;

		if (trace_read(pid, array + i * sizeof(at), &at, sizeof(at)) < 0)
			return -EFAULT;
		if (!at)
			break;
		if (trace_read_string(pid, at, setting, SETTING_MAX) < 0)
			return -EFAULT;
		copy = map_has(m, setting, strcspn(setting, "=")) ? NULL : strdup(setting);
		if (!copy)
			continue;
		r = enter(m, copy);
		if (r < 0) {
			free(copy);
			return r;
		}
	}
	return 0;
}

/* what a clone of this very launch would have: the launch's, and what the adaptor writes again */
static int expected_environment(const struct builder *b, struct map *m)
{
	int r = 0;

	for (size_t i = 0; i < b->lines.nset && r == 0; i++)
		r = enter(m, b->lines.set[i]);
	for (size_t i = 0; i < b->lines.nunset && r == 0; i++)
		r = map_put(m, b->lines.unset[i], strlen(b->lines.unset[i]), NULL);
	for (char **e = b->req->envp; *e && r == 0; e++)
		r = enter(m, *e);
	return r;
}

static bool same(const struct map *a, const struct map *b, const char *name)
{
	const char *x = map_get(a, name, strlen(name)), *y = map_get(b, name, strlen(name));

	return !x || !y ? x == y : strcmp(x, y) == 0;
}

/* @name is not what the launch and the adaptor make of it */
static int changed(struct builder *b, const struct map *expected, const char *name)
{
	if (map_has(expected, name, strlen(name))) {
		/* a clone with another environment would be given that */
		b->env_changed = true;
		return 0;
	}
	return builder_note_env(b, name);
}

static int compare(struct builder *b, const struct map *is, const struct map *expected,
		   const struct map *names)
{
	const struct map_slot *slot;
	size_t pos = 0;
	int r = 0;

	while (r == 0 && (slot = map_next(names, &pos)))
		if (!same(is, expected, slot->key))
			r = changed(b, expected, slot->key);
	return r;
}

int builder_check_environment(struct builder *b, struct error *err)
{
	struct map is = { 0 }, expected = { 0 };
	int r;

	if (!b->adaptor_used || b->env_changed)
		return 0;
	r = expected_environment(b, &expected);
	if (r == 0)
		r = read_environment(b, &is);
	if (r == 0)
		r = compare(b, &is, &expected, &is);
	if (r == 0)
		r = compare(b, &is, &expected, &expected);
	map_done(&is, free);
	map_done(&expected, NULL);
	if (r == -ENOMEM)
		return error_set(err, ENOMEM, "no memory");
	b->env_changed |= r < 0;
	return 0;
}
