/* SPDX-License-Identifier: MIT */
#include "warmd/backoff.h"
#include "warmd/pool/hot.h"
#include "warmd/pool/lease.h"
#include "warmd/template.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"

#define REFUSAL_NS     (60 * NS_PER_S) /* then it may be tried again: the reason can lie outside files */
#define REFUSAL_MAX_NS (3600 * NS_PER_S)
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
	backoff_stale(s->backoff, backoff_program(t->request), path, t->launches, clock_ns(CLOCK_MONOTONIC));
	if (t->state == TEMPLATE_READY && t->label) {
		s->dropped_stale++;
		note_stale(s, t, path);
	}
	/* what was refused is tried again too, if launches name it: it may have been saved half way through an edit */
	if (t->label && s->on_gone)
		s->on_gone(s->on_gone_data, t);
	template_free(t);
}

/* events do not tell all any more: whoever launches has to look, and that is warmd */
static void on_unseen(void *data)
{
	struct template *t = data;

	if (t->pool)
		lease_revoke(t->pool->server, t->pool);
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
	s->backoff = backoff_new();
	r = s->backoff ? watch_new(&s->watch, on_changed, err) : error_set(err, ENOMEM, "no memory");
	if (r < 0) {
		backoff_free(s->backoff);
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
	promise_drop_all(&s->promises);
	watch_free(s->watch);
	backoff_free(s->backoff);
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
	t->born_ns = clock_ns(CLOCK_BOOTTIME);
	t->checked_ns = clock_ns(CLOCK_MONOTONIC);
	for (const struct template *o = s->list; o; o = o->next)
		if (o->state == TEMPLATE_REFUSED && template_same_program(o, req))
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
	path = r == 0 && t->state == TEMPLATE_READY ? template_fact_differs(t) : NULL;
	if (path)
		r = error_set(err, ESTALE, "%s changed while the template was built", path);
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
		template_free(t);
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

static const struct stale_note *recently_stale(const struct store *s, const struct request *req)
{
	const struct stale_note *last = NULL;
	char command[REQUEST_LABEL_MAX];

	command_label(req, command, sizeof(command));
	for (unsigned int i = 0; i < ARRAY_SIZE(s->stale); i++)
		if (s->stale[i].when_ns && clock_ns(CLOCK_MONOTONIC) - s->stale[i].when_ns < 10 * NS_PER_S &&
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
		on_changed(t, fact);
	return !fact;
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
			stale = recently_stale(s, req);
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
	stale = *ret_status == WIRE_COLD_NONE ? recently_stale(s, req) : NULL;
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

void store_expire(struct store *s, uint64_t now_ns)
{
	struct template *next;

	for (struct template *t = s->list; t; t = next) {
		next = t->next;
		if (!s->config->max_age_ns || now_ns - t->born_ns < s->config->max_age_ns)
			continue;
		log_info("template '%s' has reached max_age", t->label);
		s->dropped_age++;
		unlink_template(s, t);
		if (s->on_gone && t->state == TEMPLATE_READY)
			s->on_gone(s->on_gone_data, t);
		template_free(t);
	}
}
