/* SPDX-License-Identifier: MIT */
/*
 * run.h - one timed run of one entry.
 *
 * The clock (CLOCK_MONOTONIC) starts before posix_spawn, which glibc does with
 * CLONE_VM|CLONE_VFORK so that the size of the caller does not count, and
 * stops when the child is reaped and its output is here. Checking the output
 * and the exit status happens after that; a run that was wrong is an error
 * and never becomes a sample.
 */
#ifndef WARM_BENCH_RUN_H
#define WARM_BENCH_RUN_H

#include "config.h"

enum sink {
	SINK_PIPE, /* stdout is a pipe that is read while the program runs */
	SINK_FILE, /* stdout is a regular file, read back before the clock stops */
};

struct runner {
	enum sink sink;
	unsigned timeout; /* seconds a run may take before it is killed */
	int null_fd, out_fd, err_fd; /* out_fd is -EBADF with SINK_PIPE */
	char *buffer;
	size_t room;
};

/* The sinks are unlinked files in dir. 0 or a negative errno. */
int runner_init(struct runner *r, enum sink sink, unsigned timeout, const char *dir, size_t largest_output);
void runner_done(struct runner *r);

/*
 * Runs e once. 1: right, *ret_ns is how long it took; 0: wrong, *why (of
 * why_size bytes) says how; negative errno: the measuring itself failed.
 */
int runner_run(struct runner *r, const struct entry *e, uint64_t *ret_ns, char *why, size_t why_size);

#endif
