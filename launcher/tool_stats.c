/* SPDX-License-Identifier: MIT */
#include "launcher/tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"

#define MEASURE_MS 3000 /* for the memory of all processes, about 1 ms each */

static uint64_t sum_of(size_t n, Warm__Count *const *counts)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += counts[i]->count;
	return sum;
}

static int add_count(struct tool_table *table, const char *group, const char *what, uint64_t count)
{
	char text[TOOL_TEXT_MAX];

	return tool_table_row(table, group, what, tool_number(count, text), "");
}

static int add_share(struct tool_table *table, const char *prefix, const Warm__Count *c, uint64_t sum)
{
	char number[TOOL_TEXT_MAX], share[TOOL_TEXT_MAX], what[64];

	if (!c->count)
		return 0;
	snprintf(what, sizeof(what), "%s%s", prefix, c->name);
	snprintf(share, sizeof(share), "%.1f%%", sum ? 100.0 * (double)c->count / (double)sum : 0.0);
	return tool_table_row(table, "", what, tool_number(c->count, number), share);
}

/* what is no reason to run cold: that is in ways */
static bool is_warm(const char *name)
{
	return strcmp(name, "warm") == 0 || strcmp(name, "launched") == 0;
}

static int add_launches(struct tool_table *table, const Warm__Stats *s)
{
	uint64_t sum = sum_of(s->n_ways, s->ways);
	int r = add_count(table, "launches", "all", sum);

	for (size_t i = 0; r == 0 && i < s->n_ways; i++)
		if (strcmp(s->ways[i]->name, "cold") != 0)
			r = add_share(table, "", s->ways[i], sum);
	for (size_t i = 0; r == 0 && i < s->n_launches; i++)
		if (!is_warm(s->launches[i]->name))
			r = add_share(table, "cold: ", s->launches[i], sum);
	sum = sum_of(s->n_refused, s->refused);
	if (r == 0 && sum)
		r = add_count(table, "not made", "all", sum);
	for (size_t i = 0; r == 0 && i < s->n_refused; i++)
		r = add_share(table, "", s->refused[i], sum);
	return r;
}

static int add_rest(struct tool_table *table, const Warm__Stats *s)
{
	const struct {
		const char *group, *what;
		uint64_t count;
	} counts[] = {
		{ "pool", "hits", s->pool_hits },
		{ "", "misses", s->pool_misses },
		{ "", "skeletons", s->skeletons },
		{ "clones", "running", s->running },
		{ "builds", "ready", s->builds_ok },
		{ "", "refused", s->builds_refused },
		{ "", "failed", s->builds_failed },
		{ "", "put off", s->builds_deferred },
		{ "", "programs that wait", s->programs_waiting },
		{ "templates", "now", s->templates },
		{ "", "dropped: stale", s->dropped_stale },
		{ "", "dropped: memory", s->dropped_budget },
		{ "", "dropped: age", s->dropped_age },
		{ "kept on disk", "now", s->kept },
		{ "", "written", s->kept_written },
		{ "", "loaded", s->kept_loaded },
		{ "", "not loaded", s->kept_failed },
		{ "daemon", "connections", s->connections },
		{ "", "bad messages", s->bad_messages },
		{ "", "ended: not read", s->overfull },
		{ "", "not accepted", s->accept_failures },
		{ "", "too many", s->refused_connections },
		{ "", "file watches", s->watches },
	};
	char text[TOOL_TEXT_MAX];
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(counts); i++)
		r = add_count(table, counts[i].group, counts[i].what, counts[i].count);
	r = r ? r : tool_table_row(table, "", "uptime", tool_age(s->uptime_ns, text), "");
	r = r ? r : tool_table_row(table, "memory", "held", tool_bytes(s->sealed_bytes, text), "");
	r = r ? r : tool_table_row(table, "", "budget", tool_bytes(s->budget_bytes, text), "");
	r = r ? r : tool_table_row(table, "disk", "held", tool_bytes(s->kept_bytes, text), "");
	r = r ? r : tool_table_row(table, "", "budget", tool_bytes(s->kept_budget, text), "");
	return r;
}

static int add_latencies(struct tool_table *table, const Warm__Stats *s)
{
	int r = tool_table_row(table, "WAY", "PHASE", "N", "P50", "P90", "P99", "MAX");

	for (size_t i = 0; r == 0 && i < s->n_latencies; i++) {
		const Warm__Latency *l = s->latencies[i];
		char n[TOOL_TEXT_MAX], p50[TOOL_TEXT_MAX], p90[TOOL_TEXT_MAX], p99[TOOL_TEXT_MAX],
			max[TOOL_TEXT_MAX];

		r = tool_table_row(table, l->way, l->phase, tool_number(l->count, n),
				   tool_duration(l->p50_ns, p50), tool_duration(l->p90_ns, p90),
				   tool_duration(l->p99_ns, p99), tool_duration(l->max_ns, max));
	}
	return r;
}

static int add_templates(struct tool_table *table, const Warm__Stats *s, const struct tool_memory *memory)
{
	int r = tool_table_row(table, "LAUNCHES", "RUNNING", "PARKED", "HITS", "MISSES", "SEALED", "SHARED",
			       "PRIVATE", "TEMPLATE");

	for (size_t i = 0; r == 0 && i < s->n_by_template; i++) {
		const Warm__Template *t = s->by_template[i];
		char text[8][TOOL_TEXT_MAX];

		r = tool_table_row(table, tool_number(t->launches, text[0]), tool_number(t->running, text[1]),
				   tool_number(t->pool ? t->pool->parked : 0, text[2]),
				   tool_number(t->pool ? t->pool->hits : 0, text[3]),
				   tool_number(t->pool ? t->pool->misses : 0, text[4]),
				   tool_bytes(t->sealed_bytes, text[5]),
				   memory ? tool_bytes(memory[i].shared, text[6]) : "-",
				   memory ? tool_bytes(memory[i].own, text[7]) : "-", t->name);
	}
	return r;
}

/* --- memory by template ------------------------------------------------------------------- */

struct measured {
	struct tool_memory *sums; /* of each of stats->by_template; NULL: not known */
	size_t processes, done; /* done: of them were measured before the time was up */
};

static bool has_processes(const Warm__Stats *s)
{
	for (size_t i = 0; i < s->n_by_template; i++)
		if (s->by_template[i]->running || s->by_template[i]->pool || s->by_template[i]->launches)
			return true;
	return false;
}

static void add_process(const Warm__Stats *s, struct measured *m, const Warm__Clone *c)
{
	struct tool_memory memory;

	if (!tool_memory(c->pid, &memory))
		return;
	for (size_t i = 0; i < s->n_by_template; i++) {
		if (s->by_template[i]->id != c->template_id)
			continue;
		m->sums[i].own += memory.own;
		m->sums[i].shared += memory.shared;
	}
}

static void measure(const Warm__Stats *s, struct measured *m)
{
	_cleanup_(tool_clones_free) struct tool_clones clones = { 0 };
	uint64_t deadline = clock_ms() + MEASURE_MS;
	struct error ignored;

	*m = (struct measured){ .sums = calloc(s->n_by_template + 1, sizeof(*m->sums)) };
	if (!m->sums || !has_processes(s) || tool_clones(true, &clones, &ignored) < 0)
		return;
	m->processes = clones.count;
	for (; m->done < clones.count && clock_ms() < deadline; m->done++)
		add_process(s, m, clones.list[m->done]);
}

/* --- the command --------------------------------------------------------------------------- */

static int print_stats(const Warm__Stats *s, const struct measured *m)
{
	_cleanup_(tool_table_free) struct tool_table counts = { .columns = 4, .right = 0xc };
	_cleanup_(tool_table_free) struct tool_table latencies = { .columns = 7, .right = 0x7c };
	_cleanup_(tool_table_free) struct tool_table templates = { .columns = 9, .right = 0xff };
	int r;

	r = add_launches(&counts, s);
	r = r ? r : add_rest(&counts, s);
	r = r ? r : add_latencies(&latencies, s);
	r = r ? r : add_templates(&templates, s, m->sums);
	if (r < 0)
		return tool_table_finish(&counts, r, 0);
	tool_table_print(&counts, stdout, 0);
	if (s->n_latencies) {
		putchar('\n');
		tool_table_print(&latencies, stdout, 0);
	}
	if (s->n_by_template) {
		putchar('\n');
		tool_table_print(&templates, stdout, tool_width(STDOUT_FILENO));
	}
	if (m->done < m->processes)
		printf("SHARED and PRIVATE are of %zu processes; there are %zu\n", m->done, m->processes);
	return tool_finish();
}

static int print_json(const Warm__Stats *s, const struct measured *m)
{
	cJSON *json = tool_json_stats(s, m->sums);

	tool_json_number(json, "processes", m->processes);
	tool_json_number(json, "processes_measured", m->done);
	return tool_json_print(json);
}

static int run(const struct tool_command *self, int argc, char **argv)
{
	bool json = false, prometheus = false;
	const struct tool_option options[] = { { "--json", .flag = &json },
					       { "--prometheus", .flag = &prometheus },
					       { 0 } };
	Warm__StatsRequest stats = WARM__STATS_REQUEST__INIT;
	Warm__ControlRequest request = WARM__CONTROL_REQUEST__INIT;
	_cleanup_(tool_reply_freep) Warm__ControlReply *reply = NULL;
	struct measured measured;
	struct tool_args args;
	struct error err;
	int r;

	r = tool_options(self, options, TOOL_OPERANDS_NONE, argc, argv, &args);
	if (r >= 0)
		return r;
	if (json && prometheus)
		return tool_usage(self, "either --json or --prometheus");
	if (prometheus)
		return tool_metrics();
	request.command_case = WARM__CONTROL_REQUEST__COMMAND_STATS;
	request.stats = &stats;
	r = tool_control(&request, &reply, &err);
	if (r == 0 && !reply->stats)
		r = error_set(&err, EBADMSG, "warmd answered without statistics");
	if (r < 0)
		return tool_fail(&err);
	measure(reply->stats, &measured);
	r = json ? print_json(reply->stats, &measured) : print_stats(reply->stats, &measured);
	free(measured.sums);
	return r;
}

const struct tool_command tool_stats = {
	.name = "stats",
	.run = run,
	.operands = "[--json | --prometheus]",
	.summary = "show what warmd has done since it started",
	.details = "Launches by way (become, fork, parked, or cold and why) and those by name that were\n"
		   "not made; pool hits and misses, builds, templates; how long the parts of a launch\n"
		   "took (over the last 512 of each); and by template: launches, clones, and memory:\n"
		   "sealed (held once), and what its clones, parked ones and skeleton have on top: their\n"
		   "part of shared memory, and what is private to each.\n"
		   "\n"
		   "  --json         as JSON, complete; times in nanoseconds, sizes in bytes\n"
		   "  --prometheus   as Prometheus' text, which warmd also serves by HTTP on the unix\n"
		   "                 socket metrics.sock in its runtime directory\n"
		   "\n"
		   "Examples:\n"
		   "  warm stats\n"
		   "  warm stats --json | jq .ways\n"
		   "  curl --unix-socket \"$XDG_RUNTIME_DIR/warm/metrics.sock\" http://warm/metrics\n",
};
