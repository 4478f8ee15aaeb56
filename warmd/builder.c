/* SPDX-License-Identifier: MIT */
/*
 * builder.c - run a program to its readiness point, dump it, report.
 *
 * Where the program is stopped on the way (hardware breakpoints, slot 0):
 *
 *	AT_ENTRY	of each executed program: its libraries are mapped, so symbols
 *			can be found; getenv() is watched from here on (slot 1)
 *	Py_RunMain	(import) the interpreter is initialised, __main__ has not begun: the adaptor is
 *			put in by a call of PyRun_SimpleStringFlags() that returns to this very address
 *	__libc_start_main, then main	(main) constructors have run
 *
 * import and call end in a read of the readiness descriptor, seen at its system call entry; delay and idle by the
 * clock, wherever the threads are then.
 */
#include "warmd/builder.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/elf.h"
#include "engine/proc.h"
#include "engine/trace.h"
#include "snapshot/dump.h"
#include "snapshot/plan.h"
#include "warmd/adaptor.h"
#include "warmd/builder_child.h"
#include "warmd/builder_internal.h"
#include "warmd/observe.h"

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

static int on_exec(void *data, struct tracee *t, struct error *err)
{
	struct builder *b = data;
	uint64_t entry;
	int r = elf_auxv(t->tid, AT_ENTRY, &entry);

	b->state = STATE_ENTRY;
	if (gains_privilege(t->tid))
		return error_set(err, EOPNOTSUPP, "it is set-uid, set-gid or has file capabilities");
	if (!b->observe) {
		char path[64], exe[4096];
		ssize_t n;

		if (observe_new(&b->observe, b->cfg, t->tid, b->child.warm_fd) < 0)
			return error_set(err, ENOMEM, "no memory");
		if (builder_is_live(b))
			watch_live(b);
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
	r = trace_breakpoint(b->trace, SLOT_SEED, q[5].in_exe, err);
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

static int on_breakpoint(void *data, struct tracee *t, int slot, struct error *err)
{
	struct builder *b = data;
	int r;

	if (slot == BUILDER_SLOT_GETENV)
		return on_getenv(b, t);
	if (slot == SLOT_SEED) {
		b->shell_seeded = true;
		return trace_breakpoint(b->trace, SLOT_SEED, 0, err);
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

static bool reads(long nr)
{
	return nr == SYS_read || nr == SYS_readv || nr == SYS_recvfrom || nr == SYS_recvmsg;
}

int builder_drain(struct builder *b, struct error *err)
{
	char buf[4096];
	ssize_t n;

	while ((n = recv(b->warm_outer, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		int r = adaptor_feed(&b->lines, buf, (size_t)n, err);

		if (r < 0)
			return r;
	}
	if (b->lines.refuse)
		return error_set(err, EOPNOTSUPP, "%s", b->lines.refuse);
	return 0;
}

static int on_syscall(void *data, struct tracee *t, bool entry, int64_t ret, struct error *err)
{
	struct builder *b = data;
	struct observe_call call = { .tid = t->tid, .nr = t->nr, .ret = ret, .entry = entry };
	bool warm = t->tgid == trace_root(b->trace) && (int64_t)t->args[0] == b->child.warm_fd;
	char words[64];
	int r;

	if (entry && b->observe && b->stop_at_redirection && builder_redirects(b, t) >= 0) {
		snprintf(words, sizeof(words), "closes or redirects descriptor %d", builder_redirects(b, t));
		return builder_boundary(b, t, words, err);
	}
	if (entry && b->stop_at && t->making == b->stop_at && t->origin == 0 && trace_makes_task(t->nr))
		return builder_boundary(b, t, b->stop_words, err);
	if (entry && warm && t->nr == SYS_write && b->adaptor_used)
		observe_phase_adaptor(b->observe);
	if (entry && warm && (reads(t->nr) || t->nr == SYS_close)) {
		r = builder_drain(b, err);
		if (r < 0)
			return r;
		if (reads(t->nr) && b->lines.ready) {
			b->ready = t;
			return 1;
		}
	}
	if (!b->observe || !observe_wants(t->nr))
		return 0;
	memcpy(call.args, t->args, sizeof(call.args));
	r = observe_syscall(b->observe, &call, err);
	switch (r) {
	case OBSERVE_DENIED:
		r = trace_deny(t, observe_denied(b->observe));
		return r < 0 ? error_errno(err, r, "denying a system call") : 0;
	case OBSERVE_BOUNDARY:
		return builder_boundary(b, t, observe_refusal(b->observe)->text, err);
	case OBSERVE_REFUSED:
		return error_set(err, EOPNOTSUPP, "%s", observe_refusal(b->observe)->text);
	default:
		return r;
	}
}

static void on_exited(void *data, pid_t tid, unsigned int origin)
{
	struct builder *b = data;
	struct builder_ended *more = reallocarray(b->ended, b->nended + 1, sizeof(*more));

	if (more) {
		b->ended = more;
		b->ended[b->nended++] = (struct builder_ended){ tid, origin };
	}

	if (b->observe)
		observe_exited(b->observe, tid);
}

static const struct trace_ops ops = {
	.exited = on_exited, .syscall = on_syscall, .exec = on_exec, .breakpoint = on_breakpoint
};

static int parse_point(struct builder *b, struct error *err)
{
	int r = builder_parse_point(b->req->ready, &b->point, err);

	if (r == 0 && builder_is_live(b) && b->point.ns >= b->cfg->build_timeout_ns)
		return error_set(
			err, EINVAL,
			"readiness point '%.60s' comes later than the %llu s that a build may take (build_timeout)",
			b->req->ready, (unsigned long long)(b->cfg->build_timeout_ns / NS_PER_S));
	return r;
}

static int start(struct builder *b, struct error *err)
{
	struct rlimit nofile;
	int pair[2], r;

	r = parse_point(b, err);
	if (r == 0)
		r = builder_stdio_open(b->req, &b->child.stdio, err);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, errno, "socketpair");
	b->warm_outer = pair[0];
	b->child.req = b->req;
	b->child.warm_inner = pair[1];
	b->child.announce = b->point.kind == READY_CALL;
	getrlimit(RLIMIT_NOFILE, &nofile);
	if (b->req->run.rlimits[RLIMIT_NOFILE][0] < nofile.rlim_cur)
		nofile.rlim_cur = b->req->run.rlimits[RLIMIT_NOFILE][0];
	/*
	 * High, so that the program's own descriptors get the numbers that they have cold; with numbers above it, where
	 * the stub makes descriptors before it places them.
	 */
	b->child.warm_fd = nofile.rlim_cur >= 1024 ? 999 : (int)(nofile.rlim_cur - nofile.rlim_cur / 4);
	while (request_inherits(b->req, b->child.warm_fd) && b->child.warm_fd > 3)
		b->child.warm_fd--;
	for (int i = 0; i < 3; i++) {
		char path[64];
		ssize_t n;

		if (b->child.stdio.inner[i] < 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", b->child.stdio.inner[i]);
		n = readlink(path, b->stdio_links[i], sizeof(b->stdio_links[i]) - 1);
		b->stdio_links[i][n > 0 ? n : 0] = '\0';
	}
	builder_child_session(&b->child);
	r = trace_start(&b->trace, &ops, b, builder_child_start, &b->child, err);
	if (r < 0)
		return r;
	b->child.warm_inner = fd_close(b->child.warm_inner);
	for (int i = 0; i < 3; i++)
		b->child.stdio.inner[i] = fd_close(b->child.stdio.inner[i]);
	/* the child places its descriptors before its exec: what it has then is from outside */
	return 0;
}

static int build_once(struct builder *b, struct plan_options *po, struct error *err)
{
	int r = start(b, err);

	if (r < 0)
		return r;
	r = trace_run(b->trace, err);
	if (r == -ECHILD) {
		struct error words;

		/* its last words may be a reason */
		if (builder_drain(b, &words) < 0)
			r = error_set(err, words.code, "%s", words.text);
		else
			r = -EOPNOTSUPP;
		b->failed = !b->lines.refuse;
	}
	if (r <= 0)
		return r < 0 ? r : error_set(err, EIO, "the trace ended without a reason");
	r = builder_split_arguments(b, po, &b->argv_count, err);
	return r < 0 ? r : builder_take(b, po, err);
}

/* for another build by the same process: what the one before has left */
static void begin_anew(struct builder *b)
{
	trace_free(TAKE_PTR(b->trace));
	observe_free(TAKE_PTR(b->observe));
	adaptor_done(&b->lines);
	b->lines = (struct adaptor_lines){ .argv = LONG_MAX };
	builder_stdio_close(&b->child.stdio);
	b->child.stdio.terminal = -1;
	b->warm_outer = fd_close(b->warm_outer);
	for (size_t i = 0; i < b->nenv; i++)
		free(b->env[i]);
	b->nenv = b->nended = 0;
	b->env_visible = true;
	b->adaptor_used = b->early = false;
	b->ready = NULL;
	b->leave = (struct builder_leave){ 0 };
	b->boundary[0] = '\0';
	b->state = STATE_ENTRY;
}

static int build(struct builder *b, struct plan_options *po, struct error *err)
{
	for (;;) {
		const struct plan_options fresh = *po;
		int r = build_once(b, po, err);

		if (r != -ERESTART)
			return r;
		record_free(TAKE_PTR(b->record));
		begin_anew(b);
		b->attempts++;
		*po = fresh;
	}
}

int builder_run(const struct request *req, const struct config *cfg, int sock)
{
	struct builder b = {
		.req = req,
		.cfg = cfg,
		.env_visible = true,
		.warm_outer = -EBADF,
		.argv_count = -1,
		.context_fd = -1,
		.plan = { .control = -EBADF, .pages = -EBADF, .huge = -EBADF },
	};
	struct plan_options po = { .context_fd = -1, .join_text = cfg->join_text, .hugetlb = cfg->hugetlb };
	struct error err = { 0 };
	int r, status;

	prctl(PR_SET_NAME, "warmd-build");
	/* orphans of the program's children come here and die with us */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (int i = 0; i < 3; i++)
		b.child.stdio.inner[i] = b.child.stdio.outer[i] = -EBADF;
	b.child.stdio.terminal = -1;
	b.child.warm_inner = -EBADF;
	b.lines.argv = LONG_MAX;
	r = build(&b, &po, &err);
	status = builder_report_send(&b, r, &err, sock);
	/* the process's memory, files and children end with this process */
	trace_free(b.trace);
	return status;
}
