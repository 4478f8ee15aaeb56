/* SPDX-License-Identifier: MIT */
/*
 * become.h - this process turns into a clone: same PID, parent, session,
 * terminal, descriptors, limits.
 *
 * In: the control and pages memfds and the files of a template (from warmd),
 * the program's arguments and environment. Out: nothing; become() returns only when
 * nothing has been lost yet. Later failures run the program cold by themselves
 * (engine/stub/stub.h).
 *
 * Used by the static launcher: no malloc, no stdio.
 */
#ifndef WARM_ENGINE_BECOME_H
#define WARM_ENGINE_BECOME_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/error.h"

struct become {
	int control_fd, pages_fd; /* close-on-exec, as all of files */
	const int32_t *files;
	uint32_t
		nfiles; /* as many as the template has; more of them are only closed, once the program has its own descriptors */
	uint64_t stub_base, text_size, data_size, args_base, context_max;
	uint64_t generation;
	uint32_t stdio_changed;
	int argc;
	char *const *argv, *const *envp;
	/* ended by NULL: what stands before the program's own words when the stub runs it cold; NULL: "warm run --cold --" */
	const char *const *cold_words;
	bool exit_hooks;
	uint64_t ignored_signals, blocked_signals; /* this process's; bit n-1: signal n */
	bool another_pid; /* not with the process id that the program had in its build: -EAGAIN */
	bool seccomp; /* this process has a filter: prctl(PR_GET_SECCOMP) */
	const char *learn_socket; /* where to tell which pages were written; NULL: not at all */
	const void *learn_prefix; /* struct stub_launch */
	uint32_t learn_prefix_len, learn_size_at;
	uint32_t learn_kinds; /* bit n: a clone of that stub_learn_kind() tells */
	/* for programs that read their launch context as JSON: a file with it, or a negative errno below -1 with *err set */
	int (*make_context)(int argc, char *const *argv, char *const *envp, const char *cwd,
			    uint64_t generation, struct error *err);
	int skeleton_fd; /* become a skeleton that takes orders there (engine/stub/skeleton.c); -1: the program */
};

/**
 * become() - turn into the template's program
 * Return: a negative errno with *err set, when this process is still as it was.
 */
int become(const struct become *b, struct error *err);

#endif
