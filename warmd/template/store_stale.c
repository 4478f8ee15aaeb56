/* SPDX-License-Identifier: MIT */
/* store_stale.c - a template is not as it was: it goes, and what changed is remembered for who asks why a run is cold */
#include "warmd/template/store_internal.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "warmd/template/backoff.h"
#include "warmd/template/match.h"

/*
 * A template that clones cannot be made of is dropped and built anew. If the next one is no better, it stays for this long,
 * so that warmd does not build in a loop.
 */
#define AGAIN_NS  (10 * NS_PER_S)
#define RECENT_NS (10 * NS_PER_S) /* a template that went stale before that is no reason for a cold run */

/* as request_label() of a request without a name */
static void command_label(const struct request *req, char *ret, size_t size)
{
	struct request unnamed = *req;

	unnamed.name = (char *)"";
	request_label(&unnamed, ret, size);
}

static void note_stale(struct store *s, const struct template *t, const char *path)
{
	struct stale_note *n = &s->stale[s->nstale++ % ARRAY_SIZE(s->stale)];

	snprintf(n->label, sizeof(n->label), "%s", t->label);
	command_label(t->request, n->command, sizeof(n->command));
	snprintf(n->path, sizeof(n->path), "%s", path);
	n->when_ns = clock_ns(CLOCK_MONOTONIC);
}

void store_stale(void *data, const char *path)
{
	struct template *t = data;
	struct store *s = t->store;

	log_info("template '%s' is stale: %s changed", t->label ? t->label : "?", path);
	store_unlink(s, t);
	backoff_stale(s->backoff, backoff_program(t->request), path, t->launches, clock_ns(CLOCK_MONOTONIC));
	if (t->state == TEMPLATE_READY && t->label) {
		s->dropped_stale++;
		note_stale(s, t, path);
	}
	/* what was refused is tried again too, if launches name it: it may have been saved half way through an edit */
	if (t->label)
		store_tell_gone(t);
	store_free_template(t);
}

static bool is_listed(const struct store *s, uint64_t id)
{
	for (const struct template *t = s->list; t; t = t->next)
		if (t->id == id)
			return true;
	return false;
}

void store_unusable(struct store *s, struct template *t, const char *what)
{
	uint64_t id = t->id;

	/* the clone may be faster than the event that names the file */
	watch_drain(s->watch);
	if (!is_listed(s, id))
		return;
	for (unsigned int i = 0; i < ARRAY_SIZE(s->stale); i++)
		if (s->stale[i].when_ns && clock_ns(CLOCK_MONOTONIC) - s->stale[i].when_ns < AGAIN_NS &&
		    strcmp(s->stale[i].label, t->label) == 0 && strcmp(s->stale[i].path, what) == 0)
			return;
	store_stale(t, what);
}

const struct stale_note *store_recently_stale(const struct store *s, const struct request *req)
{
	const struct stale_note *last = NULL;
	char command[REQUEST_LABEL_MAX];

	command_label(req, command, sizeof(command));
	for (unsigned int i = 0; i < ARRAY_SIZE(s->stale); i++)
		if (s->stale[i].when_ns && clock_ns(CLOCK_MONOTONIC) - s->stale[i].when_ns < RECENT_NS &&
		    strcmp(s->stale[i].command, command) == 0 &&
		    (!last || s->stale[i].when_ns > last->when_ns))
			last = &s->stale[i];
	return last;
}

bool store_check(struct template *t)
{
	const char *fact = template_fact_differs(t);

	if (watch_recheck(t->watch) > 0)
		return false;
	if (fact)
		store_stale(t, fact);
	return !fact;
}
