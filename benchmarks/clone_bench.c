/* SPDX-License-Identifier: MIT */
/*
 * clone_bench.c - times clones through libwarm, beside floors and peers, in one run. clones.py starts it.
 *
 *	clone_bench rounds    latencies: each entry of the configuration has one turn a round, in another order each round
 *	clone_bench lives     whole lives, one after the other, for so many seconds; or so many, with some at once
 *
 * A turn is a burst: so many runs one behind the other. The first of them, behind a pause, is a sample of its own kind, as
 * caches are cold and processors halted then, for floors as well; the others are the entry's samples.
 *
 * Between two turns of `rounds` there is a pause in which this process keeps its processor busy: warmd makes
 * new parked clones meanwhile, which else would be work beside the next entry's; and a processor that is
 * halted takes tens of microseconds to wake in a virtual machine.
 */
#include "clones/clock.h"
#include "clones/entry.h"
#include "clones/life.h"
#include "spawn/machine.h"
#include "spawn/report.h"
#include "spawn/words.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct options {
	unsigned rounds, warmup, pause_us, burst;
	bool idle;
	const char *json;
	struct life_options life;
};

static const char usage[] =
	"usage: clone_bench rounds [OPTION...] CONFIG\n"
	"  -r, --rounds=N        rounds that are measured (default 200)\n"
	"  -w, --warmup=N        rounds before them that are not (default 5)\n"
	"  -p, --pause=US        between two turns (default 10000)\n"
	"  -b, --burst=N         runs in a turn, the first of which is counted apart (default 5)\n"
	"  -i, --idle            sleep in the pauses instead of keeping the processor busy\n"
	"  -j, --json=FILE       write the results as JSON\n"
	"       clone_bench lives [OPTION...] SOCKET TEMPLATE [ARG...]\n"
	"  -s, --seconds=N       for so long (default 10)\n"
	"  -n, --count=N         instead: so many\n"
	"  -a, --at-once=N       so many clones at a time (default 1)\n"
	"clones/entry.h describes CONFIG. `lives` prints LIVES NANOSECONDS ERRORS and the first error. Exit status: 0, 1 when\n"
	"any run was wrong, 2 when it could not be measured.\n";

static int parse_options(int argc, char **argv, struct options *o)
{
	static const struct option known[] = {
		{ "rounds", required_argument, NULL, 'r' },  { "warmup", required_argument, NULL, 'w' },
		{ "pause", required_argument, NULL, 'p' },   { "burst", required_argument, NULL, 'b' },
		{ "idle", no_argument, NULL, 'i' },	     { "json", required_argument, NULL, 'j' },
		{ "seconds", required_argument, NULL, 's' }, { "count", required_argument, NULL, 'n' },
		{ "at-once", required_argument, NULL, 'a' }, { 0 },
	};
	int c, r = 0;

	while (!r && (c = getopt_long(argc, argv, "+r:w:p:b:ij:s:n:a:", known, NULL)) >= 0) {
		switch (c) {
		case 'r':
			r = parse_unsigned(optarg, &o->rounds);
			break;
		case 'w':
			r = parse_unsigned(optarg, &o->warmup);
			break;
		case 'p':
			r = parse_unsigned(optarg, &o->pause_us);
			break;
		case 'b':
			r = parse_unsigned(optarg, &o->burst);
			break;
		case 'i':
			o->idle = true;
			break;
		case 'j':
			o->json = optarg;
			break;
		case 's':
			r = parse_unsigned(optarg, &o->life.seconds);
			break;
		case 'n':
			r = parse_unsigned(optarg, &o->life.count);
			o->life.seconds = 0;
			break;
		case 'a':
			r = parse_unsigned(optarg, &o->life.at_once);
			break;
		default:
			r = -EINVAL;
		}
	}
	return r ? r : optind;
}

static void take_break(const struct options *o)
{
	uint64_t end = clock_now() + o->pause_us * 1000ull;
	struct timespec t = { .tv_sec = o->pause_us / 1000000, .tv_nsec = o->pause_us % 1000000 * 1000l };

	if (o->idle)
		clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
	else
		while (clock_now() < end)
			;
}

/* @to: NULL: it is not measured */
static int run_entry(struct clone_entry *e, unsigned long tag, struct samples *to)
{
	char why[sizeof(e->first_error)] = "";
	uint64_t ns;
	int r = entry_run(e, tag, &ns, why, sizeof(why));

	if (r < 0) {
		fprintf(stderr, "clone_bench: %s: %s %s\n", e->name, strerror(-r), why);
		return r;
	}
	if (!to)
		return 0;
	if (r)
		return samples_add(to, ns);
	if (!e->errors++)
		memcpy(e->first_error, why, sizeof(why));
	return 0;
}

static size_t common_divisor(size_t a, size_t b)
{
	return b ? common_divisor(b, a % b) : a;
}

/* as spawn_bench: another step each time all entries had each place once, so that nobody keeps a neighbour */
static size_t round_step(size_t n, unsigned round)
{
	size_t step = 1 + round / n % (n > 1 ? n - 1 : 1);

	while (common_divisor(n, step) != 1)
		step = step % n + 1;
	return step;
}

/* the stride of an entry is for such as take long: once is enough of them */
static int take_turn(const struct options *o, struct clone_entry *e, bool measured)
{
	static unsigned long tag = 100000; /* always of the same length */
	unsigned n = e->stride > 1 ? 1 : o->burst;
	int r = 0;

	take_break(o);
	for (unsigned i = 0; i < n && r == 0; i++) {
		struct samples *to = i || n == 1 ? &e->samples : &e->first;

		r = run_entry(e, tag++, measured ? to : NULL);
	}
	return r;
}

static int run_rounds(const struct options *o, struct clone_config *c, unsigned rounds, bool measured)
{
	for (unsigned round = 0; round < rounds; round++) {
		size_t step = round_step(c->n, round);

		for (size_t j = 0; j < c->n; j++) {
			size_t i = (round + j * step) % c->n;
			struct clone_entry *e = &c->entries[i];

			if (measured ? (round + i) % e->stride : e->stride > 1 && round)
				continue;

			int r = take_turn(o, e, measured);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

static void json_samples(FILE *f, const char *name, const struct samples *s)
{
	fprintf(f, "\n     \"%s\": [", name);
	for (size_t i = 0; i < s->n; i++)
		fprintf(f, "%s%llu", i ? ", " : "", (unsigned long long)s->ns[i]);
	fputs("]", f);
}

static void json_entry(const struct clone_entry *e, FILE *f)
{
	fputs("    {", f);
	report_json_pair(f, "name", e->name);
	report_json_pair(f, "kind", clone_kind_name(e->kind));
	fprintf(f, "\"errors\": %u, ", e->errors);
	report_json_pair(f, "first_error", e->first_error);
	json_samples(f, "samples_ns", &e->samples);
	fputs(",", f);
	json_samples(f, "first_ns", &e->first);
	fputs("}", f);
}

static int write_json(const struct options *o, const struct clone_config *c, const struct session *s)
{
	FILE *f = fopen(o->json, "we");

	if (!f)
		return -errno;
	fputs("{\n", f);
	report_json_machine(s, f);
	fprintf(f,
		"  \"settings\": {\"rounds\": %u, \"warmup_rounds\": %u, \"pause_us\": %u, \"burst\": %u, \"idle\": %s},\n",
		o->rounds, o->warmup, o->pause_us, o->burst, o->idle ? "true" : "false");
	fputs("  \"entries\": [\n", f);
	for (size_t i = 0; i < c->n; i++) {
		json_entry(&c->entries[i], f);
		fputs(i + 1 < c->n ? ",\n" : "\n", f);
	}
	fputs("  ]\n}\n", f);

	int r = ferror(f) ? -EIO : 0;

	return fclose(f) && !r ? -EIO : r;
}

/* 0: all right; 1: some run was wrong; negative errno. */
static int measure(const struct options *o, struct clone_config *c)
{
	struct activity before, after;
	struct machine machine;
	struct session s = { .machine = &machine, .before = &before, .after = &after };
	char why[256] = "";
	int r = 0;

	for (size_t i = 0; i < c->n && r == 0; i++)
		r = entry_open(&c->entries[i], why, sizeof(why));
	if (r < 0) {
		fprintf(stderr, "clone_bench: %s\n", why);
		return r;
	}
	machine_read(&machine);
	r = run_rounds(o, c, o->warmup, false);
	activity_read(&before);
	if (!r)
		r = run_rounds(o, c, o->rounds, true);
	activity_read(&after);
	if (!r && o->json)
		r = write_json(o, c, &s);
	for (size_t i = 0; !r && i < c->n; i++)
		r = c->entries[i].errors || !c->entries[i].samples.n;
	return r;
}

static int rounds(const struct options *o, const char *path)
{
	struct clone_config c;
	int r = clone_config_load(path, &c);

	if (r < 0)
		return 2;
	r = measure(o, &c);
	clone_config_free(&c);
	if (r < 0)
		fprintf(stderr, "clone_bench: %s\n", strerror(-r));
	return r < 0 ? 2 : r;
}

static int lives(struct life_options *o, char **words)
{
	struct life_result res;

	o->socket = words[0];
	o->template_name = words[1];
	o->argv = words[2] ? words + 2 : NULL;
	if (life_run(o, &res) < 0)
		return 2;
	printf("%llu %llu %u %s\n", (unsigned long long)res.lives, (unsigned long long)res.ns, res.errors,
	       res.first_error);
	return res.errors != 0;
}

int main(int argc, char **argv)
{
	struct options o = { .rounds = 200,
			     .warmup = 5,
			     .pause_us = 10000,
			     .burst = 5,
			     .life = { .seconds = 10, .at_once = 1 } };
	bool is_rounds = argc > 1 && !strcmp(argv[1], "rounds"),
	     is_lives = argc > 1 && !strcmp(argv[1], "lives");
	int first = is_rounds || is_lives ? parse_options(argc - 1, argv + 1, &o) : -EINVAL;
	int words = first < 0 ? 0 : argc - 1 - first;

	signal(SIGPIPE, SIG_IGN); /* a helper that died is an error of ours to tell */
	if (is_rounds && words == 1 && o.rounds && o.burst)
		return rounds(&o, argv[1 + first]);
	if (is_lives && words >= 2 && o.life.at_once)
		return lives(&o.life, argv + 1 + first);
	fputs(usage, stderr);
	return 2;
}
