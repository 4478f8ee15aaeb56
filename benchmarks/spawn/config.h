/* SPDX-License-Identifier: MIT */
/*
 * config.h - what to measure: one entry a line, fields separated by one tab:
 *
 *     NAME  KIND  STRIDE  STATUS  EXPECT  [VARIABLE=VALUE ...]  ARGV0  ARGV1 ...
 *
 * KIND    floor | true | cold | warm | other; ratios are taken to the entries
 *         of kind floor and true, and from cold to warm of the same NAME
 * STRIDE  the entry runs in every STRIDE-th round
 * STATUS  the exit status that is right
 * EXPECT  a file with the very bytes that stdout must carry; "-": none
 *
 * VARIABLE: of that entry's environment, in place of this process's own.
 * ARGV0 must be a path: nothing is looked up on PATH while the clock runs.
 * Empty lines and lines that start with # are skipped.
 */
#ifndef WARM_BENCH_CONFIG_H
#define WARM_BENCH_CONFIG_H

#include "stats.h"

#include <stdbool.h>
#include <stddef.h>

enum kind { KIND_FLOOR, KIND_TRUE, KIND_COLD, KIND_WARM, KIND_OTHER, KIND_COUNT };

const char *kind_name(enum kind kind);

struct entry {
	char *line; /* owns every string below */
	const char *name;
	enum kind kind;
	unsigned stride;
	int status;
	char **argv;
	char **env; /* NULL: this process's */
	char *expect;
	size_t expect_size;
	/* results */
	struct samples samples;
	unsigned errors;
	char first_error[256];
};

struct config {
	struct entry *entries;
	size_t n;
};

/*
 * Reads the file at path, and each EXPECT file. On failure returns a negative
 * errno after saying what is wrong, and where, on stderr.
 */
int config_load(const char *path, struct config *ret);
void config_free(struct config *c);

/* The first entry of a kind (and of that name, unless NULL), or NULL. */
const struct entry *config_find(const struct config *c, enum kind kind, const char *name);

#endif
