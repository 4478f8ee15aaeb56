/* SPDX-License-Identifier: MIT */
#include "warmd/variant.h"

#include <string.h>
#include <sys/resource.h>

#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "warmd/build_queue.h"
#include "warmd/template/match.h"

#define VARIANTS_MAX 4 /* templates of one name */
#define SEED	     0xcbf29ce484222325ull /* FNV-1a */

static uint64_t hash(uint64_t h, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;

	while (len-- > 0)
		h = (h ^ *p++) * 0x100000001b3ull;
	return h;
}

/* the sum of a hash of each that counts, as their order does not */
static uint64_t hash_environment(uint64_t h, const struct config *config, const struct template *t,
				 const struct request *req)
{
	/* a launch that brings none gets the template's */
	const struct request *r = req->run.flags & WIRE_LAUNCH_ENV ? req : t->request;
	uint64_t sum = 0;

	for (char **e = r->envp; *e; e++) {
		size_t len = strcspn(*e, "=");

		/* of two of one name the first is looked at: getenv(3) */
		if (template_variable_counts(t, *e, config, template_asks_for_context(t)) &&
		    request_getenv(r, *e, len) == *e + len + 1)
			sum += hash(SEED, *e, strlen(*e));
	}
	return hash(h, &sum, sizeof(sum));
}

#define ADD(h, field) hash(h, &(field), sizeof(field))

static uint64_t hash_looked_at(uint64_t h, const struct template *t, const struct request *req)
{
	const struct wire_run *run = &req->run;
	uint64_t ignored = run->ignored_signals & template_signals_counting(t, req);
	uint32_t keys = t->result->keys;

	h = ADD(h, ignored);
	if (keys & TEMPLATE_KEY_SIGMASK)
		h = ADD(h, run->blocked_signals);
	if (keys & TEMPLATE_KEY_UMASK)
		h = ADD(h, run->umask);
	if (keys & TEMPLATE_KEY_AFFINITY)
		h = ADD(h, run->scheduling.affinity);
	if (keys & TEMPLATE_KEY_NICE)
		h = ADD(h, run->nice);
	if (keys & TEMPLATE_KEY_SCHED)
		h = ADD(ADD(h, run->scheduling.policy), run->scheduling.priority);
	if (keys & TEMPLATE_KEY_IOPRIO)
		h = ADD(h, run->scheduling.ioprio);
	for (unsigned int i = 0; i < WIRE_RLIMITS; i++)
		if (t->result->rlimit_keys >> i & 1)
			h = ADD(h, run->rlimits[i]);
	if (keys & TEMPLATE_KEY_WINSIZE)
		h = ADD(ADD(h, run->rows), run->columns);
	if (keys & TEMPLATE_KEY_TERMIOS)
		h = ADD(ADD(h, run->termios_size), run->termios);
	return h;
}

static uint64_t hash_descriptors(uint64_t h, const struct template *t, const struct request *req)
{
	const struct wire_run *run = &req->run;
	bool enough = run->rlimits[RLIMIT_NOFILE][0] >= t->result->descriptors_needed;
	uint64_t open[4];

	for (int i = 0; i < 3; i++) {
		char kind = t->result->stdio_keys >> i & 1 && run->stdio[i] == WIRE_STDIO_TTY	 ? 't'
			    : template_stream_counts(t, i) && run->stdio[i] == WIRE_STDIO_CLOSED ? 'c'
												 : ' ';

		h = ADD(h, kind);
	}
	template_descriptors_counting(t, open);
	for (size_t i = 0; i < ARRAY_SIZE(open); i++)
		open[i] &= run->inherited_fds[i];
	return ADD(ADD(h, enough), open);
}

uint64_t variant_kind(const struct config *config, const struct template *t, const struct request *req)
{
	uint64_t h = hash_environment(SEED, config, t, req);

	return hash_descriptors(hash_looked_at(h, t, req), t, req) | 1;
}

static unsigned int count(const struct store *s, const char *label)
{
	unsigned int n = 0;

	for (const struct template *t = s->list; t; t = t->next)
		n += strcmp(t->label, label) == 0;
	return n;
}

/* Return: what is known of the kind @kind, first in the list now, with *ret_again: it was there before */
static struct misfit *remember(struct template *t, uint64_t kind, bool *ret_again)
{
	struct misfit *list = t->misfits, found = { .kind = kind };
	size_t i = 0;

	while (i < ARRAY_SIZE(t->misfits) - 1 && list[i].kind != kind)
		i++;
	*ret_again = list[i].kind == kind;
	if (*ret_again)
		found = list[i];
	memmove(list + 1, list, i * sizeof(*list));
	list[0] = found;
	return list;
}

void variant_note(struct server *s, struct template *t, const struct launch_request *l)
{
	bool again;
	struct misfit *m = remember(t, variant_kind(s->config, t, l->request), &again);
	struct request *req;

	/*
	 * Templates of one command that were built in several contexts are found by their common name. One without a name
	 * is launched by its number alone, which is no other template's.
	 */
	if (!again || m->built || !t->request->name[0] || count(s->store, t->label) >= VARIANTS_MAX)
		return;
	req = request_variant(t->request, l->request);
	if (!req)
		return;
	m->built = true;
	log_info("template '%s': another is built for callers in another context", t->label);
	build_request(s, req, NULL);
}
