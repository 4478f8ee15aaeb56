/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What the program itself reads of its environment is watched in the program
 * (getenv(3), the adaptor). A child that executes another program is not
 * watched so: shells copy the whole array before they look anything up. What
 * counts there is what the child was given.
 *
 *   - An environment that was handed on: strings of the array still lie where
 *     the kernel put them for the parent (env_start in /proc/PID/stat), as with execv(3), posix_spawn(3) with environ
 *     and subprocess with env=None; or every variable of the launch is in it.
 *     The child can have read any variable, those too that this launch does
 *     not have. All count, but for what the program itself set or removed.
 *   - One that the program made: it took what is in it from somewhere, and
 *     that was seen, but for native code that copies. So variables with the
 *     launch's value count, and no others.
 *
 * A program that cannot read it (observe_program.c) is none that matters.
 *
 * A process that was forked and goes on without exec can read all that its
 * parent could, and so can its children. A process whose environment was
 * made by the program can only read what is determined already.
 */
#include "warmd/build/observe_internal.h"

#include <errno.h>
#include <linux/sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"

#define VARIABLES_MAX 65536 /* more than fit into what execve(2) takes */
#define SETTING_MAX   (128 * 1024) /* MAX_ARG_STRLEN */

/* an environment that a program is about to get */
struct given {
	struct map settings; /* "NAME=value" */
	bool handed_on; /* a string lies in its parent's own environment */
	bool unknown; /* it could not be read */
};

static int launch_environment(struct observe *o)
{
	size_t len;

	if (o->environment)
		return 0;
	if (read_file(proc_path(o->root, "environ").text, &o->environment, &len) < 0)
		return -EIO;
	o->environment_end = o->environment + len;
	return 0;
}

/* where the kernel put the strings when @pid's program was executed: proc_pid_stat(5), fields 50 and 51 */
static void own_strings(pid_t pid, uint64_t *ret_start, uint64_t *ret_end)
{
	_cleanup_free_ char *text = NULL;
	const char *p;

	*ret_start = *ret_end = 0;
	if (read_file(proc_path(pid, "stat").text, &text, NULL) < 0)
		return;
	p = strrchr(text, ')');
	/* the third field follows */
	for (int field = 2; p && field < 50; field++) {
		p = strchr(p + 1, ' ');
	}
	if (p && sscanf(p, "%lu %lu", ret_start, ret_end) != 2)
		*ret_start = *ret_end = 0;
}

static int given_read(struct observe *o, const struct thread *t, uint64_t array, struct given *g)
{
	_cleanup_free_ char *setting = malloc(SETTING_MAX);
	uint64_t start, end, at;

	if (!setting)
		return -ENOMEM;
	own_strings(t->proc->pid, &start, &end);
	for (size_t i = 0; array && i < VARIABLES_MAX; i++) {
		ssize_t len;

		if (peer_read(o, t->tid, array + i * sizeof(at), &at, sizeof(at)) < 0)
			return -EFAULT;
		if (!at)
			return 0;
		g->handed_on |= at >= start && at < end;
		len = peer_string(o, t->tid, at, setting, SETTING_MAX);
		if (len < 0)
			return -EFAULT;
		if (map_put(&g->settings, setting, (size_t)len, NULL) < 0)
			return -ENOMEM;
	}
	return 0;
}

static const char *next_setting(const struct observe *o, const char *s)
{
	s = s ? s + strlen(s) + 1 : o->environment;
	return s < o->environment_end ? s : NULL;
}

/* is every variable of the launch in it, as it was? Also where there is none: the next launch may have some */
static bool has_all(const struct observe *o, const struct given *g)
{
	for (const char *s = next_setting(o, NULL); s; s = next_setting(o, s)) {
		if (!map_has(&g->settings, s, strlen(s)) &&
		    !config_ignores_variable(o->cfg, s, strcspn(s, "=")))
			return false;
	}
	return true;
}

/* variables that the launch has no part in, as the program set or removed them for this child */
static int find_own(const struct observe *o, const struct given *g, struct map *own)
{
	const struct map_slot *slot;
	struct map launch = { 0 };
	size_t pos = 0;
	int r = 0;

	for (const char *s = next_setting(o, NULL); r == 0 && s; s = next_setting(o, s)) {
		r = map_put(&launch, s, strlen(s), NULL);
		if (r == 0 && !map_has(&g->settings, s, strlen(s)))
			r = map_put(own, s, strcspn(s, "="), NULL);
	}
	while (r == 0 && (slot = map_next(&g->settings, &pos))) {
		if (!map_has(&launch, slot->key, slot->len))
			r = map_put(own, slot->key, strcspn(slot->key, "="), NULL);
	}
	map_done(&launch, NULL);
	return r;
}

/* all variables count from now on, but for @own (NULL: none), and for what was among those of every other child */
static int all_count(struct observe *o, const struct map *own)
{
	struct map both = { 0 };
	const struct map_slot *slot;
	size_t pos = 0;
	int r = 0;

	while (own && r == 0 && (slot = map_next(own, &pos))) {
		if (!o->keys.children_environment || map_has(&o->set_for_children, slot->key, slot->len))
			r = map_put(&both, slot->key, slot->len, NULL);
	}
	map_done(&o->set_for_children, NULL);
	o->set_for_children = both;
	o->keys.children_environment = true;
	return r;
}

static int some_count(struct observe *o, const struct given *g)
{
	int r = 0;

	for (const char *s = next_setting(o, NULL); r == 0 && s; s = next_setting(o, s)) {
		if (map_has(&g->settings, s, strlen(s)) &&
		    !config_ignores_variable(o->cfg, s, strcspn(s, "=")))
			r = map_put(&o->children_variables, s, strcspn(s, "="), NULL);
	}
	return r;
}

void environment_forget(struct thread *t)
{
	if (!t->given)
		return;
	map_done(&t->given->settings, NULL);
	free(t->given);
	t->given = NULL;
}

int environment_given(struct observe *o, struct thread *t, uint64_t array)
{
	int r;

	environment_forget(t);
	/* the program itself: the builder compares what it has at the end */
	if (t->proc->pid == o->root || t->proc->environment_own)
		return 0;
	t->given = calloc(1, sizeof(*t->given));
	if (!t->given)
		return -ENOMEM;
	r = launch_environment(o);
	if (r == 0)
		r = given_read(o, t, array, t->given);
	t->given->unknown = r < 0;
	return r == -ENOMEM ? r : 0;
}

/* the program asks for nothing but what the C library does by itself */
static int libc_counts(struct observe *o)
{
	int r = 0;

	for (const char *const *name = environment_of_libc; *name && r == 0; name++)
		r = map_put(&o->children_variables, *name, strlen(*name), NULL);
	return r;
}

int environment_taken(struct observe *o, struct thread *t)
{
	const struct given *g = t->given;
	struct map own = { 0 };
	int r;

	if (!g)
		return 0;
	if (!program_reads_environment(t->proc->pid)) {
		t->proc->environment_own = true; /* nor can it hand it on */
		return libc_counts(o);
	}
	if (g->unknown)
		return all_count(o, NULL);
	if (!g->handed_on && !has_all(o, g)) {
		t->proc->environment_own = true;
		return some_count(o, g);
	}
	r = find_own(o, g, &own);
	if (r == 0)
		r = all_count(o, &own);
	map_done(&own, NULL);
	return r;
}

/* does the child share the memory, so that it can do nothing but to execute another program? */
static bool shares_memory(struct observe *o, const struct thread *t, const struct observe_call *c)
{
	uint64_t flags = 0;

	switch (c->nr) {
#ifdef SYS_fork
	case SYS_fork:
		return false;
	case SYS_vfork:
		return true;
#endif
	case SYS_clone3: /* struct clone_args begins with its flags */
		return peer_read(o, t->tid, c->args[0], &flags, sizeof(flags)) > 0 && (flags & CLONE_VM);
	default:
		return c->args[0] & CLONE_VM;
	}
}

int environment_forked(struct observe *o, const struct thread *t, const struct observe_call *c)
{
	if (t->proc->environment_own || shares_memory(o, t, c))
		return 0;
	return all_count(o, NULL);
}

bool observe_child_variable(const struct observe *o, size_t *pos, const char **ret)
{
	const struct map_slot *slot = map_next(&o->children_variables, pos);

	*ret = slot ? slot->key : NULL;
	return slot != NULL;
}

bool observe_set_variable(const struct observe *o, size_t *pos, const char **ret)
{
	const struct map_slot *slot = map_next(&o->set_for_children, pos);

	*ret = slot ? slot->key : NULL;
	return slot != NULL;
}
