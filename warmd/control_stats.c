/* SPDX-License-Identifier: MIT */
/* control_stats.c - `warm stats` */
#include <errno.h>
#include <stdlib.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "warmd/template/backoff.h"
#include "warmd/control.h"
#include "warmd/kept.h"
#include "warmd/pool/pool.h"

static const char *const skeleton_states[] = { "none", "starting", "ready", "broken" };
_Static_assert(ARRAY_SIZE(skeleton_states) == SKELETON_BROKEN + 1, "a word for each state");

Warm__Pool *answer_pool(struct answer *a, const struct pool *p)
{
	Warm__Pool *m = p ? answer_own(a, calloc(1, sizeof(*m))) : NULL;

	if (!m)
		return NULL;
	warm__pool__init(m);
	m->wanted = p->want;
	m->parked = p->nparked + p->nleased;
	m->making = p->nmaking;
	m->skeleton = (char *)skeleton_states[p->state];
	m->skeleton_pid = p->pid > 0 ? (uint32_t)p->pid : 0;
	m->reason = (char *)(p->state == SKELETON_BROKEN ? p->why : "");
	m->hits = p->hits;
	m->misses = p->misses;
	m->skeletons = p->skeletons;
	return m;
}

/* @n numbers with names, for a list of protobuf-c's. Return: NULL when there is no memory */
static Warm__Count **counts(struct answer *a, size_t n)
{
	Warm__Count *list = answer_own(a, calloc(n, sizeof(*list)));
	Warm__Count **v = answer_own(a, calloc(n, sizeof(*v)));

	for (size_t i = 0; list && v && i < n; i++) {
		warm__count__init(&list[i]);
		v[i] = &list[i];
	}
	return list ? v : NULL;
}

static void set(Warm__Count *c, const char *name, uint64_t count)
{
	c->name = (char *)name;
	c->count = count;
}

static bool fill_launches(const struct server *s, struct answer *a, Warm__Stats *m)
{
	uint64_t cold = 0;

	/* those behind WIRE_LAUNCHED are decided by clients that cannot reach us */
	m->launches = counts(a, WIRE_LAUNCHED + 1);
	m->refused = counts(a, WIRE_LAUNCHED);
	m->ways = counts(a, WIRE_WAY_COUNT + 1);
	if (!m->launches || !m->refused || !m->ways)
		return false;
	for (uint32_t i = 0; i <= WIRE_LAUNCHED; i++)
		set(m->launches[i], wire_status_name(i), s->metrics.launches[i]);
	for (uint32_t i = WIRE_COLD_NONE; i < WIRE_LAUNCHED; i++) {
		set(m->refused[m->n_refused++], wire_status_name(i), s->metrics.refused[i]);
		cold += s->metrics.launches[i];
	}
	for (uint32_t i = 0; i < WIRE_WAY_COUNT; i++)
		set(m->ways[i], wire_way_name(i), s->metrics.ways[i]);
	set(m->ways[WIRE_WAY_COUNT], "cold", cold);
	m->n_launches = WIRE_LAUNCHED + 1;
	m->n_ways = WIRE_WAY_COUNT + 1;
	return true;
}

static bool fill_latencies(const struct server *s, struct answer *a, Warm__Stats *m)
{
	Warm__Latency *list = answer_own(a, calloc(METRICS_PHASES, sizeof(*list)));
	Warm__Latency **v = answer_own(a, calloc(METRICS_PHASES, sizeof(*v)));

	if (!list || !v)
		return false;
	for (size_t i = 0; i < METRICS_PHASES; i++) {
		Warm__Latency *l = &list[m->n_latencies];
		struct quantiles q;

		if (!latency_quantiles(&s->metrics.phases[i], &q))
			continue;
		warm__latency__init(l);
		l->way = (char *)metrics_phases[i].way;
		l->phase = (char *)metrics_phases[i].phase;
		l->count = s->metrics.phases[i].count;
		l->sum_ns = s->metrics.phases[i].sum_ns;
		l->p50_ns = q.p50_ns;
		l->p90_ns = q.p90_ns;
		l->p99_ns = q.p99_ns;
		l->max_ns = q.max_ns;
		v[m->n_latencies++] = l;
	}
	m->latencies = v;
	return true;
}

static bool fill_templates(const struct server *s, struct answer *a, Warm__Stats *m)
{
	_cleanup_free_ struct census_count *v = NULL;
	size_t n = census_count(&s->pools, &v);
	Warm__Template *list = answer_own(a, calloc(n + 1, sizeof(*list)));
	Warm__Template **pointers = answer_own(a, calloc(n + 1, sizeof(*pointers)));

	if (!list || !pointers)
		return false;
	for (size_t i = 0; i < n; i++) {
		const struct template *t = v[i].template;

		warm__template__init(&list[i]);
		list[i].id = t->id;
		list[i].name = t->label;
		list[i].state = (char *)wire_template_state_name(
			t->state == TEMPLATE_READY ? WIRE_TEMPLATE_READY : WIRE_TEMPLATE_REFUSED);
		list[i].launches = t->launches;
		list[i].sealed_bytes = t->result->sealed_bytes;
		list[i].running = v[i].states[WIRE_CLONE_RUNNING];
		list[i].pool = answer_pool(a, t->pool);
		pointers[i] = &list[i];
	}
	m->by_template = pointers;
	m->n_by_template = n;
	return true;
}

void answer_stats(struct server *s, struct answer *a)
{
	Warm__Stats *m = answer_own(a, calloc(1, sizeof(*m)));
	struct backoff_totals totals;

	if (m)
		warm__stats__init(m);
	if (!m || !fill_launches(s, a, m) || !fill_latencies(s, a, m) || !fill_templates(s, a, m))
		return answer_fail(a, -ENOMEM, "no memory%s", "");
	m->uptime_ns = clock_ns(CLOCK_BOOTTIME) - s->started_boot_ns;
	m->builds_ok = s->builds_ok;
	m->builds_refused = s->builds_refused;
	m->builds_failed = s->builds_failed;
	m->templates = store_count(s->store);
	m->sealed_bytes = store_sealed_bytes(s->store);
	m->budget_bytes = s->config->memory_budget;
	m->dropped_stale = s->store->dropped_stale;
	m->dropped_budget = s->store->dropped_budget;
	m->dropped_age = s->store->dropped_age;
	m->watches = watch_count(s->store->watch);
	m->connections = s->accepted;
	m->bad_messages = s->bad_messages;
	m->overfull = s->connections.overfull;
	backoff_totals(s->store->backoff, clock_ns(CLOCK_MONOTONIC), &totals);
	m->build_cpu_ns = totals.build_cpu_ns;
	m->builds_deferred = totals.deferred;
	m->programs_waiting = totals.programs;
	m->refused_connections = s->refused_connections;
	m->accept_failures = s->accept_failures;
	m->pool_hits = s->metrics.pool_hits;
	m->pool_misses = s->metrics.pool_misses;
	m->skeletons = s->metrics.skeletons;
	m->running = s->pools.nrunning;
	kept_stats(s->kept, m);
	a->reply.stats = m;
}
