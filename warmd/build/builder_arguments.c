/* SPDX-License-Identifier: MIT */
/* builder_arguments.c - the program's arguments, and which of the caller's count */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "warmd/build/builder_internal.h"
#include "warmd/build/observe.h"

/* the process's own arguments: with those that a shebang line put in front */
int builder_read_cmdline(struct builder *b, struct error *err)
{
	size_t len, n = 0;

	free(b->cmdline);
	free(b->cmdline_argv);
	b->cmdline = NULL;
	b->cmdline_argv = NULL;
	if (read_file(proc_path(trace_root(b->trace), "cmdline").text, &b->cmdline, &len) < 0)
		return error_set(err, EIO, "cannot read the program's arguments");
	for (const char *p = b->cmdline; p < b->cmdline + len; p += strlen(p) + 1)
		n++;
	b->cmdline_argv = calloc(n + 1, sizeof(char *));
	if (!b->cmdline_argv)
		return error_set(err, ENOMEM, "no memory");
	b->cmdline_argc = 0;
	for (char *p = b->cmdline; p < b->cmdline + len; p += strlen(p) + 1)
		b->cmdline_argv[b->cmdline_argc++] = p;
	return 0;
}

/*
 * Which of the caller's arguments count, and what the process's argv begins with: a
 * script found by its shebang runs as "interpreter script args", and a clone's must look the same.
 */
int builder_split_arguments(struct builder *b, struct error *err)
{
	size_t n, keep;
	bool tracked = false;
	int r = builder_read_cmdline(b, err);

	if (r < 0)
		return r;
	keep = n = b->cmdline_argc;
	if (b->lines.track_argv && b->lines.argv != LONG_MAX && !observe_keys(b->observe)->argv) {
		tracked = true;
		keep = b->lines.argv_from_end ? n - ((size_t)b->lines.argv < n ? (size_t)b->lines.argv : n)
					      : (size_t)b->lines.argv;
	}
	if (keep > n)
		keep = n;
	/* the tail must be the caller's own tail */
	for (size_t i = 0; i < n - keep; i++) {
		if (n - keep > b->req->run.argc ||
		    strcmp(b->cmdline_argv[n - 1 - i], b->req->argv[b->req->run.argc - 1 - i]) != 0) {
			keep = n;
			tracked = false;
			break;
		}
	}
	b->argv_prefix_n = (uint32_t)keep;
	b->argv_drop = keep == n ? b->req->run.argc : b->req->run.argc - (uint32_t)(n - keep);
	b->argv_count = tracked ? (int)b->argv_drop : -1;
	return 0;
}
