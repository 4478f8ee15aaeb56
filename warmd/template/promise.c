/* SPDX-License-Identifier: MIT */
#include "warmd/template/promise.h"

#include <stdlib.h>
#include <string.h>

#include "launcher/wire/protocol.h"

#define PROMISES_MAX 1024 /* the oldest go: `warm run --name` can make any number */

static bool is_promise(const struct request *r)
{
	return !r->variant &&
	       (r->name[0] || ((r->run.flags & WIRE_RUN_BUILD) && (r->run.pool || !request_any_point(r))));
}

/* the new one stands in the place of the old one */
static bool takes_the_place(const struct request *new, const struct request *old)
{
	return strcmp(new->name, old->name) == 0 && (new->name[0] || request_same_command(new, old));
}

static void drop(struct promise **at)
{
	struct promise *p = *at;

	*at = p->next;
	request_free(p->request);
	free(p);
}

void promise_keep(struct promise **list, const struct request *req)
{
	struct promise *p = is_promise(req) ? calloc(1, sizeof(*p)) : NULL;
	size_t n = 1;

	if (!p)
		return;
	p->request = request_copy(req);
	if (!p->request) {
		free(p);
		return;
	}
	p->next = *list;
	*list = p;
	for (struct promise **at = &p->next; *at;) {
		if (takes_the_place(req, (*at)->request) || ++n > PROMISES_MAX)
			drop(at);
		else
			at = &(*at)->next;
	}
}

const struct request *promise_of_name(const struct promise *list, const char *name)
{
	for (const struct promise *p = list; p; p = p->next)
		if (p->request->name[0] && strcmp(p->request->name, name) == 0)
			return p->request;
	return NULL;
}

const struct request *promise_of_label(const struct promise *list, const char *label)
{
	const struct request *named = promise_of_name(list, label);
	char its[REQUEST_LABEL_MAX];

	for (const struct promise *p = list; p && !named; p = p->next) {
		request_label(p->request, its, sizeof(its));
		if (!p->request->name[0] && strcmp(its, label) == 0)
			return p->request;
	}
	return named;
}

/* the request's own name first, then what has none */
static int rank(const struct request *promised, const struct request *req)
{
	if (strcmp(promised->name, req->name) == 0)
		return 2;
	return req->name[0] ? 0 : 1;
}

const struct request *promise_of_command(const struct promise *list, const struct request *req)
{
	const struct request *best = NULL;

	for (const struct promise *p = list; p; p = p->next) {
		const struct request *r = p->request;

		if (!request_same_command(r, req) || !rank(r, req) ||
		    (!request_any_point(req) && strcmp(r->ready, req->ready) != 0))
			continue;
		if (!best || rank(r, req) > rank(best, req))
			best = r;
	}
	return best;
}

bool promise_drop(struct promise **list, const char *name, const struct request *req)
{
	bool found = false;

	for (struct promise **at = list; *at;) {
		const struct request *r = (*at)->request;

		if ((r->name[0] && strcmp(r->name, name) == 0) ||
		    (!r->name[0] && req && takes_the_place(req, r))) {
			drop(at);
			found = true;
		} else {
			at = &(*at)->next;
		}
	}
	return found;
}

void promise_drop_all(struct promise **list)
{
	while (*list)
		drop(list);
}
