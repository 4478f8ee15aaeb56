/* SPDX-License-Identifier: MIT */
/* ready_main.c - the readiness point `main`: constructors have run. __libc_start_main's first argument says where it is, for programs without a symbol for it */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "engine/elf.h"
#include "warmd/build/builder_internal.h"

/* their main is not what is wanted */
static bool passes_through(const struct builder *b)
{
	char exe[4096], *args = NULL;
	const char *base;
	size_t len;
	ssize_t n;
	bool launcher = false;

	n = readlink(proc_path(trace_root(b->trace), "exe").text, exe, sizeof(exe) - 1);
	if (n < 0)
		return false;
	exe[n] = '\0';
	base = strrchr(exe, '/') + 1;
	if (strcmp(base, "env") == 0)
		return true;
	if (read_file(proc_path(trace_root(b->trace), "cmdline").text, &args, &len) == 0) {
		for (const char *p = args; p < args + len && !launcher; p += strlen(p) + 1)
			launcher = language_is_launcher(p);
		free(args);
	}
	return launcher &&
	       (strcmp(base, "bash") == 0 || strcmp(base, "sh") == 0 || strcmp(base, "dash") == 0);
}

int ready_pass_through(struct builder *b, struct error *err)
{
	int r;

	if (!passes_through(b))
		return 0;
	b->env_visible = false;
	r = builder_watch_calls(b, err);
	return r < 0 ? r : 1;
}

static int at_main(struct builder *b, struct tracee *t, struct error *err)
{
	(void)err;
	b->ready = t;
	return 1;
}

/* at __libc_start_main(main, ...) */
static int at_start(struct builder *b, struct tracee *t, struct error *err)
{
	arch_regs regs;
	int r = arch_get_regs(t->tid, &regs);

	if (r < 0)
		return error_errno(err, r, "reading registers");
	r = trace_breakpoint(b->trace, BUILDER_SLOT_START, 0, err);
	return r < 0 ? r : builder_go_to(b, arch_call_arg(&regs, 0), at_main, err);
}

int ready_main_entry(struct builder *b, struct error *err)
{
	struct elf_query q[] = { { .name = "__libc_start_main" }, { .name = "main" } };
	int r = ready_pass_through(b, err);

	if (r)
		return r < 0 ? r : 0;
	r = elf_lookup(trace_root(b->trace), q, ARRAY_SIZE(q));
	if (r < 0)
		return error_errno(err, r, "reading the program's symbols");
	if (q[0].addr) {
		r = builder_go_to(b, q[0].addr, at_start, err);
		return r < 0 || !q[0].other ? r
					    : trace_breakpoint(b->trace, BUILDER_SLOT_START, q[0].other, err);
	}
	if (q[1].in_exe)
		return builder_go_to(b, q[1].in_exe, at_main, err);
	return error_set(err, EOPNOTSUPP,
			 "no main() to be found: %s is static and stripped (--ready call needs none)",
			 b->req->argv[0]);
}

const struct ready_point ready_main = { .word = "main", .at_entry = ready_main_entry, .before_main = true };
