/* SPDX-License-Identifier: MIT */
/*
 * builder_way.c - the way of a program from its first instruction to where only its system calls are watched: STATE_ENTRY to
 * STATE_MAIN and STATE_RUNNING.
 *
 * The program is stopped on that way by hardware breakpoints:
 *
 *	AT_ENTRY	of each executed program: its libraries are mapped, so symbols
 *			can be found; getenv() is watched from here on
 *	Py_RunMain	(import) the interpreter is initialised, __main__ has not begun: the adaptor is
 *			put in by a call of PyRun_SimpleStringFlags() that returns to this very address
 *	__libc_start_main, then main	(main) constructors have run
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

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/elf.h"
#include "engine/trace.h"
#include "warmd/build/adaptor.h"
#include "warmd/build/builder_internal.h"
#include "warmd/build/observe.h"

int builder_note_env(struct builder *b, const char *name)
{
	char **more;

	for (size_t i = 0; i < b->nenv; i++)
		if (strcmp(b->env[i], name) == 0)
			return 0;
	more = realloc(b->env, (b->nenv + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	b->env = more;
	more[b->nenv] = strdup(name);
	return more[b->nenv] ? (b->nenv++, 0) : -ENOMEM;
}

/* a tracer takes away what such a program would gain, and a clone would never have it */
static bool gains_privilege(pid_t pid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	return stat(path, &st) == 0 &&
	       ((st.st_mode & S_ISUID) || (st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) ||
		getxattr(path, "security.capability", NULL, 0) > 0);
}

/* from the program's first instruction on, which is about to be executed */
static void watch_live(struct builder *b)
{
	const struct builder_stdio *s = &b->child.stdio;

	observe_live(b->observe, s->terminal < 0 ? -EBADF : s->outer[s->terminal], s->terminal);
	if (b->point.kind == READY_DELAY)
		trace_set_limit(b->trace, clock_ns(CLOCK_MONOTONIC) + b->point.ns, 0);
	else
		trace_set_limit(b->trace, 0, b->point.ns);
}

int builder_on_exec(void *data, struct tracee *t, struct error *err)
{
	struct builder *b = data;
	uint64_t entry;
	int r = elf_auxv(t->tid, AT_ENTRY, &entry);

	b->state = STATE_ENTRY;
	b->adaptor_used = false; /* it was the program's before */
	b->lines.leave = 0;
	if (gains_privilege(t->tid))
		return error_set(err, EOPNOTSUPP, "it is set-uid, set-gid or has file capabilities");
	if (!b->observe) {
		char path[64], exe[4096];
		ssize_t n;

		if (observe_new(&b->observe, b->cfg, t->tid, b->child.warm_fd) < 0)
			return error_set(err, ENOMEM, "no memory");
		if (builder_is_live(b))
			watch_live(b);
		if (b->stop_at_bind)
			observe_bind_counts(b->observe);
		{
			_cleanup_free_ char *value = NULL;
			char personality_path[64];

			snprintf(personality_path, sizeof(personality_path), "/proc/%d/personality", t->tid);
			if (read_file(personality_path, &value, NULL) == 0)
				b->start_personality = (uint32_t)strtoul(value, NULL, 16);
		}
		syscall(SYS_sched_getaffinity, t->tid, sizeof(b->start_affinity), b->start_affinity);
		/* the child has set them from the request as far as it may: what the program finds */
		builder_note_scheduling(b, t->tid);
		for (int i = 0; i < WIRE_RLIMITS; i++)
			prlimit(t->tid, (__rlimit_resource_t)i, NULL, (struct rlimit *)b->start_rlimits[i]);
		snprintf(path, sizeof(path), "/proc/%d/exe", t->tid);
		n = readlink(path, exe, sizeof(exe) - 1);
		exe[n > 0 ? n : 0] = '\0';
		r = observe_program(b->observe, exe);
	}
	if (r < 0 || !entry)
		return error_set(err, ENOEXEC, "cannot read the program's auxiliary vector");
	return trace_breakpoint(b->trace, BUILDER_SLOT_MAIN, entry, err);
}

/* programs that only go on to execute another: their main is not what is wanted */
static bool passes_through(const struct builder *b)
{
	char path[64], exe[4096], *args = NULL;
	const char *base;
	size_t len;
	ssize_t n;
	bool shim = false;

	snprintf(path, sizeof(path), "/proc/%d/exe", trace_root(b->trace));
	n = readlink(path, exe, sizeof(exe) - 1);
	if (n < 0)
		return false;
	exe[n] = '\0';
	base = strrchr(exe, '/') + 1;
	if (strcmp(base, "env") == 0)
		return true;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", trace_root(b->trace));
	if (read_file(path, &args, &len) == 0) {
		/* pyenv's shims are shell scripts that find the version and execute it */
		for (const char *p = args; p < args + len && !shim; p += strlen(p) + 1)
			shim = strstr(p, "/.pyenv/shims/") || strstr(p, "/pyenv/libexec/pyenv") ||
			       strstr(p, "/.pyenv/libexec/pyenv");
		free(args);
	}
	return shim && (strcmp(base, "bash") == 0 || strcmp(base, "sh") == 0 || strcmp(base, "dash") == 0);
}

/*
 * With auto: is it CPython 3.9 or newer, rather than an older one, or a program that embeds it and never comes to
 * Py_RunMain (gdb, vim)? Those have their main().
 */
static bool is_python(struct builder *b)
{
	struct elf_query q[] = { { .name = "Py_RunMain" },
				 { .name = "Py_BytesMain" },
				 { .name = "Py_Main" },
				 { .name = "PyObject_CallNoArgs" } /* 3.9 */ };

	if (b->point.kind == READY_IMPORT)
		return true;
	if (elf_lookup(trace_root(b->trace), q, ARRAY_SIZE(q)) < 0 || !q[3].addr)
		return false;
	return q[0].in_exe || q[0].exe_wants || q[1].exe_wants || q[2].exe_wants;
}

static int at_entry(struct builder *b, struct error *err)
{
	struct elf_query q[] = { { .name = "Py_RunMain" },
				 { .name = "getenv" },
				 { .name = "__libc_start_main" },
				 { .name = "main" },
				 { .name = "PyRun_SimpleStringFlags" },
				 { .name = "sbrand" } };
	int r = elf_lookup(trace_root(b->trace), q, ARRAY_SIZE(q));

	if (r < 0)
		return error_errno(err, r, "reading the program's symbols");
	if (q[1].addr)
		r = trace_breakpoint(b->trace, BUILDER_SLOT_GETENV, q[1].addr, err);
	if (r < 0)
		return r;
	b->env_visible &= q[1].addr != 0;
	/* bash: how an assignment to RANDOM seeds its generator */
	b->shell_seeded = false;
	r = trace_breakpoint(b->trace, BUILDER_SLOT_SEED, q[5].in_exe, err);
	if (r < 0)
		return r;
	if (b->point.kind == READY_CALL || builder_is_live(b)) {
		b->state = STATE_RUNNING;
		return trace_breakpoint(b->trace, BUILDER_SLOT_MAIN, 0, err);
	}
	if (b->point.kind != READY_MAIN && q[0].addr && q[4].addr && is_python(b)) {
		b->state = STATE_RUNMAIN;
		b->runmain = q[0].addr;
		b->run_string = q[4].addr;
		return trace_breakpoint(b->trace, BUILDER_SLOT_MAIN, b->runmain, err);
	}
	if (passes_through(b)) {
		b->env_visible = false;
		b->state = STATE_RUNNING;
		return trace_breakpoint(b->trace, BUILDER_SLOT_MAIN, 0, err);
	}
	if (b->point.kind == READY_IMPORT)
		return error_set(err, EOPNOTSUPP,
				 "readiness point 'import' needs CPython 3.9 or newer (no Py_RunMain in %s)",
				 b->req->argv[0]);
	if (q[2].addr) {
		b->state = STATE_START;
		r = trace_breakpoint(b->trace, BUILDER_SLOT_MAIN, q[2].addr, err);
		return r < 0 || !q[2].other ? r
					    : trace_breakpoint(b->trace, BUILDER_SLOT_START, q[2].other, err);
	}
	if (q[3].in_exe) {
		b->state = STATE_MAIN;
		return trace_breakpoint(b->trace, BUILDER_SLOT_MAIN, q[3].in_exe, err);
	}
	return error_set(err, EOPNOTSUPP,
			 "no main() to be found: %s is static and stripped (--ready call needs none)",
			 b->req->argv[0]);
}

/* at __libc_start_main(main, ...): its first argument */
static int at_start(struct builder *b, struct tracee *t, struct error *err)
{
	arch_regs regs;
	int r = arch_get_regs(t->tid, &regs);

	if (r < 0)
		return error_errno(err, r, "reading registers");
	b->state = STATE_MAIN;
	r = trace_breakpoint(b->trace, BUILDER_SLOT_START, 0, err);
	return r < 0 ? r : trace_breakpoint(b->trace, BUILDER_SLOT_MAIN, arch_call_arg(&regs, 0), err);
}

/* the process's own arguments: with those that a shebang line put in front */
int builder_read_cmdline(struct builder *b, struct error *err)
{
	char path[64];
	size_t len, n = 0;

	free(b->cmdline);
	free(b->cmdline_argv);
	b->cmdline = NULL;
	b->cmdline_argv = NULL;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", trace_root(b->trace));
	if (read_file(path, &b->cmdline, &len) < 0)
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

/* the adaptor's source goes into memory of its own for the time of the call */
static int inject(struct builder *b, struct tracee *t, struct error *err)
{
	_cleanup_free_ char *code = NULL;
	arch_regs regs;
	uint64_t slot;
	int64_t at;
	int r = builder_read_cmdline(b, err);

	if (r < 0)
		return r;
	code = adaptor_python_code(b->child.warm_fd, b->cmdline_argv, b->cmdline_argc);
	if (!code)
		return error_set(err, ENOMEM, "no memory for the adaptor");
	b->injected_len = strlen(code) + 1;
	r = trace_syscall(b->trace, t, &at, err, SYS_mmap, 0, b->injected_len, 3 /* read, write */,
			  0x22 /* private, anonymous */, (uint64_t)-1, 0);
	if (r == 0 && at < 0)
		r = error_errno(err, (int)at, "making room for the adaptor");
	if (r < 0)
		return r;
	b->injected = (uint64_t)at;
	r = trace_write(t->tid, b->injected, code, b->injected_len);
	if (r == 0)
		r = arch_get_regs(t->tid, &b->saved);
	if (r < 0)
		return error_errno(err, r, "writing the adaptor");
	regs = b->saved;
	arch_prepare_call(&regs, b->run_string, (const uint64_t[3]){ b->injected }, &slot);
	r = trace_write(t->tid, slot, &b->runmain, sizeof(b->runmain));
	if (r == 0)
		r = arch_set_regs(t->tid, &regs);
	if (r < 0)
		return error_errno(err, r, "calling the adaptor");
	b->state = STATE_INJECTED;
	return 0;
}

static int injected(struct builder *b, struct tracee *t, struct error *err)
{
	arch_regs regs;
	int64_t ret;
	int r = arch_get_regs(t->tid, &regs);

	if (r == 0)
		r = arch_set_regs(t->tid, &b->saved);
	if (r < 0)
		return error_errno(err, r, "returning from the adaptor");
	if ((int)arch_result(&regs) != 0)
		return error_set(err, EOPNOTSUPP, "the Python adaptor failed to start (see 'warm doctor')");
	r = trace_syscall(b->trace, t, &ret, err, SYS_munmap, b->injected, b->injected_len, 0, 0, 0, 0);
	if (r < 0)
		return r;
	b->state = STATE_RUNNING;
	b->adaptor_used = true;
	observe_phase_leading(b->observe);
	return trace_breakpoint(b->trace, BUILDER_SLOT_MAIN, 0, err);
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
	int r;

	if (slot == BUILDER_SLOT_GETENV)
		return on_getenv(b, t);
	if (slot == BUILDER_SLOT_SEED) {
		b->shell_seeded = true;
		return trace_breakpoint(b->trace, BUILDER_SLOT_SEED, 0, err);
	}
	switch (b->state) {
	case STATE_ENTRY:
		return at_entry(b, err);
	case STATE_RUNMAIN:
		return inject(b, t, err);
	case STATE_INJECTED:
		return injected(b, t, err);
	case STATE_START:
		return at_start(b, t, err);
	case STATE_MAIN:
		b->ready = t;
		return 1;
	case STATE_ENSURE:
	case STATE_FETCH:
		return builder_leave_next(b, t, err);
	case STATE_LEAVING:
		r = builder_drain(b, err);
		return r < 0 ? r
			     : error_set(err, EOPNOTSUPP,
					 "the Python adaptor could not stop where the program %s",
					 b->boundary);
	default:
		return 0;
	}
}
