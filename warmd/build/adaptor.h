/* SPDX-License-Identifier: MIT */
/*
 * adaptor.h - the readiness protocol's lines (docs/adaptor.md) as the builder keeps them; they are the same for all languages.
 */
#ifndef WARM_WARMD_BUILD_ADAPTOR_H
#define WARM_WARMD_BUILD_ADAPTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct adaptor_lines {
	bool ready, raw, track_env, env_all, track_argv, stdio, signals;
	uint64_t signals_looked_at; /* of SIGNALS: those that the program asked for past the kernel */
	char **env; /* names, owned */
	size_t nenv;
	char **set, **unset; /* SET: "NAME=value", UNSET: names */
	size_t nset, nunset;
	long argv; /* >= 0: leading entries; < 0: all but the last -argv; LONG_MAX: all */
	bool argv_from_end; /* argv counts from the end (so that -0 is all but none) */
	char **modules; /* directories */
	size_t nmodules;
	char **listed; /* directories, once for each time */
	size_t nlisted;
	struct adaptor_range {
		uint64_t addr, len;
	} * randoms; /* RANDOM lines */
	size_t nrandoms;
	uint64_t leave; /* address of the LEAVE line's object, 0 */
	char *exit; /* the EXIT line's value, NULL */
	char *refuse; /* words, NULL */
	char *partial; /* bytes of a line that is not complete */
	size_t partial_len;
};

/** adaptor_feed() - more bytes of the stream. Return: 0, -EBADMSG with words for a line that is not in the protocol, -ENOMEM */
int adaptor_feed(struct adaptor_lines *a, const char *bytes, size_t len, struct error *err);
/** adaptor_add_random() - as a RANDOM line. Return: 0 or -ENOMEM */
int adaptor_add_random(struct adaptor_lines *a, struct adaptor_range range);
void adaptor_done(struct adaptor_lines *a);

struct adaptor_exit {
	char symbols[8][64];
	bool marked[8];
	unsigned int n;
	char call[64], value[64];
	uint64_t arg;
};
/** adaptor_parse_exit() - take an EXIT line's value apart. Return: 0 or -EBADMSG */
int adaptor_parse_exit(const char *line, struct adaptor_exit *ret);

#endif
