/* SPDX-License-Identifier: MIT */
#include "warmd/build_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/array.h"
#include "engine/base/clock.h"
#include "warmd/build_process.h"
#include "warmd/launch.h"
#include "warmd/serve.h"
#include "warmd/template/backoff.h"

#define BACKGROUND_MAX 16

static bool same_context(const struct request *a, const struct request *b)
{
	return a->run.strings_size == b->run.strings_size && a->run.argc == b->run.argc &&
	       a->run.envc == b->run.envc && memcmp(a->bytes, b->bytes, a->run.strings_size) == 0;
}

static bool same_template(const struct request *a, const struct request *b)
{
	return strcmp(a->name, b->name) == 0 && strcmp(a->ready, b->ready) == 0 && request_same_command(a, b);
}

bool build_pending(const struct server *s, const struct request *req)
{
	for (const struct build *b = s->builds; b; b = b->next)
		if (same_template(b->request, req))
			return true;
	return false;
}

/* the name that its template will have */
static const char *name_of(const struct build *b, char *label, size_t size)
{
	request_label(b->request, label, size);
	return b->request->name[0] ? b->request->name : label;
}

static bool has_name(const struct build *list, const char *name)
{
	char label[REQUEST_LABEL_MAX];

	for (const struct build *b = list; b; b = b->next)
		if (strcmp(name_of(b, label, sizeof(label)), name) == 0)
			return true;
	return false;
}

bool build_pending_name(const struct server *s, const char *name)
{
	return has_name(s->builds, name) || has_name(s->later, name);
}

bool build_is_process(const struct server *s, pid_t pid)
{
	for (const struct build *b = s->builds; b; b = b->next)
		if (b->pid == pid)
			return true;
	return false;
}

void build_forget_waiter(struct server *s, const struct connection *c)
{
	struct build *next;

	for (struct build *b = s->builds; b; b = next) {
		unsigned int kept = 0, had = b->nwaiters;

		next = b->next;
		for (unsigned int i = 0; i < b->nwaiters; i++)
			if (b->waiters[i] != c)
				b->waiters[kept++] = b->waiters[i];
		b->nwaiters = kept;
		/* one that has begun goes on: it is nearly there */
		if (had && !kept && !b->background && !b->ending && b->pid <= 0)
			build_free(b);
	}
	build_start_next(s);
}

static bool add_waiter(struct build *b, struct connection *c)
{
	if (array_reserve(&b->waiters, b->nwaiters, 1, sizeof(*b->waiters)) < 0)
		return false;
	b->waiters[b->nwaiters++] = c;
	return true;
}

static bool has_begun(const struct build *b)
{
	return b->pid > 0 || b->retrying || b->ending;
}

/* by a client, or by launches of its template's name */
static bool is_awaited(const struct server *s, const struct build *b)
{
	char label[REQUEST_LABEL_MAX];

	return b->nwaiters || launch_waits_for(s, name_of(b, label, sizeof(label)));
}

/* behind the one that runs, and those that somebody waits for stay in front of the others */
static void enqueue(struct server *s, struct build *b)
{
	struct build **at = &s->builds;
	bool awaited = is_awaited(s, b);

	while (*at && (!awaited || has_begun(*at) || is_awaited(s, *at)))
		at = &(*at)->next;
	b->next = *at;
	*at = b;
}

/* somebody waits for it now: in front of the first for which nobody does, unless it is there already */
static void move_up(struct server *s, struct build *b)
{
	struct build **to = &s->builds, **from;

	while (*to != b && (has_begun(*to) || is_awaited(s, *to)))
		to = &(*to)->next;
	if (*to == b || !is_awaited(s, b))
		return;
	for (from = to; *from != b; from = &(*from)->next)
		;
	*from = b->next;
	b->next = *to;
	*to = b;
}

void build_awaited(struct server *s, const char *name)
{
	char label[REQUEST_LABEL_MAX];
	struct build *next;

	for (struct build *b = s->builds; b; b = next) {
		next = b->next;
		if (strcmp(name_of(b, label, sizeof(label)), name) == 0)
			move_up(s, b);
	}
}

/* Return: it waits for @b; false: no memory, and it was told so */
static bool join(struct build *b, struct connection *waiter)
{
	if (!waiter) {
		b->background = true;
		return true;
	}
	/* what changed before this request is not its fault: it gets its own second try */
	b->again = 0;
	if (add_waiter(b, waiter))
		return true;
	connection_reply(waiter, WIRE_COLD_ERROR, NULL, false, 0, "no memory for one who waits for a build");
	return false;
}

void build_request(struct server *s, struct request *req, struct connection *waiter)
{
	unsigned int background = 0;
	struct build *b;

	for (b = s->builds; b; b = b->next) {
		background += b->background && !b->nwaiters && !build_is_named(b->request);
		if (same_context(b->request, req)) {
			request_free(req);
			if (join(b, waiter))
				move_up(s, b);
			return;
		}
	}
	if (waiter)
		backoff_forget(s->store->backoff, backoff_program(req));
	b = waiter || build_is_named(req) || background < BACKGROUND_MAX ? calloc(1, sizeof(*b)) : NULL;
	if (!b) {
		request_free(req);
		if (waiter)
			connection_reply(waiter, WIRE_COLD_ERROR, NULL, false, 0, "no memory for a build");
		return;
	}
	b->server = s;
	b->request = req;
	b->sock = -EBADF;
	b->report = (struct report)REPORT_NONE;
	if (!join(b, waiter)) {
		request_free(req);
		free(b);
		return;
	}
	enqueue(s, b);
	build_start_next(s);
}

static void drop_later(struct build *b)
{
	struct build **at = &b->server->later;

	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	sd_event_source_disable_unref(b->timer);
	free(b);
}

static int on_later(sd_event_source *source, uint64_t usec, void *data)
{
	struct build *b = data;
	struct server *s = b->server;
	struct request *req = b->request;

	(void)source;
	(void)usec;
	drop_later(b);
	build_request(s, req, NULL);
	return 0;
}

void build_request_later(struct server *s, struct request *req, uint64_t ns)
{
	struct build *b = calloc(1, sizeof(*b));

	if (b) {
		b->server = s;
		b->request = req;
	}
	if (!b || sd_event_add_time_relative(s->event, &b->timer, CLOCK_MONOTONIC, ns / NS_PER_US, 0,
					     on_later, b) < 0) {
		free(b);
		build_request(s, req, NULL);
		return;
	}
	b->next = s->later;
	s->later = b;
}

void build_give_up(struct server *s, const char *name)
{
	struct build *next;

	for (struct build *b = s->builds; b; b = next) {
		next = b->next;
		if (!b->nwaiters && b->request->name[0] && strcmp(b->request->name, name) == 0)
			build_free(b);
	}
	build_start_next(s);
}

void build_stop_all(struct server *s)
{
	while (s->later) {
		request_free(s->later->request);
		drop_later(s->later);
	}
	while (s->builds) {
		s->builds->nwaiters = 0;
		build_free(s->builds);
	}
}
