/* SPDX-License-Identifier: MIT */
#include "warmd/hot.h"
#include "warmd/lease.h"
#include "warmd/template.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"

#define REFUSAL_NS (60 * NS_PER_S) /* then it may be tried again: the reason can lie outside files */
#define AGAIN_NS                                                                                             \
	(10 *                                                                                                \
	 NS_PER_S) /* a template that clones cannot be made of, and the next one neither: not in a loop */
#define MAX_ATTEMPTS 3
#define REFUSALS_MAX 256

static void template_free(struct template *t)
{
	pool_free(t->pool);
	if (t->watch)
		watch_remove(t->watch);
	for (uint32_t i = 0; i < t->nfds; i++)
		fd_close(t->fds[i]);
	free(t->fds);
	dep_set_free(t->deps);
	request_free(t->request);
	if (t->result)
		warm__build_result__free_unpacked(t->result, NULL);
	hot_free(t->hot);
	free(t->label);
	free(t);
}

static void note_stale(struct store *s, const struct template *t, const char *path)
{
	struct stale_note *n = &s->stale[s->nstale++ % ARRAY_SIZE(s->stale)];

	snprintf(n->label, sizeof(n->label), "%s", t->label);
	snprintf(n->path, sizeof(n->path), "%s", path);
	n->when_ns = clock_ns(CLOCK_MONOTONIC);
}

static void unlink_template(struct store *s, struct template *t)
{
	for (struct template **p = &s->list; *p; p = &(*p)->next) {
		if (*p == t) {
			*p = t->next;
			return;
		}
	}
}

static struct store *the_store; /* for the callback below, which carries the template alone */

static void on_changed(void *data, const char *path)
{
	struct template *t = data;
	struct store *s = the_store;

	log_info("template '%s' is stale: %s changed", t->label ? t->label : "?", path);
	unlink_template(s, t);
	if (t->state == TEMPLATE_READY && t->label) {
		s->dropped_stale++;
		note_stale(s, t, path);
		if (s->on_gone)
			s->on_gone(s->on_gone_data, t);
	}
	template_free(t);
}

/* events do not tell all any more: whoever launches has to look, and that is warmd */
static void on_unseen(void *data)
{
	struct template *t = data;

	if (t->pool)
		lease_revoke(t->pool->server, t->pool);
}

void store_unusable(struct store *s, struct template *t, const char *what)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(s->stale); i++)
		if (s->stale[i].when_ns && clock_ns(CLOCK_MONOTONIC) - s->stale[i].when_ns < AGAIN_NS &&
		    strcmp(s->stale[i].label, t->label) == 0 && strcmp(s->stale[i].path, what) == 0)
			return;
	on_changed(t, what);
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
	r = watch_new(&s->watch, on_changed, err);
	if (r < 0) {
		free(s);
		return r;
	}
	watch_on_unseen(s->watch, on_unseen);
	the_store = s;
	*ret = s;
	return 0;
}

void store_free(struct store *s)
{
	if (!s)
		return;
	while (s->list)
		store_remove(s, s->list);
	watch_free(s->watch);
	the_store = NULL;
	free(s);
}

void store_remove(struct store *s, struct template *t)
{
	unlink_template(s, t);
	template_free(t);
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

static void replace_same(struct store *s, const struct template *t)
{
	char reason[256];
	struct template *next;

	for (struct template *o = s->list; o; o = next) {
		next = o->next;
		if (o->state == TEMPLATE_REFUSED
			    ? template_same_command(o, t->request) ||
				      (t->request->name[0] && strcmp(o->label, t->request->name) == 0)
			    : !template_mismatch(o, t->request, s->config, reason, sizeof(reason)) ||
				      (t->request->name[0] && strcmp(o->label, t->request->name) == 0 &&
				       !template_same_command(o, t->request)))
			store_remove(s, o);
	}
}

int store_add(struct store *s, struct request *req, Warm__BuildResult *result, int *fds, uint32_t nfds,
	      uint64_t build_ns, struct template **ret, struct error *err)
{
	struct template *t = calloc(1, sizeof(*t));
	const char *path = NULL;
	int r = 0;

	if (!t) {
		for (uint32_t i = 0; i < nfds; i++)
			fd_close(fds[i]);
		free(fds);
		request_free(req);
		warm__build_result__free_unpacked(result, NULL);
		return error_set(err, ENOMEM, "no memory");
	}
	t->request = req;
	t->result = result;
	t->fds = fds;
	t->nfds = nfds;
	t->state = result->error ? TEMPLATE_REFUSED : TEMPLATE_READY;
	t->build_ns = build_ns;
	t->created_ns = t->last_used_ns = clock_ns(CLOCK_REALTIME);
	t->checked_ns = clock_ns(CLOCK_MONOTONIC);
	for (const struct template *o = s->list; o; o = o->next)
		if (o->state == TEMPLATE_REFUSED && template_same_command(o, req))
			t->attempts = o->attempts;
	t->attempts++;
	/* a build that failed before it began knows of no files */
	r = result->dependencies.len
		    ? dep_set_unpack(result->dependencies.data, result->dependencies.len, &t->deps)
		    : dep_set_new(&t->deps);
	if (r < 0)
		error_errno(err, r, "the build's dependencies");
	if (r == 0 && t->state == TEMPLATE_READY && dep_set_racy(t->deps, &path))
		r = error_set(err, ESTALE, "%s changed while the template was built", path);
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
	if (r < 0) {
		template_free(t);
		return r;
	}
	if (result->huge_note[0])
		log_info("template '%s': %s", t->label, result->huge_note);
	t->id = s->next_id++;
	t->next = s->list;
	s->list = t;
	*ret = t;
	return 0;
}

static bool refusal_stands(const struct template *t)
{
	if (clock_ns(CLOCK_MONOTONIC) - t->checked_ns > REFUSAL_NS)
		return false;
	return !t->result->retry || t->attempts >= MAX_ATTEMPTS;
}

static const struct stale_note *recently_stale(const struct store *s, const struct request *req)
{
	char label[REQUEST_LABEL_MAX];

	request_label(req, label, sizeof(label));
	for (unsigned int i = 0; i < ARRAY_SIZE(s->stale); i++)
		if (s->stale[i].when_ns && clock_ns(CLOCK_MONOTONIC) - s->stale[i].when_ns < 10 * NS_PER_S &&
		    strcmp(s->stale[i].label, label) == 0)
			return &s->stale[i];
	return NULL;
}

void store_match(struct store *s, const struct request *req, struct template **ret, uint32_t *ret_status,
		 char *reason, size_t size)
{
	const struct stale_note *stale;
	struct template *t, *next;
	char words[200];

	*ret_status = WIRE_COLD_NONE;
	snprintf(reason, size, "no template yet");
	for (t = s->list; t; t = next) {
		next = t->next;
		if (t->state == TEMPLATE_REFUSED) {
			if (*ret_status == WIRE_COLD_NONE && template_same_command(t, req) &&
			    refusal_stands(t)) {
				*ret_status = WIRE_COLD_REFUSED;
				snprintf(reason, size, "it cannot be a template: %.200s", t->result->message);
			}
			continue;
		}
		if (template_mismatch(t, req, s->config, words, sizeof(words))) {
			if (template_same_command(t, req)) {
				*ret_status = WIRE_COLD_MISMATCH;
				snprintf(reason, size, "template '%.40s' does not fit: %.150s", t->label,
					 words);
			}
			continue;
		}
		if (watch_recheck(t->watch) > 0) {
			/* reported, so it is gone; the list may have changed */
			*ret_status = WIRE_COLD_STALE;
			snprintf(reason, size, "its template was stale");
			return;
		}
		*ret_status = WIRE_WARM;
		snprintf(reason, size, "'%.100s'", t->label);
		*ret = t;
		return;
	}
	stale = *ret_status == WIRE_COLD_NONE ? recently_stale(s, req) : NULL;
	if (stale) {
		*ret_status = WIRE_COLD_STALE;
		snprintf(reason, size, "its template was stale: %.200s changed", stale->path);
	}
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

void store_expire(struct store *s)
{
	uint64_t now = clock_ns(CLOCK_REALTIME);
	struct template *next;

	for (struct template *t = s->list; t; t = next) {
		next = t->next;
		if (!s->config->max_age_ns || now - t->created_ns < s->config->max_age_ns)
			continue;
		log_info("template '%s' has reached max_age", t->label);
		s->dropped_age++;
		unlink_template(s, t);
		if (s->on_gone && t->state == TEMPLATE_READY)
			s->on_gone(s->on_gone_data, t);
		template_free(t);
	}
}
