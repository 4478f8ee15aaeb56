/* SPDX-License-Identifier: MIT */
/* metrics_text.c - the numbers that warmd has, in Prometheus' text exposition format */
#include "warmd/metrics_text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/utf8.h"
#include "warmd/template/backoff.h"
#include "warmd/pool/census.h"
#include "warmd/pool/pool.h"
#include "warmd/server.h"

_Static_assert(LATENCY_SAMPLES == 512, "what phases() says");

bool metrics_statm(const char *text, uint64_t page_size, struct metrics_memory *ret)
{
	uint64_t resident, mapped;

	if (sscanf(text, "%*u %" SCNu64 " %" SCNu64 " ", &resident, &mapped) != 2 || mapped > resident)
		return false;
	ret->private_bytes = (resident - mapped) * page_size;
	ret->mapped_bytes = mapped * page_size;
	return true;
}

/* --- text: prometheus.io/docs/instrumenting/exposition_formats --------------------------- */

void metrics_label(FILE *out, const char *text)
{
	while (*text) {
		size_t n = utf8_length(text);

		if (!n)
			fputs(UTF8_REPLACEMENT, out);
		else if (*text == '\n')
			fputs("\\n", out);
		else if (*text == '\\' || *text == '"')
			fprintf(out, "\\%c", *text);
		else
			fwrite(text, 1, n, out);
		text += n ? n : 1;
	}
}

static void family(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP warm_%s %s\n# TYPE warm_%s %s\n", name, help, name, type);
}

static void single(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
	family(out, name, type, help);
	fprintf(out, "warm_%s %" PRIu64 "\n", name, value);
}

static void labelled(FILE *out, const char *name, const char *label, const char *text, uint64_t value)
{
	fprintf(out, "warm_%s{%s=\"", name, label);
	metrics_label(out, text);
	fprintf(out, "\"} %" PRIu64 "\n", value);
}

static void launches(const struct server *s, FILE *out)
{
	uint64_t cold = 0;

	for (uint32_t i = WIRE_COLD_NONE; i < WIRE_LAUNCHED; i++)
		cold += s->metrics.launches[i];
	family(out, "launches_total", "counter",
	       "Launches by the way they were made; cold: by the client itself.");
	for (uint32_t i = 0; i < WIRE_WAY_COUNT; i++)
		labelled(out, "launches_total", "way", wire_way_name(i), s->metrics.ways[i]);
	labelled(out, "launches_total", "way", "cold", cold);
	family(out, "cold_launches_total", "counter", "Launches that ran cold, by reason.");
	for (uint32_t i = WIRE_COLD_NONE; i < WIRE_LAUNCHED; i++)
		labelled(out, "cold_launches_total", "reason", wire_status_name(i), s->metrics.launches[i]);
	family(out, "refused_launches_total", "counter", "Launches by name that were not made, by reason.");
	for (uint32_t i = WIRE_COLD_NONE; i < WIRE_LAUNCHED; i++)
		labelled(out, "refused_launches_total", "reason", wire_status_name(i), s->metrics.refused[i]);
}

static void builds(const struct server *s, FILE *out)
{
	struct backoff_totals totals;

	family(out, "builds_total", "counter", "Builds of templates by result.");
	labelled(out, "builds_total", "result", "ready", s->builds_ok);
	labelled(out, "builds_total", "result", "refused", s->builds_refused);
	labelled(out, "builds_total", "result", "failed", s->builds_failed);
	family(out, "build_seconds_total", "counter", "Processor time of builds.");
	backoff_totals(s->store->backoff, clock_ns(CLOCK_MONOTONIC), &totals);
	fprintf(out, "warm_build_seconds_total %.3f\n", (double)totals.build_cpu_ns / 1e9);
	single(out, "deferred_builds_total", "counter",
	       "Builds that were not made for a run, because others failed or brought nothing.",
	       totals.deferred);
	single(out, "waiting_programs", "gauge", "Programs whose next build waits.", totals.programs);
	family(out, "dropped_templates_total", "counter", "Templates that were dropped, by reason.");
	labelled(out, "dropped_templates_total", "reason", "stale", s->store->dropped_stale);
	labelled(out, "dropped_templates_total", "reason", "memory", s->store->dropped_budget);
	labelled(out, "dropped_templates_total", "reason", "age", s->store->dropped_age);
	single(out, "pool_hits_total", "counter", "Launches that found a parked clone.",
	       s->metrics.pool_hits);
	single(out, "pool_misses_total", "counter", "Launches by warmd that found none.",
	       s->metrics.pool_misses);
	single(out, "direct_launches_total", "counter", "Launches that clients made from a lease.",
	       s->metrics.direct);
	single(out, "skeletons_started_total", "counter", "Skeletons that were started.",
	       s->metrics.skeletons);
}

static void daemon_itself(const struct server *s, FILE *out)
{
	single(out, "connections_total", "counter", "Connections of clients.", s->accepted);
	single(out, "bad_messages_total", "counter", "Malformed messages.", s->bad_messages);
	single(out, "unread_connections_total", "counter",
	       "Connections that were ended because their clients do not read.", s->connections.overfull);
	single(out, "refused_connections_total", "counter",
	       "Connections on which launches were refused, because there were too many.",
	       s->refused_connections);
	single(out, "accept_failures_total", "counter",
	       "Times that no connection could be accepted, for want of descriptors or memory.",
	       s->accept_failures);
	single(out, "open_connections", "gauge", "Connections that are open.", s->connections.n);
	single(out, "running_clones", "gauge", "Clones that warmd launched and that run.", s->pools.nrunning);
	single(out, "watches", "gauge", "Files and directories that are watched.",
	       watch_count(s->store->watch));
	single(out, "memory_budget_bytes", "gauge", "Memory that templates may take.",
	       s->config->memory_budget);
	family(out, "start_time_seconds", "gauge", "When warmd was started, since the epoch.");
	fprintf(out, "warm_start_time_seconds %.3f\n", (double)s->started_ns / 1e9);
	family(out, "build_info", "gauge", "Always 1.");
	fprintf(out, "warm_build_info{version=\"%s\"} 1\n", WARM_VERSION);
}

static void slug(FILE *out, const char *words)
{
	for (; *words; words++)
		fputc(*words == ' ' ? '_' : *words, out);
}

static void sample(FILE *out, const struct metrics_name *name, const char *suffix, const char *quantile)
{
	fprintf(out, "warm_phase_seconds%s{way=\"%s\",phase=\"", suffix, name->way);
	slug(out, name->phase);
	fprintf(out, "\"%s%s%s} ", quantile ? ",quantile=\"" : "", quantile ? quantile : "",
		quantile ? "\"" : "");
}

static void phases(const struct server *s, FILE *out)
{
	family(out, "phase_seconds", "summary",
	       "How long parts of launches took; quantiles are over the last of each (512 at most).");
	for (size_t i = 0; i < METRICS_PHASES; i++) {
		const struct latency *l = &s->metrics.phases[i];
		const struct metrics_name *name = &metrics_phases[i];
		struct quantiles q;

		if (latency_quantiles(l, &q)) {
			sample(out, name, "", "0.5");
			fprintf(out, "%.9f\n", (double)q.p50_ns / 1e9);
			sample(out, name, "", "0.9");
			fprintf(out, "%.9f\n", (double)q.p90_ns / 1e9);
			sample(out, name, "", "0.99");
			fprintf(out, "%.9f\n", (double)q.p99_ns / 1e9);
		}
		sample(out, name, "_sum", NULL);
		fprintf(out, "%.9f\n", (double)l->sum_ns / 1e9);
		sample(out, name, "_count", NULL);
		fprintf(out, "%" PRIu64 "\n", l->count);
	}
}

/* --- by template: the label of one is not its alone, its id is ------------------------------- */

struct by_template {
	struct census_count *v;
	size_t n;
	struct metrics_memory *sums; /* beside v */
};

static void of_template(FILE *out, const char *name, const struct template *t, const char *state,
			uint64_t value)
{
	fprintf(out, "warm_%s{id=\"%" PRIu64 "\",template=\"", name, t->id);
	metrics_label(out, t->label);
	fprintf(out, "\"%s%s%s} %" PRIu64 "\n", state ? ",state=\"" : "", state ? state : "",
		state ? "\"" : "", value);
}

static uint64_t launched(const struct by_template *b, size_t i)
{
	return b->v[i].template->launches;
}

static uint64_t sealed(const struct by_template *b, size_t i)
{
	return b->v[i].template->result->sealed_bytes;
}

static uint64_t own(const struct by_template *b, size_t i)
{
	return b->sums[i].private_bytes;
}

static uint64_t mapped(const struct by_template *b, size_t i)
{
	return b->sums[i].mapped_bytes;
}

static uint64_t wanted(const struct by_template *b, size_t i)
{
	const struct pool *p = b->v[i].template->pool;

	return p ? p->want : 0;
}

static uint64_t hits(const struct by_template *b, size_t i)
{
	const struct pool *p = b->v[i].template->pool;

	return p ? p->hits : 0;
}

static uint64_t misses(const struct by_template *b, size_t i)
{
	const struct pool *p = b->v[i].template->pool;

	return p ? p->misses : 0;
}

static const struct {
	const char *name, *type, *help;
	uint64_t (*value)(const struct by_template *b, size_t i);
} families[] = {
	{ "template_launches_total", "counter", "Launches of a template.", launched },
	{ "template_pool_hits_total", "counter", "Launches of a template that found a parked clone.", hits },
	{ "template_pool_misses_total", "counter", "Launches of a template by warmd that found none.",
	  misses },
	{ "template_pool_wanted", "gauge", "Clones of a template to be kept parked.", wanted },
	{ "template_sealed_bytes", "gauge", "Sealed memory of a template; held once, for all its clones.",
	  sealed },
	{ "template_private_bytes", "gauge",
	  "Memory that processes of a template have for themselves: its clones, parked and running, and its skeleton.",
	  own },
	{ "template_mapped_bytes", "gauge",
	  "Shared memory (sealed, files) that processes of a template have mapped; counted for each of them.",
	  mapped },
};

static void templates(struct by_template *b, FILE *out)
{
	family(out, "template_processes", "gauge", "Processes of a template by state.");
	for (size_t i = 0; i < b->n; i++)
		for (enum wire_clone_state state = 0; state < WIRE_CLONE_STATES; state++)
			of_template(out, "template_processes", b->v[i].template, wire_clone_state_name(state),
				    b->v[i].states[state]);
	for (size_t f = 0; f < ARRAY_SIZE(families); f++) {
		family(out, families[f].name, families[f].type, families[f].help);
		for (size_t i = 0; i < b->n; i++)
			of_template(out, families[f].name, b->v[i].template, NULL, families[f].value(b, i));
	}
}

static void add(struct by_template *b, const struct metrics_memory *m)
{
	const struct census_count *of = census_of(b->v, b->n, m->template_id);

	if (!of || !m->measured)
		return;
	b->sums[of - b->v].private_bytes += m->private_bytes;
	b->sums[of - b->v].mapped_bytes += m->mapped_bytes;
}

void metrics_text(struct server *s, const struct metrics_memory *memory, size_t n, FILE *out)
{
	struct by_template b = { 0 };

	launches(s, out);
	phases(s, out);
	builds(s, out);
	daemon_itself(s, out);
	b.n = census_count(&s->pools, &b.v);
	b.sums = calloc(b.n + 1, sizeof(*b.sums));
	for (size_t i = 0; b.sums && i < n; i++)
		add(&b, &memory[i]);
	if (b.sums)
		templates(&b, out);
	free(b.sums);
	free(b.v);
}
