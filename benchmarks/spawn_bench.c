/* SPDX-License-Identifier: MIT */
/*
 * spawn_bench.c - times whole programs beside each other in one run.
 *
 * Absolute times differ between machines and drift with whatever else a
 * machine does, so every entry is measured in the same rounds as the floor
 * and /bin/true, and the ratios are what counts. In each round the entries
 * run in another order: entry number start + j * step, where the step changes
 * from round to round among the numbers coprime to the count. Plain rotation
 * would leave everyone the same neighbour, and a cold start of pandas leaves its
 * successor colder caches than a no-op does.
 *
 * Entries with a stride are spread over the rounds rather than all in one.
 */
#include "spawn/config.h"
#include "spawn/machine.h"
#include "spawn/report.h"
#include "spawn/run.h"
#include "spawn/words.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
	unsigned rounds, warmup, timeout;
	enum sink sink;
	bool quiet;
	const char *json, *dir, *config;
};

static const char usage[] =
	"usage: spawn_bench [OPTION...] CONFIG\n"
	"  -r, --rounds=N     rounds that are measured (default 200)\n"
	"  -w, --warmup=N     rounds before them that are not (default 5)\n"
	"  -s, --sink=KIND    what stdout is: pipe (default) or file\n"
	"  -t, --timeout=S    seconds before a run is killed (default 60)\n"
	"  -d, --dir=DIR      where the sink files go (default .)\n"
	"  -j, --json=FILE    write the results as JSON\n"
	"  -q, --quiet        no table\n"
	"CONFIG is described in benchmarks/spawn/config.h. Exit status: 0, 1 when any run was\n"
	"wrong or had no right one, 2 when it could not be measured.\n";

static int parse_sink(const char *s, enum sink *ret)
{
	if (!strcmp(s, "pipe"))
		*ret = SINK_PIPE;
	else if (!strcmp(s, "file"))
		*ret = SINK_FILE;
	else
		return -EINVAL;
	return 0;
}

/* 0: go on; 1: help was asked for and given; -EINVAL. */
static int parse_options(int argc, char **argv, struct options *ret)
{
	static const struct option known[] = {
		{ "rounds", required_argument, NULL, 'r' },
		{ "warmup", required_argument, NULL, 'w' },
		{ "sink", required_argument, NULL, 's' },
		{ "timeout", required_argument, NULL, 't' },
		{ "dir", required_argument, NULL, 'd' },
		{ "json", required_argument, NULL, 'j' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct options o = { .rounds = 200, .warmup = 5, .timeout = 60, .dir = "." };
	int c, r = 0;

	while (!r && (c = getopt_long(argc, argv, "r:w:s:t:d:j:qh", known, NULL)) >= 0) {
		switch (c) {
		case 'r':
			r = parse_unsigned(optarg, &o.rounds);
			break;
		case 'w':
			r = parse_unsigned(optarg, &o.warmup);
			break;
		case 's':
			r = parse_sink(optarg, &o.sink);
			break;
		case 't':
			r = parse_unsigned(optarg, &o.timeout);
			break;
		case 'd':
			o.dir = optarg;
			break;
		case 'j':
			o.json = optarg;
			break;
		case 'q':
			o.quiet = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 1;
		default:
			r = -EINVAL;
		}
	}
	if (r || optind + 1 != argc || !o.rounds || !o.timeout) {
		fputs(usage, stderr);
		return -EINVAL;
	}
	o.config = argv[optind];
	*ret = o;
	return 0;
}

static size_t common_divisor(size_t a, size_t b)
{
	while (b) {
		size_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* The step of a round: the numbers 1 .. n-1 that are coprime to n, in turn. */
static size_t round_step(size_t n, unsigned round)
{
	size_t count = 0;

	for (size_t s = 1; s < n; s++)
		count += common_divisor(n, s) == 1;
	if (!count)
		return 1;

	size_t wanted = round / n % count; /* the same step for n rounds: each entry takes each place once */

	for (size_t s = 1; s < n; s++)
		if (common_divisor(n, s) == 1 && !wanted--)
			return s;
	return 1;
}

static int run_entry(struct runner *runner, struct entry *e, bool measured)
{
	char why[sizeof(e->first_error)];
	uint64_t ns;
	int r = runner_run(runner, e, &ns, why, sizeof(why));

	if (r < 0)
		return r;
	if (r)
		return measured ? samples_add(&e->samples, ns) : 0;
	if (!e->errors++)
		memcpy(e->first_error, why, sizeof(why));
	return 0;
}

static int run_rounds(struct runner *runner, struct config *c, unsigned rounds, bool measured)
{
	for (unsigned round = 0; round < rounds; round++) {
		size_t step = round_step(c->n, round);

		for (size_t j = 0; j < c->n; j++) {
			size_t i = (round + j * step) % c->n;
			struct entry *e = &c->entries[i];

			/* in the warm-up, slow entries run once */
			if (measured ? (round + i) % e->stride : e->stride > 1 && round)
				continue;

			int r = run_entry(runner, e, measured);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int write_json(const struct session *s, const char *path)
{
	FILE *f = fopen(path, "we");

	if (!f)
		return -errno;

	int r = report_json(s, f);

	if (fclose(f) && !r)
		r = -EIO;
	return r;
}

/* 0: all right; 1: some run was wrong; negative errno. */
static int measure(const struct options *o, struct config *c)
{
	struct activity before, after;
	struct machine machine;
	struct runner runner;
	size_t largest = 0;
	int r;

	for (size_t i = 0; i < c->n; i++)
		if (c->entries[i].expect_size > largest)
			largest = c->entries[i].expect_size;
	r = runner_init(&runner, o->sink, o->timeout, o->dir, largest);
	if (r < 0)
		return r;
	machine_read(&machine);
	r = run_rounds(&runner, c, o->warmup, false);
	activity_read(&before);
	if (!r)
		r = run_rounds(&runner, c, o->rounds, true);
	activity_read(&after);
	runner_done(&runner);
	if (r < 0)
		return r;

	struct session s = { c, &machine, &before, &after, o->rounds, o->warmup, o->sink };

	if (!o->quiet)
		r = report_table(&s, stdout);
	if (!r && o->json)
		r = write_json(&s, o->json);
	for (size_t i = 0; !r && i < c->n; i++)
		r = c->entries[i].errors || !c->entries[i].samples.n;
	return r;
}

int main(int argc, char **argv)
{
	struct config config;
	struct options o;
	int r = parse_options(argc, argv, &o);

	if (r)
		return r < 0 ? 2 : 0;
	if (config_load(o.config, &config) < 0)
		return 2;
	r = measure(&o, &config);
	config_free(&config);
	if (r < 0) {
		fprintf(stderr, "spawn_bench: %s\n", strerror(-r));
		return 2;
	}
	return r;
}
