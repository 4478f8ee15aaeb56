/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

static double us(uint64_t ns)
{
	return ns / 1e3;
}

/* p50 of an entry in ns; 0 when there is no such entry or it has no samples. */
static int median(const struct entry *e, uint64_t *ret)
{
	struct summary s = { 0 };
	int r = e ? samples_summary(&e->samples, &s) : 0;

	*ret = s.p50;
	return r;
}

static double ratio(uint64_t of, uint64_t to)
{
	return to ? (double)of / to : 0;
}

static void cell(FILE *out, double v)
{
	if (v > 0)
		fprintf(out, " %9.*f", v < 100 ? 2 : 0, v);
	else
		fprintf(out, " %9s", "-");
}

struct medians {
	uint64_t floor, true_;
};

static int reference_medians(const struct config *c, struct medians *ret)
{
	int r = median(config_find(c, KIND_FLOOR, NULL), &ret->floor);

	return r < 0 ? r : median(config_find(c, KIND_TRUE, NULL), &ret->true_);
}

/* For a warm entry: how many times faster than the cold one of that name; otherwise 0. */
static int speedup(const struct config *c, const struct entry *e, uint64_t p50, double *ret)
{
	uint64_t cold = 0;
	int r = 0;

	if (e->kind == KIND_WARM)
		r = median(config_find(c, KIND_COLD, e->name), &cold);
	*ret = ratio(cold, p50);
	return r;
}

int report_table(const struct session *s, FILE *out)
{
	const struct config *c = s->config;
	struct medians m;
	int r = reference_medians(c, &m);

	if (r < 0)
		return r;
	fprintf(out, "%-16s %-6s %6s %9s %9s %9s %9s %9s %9s %9s %9s\n", "microseconds", "", "n", "min",
		"p50", "p90", "p99", "max", "x floor", "x true", "cold/warm");
	for (size_t i = 0; i < c->n; i++) {
		const struct entry *e = &c->entries[i];
		struct summary t;
		double faster;

		r = samples_summary(&e->samples, &t);
		if (r < 0 || (r = speedup(c, e, t.p50, &faster)) < 0)
			return r;
		fprintf(out, "%-16s %-6s %6zu %9.0f %9.0f %9.0f %9.0f %9.0f", e->name, kind_name(e->kind),
			t.n, us(t.min), us(t.p50), us(t.p90), us(t.p99), us(t.max));
		cell(out, ratio(t.p50, m.floor));
		cell(out, ratio(t.p50, m.true_));
		cell(out, faster);
		fputc('\n', out);
		if (e->errors)
			fprintf(out, "  ERROR: %u wrong runs, not counted above; the first: %s\n", e->errors,
				e->first_error);
	}
	return ferror(out) ? -EIO : 0;
}

/* JSON is UTF-8; what the machine tells of itself is taken as ASCII, other bytes become '?'. */
static void json_string(FILE *out, const char *s)
{
	fputc('"', out);
	for (; *s; s++) {
		unsigned char ch = *s;

		if (ch == '"' || ch == '\\')
			fprintf(out, "\\%c", ch);
		else if (ch < 0x20)
			fprintf(out, "\\u%04x", ch);
		else
			fputc(ch < 0x7f ? ch : '?', out);
	}
	fputc('"', out);
}

void report_json_pair(FILE *out, const char *key, const char *value)
{
	fprintf(out, "\"%s\": ", key);
	json_string(out, value);
	fputs(", ", out);
}

void report_json_machine(const struct session *s, FILE *out)
{
	const struct machine *m = s->machine;
	double total = s->after->total - s->before->total;
	double others = s->after->busy - s->before->busy - (s->after->own - s->before->own);
	double steal = s->after->steal - s->before->steal;

	fputs("  \"machine\": {", out);
	report_json_pair(out, "cpu", m->cpu);
	report_json_pair(out, "kernel", m->kernel.release);
	report_json_pair(out, "kernel_build", m->kernel.version);
	report_json_pair(out, "arch", m->kernel.machine);
	report_json_pair(out, "vendor", m->hypervisor);
	fprintf(out, "\"cores\": %ld, \"memory_bytes\": %llu, \"scheduler\": \"%s\",\n    ", m->cores,
		(unsigned long long)m->memory, m->policy == SCHED_OTHER ? "SCHED_OTHER" : "other");
	/* clock ticks and rusage round differently: a quiet machine may come out just below 0 */
	fprintf(out,
		"\"load_before\": %.2f, \"load_after\": %.2f, \"cpu_used_by_others\": %.4f, \"cpu_stolen\": %.4f},\n",
		s->before->load1, s->after->load1, total > 0 && others > 0 ? others / total : 0,
		total > 0 ? steal / total : 0);
}

static int json_entry(const struct session *s, const struct medians *m, const struct entry *e, FILE *out)
{
	struct summary t;
	double faster;
	int r = samples_summary(&e->samples, &t);

	if (r < 0 || (r = speedup(s->config, e, t.p50, &faster)) < 0)
		return r;
	fputs("    {", out);
	report_json_pair(out, "name", e->name);
	report_json_pair(out, "kind", kind_name(e->kind));
	fputs("\"argv\": [", out);
	for (size_t i = 0; e->argv[i]; i++) {
		fputs(i ? ", " : "", out);
		json_string(out, e->argv[i]);
	}
	fprintf(out, "],\n     \"n\": %zu, \"errors\": %u, ", t.n, e->errors);
	report_json_pair(out, "first_error", e->first_error);
	fprintf(out,
		"\n     \"min_us\": %.1f, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f,",
		us(t.min), us(t.p50), us(t.p90), us(t.p99), us(t.max));
	fprintf(out, "\n     \"times_floor\": %.3f, \"times_true\": %.3f, \"cold_over_warm\": %.2f,",
		ratio(t.p50, m->floor), ratio(t.p50, m->true_), faster);
	fputs("\n     \"samples_ns\": [", out);
	for (size_t i = 0; i < e->samples.n; i++)
		fprintf(out, "%s%llu", i ? ", " : "", (unsigned long long)e->samples.ns[i]);
	fputs("]}", out);
	return 0;
}

int report_json(const struct session *s, FILE *out)
{
	const struct config *c = s->config;
	struct medians m;
	int r = reference_medians(c, &m);

	if (r < 0)
		return r;
	fputs("{\n", out);
	report_json_machine(s, out);
	fprintf(out, "  \"settings\": {\"rounds\": %u, \"warmup_rounds\": %u, \"sink\": \"%s\"},\n",
		s->rounds, s->warmup, s->sink == SINK_PIPE ? "pipe" : "file");
	fputs("  \"entries\": [\n", out);
	for (size_t i = 0; i < c->n; i++) {
		r = json_entry(s, &m, &c->entries[i], out);
		if (r < 0)
			return r;
		fputs(i + 1 < c->n ? ",\n" : "\n", out);
	}
	fputs("  ]\n}\n", out);
	return ferror(out) ? -EIO : 0;
}
