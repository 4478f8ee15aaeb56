/* SPDX-License-Identifier: MIT */
/*
 * entry.h - what clone_bench times: one entry a line of its configuration, fields separated by one tab:
 *
 *     NAME  KIND  STRIDE  SOCKET  DAEMON  TEMPLATE  ARGV0  ARGV1 ...
 *
 * KIND    helper: a process of ours that is asked over its stdin, and answers "T0 T1\n" on its stdout
 *         spawn: posix_spawn of ARGV; the program prints "T1\n"
 *         parked, fork: warm_launch() of TEMPLATE with ARGV and one more argument, a tag that is also the value of
 *         CLONE_BENCH in its environment; the clone prints "T1 TAG VALUE\n"
 * STRIDE  the entry runs in every STRIDE-th round
 * SOCKET, DAEMON, TEMPLATE
 *         of parked and fork: warmd's socket and PID, and the template's name; else "-"
 *
 * A sample is T1 - T0, both CLOCK_MONOTONIC: from before the call until the first instruction (first bytecode) of
 * what it started. It counts only if tag and value came back right, the clone ended with 0, and was made the way that the
 * entry says: a parked clone was warmd's child before the call, a forked one was not.
 */
#ifndef WARM_BENCH_ENTRY_H
#define WARM_BENCH_ENTRY_H

#include "spawn/stats.h"

#include <stdio.h>
#include <sys/types.h>

struct warm;

enum clone_kind { CLONE_HELPER, CLONE_SPAWN, CLONE_PARKED, CLONE_FORK, CLONE_KIND_COUNT };

const char *clone_kind_name(enum clone_kind kind);

struct clone_entry {
	char *line; /* owns every string below */
	const char *name, *socket, *daemon, *template_name;
	enum clone_kind kind;
	unsigned stride;
	size_t argc;
	char **argv; /* room for the tag behind it */
	/* while it runs */
	struct warm *warm;
	pid_t helper;
	int to, from; /* helper: its stdin, its stdout; else the pipe that the programs write to */
	/* results */
	struct samples samples; /* in bursts, without the first of each */
	struct samples first; /* behind a pause */
	unsigned errors;
	char first_error[256];
};

struct clone_config {
	struct clone_entry *entries;
	size_t n;
};

/* What is wrong is said on stderr. 0 or a negative errno. */
int clone_config_load(const char *path, struct clone_config *ret);
/* Also ends the helpers and closes the handles. */
void clone_config_free(struct clone_config *c);

/* Helpers are started, handles opened. 0 or a negative errno; *why says what. */
int entry_open(struct clone_entry *e, char *why, size_t why_size);

/* Runs it once. 1: right, *ret_ns is the sample; 0: wrong, *why says how; negative errno: the measuring failed. */
int entry_run(struct clone_entry *e, unsigned long tag, uint64_t *ret_ns, char *why, size_t why_size);

#endif
