/* SPDX-License-Identifier: MIT */
#include "warmd/variant.h"

#include <string.h>

#include "engine/base/log.h"

#define VARIANTS_MAX 4 /* templates of one name */

static uint64_t hash(uint64_t h, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;

	while (len-- > 0)
		h = (h ^ *p++) * 0x100000001b3ull;
	return h;
}

static uint64_t hash_variable(uint64_t h, const struct request *r, const char *name, size_t len)
{
	const char *value = request_getenv(r, name, len);

	h = hash(h, name, len);
	return value ? hash(h, value, strlen(value) + 1) : hash(h, "", 1);
}

static uint64_t hash_environment(uint64_t h, const struct server *s, const struct template *t,
				 const struct request *r)
{
	const Warm__BuildResult *result = t->result;
	bool all = result->environment_all || result->environment_exact;

	for (size_t i = 0; i < result->n_environment; i++) {
		all |= strcmp(result->environment[i], "*") == 0;
		h = hash_variable(h, r, result->environment[i], strlen(result->environment[i]));
	}
	for (char **e = r->envp; *e; e++) {
		size_t len = strcspn(*e, "=");

		if (all ? !config_ignores_variable(s->config, *e, len) : template_variable_counts_always(*e))
			h = hash_variable(h, r, *e, len);
	}
	return h;
}

/* of what two launches must agree in to be served by one more template; never 0 */
static uint64_t hash_context(const struct server *s, const struct template *t, const struct launch *l)
{
	const struct wire_run *run = &l->request->run;
	uint64_t h = 0xcbf29ce484222325ull;

	if (run->flags & WIRE_LAUNCH_ENV)
		h = hash_environment(h, s, t, l->request);
	h = hash(h, &run->ignored_signals, sizeof(run->ignored_signals));
	h = hash(h, &run->blocked_signals, sizeof(run->blocked_signals));
	h = hash(h, run->rlimits, sizeof(run->rlimits));
	h = hash(h, &run->scheduling.affinity, sizeof(run->scheduling.affinity));
	h = hash(h, &run->umask, sizeof(run->umask));
	h = hash(h, run->stdio, sizeof(run->stdio));
	h = hash(h, run->inherited_fds, sizeof(run->inherited_fds));
	return h | 1;
}

static unsigned int count(const struct store *s, const char *label)
{
	unsigned int n = 0;

	for (const struct template *t = s->list; t; t = t->next)
		n += strcmp(t->label, label) == 0;
	return n;
}

void variant_note(struct server *s, struct template *t, const struct launch *l)
{
	uint64_t h = hash_context(s, t, l);
	bool again = t->misfit == h;
	struct request *req;

	t->misfit = h;
	/* names alone tell templates of one program that are equal in all else from each other */
	if (!again || t->misfit_built == h || !t->request->name[0] ||
	    count(s->store, t->label) >= VARIANTS_MAX)
		return;
	req = request_variant(t->request, l->request);
	if (!req)
		return;
	t->misfit_built = h;
	log_info("template '%s': another is built for callers in another context", t->label);
	build_request(s, req, NULL);
}
