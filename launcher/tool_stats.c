/* SPDX-License-Identifier: MIT */
#include "launcher/tool.h"

#include <errno.h>
#include <string.h>

#include "engine/base/fd.h"

static uint64_t all_launches(const Warm__Stats *s)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->n_launches; i++)
		sum += s->launches[i]->count;
	return sum;
}

static int add_count(struct tool_table *table, const char *group, const char *what, uint64_t count)
{
	char text[TOOL_TEXT_MAX];

	return tool_table_row(table, group, what, tool_number(count, text), "");
}

static int add_launches(struct tool_table *table, const Warm__Stats *s)
{
	uint64_t sum = all_launches(s);
	int r = add_count(table, "launches", "all", sum);

	for (size_t i = 0; r == 0 && i < s->n_launches; i++) {
		const Warm__Count *c = s->launches[i];
		char number[TOOL_TEXT_MAX], share[TOOL_TEXT_MAX], what[64];

		if (c->count == 0)
			continue;
		snprintf(what, sizeof(what), strcmp(c->name, "warm") == 0 ? "%s" : "cold: %s", c->name);
		snprintf(share, sizeof(share), "%.1f%%", sum ? 100.0 * (double)c->count / (double)sum : 0.0);
		r = tool_table_row(table, "", what, tool_number(c->count, number), share);
	}
	return r;
}

static int add_rest(struct tool_table *table, const Warm__Stats *s)
{
	const struct {
		const char *group, *what;
		uint64_t count;
	} counts[] = {
		{ "builds", "ready", s->builds_ok },	    { "", "refused", s->builds_refused },
		{ "", "failed", s->builds_failed },	    { "templates", "now", s->templates },
		{ "", "dropped: stale", s->dropped_stale }, { "", "dropped: memory", s->dropped_budget },
		{ "", "dropped: age", s->dropped_age },	    { "daemon", "connections", s->connections },
		{ "", "bad messages", s->bad_messages },    { "", "file watches", s->watches },
	};
	char text[TOOL_TEXT_MAX];
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(counts); i++)
		r = add_count(table, counts[i].group, counts[i].what, counts[i].count);
	r = r ? r : tool_table_row(table, "", "uptime", tool_age(s->uptime_ns, text), "");
	r = r ? r : tool_table_row(table, "memory", "held", tool_bytes(s->sealed_bytes, text), "");
	r = r ? r : tool_table_row(table, "", "budget", tool_bytes(s->budget_bytes, text), "");
	return r;
}

static int add_latencies(struct tool_table *table, const Warm__Stats *s)
{
	int r = tool_table_row(table, "PHASE", "N", "P50", "P90", "P99", "MAX");

	for (size_t i = 0; r == 0 && i < s->n_latencies; i++) {
		const Warm__Latency *l = s->latencies[i];
		char n[TOOL_TEXT_MAX], p50[TOOL_TEXT_MAX], p90[TOOL_TEXT_MAX], p99[TOOL_TEXT_MAX],
			max[TOOL_TEXT_MAX];

		r = tool_table_row(table, l->phase, tool_number(l->count, n), tool_duration(l->p50_ns, p50),
				   tool_duration(l->p90_ns, p90), tool_duration(l->p99_ns, p99),
				   tool_duration(l->max_ns, max));
	}
	return r;
}

static int print_stats(const Warm__Stats *s)
{
	_cleanup_(tool_table_free) struct tool_table counts = { .columns = 4, .right = 0xc };
	_cleanup_(tool_table_free) struct tool_table latencies = { .columns = 6, .right = 0x3e };
	int r;

	r = add_launches(&counts, s);
	r = r ? r : add_rest(&counts, s);
	r = r ? r : add_latencies(&latencies, s);
	if (r < 0 || s->n_latencies == 0)
		return tool_table_finish(&counts, r, 0);
	tool_table_print(&counts, stdout, 0);
	putchar('\n');
	return tool_table_finish(&latencies, r, 0);
}

static int run(const struct tool_command *self, int argc, char **argv)
{
	Warm__StatsRequest stats = WARM__STATS_REQUEST__INIT;
	Warm__ControlRequest request = WARM__CONTROL_REQUEST__INIT;
	_cleanup_(tool_reply_freep) Warm__ControlReply *reply = NULL;
	struct error err;
	bool json;
	int r;

	r = tool_options_json(self, argc, argv, &json);
	if (r >= 0)
		return r;
	request.command_case = WARM__CONTROL_REQUEST__COMMAND_STATS;
	request.stats = &stats;
	r = tool_control(&request, &reply, &err);
	if (r == 0 && !reply->stats)
		r = error_set(&err, EBADMSG, "warmd answered without statistics");
	if (r < 0)
		return tool_fail(&err);
	return json ? tool_json_print(tool_json_stats(reply->stats)) : print_stats(reply->stats);
}

const struct tool_command tool_stats = {
	.name = "stats",
	.run = run,
	.operands = "[--json]",
	.summary = "show what warmd has done since it started",
	.details = "Launches by outcome (warm, or why cold), builds, templates, memory, and how long\n"
		   "warmd's own part of a launch took.\n"
		   "\n"
		   "  --json       as JSON, complete; times in nanoseconds, sizes in bytes\n"
		   "\n"
		   "Examples:\n"
		   "  warm stats\n"
		   "  warm stats --json | jq .launches\n",
};
