/* SPDX-License-Identifier: MIT */
/* store.c - templates come in, make room for one another, and go */
#include "warmd/template/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "warmd/template/backoff.h"
#include "warmd/template/store_internal.h"
#include "warmd/template/match.h"

#define REFUSALS_MAX 256

static void tell_leaving(struct template *t)
{
	for (size_t i = 0; i < t->store->nlisteners; i++)
		if (t->store->listeners[i].leaving)
			t->store->listeners[i].leaving(t->store->listeners[i].data, t);
}

void store_tell_gone(const struct template *t)
{
	for (size_t i = 0; i < t->store->nlisteners; i++)
		if (t->store->listeners[i].gone)
			t->store->listeners[i].gone(t->store->listeners[i].data, t);
}

void store_free_template(struct template *t)
{
	tell_leaving(t);
	if (t->watch)
		watch_remove(t->watch);
	for (uint32_t i = 0; i < t->nfds; i++)
		fd_close(t->fds[i]);
	free(t->fds);
	dep_set_free(t->deps);
	request_free(t->request);
	if (t->result)
		warm__build_result__free_unpacked(t->result, NULL);
	free(t->label);
	free(t);
}

void store_unlink(struct store *s, struct template *t)
{
	for (struct template **p = &s->list; *p; p = &(*p)->next) {
		if (*p == t) {
			*p = t->next;
			return;
		}
	}
}

static void on_unseen(void *data)
{
	struct template *t = data;

	for (size_t i = 0; i < t->store->nlisteners; i++)
		if (t->store->listeners[i].unseen)
			t->store->listeners[i].unseen(t->store->listeners[i].data, t);
}

void store_listen(struct store *s, const struct store_listener *l)
{
	if (s->nlisteners < STORE_LISTENERS)
		s->listeners[s->nlisteners++] = *l;
}

int store_new(struct store **ret, const struct config *config, struct error *err)
{
	struct store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return error_set(err, ENOMEM, "no memory");
	s->config = config;
	s->next_id = 1;
	/* generations: no two clones of this boot alike, also over restarts of warmd */
	s->generation = clock_ns(CLOCK_BOOTTIME);
	s->backoff = backoff_new();
	r = s->backoff ? watch_new(&s->watch, store_stale, err) : error_set(err, ENOMEM, "no memory");
	if (r < 0) {
		backoff_free(s->backoff);
		free(s);
		return r;
	}
	watch_on_unseen(s->watch, on_unseen);
	*ret = s;
	return 0;
}

void store_free(struct store *s)
{
	if (!s)
		return;
	while (s->list)
		store_remove(s, s->list);
	promise_drop_all(&s->promises);
	watch_free(s->watch);
	backoff_free(s->backoff);
	free(s);
}

void store_remove(struct store *s, struct template *t)
{
	store_unlink(s, t);
	store_free_template(t);
}

static char *make_label(const struct store *s, const struct request *req)
{
	char label[REQUEST_LABEL_MAX], *unique;
	size_t n = 2;

	if (req->name[0])
		return strdup(req->name);
	request_label(req, label, sizeof(label));
	unique = strdup(label);
	while (unique && store_find(s, unique)) {
		free(unique);
		if (asprintf(&unique, "%s#%zu", label, n++) < 0)
			unique = NULL;
	}
	return unique;
}

uint64_t store_sealed_bytes(const struct store *s)
{
	uint64_t n = 0;

	for (const struct template *t = s->list; t; t = t->next)
		n += t->result->sealed_bytes;
	return n;
}

size_t store_count(const struct store *s)
{
	size_t n = 0;

	for (const struct template *t = s->list; t; t = t->next)
		n += t->state == TEMPLATE_READY;
	return n;
}

static struct template *least_recently_used(const struct store *s, enum template_state state)
{
	struct template *oldest = NULL;

	for (struct template *t = s->list; t; t = t->next)
		if (t->state == state && (!oldest || t->last_used_ns < oldest->last_used_ns))
			oldest = t;
	return oldest;
}

/* room for @bytes more: others go, least recently used first */
static int make_room(struct store *s, uint64_t bytes, struct error *err)
{
	if (bytes > s->config->memory_budget)
		return error_set(err, ENOSPC, "it needs %llu MiB, and memory_budget is %llu MiB",
				 (unsigned long long)(bytes >> 20),
				 (unsigned long long)(s->config->memory_budget >> 20));
	while (s->list && (store_sealed_bytes(s) + bytes > s->config->memory_budget ||
			   store_count(s) + 1 > s->config->templates_max)) {
		struct template *t = least_recently_used(s, TEMPLATE_READY);

		if (!t)
			break;
		log_info("template '%s' makes room", t->label);
		s->dropped_budget++;
		store_remove(s, t);
	}
	return 0;
}

static size_t count_refusals(const struct store *s)
{
	size_t n = 0;

	for (const struct template *t = s->list; t; t = t->next)
		n += t->state == TEMPLATE_REFUSED;
	return n;
}

static bool same_name(const struct template *o, const struct request *req)
{
	return req->name[0] && strcmp(o->label, req->name) == 0;
}

/* does @t, which is new, stand in the place of @o? */
static bool replaces(const struct store *s, const struct template *t, const struct template *o)
{
	const struct request *req = t->request;
	char reason[256];

	if (o->state == TEMPLATE_REFUSED)
		return template_same_program(o, req) || same_name(o, req);
	/* the name is another command's now, or was given another readiness point */
	if (same_name(o, req) &&
	    (!request_same_command(o->request, req) || strcmp(o->request->ready, req->ready) != 0))
		return true;
	/* one without a name serves the same launches, but not those that give the name */
	if (o->request->name[0] && !req->name[0])
		return false;
	return !template_mismatch(o, req, s->config, reason, sizeof(reason));
}

static void replace_same(struct store *s, const struct template *t)
{
	struct template *next;

	for (struct template *o = s->list; o; o = next) {
		next = o->next;
		if (replaces(s, t, o))
			store_remove(s, o);
	}
}

/* a template of a build's result, in no list. Return: NULL when there is no memory; all is freed and closed then */
static struct template *template_new(struct store *s, struct request *req, Warm__BuildResult *result,
				     int *fds, uint32_t nfds, uint64_t build_ns)
{
	struct template *t = calloc(1, sizeof(*t));

	if (!t) {
		for (uint32_t i = 0; i < nfds; i++)
			fd_close(fds[i]);
		free(fds);
		request_free(req);
		warm__build_result__free_unpacked(result, NULL);
		return NULL;
	}
	t->store = s;
	t->request = req;
	t->result = result;
	t->fds = fds;
	t->nfds = nfds;
	t->state = result->error ? TEMPLATE_REFUSED : TEMPLATE_READY;
	t->build_ns = build_ns;
	t->created_ns = t->last_used_ns = clock_ns(CLOCK_REALTIME);
	t->born_ns = clock_ns(CLOCK_BOOTTIME);
	t->checked_ns = clock_ns(CLOCK_MONOTONIC);
	for (const struct template *o = s->list; o; o = o->next)
		if (o->state == TEMPLATE_REFUSED && template_same_program(o, req))
			t->attempts = o->attempts;
	t->attempts++;
	return t;
}

/* what the build took in, and whether it has changed since. Return: 0, -ESTALE, or another negative errno; *err is set */
static int take_dependencies(struct template *t, struct error *err)
{
	const ProtobufCBinaryData *packed = &t->result->dependencies;
	const char *path = NULL;
	/* a build that failed before it began knows of no files */
	int r = packed->len ? dep_set_unpack(packed->data, packed->len, &t->deps) : dep_set_new(&t->deps);

	if (r < 0)
		return error_errno(err, r, "the build's dependencies");
	if (t->state != TEMPLATE_READY)
		return 0;
	if (!dep_set_racy(t->deps, &path))
		path = template_fact_differs(t);
	return path ? error_set(err, ESTALE, "%s changed since the build read it", path) : 0;
}

int store_add(struct store *s, struct request *req, Warm__BuildResult *result, int *fds, uint32_t nfds,
	      uint64_t build_ns, struct template **ret, struct error *err)
{
	struct template *t = template_new(s, req, result, fds, nfds, build_ns);
	int r;

	if (!t)
		return error_set(err, ENOMEM, "no memory");
	r = take_dependencies(t, err);
	if (r == 0 && req->promised && req->name[0] && !promise_of_name(s->promises, req->name))
		r = error_set(err, ECANCELED, "'%.100s' was removed while its template was built", req->name);
	if (r == 0)
		replace_same(s, t);
	if (r == 0 && t->state == TEMPLATE_READY)
		r = make_room(s, result->sealed_bytes, err);
	while (r == 0 && t->state == TEMPLATE_REFUSED && count_refusals(s) >= REFUSALS_MAX)
		store_remove(s, least_recently_used(s, TEMPLATE_REFUSED));
	if (r == 0)
		r = watch_add(s->watch, t->deps, t, &t->watch, err);
	if (r == 0) {
		t->label = make_label(s, req);
		r = t->label ? 0 : error_set(err, ENOMEM, "no memory");
	}
	if (r == 0 && getrandom(&t->learn_key, sizeof(t->learn_key), 0) != sizeof(t->learn_key))
		r = error_errno(err, errno, "drawing a random number");
	if (r < 0) {
		store_free_template(t);
		return r;
	}
	if (result->huge_note[0])
		log_info("template '%s': %s", t->label, result->huge_note);
	promise_keep(&s->promises, req);
	t->id = s->next_id++;
	t->next = s->list;
	s->list = t;
	*ret = t;
	return 0;
}

void store_expire(struct store *s, uint64_t now_ns)
{
	struct template *next;

	for (struct template *t = s->list; t; t = next) {
		next = t->next;
		if (!s->config->max_age_ns || now_ns - t->born_ns < s->config->max_age_ns)
			continue;
		log_info("template '%s' has reached max_age", t->label);
		s->dropped_age++;
		store_unlink(s, t);
		if (t->state == TEMPLATE_READY)
			store_tell_gone(t);
		store_free_template(t);
	}
}
