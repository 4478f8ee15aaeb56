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
 * import and call end in a read of the readiness descriptor, seen at its system call entry.
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

enum { SLOT_MAIN, SLOT_GETENV, SLOT_START };

static int parse_ready(const char *word, enum ready_point *ret, struct error *err)
{
	static const struct {
		const char *word;
		enum ready_point point;
	} table[] = { { "", READY_AUTO }, { "auto", READY_AUTO }, { "main", READY_MAIN },
		      { "import", READY_IMPORT }, { "call", READY_CALL } };

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (strcmp(table[i].word, word) == 0) {
			*ret = table[i].point;
			return 0;
		}
	}
	return error_set(err, EINVAL, "there is no readiness point '%.60s': it is auto, main, import or call", word);
}

static int note_env(struct builder *b, const char *name)
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
		observe_effects(b->observe, b->point != READY_CALL);
		{
			_cleanup_free_ char *value = NULL;
			char personality_path[64];

			snprintf(personality_path, sizeof(personality_path), "/proc/%d/personality", t->tid);
			if (read_file(personality_path, &value, NULL) == 0)
				b->start_personality = (uint32_t)strtoul(value, NULL, 16);
		}
		/* the child has set them from the request as far as it may: what the program finds */
		for (int i = 0; i < WIRE_RLIMITS; i++)
			prlimit(t->tid, (__rlimit_resource_t)i, NULL, (struct rlimit *)b->start_rlimits[i]);
		snprintf(path, sizeof(path), "/proc/%d/exe", t->tid);
		n = readlink(path, exe, sizeof(exe) - 1);
		exe[n > 0 ? n : 0] = '\0';
		r = observe_program(b->observe, exe);
	}
	if (r < 0 || !entry)
		return error_set(err, ENOEXEC, "cannot read the program's auxiliary vector");
	return trace_breakpoint(b->trace, SLOT_MAIN, entry, err);
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
			shim = strstr(p, "/.pyenv/shims/") || strstr(p, "/pyenv/libexec/pyenv") || strstr(p, "/.pyenv/libexec/pyenv");
		free(args);
	}
	return shim && (strcmp(base, "bash") == 0 || strcmp(base, "sh") == 0 || strcmp(base, "dash") == 0);
}

static int at_entry(struct builder *b, struct error *err)
{
	struct elf_query q[] = { { .name = "Py_RunMain" }, { .name = "getenv" }, { .name = "__libc_start_main" },
				 { .name = "main" }, { .name = "PyRun_SimpleStringFlags" } };
	int r = elf_lookup(trace_root(b->trace), q, ARRAY_SIZE(q));

	if (r < 0)
		return error_errno(err, r, "reading the program's symbols");
	if (q[1].addr)
		r = trace_breakpoint(b->trace, SLOT_GETENV, q[1].addr, err);
	if (r < 0)
		return r;
	b->env_visible &= q[1].addr != 0;
	if (b->point == READY_CALL) {
		b->state = STATE_RUNNING;
		return trace_breakpoint(b->trace, SLOT_MAIN, 0, err);
	}
	if (b->point != READY_MAIN && q[0].addr && q[4].addr) {
		b->state = STATE_RUNMAIN;
		b->runmain = q[0].addr;
		b->run_string = q[4].addr;
		return trace_breakpoint(b->trace, SLOT_MAIN, b->runmain, err);
	}
	if (passes_through(b)) {
		b->env_visible = false;
		b->state = STATE_RUNNING;
		return trace_breakpoint(b->trace, SLOT_MAIN, 0, err);
	}
	if (b->point == READY_IMPORT)
		return error_set(err, EOPNOTSUPP, "readiness point 'import' needs CPython 3.9 or newer (no Py_RunMain in %s)",
				 b->req->argv[0]);
	if (q[2].addr) {
		b->state = STATE_START;
		r = trace_breakpoint(b->trace, SLOT_MAIN, q[2].addr, err);
		return r < 0 || !q[2].other ? r : trace_breakpoint(b->trace, SLOT_START, q[2].other, err);
	}
	if (q[3].in_exe) {
		b->state = STATE_MAIN;
		return trace_breakpoint(b->trace, SLOT_MAIN, q[3].in_exe, err);
	}
	return error_set(err, EOPNOTSUPP, "no main() to be found: %s is static and stripped (--ready call needs none)",
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
	r = trace_breakpoint(b->trace, SLOT_START, 0, err);
	return r < 0 ? r : trace_breakpoint(b->trace, SLOT_MAIN, arch_call_arg(&regs, 0), err);
}

/* the process's own arguments: with those that a shebang line put in front */
static int read_cmdline(struct builder *b, struct error *err)
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
	int r = read_cmdline(b, err);

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
	arch_prepare_call(&regs, b->run_string, b->injected, 0, &slot);
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
	return trace_breakpoint(b->trace, SLOT_MAIN, 0, err);
}

static int on_getenv(struct builder *b, struct tracee *t)
{
	arch_regs regs;
	char name[256];

	if (arch_get_regs(t->tid, &regs) == 0 &&
	    trace_read_string(t->tid, arch_call_arg(&regs, 0), name, sizeof(name)) > 0)
		return note_env(b, name);
	return 0;
}

static int on_breakpoint(void *data, struct tracee *t, int slot, struct error *err)
{
	struct builder *b = data;

	if (slot == SLOT_GETENV)
		return on_getenv(b, t);
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
	default:
		return 0;
	}
}

static bool reads(long nr)
{
	return nr == SYS_read || nr == SYS_readv || nr == SYS_recvfrom || nr == SYS_recvmsg;
}

/* what has come over the readiness socket so far */
static int drain(struct builder *b, struct error *err)
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
	int r;

	if (entry && warm && t->nr == SYS_write && b->adaptor_used)
		observe_phase_adaptor(b->observe);
	if (entry && warm && (reads(t->nr) || t->nr == SYS_close)) {
		r = drain(b, err);
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
	if (r == 1)
		return error_set(err, EOPNOTSUPP, "%s", observe_refusal(b->observe)->text);
	return r;
}

static void on_exited(void *data, pid_t tid)
{
	struct builder *b = data;

	if (b->observe)
		observe_exited(b->observe, tid);
}

static const struct trace_ops ops = { .exited = on_exited, .syscall = on_syscall, .exec = on_exec, .breakpoint = on_breakpoint };

/* --- at the readiness point --- */

/* children that ended and were not waited for: the tracer has seen their end, the program has not */
static int check_zombies(struct builder *b, struct error *err)
{
	for (const struct tracee *t = trace_tracees(b->trace); t; t = t->next) {
		_cleanup_free_ char *children = NULL;
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/task/%d/children", t->tgid, t->tid);
		if (read_file(path, &children, NULL) == 0 && children[0])
			return error_set(err, EOPNOTSUPP, "it has a child process that ended and was not waited for: %ld",
					 strtol(children, NULL, 10));
	}
	return 0;
}

static int check_children(struct builder *b, struct error *err)
{
	pid_t pid;
	char path[64];
	_cleanup_free_ char *comm = NULL;

	if (!trace_others(b->trace, &pid))
		return check_zombies(b, err);
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	if (read_file(path, &comm, NULL) == 0)
		comm[strcspn(comm, "\n")] = '\0';
	return error_set(err, EOPNOTSUPP, "it has a child process at its readiness point: %d (%s)", pid, comm ? comm : "?");
}

/* functions that a clone has hooks in (find_madvise()): no other thread may be behind their first byte */
static int leave_hooked(struct builder *b, struct error *err)
{
	struct elf_query q[] = { { .name = "madvise" }, { .name = "mremap" } };
	int r = 0;

	if (!trace_tracees(b->trace)->next || elf_lookup(trace_root(b->trace), q, ARRAY_SIZE(q)) < 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(q) && r == 0; i++)
		if (q[i].addr)
			r = trace_step_out(b->trace, q[i].addr, q[i].addr + sizeof(((struct stub_patch *)0)->bytes), err);
	return r;
}

/* the standard descriptors must still be what they were, because a clone keeps its caller's */
static int check_stdio(struct builder *b, struct error *err)
{
	for (int i = 0; i < 3; i++) {
		char path[64], link[256];
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", trace_root(b->trace), i);
		n = readlink(path, link, sizeof(link) - 1);
		if (n < 0 && errno == EACCES)
			return error_set(err, EOPNOTSUPP, "it is not dumpable (PR_SET_DUMPABLE), so that only root could read its state");
		link[n > 0 ? n : 0] = '\0';
		if (strcmp(link, b->stdio_links[i]) != 0)
			return error_set(err, EOPNOTSUPP, "it closed or redirected its standard descriptor %d", i);
	}
	return 0;
}

static int oom_score_adj(const char *proc, char text[256])
{
	_cleanup_free_ char *value = NULL;
	char path[300];
	int r;

	snprintf(path, sizeof(path), "%s/oom_score_adj", proc);
	r = read_file(path, &value, NULL);
	if (r == 0)
		snprintf(text, 256, "%s", value);
	return r;
}

/* a clone has its caller's identity: a program that changed its own would not be what it was */
static int check_identity(const struct builder *b, struct error *err)
{
	const struct record_process *p = &b->record->processes[0];
	_cleanup_free_ char *status = NULL;
	uint64_t eff = 0, prm = 0, seccomp = 0;
	char mine[256], theirs[256], path[64];
	static const char *const links[] = { "root", "ns/mnt", "ns/net", "ns/pid", "ns/user", "ns/uts", "ns/ipc", "ns/cgroup" };

	if (read_file("/proc/self/status", &status, NULL) < 0)
		return error_set(err, EIO, "cannot read /proc/self/status");
	proc_status_hex(status, "CapEff:", &eff);
	proc_status_hex(status, "CapPrm:", &prm);
	proc_status_hex(status, "Seccomp:", &seccomp);
	for (int i = 0; i < 4; i++)
		if (p->uid[i] != (i == 0 ? getuid() : geteuid()) || p->gid[i] != (i == 0 ? getgid() : getegid()))
			return error_set(err, EOPNOTSUPP, "it changed its user or group ids before its readiness point");
	if (p->cap_effective != eff || p->cap_permitted != prm)
		return error_set(err, EOPNOTSUPP, "it changed its capabilities before its readiness point");
	if (p->seccomp != seccomp)
		return error_set(err, EOPNOTSUPP, "it installed a seccomp filter before its readiness point");
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		ssize_t n, m;

		snprintf(path, sizeof(path), "/proc/self/%s", links[i]);
		n = readlink(path, mine, sizeof(mine));
		snprintf(path, sizeof(path), "/proc/%d/%s", trace_root(b->trace), links[i]);
		m = readlink(path, theirs, sizeof(theirs));
		if (n != m || (n > 0 && memcmp(mine, theirs, (size_t)n) != 0))
			return error_set(err, EOPNOTSUPP, "it changed its root directory or namespaces (%s) before its readiness point",
					 links[i]);
	}
	return 0;
}

static int find_exit(struct builder *b, struct stub_exit *ret, struct error *err)
{
	struct adaptor_exit e;
	struct elf_query q[ARRAY_SIZE(e.symbols) + 4];
	int r;

	if (adaptor_parse_exit(b->lines.exit, &e) < 0)
		return error_set(err, EBADMSG, "the adaptor's EXIT line is malformed");
	memset(q, 0, sizeof(q));
	q[0].name = e.call;
	q[1].name = e.value;
	q[2].name = "exit";
	q[3].name = "fflush";
	for (unsigned int i = 0; i < e.n; i++)
		q[4 + i].name = e.symbols[i];
	r = elf_lookup(trace_root(b->trace), q, 4 + e.n);
	if (r < 0)
		return error_errno(err, r, "reading the program's symbols");
	memset(ret, 0, sizeof(*ret));
	if (!q[0].addr || !q[1].addr || !q[2].addr || !q[3].addr)
		return 0;	/* no fast exit: complete finalisation, as without the line */
	ret->call = q[0].addr;
	ret->value = q[1].addr;
	ret->arg = e.arg;
	ret->libc_exit = q[2].addr;
	ret->libc_fflush = q[3].addr;
	for (unsigned int i = 0; i < e.n && ret->npatches < STUB_MAX_PATCHES - 3; i++)
		if (q[4 + i].addr)
			ret->patches[ret->npatches++] = (struct stub_patch){
				.addr = q[4 + i].addr, .kind = e.marked[i] ? STUB_HOOK_EXIT : STUB_HOOK_RETURN,
			};
	ret->patches[ret->npatches++] = (struct stub_patch){ .addr = ret->libc_exit, .kind = STUB_HOOK_FINAL };
	return 0;
}

/* without an adaptor exit(3) is hooked in those launches alone that tell which pages they wrote */
static void find_learning_exit(struct builder *b)
{
	struct elf_query q = { .name = "exit" };

	elf_lookup(trace_root(b->trace), &q, 1);
	if (!q.addr)
		return;
	b->exit.libc_exit = q.addr;
	b->exit.learn_only = 1;
	b->exit.npatches = 1;
	b->exit.patches[0] = (struct stub_patch){ .addr = q.addr, .kind = STUB_HOOK_FINAL };
}

/* engine/stub/madvise.c */
static void find_madvise(struct builder *b)
{
	struct elf_query q[] = { { .name = "madvise" }, { .name = "__errno_location" }, { .name = "mremap" } };

	elf_lookup(trace_root(b->trace), q, ARRAY_SIZE(q));
	if (!q[0].addr || !q[1].addr)
		return;
	b->exit.errno_location = q[1].addr;
	b->exit.patches[b->exit.npatches++] = (struct stub_patch){ .addr = q[0].addr, .kind = STUB_HOOK_MADVISE };
	if (q[2].addr)
		b->exit.patches[b->exit.npatches++] = (struct stub_patch){ .addr = q[2].addr, .kind = STUB_HOOK_MREMAP };
}

static void find_main_symbols(struct builder *b, struct plan_options *o)
{
	struct elf_query q[] = { { .name = "__environ" }, { .name = "environ" }, { .name = "program_invocation_name" },
				 { .name = "program_invocation_short_name" }, { .name = "__libc_argv" } };
	unsigned int n = 0;

	elf_lookup(trace_root(b->trace), q, ARRAY_SIZE(q));
	for (unsigned int i = 0; i < 2; i++) {
		/* a copy relocation: the executable's is the one in use, the library's is written too */
		if (q[i].addr)
			o->environ_addr[n++] = q[i].addr;
		if (q[i].in_exe && q[i].in_exe != q[i].addr)
			o->environ_addr[n++] = q[i].in_exe;
	}
	o->progname_full_addr = q[2].in_exe ? q[2].in_exe : q[2].addr;
	o->progname_short_addr = q[3].in_exe ? q[3].in_exe : q[3].addr;
	o->libc_argv_addr = q[4].addr;
}

/*
 * Which of the caller's arguments count, and what the process's argv begins with: a
 * script found by its shebang runs as "interpreter script args", and a clone's must look the same.
 */
static int split_arguments(struct builder *b, struct plan_options *o, int *ret_count, struct error *err)
{
	size_t n, keep;
	bool tracked = false;
	int r = read_cmdline(b, err);

	if (r < 0)
		return r;
	keep = n = b->cmdline_argc;
	if (b->lines.track_argv && b->lines.argv != LONG_MAX && !observe_keys(b->observe)->argv) {
		tracked = true;
		keep = b->lines.argv_from_end ? n - ((size_t)b->lines.argv < n ? (size_t)b->lines.argv : n) : (size_t)b->lines.argv;
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
	o->argv_prefix = b->cmdline_argv;
	o->argv_prefix_n = (uint32_t)keep;
	o->argv_drop = keep == n ? b->req->run.argc : b->req->run.argc - (uint32_t)(n - keep);
	*ret_count = tracked ? (int)o->argv_drop : -1;
	return 0;
}

/* what the program wrote on its way: a clone writes it again */
static int fill_outputs(struct builder *b, struct plan_options *po)
{
	size_t n, bytes = 0, at = 0;
	const struct observe_output *o = observe_output(b->observe, &n);
	struct stub_output *outputs = calloc(n + 1, sizeof(*outputs));
	char *all;

	for (size_t i = 0; i < n; i++)
		bytes += o[i].len;
	all = malloc(bytes + 1);
	if (!outputs || !all) {
		free(outputs);
		free(all);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		outputs[i] = (struct stub_output){ .fd = o[i].fd, .data = at, .len = o[i].len };
		memcpy(all + at, o[i].data, o[i].len);
		at += o[i].len;
	}
	/* freed with the process */
	po->outputs = outputs;
	po->noutputs = n;
	po->output_bytes = all;
	po->output_size = bytes;
	return 0;
}

static int take(struct builder *b, struct plan_options *po, struct error *err)
{
	struct dump_options d = { .ready = b->ready, .resume = STUB_RESUME_FRAME, .skip_fd = b->child.warm_fd };
	static const bool outside[3] = { true, true, true };
	char proc[64], before[256];
	int r;

	d.outside = outside;
	d.noutside = 3;
	if (b->ready->stop == STOP_ENTRY) {
		r = trace_skip(b->trace, b->ready, err);
		if (r < 0)
			return r;
		d.resume = b->lines.raw ? STUB_RESUME_CONTEXT : DUMP_RESUME_AGAIN;
	} else {
		d.resume = STUB_RESUME_MAIN;
	}
	r = trace_freeze(b->trace, err);
	if (r == 0)
		r = leave_hooked(b, err);
	if (r == 0)
		r = check_children(b, err);
	if (r == 0)
		r = check_stdio(b, err);
	for (size_t i = 0; i < b->lines.nmodules && r == 0; i++)
		r = observe_modules_dir(b->observe, b->lines.modules[i]);
	if (r == 0) {
		r = observe_finish(b->observe, err);
		if (r == 1)
			r = error_set(err, EOPNOTSUPP, "%s", observe_refusal(b->observe)->text);
	}
	if (r == 0)
		r = dump_process(b->trace, &d, &b->record, err);
	if (r == 0)
		r = check_identity(b, err);
	if (r < 0)
		return r;
	po->context_raw = d.resume == STUB_RESUME_CONTEXT;
	po->context_fd = d.resume == DUMP_RESUME_AGAIN ? b->child.warm_fd : -1;
	if (d.resume == STUB_RESUME_MAIN) {
		find_main_symbols(b, po);
		find_learning_exit(b);
	}
	if (b->lines.exit) {
		r = find_exit(b, &b->exit, err);
		if (r < 0)
			return r;
	}
	find_madvise(b);
	po->exit = &b->exit;
	po->start_cwd = b->req->cwd;
	po->build_env = b->req->envp;
	po->build_envc = b->req->run.envc;
	po->build_argv = b->cmdline_argv;
	po->build_argc = (uint32_t)b->cmdline_argc;
	/* same shape: an address and a length */
	_Static_assert(sizeof(*po->randoms) == sizeof(*b->lines.randoms), "struct stub_random is struct adaptor_range");
	po->randoms = (const struct stub_random *)b->lines.randoms;
	po->nrandoms = b->lines.nrandoms;
	po->start_umask = b->req->run.umask;
	po->start_rlimits = (const uint64_t (*)[2])b->start_rlimits;
	po->start_nice = getpriority(PRIO_PROCESS, 0);
	po->start_policy = sched_getscheduler(0);
	syscall(SYS_sched_getaffinity, 0, sizeof(b->start_affinity), b->start_affinity);
	po->start_affinity = b->start_affinity;
	snprintf(proc, sizeof(proc), "/proc/%d", trace_root(b->trace));
	if (oom_score_adj("/proc/self", before) == 0 && oom_score_adj(proc, b->oom_score_adj) == 0 &&
	    strcmp(before, b->oom_score_adj) != 0)
		po->oom_score_adj = b->oom_score_adj;
	po->start_personality = b->start_personality;
	po->start_timerslack_ns = (uint64_t)prctl(PR_GET_TIMERSLACK);
	po->ignored_signals = b->req->run.ignored_signals;
	r = fill_outputs(b, po);
	return r < 0 ? error_set(err, ENOMEM, "no memory") : plan_build(b->record, po, &b->plan, err);
}

static int start(struct builder *b, struct error *err)
{
	struct rlimit nofile;
	int pair[2], r;

	r = parse_ready(b->req->ready, &b->point, err);
	if (r == 0)
		r = builder_stdio_open(b->req, &b->child.stdio, err);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, errno, "socketpair");
	b->warm_outer = pair[0];
	b->child.req = b->req;
	b->child.warm_inner = pair[1];
	b->child.announce = b->point == READY_CALL;
	/* high, so that the program's own descriptors get the numbers that they have cold */
	getrlimit(RLIMIT_NOFILE, &nofile);
	b->child.warm_fd = nofile.rlim_cur > 1000 ? 999 : (int)nofile.rlim_cur - 1;
	if (b->req->run.rlimits[RLIMIT_NOFILE][0] <= (uint64_t)b->child.warm_fd)
		b->child.warm_fd = (int)b->req->run.rlimits[RLIMIT_NOFILE][0] - 1;
	for (int i = 0; i < 3; i++) {
		char path[64];
		ssize_t n;

		if (b->child.stdio.inner[i] < 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", b->child.stdio.inner[i]);
		n = readlink(path, b->stdio_links[i], sizeof(b->stdio_links[i]) - 1);
		b->stdio_links[i][n > 0 ? n : 0] = '\0';
	}
	r = trace_start(&b->trace, &ops, b, builder_child_start, &b->child, err);
	if (r < 0)
		return r;
	b->child.warm_inner = fd_close(b->child.warm_inner);
	for (int i = 0; i < 3; i++)
		b->child.stdio.inner[i] = fd_close(b->child.stdio.inner[i]);
	/* the child places its descriptors before its exec: what it has then is from outside */
	return 0;
}

static int build(struct builder *b, struct plan_options *po, struct error *err)
{
	int r = start(b, err);

	if (r < 0)
		return r;
	r = trace_run(b->trace, err);
	if (r == -ECHILD) {
		struct error words;

		/* its last words may be a reason */
		if (drain(b, &words) < 0)
			r = error_set(err, words.code, "%s", words.text);
		else
			r = -EOPNOTSUPP;
	}
	if (r <= 0)
		return r < 0 ? r : error_set(err, EIO, "the trace ended without a reason");
	r = split_arguments(b, po, &b->argv_count, err);
	return r < 0 ? r : take(b, po, err);
}

int builder_run(const struct request *req, const struct config *cfg, int sock)
{
	struct builder b = {
		.req = req, .cfg = cfg, .env_visible = true, .warm_outer = -EBADF, .argv_count = -1,
		.plan = { .control = -EBADF, .pages = -EBADF },
	};
	struct plan_options po = { .context_fd = -1 };
	struct error err = { 0 };
	int r, status;

	prctl(PR_SET_NAME, "warmd-build");
	/* orphans of the program's children come here and die with us */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (int i = 0; i < 3; i++)
		b.child.stdio.inner[i] = b.child.stdio.outer[i] = -EBADF;
	b.child.warm_inner = -EBADF;
	b.lines.argv = LONG_MAX;
	r = build(&b, &po, &err);
	status = builder_report_send(&b, r, &err, sock);
	/* the process's memory, files and children end with this process */
	trace_free(b.trace);
	return status;
}
