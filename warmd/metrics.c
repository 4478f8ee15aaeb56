/* SPDX-License-Identifier: MIT */
#include "warmd/metrics.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/utf8.h"
#include "warmd/backoff.h"
#include "warmd/pool/census.h"
#include "warmd/pool/pool.h"

#define ANSWER "request to answer"
#define ORDER  "request to order"
#define LIFE   "order to end"

const struct metrics_name metrics_phases[METRICS_PHASES] = {
	[METRICS_BECOME_ANSWER] = { "become", ANSWER },	   [METRICS_COLD_ANSWER] = { "cold", ANSWER },
	[METRICS_PARKED_ORDER] = { "parked", ORDER },	   [METRICS_PARKED_ANSWER] = { "parked", ANSWER },
	[METRICS_PARKED_LIFE] = { "parked", LIFE },	   [METRICS_FORK_ORDER] = { "fork", ORDER },
	[METRICS_FORK_ANSWER] = { "fork", ANSWER },	   [METRICS_FORK_LIFE] = { "fork", LIFE },
	[METRICS_FORK] = { "pool", "asked to forked" },	   [METRICS_PARK] = { "pool", "asked to parked" },
	[METRICS_SKELETON] = { "pool", "skeleton start" },
};

_Static_assert(LATENCY_SAMPLES == 512, "what phases() says");
_Static_assert(ARRAY_SIZE(((struct metrics *)0)->refused) >= WIRE_STATUS_COUNT, "a count for each status");

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

bool latency_quantiles(const struct latency *l, struct quantiles *ret)
{
	uint64_t sorted[LATENCY_SAMPLES];
	size_t n = l->count < LATENCY_SAMPLES ? l->count : LATENCY_SAMPLES;

	if (!n)
		return false;
	memcpy(sorted, l->ns, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), compare);
	*ret = (struct quantiles){
		.p50_ns = sorted[n / 2],
		.p90_ns = sorted[n * 9 / 10],
		.p99_ns = sorted[n * 99 / 100],
		.max_ns = sorted[n - 1],
	};
	return true;
}

void metrics_since(struct server *s, enum metrics_phase phase, uint64_t start_ns)
{
	latency_add(&s->metrics.phases[phase], clock_ns(CLOCK_MONOTONIC) - start_ns);
}

void metrics_answer(struct server *s, const struct request *req, uint32_t status, uint64_t ns)
{
	struct metrics *m = &s->metrics;

	/* a launch that is not made does not run cold either */
	if (req->run.header.type == WIRE_LAUNCH && status != WIRE_LAUNCHED) {
		m->refused[status]++;
		return;
	}
	s->launches[status]++;
	if (status != WIRE_LAUNCHED)
		latency_add(&m->phases[status == WIRE_WARM ? METRICS_BECOME_ANSWER : METRICS_COLD_ANSWER],
			    ns);
}

static bool parked(const struct clone *cl)
{
	return cl->way == WIRE_WAY_PARKED;
}

void metrics_order(struct server *s, struct clone *cl, const struct launch *l)
{
	cl->order_ns = clock_ns(CLOCK_MONOTONIC);
	latency_add(&s->metrics.phases[parked(cl) ? METRICS_PARKED_ORDER : METRICS_FORK_ORDER],
		    cl->order_ns - l->start_ns);
	/* its caller had the answer before */
	if (cl->recent && s->nrecent - cl->recent < RECENT_LAUNCHES)
		s->recent[(cl->recent - 1) % RECENT_LAUNCHES].order_ns = cl->order_ns - l->start_ns;
}

void metrics_told(struct server *s, struct clone *cl, const struct launch *l)
{
	struct recent_launch *r = &s->recent[(s->nrecent - 1) % RECENT_LAUNCHES];

	/* it goes before the order: pool_give_order() */
	metrics_since(s, parked(cl) ? METRICS_PARKED_ANSWER : METRICS_FORK_ANSWER, l->start_ns);
	cl->recent = s->nrecent;
	r->clone = (uint32_t)cl->pid;
	r->way = cl->way;
	r->template_id = cl->template_id;
}

void metrics_end(struct server *s, const struct clone *cl, int wstatus)
{
	struct recent_launch *r = &s->recent[(cl->recent - 1) % RECENT_LAUNCHES];

	if (cl->order_ns)
		metrics_since(s, parked(cl) ? METRICS_PARKED_LIFE : METRICS_FORK_LIFE, cl->order_ns);
	if (!cl->recent || s->nrecent - cl->recent >= RECENT_LAUNCHES)
		return;
	r->wstatus = wstatus;
	r->ended_ns = clock_ns(CLOCK_REALTIME);
}

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
		cold += s->launches[i];
	family(out, "launches_total", "counter",
	       "Launches by the way they were made; cold: by the client itself.");
	for (uint32_t i = 0; i < WIRE_WAY_COUNT; i++)
		labelled(out, "launches_total", "way", census_way_name(i), s->ways[i]);
	labelled(out, "launches_total", "way", "cold", cold);
	family(out, "cold_launches_total", "counter", "Launches that ran cold, by reason.");
	for (uint32_t i = WIRE_COLD_NONE; i < WIRE_LAUNCHED; i++)
		labelled(out, "cold_launches_total", "reason", wire_status_name(i), s->launches[i]);
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
	       "Connections that were ended because their clients do not read.", s->overfull);
	single(out, "refused_connections_total", "counter",
	       "Connections on which launches were refused, because there were too many.",
	       s->refused_connections);
	single(out, "accept_failures_total", "counter",
	       "Times that no connection could be accepted, for want of descriptors or memory.",
	       s->accept_failures);
	single(out, "open_connections", "gauge", "Connections that are open.", s->nconnections);
	single(out, "running_clones", "gauge", "Clones that warmd launched and that run.", s->nclones);
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
		for (enum census_state state = 0; state < CENSUS_STATES; state++)
			of_template(out, "template_processes", b->v[i].template, census_state_name(state),
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
	b.n = census_count(s, &b.v);
	b.sums = calloc(b.n + 1, sizeof(*b.sums));
	for (size_t i = 0; b.sums && i < n; i++)
		add(&b, &memory[i]);
	if (b.sums)
		templates(&b, out);
	free(b.sums);
	free(b.v);
}
