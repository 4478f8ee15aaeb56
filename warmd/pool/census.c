/* SPDX-License-Identifier: MIT */
#include "warmd/pool/census.h"

#include <stdlib.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "warmd/pool/pool.h"

static void not_running(const struct clone *list, enum wire_clone_state state, const struct template *t,
			uint64_t clocks, void (*fn)(void *, const struct census_entry *), void *data)
{
	for (const struct clone *cl = list; cl; cl = cl->next) {
		struct census_entry e = {
			.id = cl->id,
			.pid = cl->pid ? cl->pid : cl->leader,
			.state = state,
			.template_id = t->id,
			.label = t->label,
			.since_ns = cl->made_ns + clocks,
		};

		fn(data, &e);
	}
}

void census(const struct pools *all, void (*fn)(void *, const struct census_entry *), void *data)
{
	/* from CLOCK_MONOTONIC to CLOCK_REALTIME */
	uint64_t clocks = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);

	for (const struct clone *cl = all->running; cl; cl = cl->next) {
		struct census_entry e = {
			.id = cl->id,
			.pid = cl->pid,
			.state = WIRE_CLONE_RUNNING,
			.template_id = cl->template_id,
			.label = cl->label ? cl->label : "",
			.way = cl->way,
			.since_ns = cl->started_ns,
			.detached = cl->detached,
			.client = cl->connection ? cl->connection->pid : 0,
		};

		fn(data, &e);
	}
	for (const struct clone *cl = all->leased; cl; cl = cl->next) {
		struct census_entry e = {
			.id = cl->id,
			.pid = cl->pid,
			.state = WIRE_CLONE_PARKED,
			.template_id = cl->template_id,
			.label = cl->label,
			.since_ns = cl->made_ns + clocks,
		};

		if (cl->pool)
			fn(data, &e);
	}
	for (const struct template *t = all->store->list; t; t = t->next) {
		const struct pool *p = t->pool;

		if (!p)
			continue;
		not_running(p->parked, WIRE_CLONE_PARKED, t, clocks, fn, data);
		not_running(p->making, WIRE_CLONE_MAKING, t, clocks, fn, data);
		if (p->pid > 0) {
			struct census_entry e = {
				.id = CENSUS_SKELETON_ID | t->id,
				.pid = p->pid,
				.state = WIRE_CLONE_SKELETON,
				.template_id = t->id,
				.label = t->label,
				.since_ns = p->skeleton_ns + clocks,
			};

			fn(data, &e);
		}
	}
}

static const struct template *find(const struct pools *all, uint64_t id)
{
	const struct template *t = all->store->list;

	while (t && t->id != id)
		t = t->next;
	return t;
}

void census_become(const struct pools *all, void (*fn)(void *, const struct census_entry *), void *data)
{
	for (size_t i = 0; i < RECENT_LAUNCHES; i++) {
		const struct recent_launch *l = &all->metrics->recent[i];
		const struct template *t = find(all, l->template_id);
		struct census_entry e = {
			.pid = (pid_t)l->pid,
			.state = WIRE_CLONE_RUNNING,
			.template_id = l->template_id,
			.label = t ? t->label : l->reason,
			.quoted = !t && l->reason[0] == '\'',
			.way = WIRE_WAY_BECOME,
			.since_ns = l->when_ns,
		};

		if (l->pid && l->status == WIRE_WARM)
			fn(data, &e);
	}
}

struct search {
	pid_t pid;
	bool found;
	struct census_entry *ret;
};

static void look(void *data, const struct census_entry *e)
{
	struct search *q = data;

	/* of several with one PID, the others have ended */
	if (e->pid != q->pid || (q->found && q->ret->since_ns > e->since_ns))
		return;
	*q->ret = *e;
	q->found = true;
}

bool census_find(const struct pools *all, pid_t pid, struct census_entry *ret)
{
	struct search q = { .pid = pid, .ret = ret };

	if (pid <= 0)
		return false;
	census(all, look, &q);
	/* children of warmd are certain; the others may have ended */
	if (!q.found)
		census_become(all, look, &q);
	return q.found;
}

/* --- by template ------------------------------------------------------------------ */

static int by_id(const void *a, const void *b)
{
	uint64_t x = ((const struct census_count *)a)->template_id,
		 y = ((const struct census_count *)b)->template_id;

	return x > y ? -1 : x < y;
}

struct census_count *census_of(struct census_count *v, size_t n, uint64_t template_id)
{
	struct census_count key = { .template_id = template_id };

	return n ? bsearch(&key, v, n, sizeof(*v), by_id) : NULL;
}

struct counts {
	struct census_count *v;
	size_t n;
};

static void count(void *data, const struct census_entry *e)
{
	struct counts *c = data;
	struct census_count *of = census_of(c->v, c->n, e->template_id);

	if (of)
		of->states[e->state]++;
}

size_t census_count(const struct pools *all, struct census_count **ret)
{
	struct counts c = { 0 };
	size_t n = 0;

	for (const struct template *t = all->store->list; t; t = t->next)
		n++;
	c.v = calloc(n + 1, sizeof(*c.v));
	*ret = c.v;
	if (!c.v)
		return 0;
	for (const struct template *t = all->store->list; t; t = t->next)
		c.v[c.n++] = (struct census_count){ .template_id = t->id, .template = t };
	qsort(c.v, c.n, sizeof(*c.v), by_id);
	census(all, count, &c);
	return c.n;
}
