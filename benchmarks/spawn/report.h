/* SPDX-License-Identifier: MIT */
/* report.h - the results as a table for people and as JSON for programs */
#ifndef WARM_BENCH_REPORT_H
#define WARM_BENCH_REPORT_H

#include "config.h"
#include "machine.h"
#include "run.h"

#include <stdio.h>

struct session {
	const struct config *config;
	const struct machine *machine;
	const struct activity *before, *after;
	unsigned rounds, warmup;
	enum sink sink;
};

/* 0 or a negative errno (-EIO: writing failed). */
int report_table(const struct session *s, FILE *out);
int report_json(const struct session *s, FILE *out);

/* Parts of it, for other drivers: "machine": {..}, and "key": "value", each with a comma behind. */
void report_json_machine(const struct session *s, FILE *out);
void report_json_pair(FILE *out, const char *key, const char *value);

#endif
