/* SPDX-License-Identifier: MIT */
/*
 * ready.h - readiness points (--ready P), in one table.
 *
 * In: the word that the user gave. Out: where the program is to be stopped on its way, and what a launch of such a template
 * is told. After the build nobody compares names of points: what a launch has to know goes as facts into BuildResult
 * (launcher/wire/control.proto), by builder_fill_facts().
 *
 * A new point is a struct ready_point, in a file ready_NAME.c if it has code of its own, and its line in ready_table.c; and its
 * words: docs/readiness.md, docs/warm.1, `warm run --help`, `warm build --help` and the three completions. The test ready_table
 * fails as long as one of these does not name it.
 */
#ifndef WARM_WARMD_BUILD_READY_H
#define WARM_WARMD_BUILD_READY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct builder;

struct ready_point {
	const char *word; /* "delay" */
	const char *argument; /* what follows a '=': "SECS"; NULL: it takes none */
	bool may_lack_argument; /* "idle" is "idle=100" */
	/**
	 * parse() - the argument, if the point takes one
	 * @argument: what follows the '='; NULL: there is none
	 * @ret_ns: a time in ns
	 * Return: 0; -EINVAL with words that name what is wrong
	 */
	int (*parse)(const char *argument, uint64_t *ret_ns, struct error *err);
	/** arm() - the program is about to execute its first instruction. NULL: nothing is to be done */
	void (*arm)(struct builder *b);
	/**
	 * at_entry() - so is each program that it executes in its own place, and libraries are mapped: have it stopped on its way (builder_go_to())
	 *
	 * NULL: its system calls are all that is watched (read of the readiness descriptor, boundaries). Return: 0 or a negative errno
	 */
	int (*at_entry)(struct builder *b, struct error *err);
	/** in_use() - the point that the program came to, by its way. NULL: this one */
	const struct ready_point *(*in_use)(const struct builder *b);
	/** live: it is stopped wherever it happens to be, and may look for input and change its terminal until then. Clones know nothing of their launch: arguments and variables all count */
	bool live;
	/** asks: the program itself says that it is ready, to the descriptor in its variable WARM_FD, and is told all of its launch there: its arguments and directory are whatever a launch by name has */
	bool asks;
	/** before_main: nothing has acted yet on what terminal it is on, so that TERM and its like do not count */
	bool before_main;
};

/* the table, NULL behind its last entry; ready_table.c. The first is what no --ready means */
extern const struct ready_point *const ready_points[];

/* what --ready says */
struct ready {
	const struct ready_point *kind;
	uint64_t ns; /* its argument; 0: none */
};

/** ready_parse() - from the word of --ready, "" being the table's first. Return: 0; -EINVAL with words that name what is wrong */
int ready_parse(const char *word, struct ready *ret, struct error *err);
/** ready_words() - "auto, main, import, call, delay=SECS or idle[=MS]" */
void ready_words(char *buf, size_t size);
/** ready_in_use() - the point that the program came to (or would have) */
const struct ready_point *ready_in_use(const struct builder *b);
/** ready_word() - of ready_in_use(), with its argument; borrowed */
const char *ready_word(const struct builder *b);

extern const struct ready_point ready_auto,
	ready_import; /* ready_import.c: an adaptor in the program's runtime says where; auto: or main */
extern const struct ready_point ready_main; /* ready_main.c: where main() begins */
extern const struct ready_point ready_call; /* ready_call.c: the program itself says where */
extern const struct ready_point ready_delay, ready_idle; /* ready_clock.c: the clock does */

/**
 * ready_main_entry() - struct ready_point.at_entry of main, for other points of programs that are none of their own
 * Return: 0 or a negative errno
 */
int ready_main_entry(struct builder *b, struct error *err);
/** ready_pass_through() - a program that only goes on to execute another (env, a launcher's shell script) is let go. Return: 1: it is one; 0; a negative errno */
int ready_pass_through(struct builder *b, struct error *err);

#endif
