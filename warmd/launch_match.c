/* SPDX-License-Identifier: MIT */
#include "warmd/launch_match.h"
#include "warmd/template/match.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* the directory comes as a descriptor: what the request says is for templates that `warm run` makes */
bool launch_directory_differs(const struct template *t, const struct launch_request *l, char *reason,
			      size_t size)
{
	char cwd[PATH_MAX];

	/* at the readiness point `call` the program is told of it, and of its arguments */
	if (!(t->result->keys & TEMPLATE_KEY_CWD) || t->result->for_any_caller)
		return false;
	if (launch_request_directory(l, cwd, sizeof(cwd)) == 0 && strcmp(cwd, t->request->cwd) == 0)
		return false;
	snprintf(reason, size, "another working directory, which was read at the start: launch it in %.150s",
		 t->request->cwd);
	return true;
}

/*
 * What libraries look at when they are loaded (libgfortran: all three) must not bind a named template to one kind
 * of file or pipe. Whether it is a terminal is what programs decide by.
 */
static bool streams_differ(const struct template *t, const struct launch_request *l, char *reason,
			   size_t size)
{
	static const char *const names[3] = { "standard input", "standard output", "standard error" };
	const struct wire_run *a = &t->request->run, *b = &l->request->run;

	for (int i = 0; i < 3; i++) {
		bool looked_at = t->result->stdio_keys >> i & 1;
		const char *what = NULL;

		if (looked_at && (a->stdio[i] == WIRE_STDIO_TTY) != (b->stdio[i] == WIRE_STDIO_TTY))
			what = "a terminal";
		if (template_stream_counts(t, i) &&
		    (a->stdio[i] == WIRE_STDIO_CLOSED) != (b->stdio[i] == WIRE_STDIO_CLOSED))
			what = "closed";
		if (what) {
			snprintf(reason, size,
				 "%s is %s in one of build and launch, which was looked at at the start",
				 names[i], what);
			return true;
		}
	}
	return false;
}

/* what another template of the same command would be built with: variant_kind(). A program that asks for its context is told its environment */
static bool context_differs(const struct server *s, const struct template *t, const struct launch_request *l,
			    char *reason, size_t size)
{
	const struct request *req = l->request;

	return ((req->run.flags & WIRE_LAUNCH_ENV) &&
		template_environment_differs(t, req, s->config, template_asks_for_context(t), reason,
					     size)) ||
	       template_looked_at_differs(t, req, reason, size) || streams_differ(t, l, reason, size) ||
	       template_descriptors_clash(t, req, reason, size);
}

/* one who brings no environment is served with the template's, which for one of another context is not the name's */
static bool takes_its_environment(const struct launch_request *l, const struct template *t,
				  const struct request *promised)
{
	return !(l->request->run.flags & WIRE_LAUNCH_ENV) && !request_same_environment(t->request, promised);
}

/* of the command that has the name now; numbers, and what labels are made of, are nobody's to give */
static bool is_of_name(const struct template *t, const struct launch_request *l,
		       const struct request *promised)
{
	return store_is_named(t, l->request->name) &&
	       (!promised || request_same_command(t->request, promised));
}

/*
 * @ret_own: whether what the name was given to is there itself, and not only what was built beside it for other contexts
 * Return: the template of that name that fits; else one that does not, with @reason, or NULL
 */
struct template *launch_find_template(struct server *s, const struct launch_request *l, bool *ret_fits,
				      bool *ret_own, char *reason, size_t size)
{
	const struct request *promised = promise_of_name(s->store->promises, l->request->name);
	struct template *refused = NULL, *first = NULL;
	char words[256];

	*ret_fits = *ret_own = false;
	for (struct template *t = s->store->list; t; t = t->next) {
		if (!is_of_name(t, l, promised))
			continue;
		*ret_own |= !t->request->variant;
		if (t->state == TEMPLATE_REFUSED) {
			refused = refused ? refused : t;
			continue;
		}
		*ret_fits = !context_differs(s, t, l, words, sizeof(words)) &&
			    !(t->request->variant && promised && takes_its_environment(l, t, promised));
		if (*ret_fits)
			return t;
		if (!first || (first->request->variant && !t->request->variant)) {
			first = t;
			snprintf(reason, size, "%s", words);
		}
	}
	return first ? first : refused;
}
