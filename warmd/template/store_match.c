/* SPDX-License-Identifier: MIT */
/* store_match.c - which template serves a launch, or why none does; templates by their names */
#include "warmd/template/store_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "warmd/template/backoff.h"
#include "warmd/template/match.h"

/* a refused program may be tried again after this long, as the reason can lie outside of the files that are watched */
#define REFUSAL_NS     (60 * NS_PER_S)
#define REFUSAL_MAX_NS (3600 * NS_PER_S)
#define MAX_ATTEMPTS   3 /* builds of a program that fails in a way that may pass */

/* stands for REFUSAL_NS, and twice as long each time that it is found again; for one that failed see backoff.h */
static bool refusal_stands(const struct template *t)
{
	uint64_t ns = REFUSAL_NS;

	for (unsigned int i = 1; i < t->attempts && ns < REFUSAL_MAX_NS; i++)
		ns *= 2;
	if (clock_ns(CLOCK_MONOTONIC) - t->checked_ns > ns)
		return false;
	return !t->result->retry || t->attempts >= MAX_ATTEMPTS;
}

void store_match(struct store *s, const struct request *req, struct template **ret, uint32_t *ret_status,
		 char *reason, size_t size)
{
	const struct stale_note *stale;
	const char *writer;
	struct template *t, *next;
	char words[200];

	*ret_status = WIRE_COLD_NONE;
	snprintf(reason, size, "no template yet");
	for (t = s->list; t; t = next) {
		next = t->next;
		if (t->state == TEMPLATE_REFUSED) {
			/* one that failed is backoff.h's: store_waits() */
			if (*ret_status == WIRE_COLD_NONE && !t->result->failed &&
			    template_same_program(t, req) && refusal_stands(t)) {
				*ret_status = WIRE_COLD_REFUSED;
				snprintf(reason, size, "it cannot be a template: %.200s", t->result->message);
			}
			continue;
		}
		if (template_mismatch(t, req, s->config, words, sizeof(words))) {
			if (template_same_program(t, req)) {
				*ret_status = WIRE_COLD_MISMATCH;
				snprintf(reason, size, "template '%.40s' does not fit: %.150s", t->label,
					 words);
			}
			continue;
		}
		if (!store_check(t)) {
			/* the list may have changed */
			*ret_status = WIRE_COLD_STALE;
			stale = store_recently_stale(s, req);
			snprintf(reason, size, "its template was stale: %.200s changed",
				 stale ? stale->path : "something");
			return;
		}
		writer = watch_writer(t->watch);
		if (writer) {
			/* the next template would be no better */
			*ret_status = WIRE_COLD_REFUSED;
			snprintf(reason, size,
				 "somebody has %.160s open for writing, and may write to it unseen (mmap)",
				 writer);
			return;
		}
		*ret_status = WIRE_WARM;
		snprintf(reason, size, "'%.100s'", t->label);
		*ret = t;
		return;
	}
	stale = *ret_status == WIRE_COLD_NONE ? store_recently_stale(s, req) : NULL;
	if (stale) {
		*ret_status = WIRE_COLD_STALE;
		snprintf(reason, size, "its template was stale: %.200s changed", stale->path);
	}
}

bool store_waits(const struct store *s, const struct request *req, uint64_t *ret_ns, char *reason,
		 size_t size)
{
	char why[240], left[32];
	uint64_t ns;

	if (!backoff_waits(s->backoff, backoff_program(req), clock_ns(CLOCK_MONOTONIC), &ns, why,
			   sizeof(why)))
		return false;
	*ret_ns = ns;
	ns = (ns + NS_PER_S - 1) / NS_PER_S;
	snprintf(left, sizeof(left), ns < 120 ? "%llu s" : "%llu min",
		 (unsigned long long)(ns < 120 ? ns : (ns + 59) / 60));
	snprintf(reason, size, "no build for %s ('warm build' makes one now): %.200s", left, why);
	return true;
}

bool store_is_named(const struct template *t, const char *name)
{
	char *end;
	uint64_t id = strtoull(name, &end, 10);

	return (t->label && strcmp(t->label, name) == 0) || (end != name && !*end && t->id == id);
}

struct template *store_find(const struct store *s, const char *name)
{
	struct template *refused = NULL;

	for (struct template *t = s->list; t; t = t->next) {
		if (!store_is_named(t, name))
			continue;
		if (t->state == TEMPLATE_READY)
			return t;
		refused = refused ? refused : t;
	}
	return refused;
}
