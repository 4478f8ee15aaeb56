/* SPDX-License-Identifier: MIT */
/* life.h - whole lives of clones: launched, run, ended, reaped */
#ifndef WARM_BENCH_LIFE_H
#define WARM_BENCH_LIFE_H

#include <stdint.h>
#include <stdio.h>

struct life_options {
	const char *socket, *template_name;
	char *const *argv; /* NULL: the template's */
	unsigned seconds; /* 0: until count is reached */
	unsigned count;
	unsigned at_once; /* clones that run at a time, all of one thread */
};

struct life_result {
	uint64_t lives, ns;
	unsigned errors; /* launches refused, and clones that ended otherwise than with 0 */
	char first_error[256];
};

/* Launches through one handle, each waited for in turn. 0 or a negative errno after words on stderr. */
int life_run(const struct life_options *o, struct life_result *ret);

#endif
