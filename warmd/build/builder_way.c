/* SPDX-License-Identifier: MIT */
/*
 * builder_way.c - the way of a program from its first instruction to where only its system calls are watched.
 *
 * The program is stopped on that way by hardware breakpoints. First at AT_ENTRY of each executed program: its libraries are
 * mapped, so symbols can be found; getenv() is watched from here on. The readiness point says where the next stop is
 * (struct ready_point.at_entry): main(), or where a language's runtime can be given its adaptor (struct language.enter).
 */
#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "engine/base/array.h"
#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "engine/elf.h"
#include "engine/trace.h"
#include "warmd/build/adaptor.h"
#include "warmd/build/builder_internal.h"
#include "warmd/build/observe.h"

int builder_note_env(struct builder *b, const char *name)
{
	for (size_t i = 0; i < b->nenv; i++)
		if (strcmp(b->env[i], name) == 0)
			return 0;
	if (array_reserve(&b->env, b->nenv, 1, sizeof(*b->env)) < 0)
		return -ENOMEM;
	b->env[b->nenv] = strdup(name);
	return b->env[b->nenv] ? (b->nenv++, 0) : -ENOMEM;
}

/* a tracer takes away what such a program would gain, and a clone would never have it */
static bool gains_privilege(pid_t pid)
{
	struct proc_path path = proc_path(pid, "exe");
	struct stat st;

	return stat(path.text, &st) == 0 &&
	       ((st.st_mode & S_ISUID) || (st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) ||
		getxattr(path.text, "security.capability", NULL, 0) > 0);
}

/* from the program's first instruction on, which is about to be executed */
static void watch_live(struct builder *b)
{
	const struct builder_stdio *s = &b->child.stdio;

	observe_live(b->observe, s->terminal < 0 ? -EBADF : s->outer[s->terminal], s->terminal);
}

static int at_entry(struct builder *b, struct tracee *t, struct error *err);

int builder_on_exec(void *data, struct tracee *t, struct error *err)
{
	struct builder *b = data;
	uint64_t entry;
	int r = elf_auxv(t->tid, AT_ENTRY, &entry);

	b->adaptor_used = false; /* it was the program's before */
	b->language = NULL;
	free(TAKE_PTR(b->language_data));
	b->lines.leave = 0;
	if (gains_privilege(t->tid))
		return error_set(err, EOPNOTSUPP, "it is set-uid, set-gid or has file capabilities");
	if (!b->observe) {
		char exe[4096];
		ssize_t n;

		if (observe_new(&b->observe, b->cfg, t->tid, b->child.warm_fd) < 0)
			return error_set(err, ENOMEM, "no memory");
		if (builder_is_live(b))
			watch_live(b);
		if (b->point.kind->arm)
			b->point.kind->arm(b);
		if (b->stop_at_bind)
			observe_bind_counts(b->observe);
		{
			_cleanup_free_ char *value = NULL;

			if (read_file(proc_path(t->tid, "personality").text, &value, NULL) == 0)
				b->start_personality = (uint32_t)strtoul(value, NULL, 16);
		}
		syscall(SYS_sched_getaffinity, t->tid, sizeof(b->start_affinity), b->start_affinity);
		/* the child has set them from the request as far as it may: what the program finds */
		builder_note_scheduling(b, t->tid);
		for (int i = 0; i < WIRE_RLIMITS; i++)
			prlimit(t->tid, (__rlimit_resource_t)i, NULL, (struct rlimit *)b->start_rlimits[i]);
		n = readlink(proc_path(t->tid, "exe").text, exe, sizeof(exe) - 1);
		exe[n > 0 ? n : 0] = '\0';
		r = observe_program(b->observe, exe);
	}
	if (r < 0 || !entry)
		return error_set(err, ENOEXEC, "cannot read the program's auxiliary vector");
	return builder_go_to(b, entry, at_entry, err);
}

static int at_entry(struct builder *b, struct tracee *t, struct error *err)
{
	struct elf_query q[] = { { .name = "getenv" }, { .name = "sbrand" } };
	int r = elf_lookup(trace_root(b->trace), q, ARRAY_SIZE(q));

	(void)t;
	if (r < 0)
		return error_errno(err, r, "reading the program's symbols");
	if (q[0].addr)
		r = trace_breakpoint(b->trace, BUILDER_SLOT_GETENV, q[0].addr, err);
	if (r < 0)
		return r;
	b->env_visible &= q[0].addr != 0;
	/* bash: how an assignment to RANDOM seeds its generator */
	b->shell_seeded = false;
	r = trace_breakpoint(b->trace, BUILDER_SLOT_SEED, q[1].in_exe, err);
	if (r < 0)
		return r;
	return b->point.kind->at_entry ? b->point.kind->at_entry(b, err) : builder_watch_calls(b, err);
}

int builder_go_to(struct builder *b, uint64_t addr, builder_step *step, struct error *err)
{
	b->next = step;
	return trace_breakpoint(b->trace, BUILDER_SLOT_MAIN, addr, err);
}

int builder_watch_calls(struct builder *b, struct error *err)
{
	return builder_go_to(b, 0, NULL, err);
}

int builder_entered(struct builder *b, struct error *err)
{
	b->adaptor_used = true;
	observe_phase_leading(b->observe);
	return builder_watch_calls(b, err);
}

int builder_call(struct builder *b, struct tracee *t, const struct builder_call *call, uint64_t *ret_slot,
		 struct error *err)
{
	arch_regs regs;
	int r = arch_get_regs(t->tid, &regs);

	(void)b;
	if (r == 0) {
		if (call->stack)
			arch_set_sp(&regs, call->stack);
		arch_prepare_call(&regs, call->function, call->args, ret_slot);
		r = trace_write(t->tid, *ret_slot, &call->returns_to, sizeof(call->returns_to));
	}
	if (r == 0)
		r = arch_set_regs(t->tid, &regs);
	return r < 0 ? error_errno(err, r, "calling the adaptor") : 0;
}

static int on_getenv(struct builder *b, struct tracee *t)
{
	arch_regs regs;
	char name[256];

	if (arch_get_regs(t->tid, &regs) == 0 &&
	    trace_read_string(t->tid, arch_call_arg(&regs, 0), name, sizeof(name)) > 0)
		return builder_note_env(b, name);
	return 0;
}

int builder_on_breakpoint(void *data, struct tracee *t, int slot, struct error *err)
{
	struct builder *b = data;

	if (slot == BUILDER_SLOT_GETENV)
		return on_getenv(b, t);
	if (slot == BUILDER_SLOT_SEED) {
		b->shell_seeded = true;
		return trace_breakpoint(b->trace, BUILDER_SLOT_SEED, 0, err);
	}
	return b->next ? b->next(b, t, err) : 0;
}
