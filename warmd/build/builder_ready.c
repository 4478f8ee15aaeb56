/* SPDX-License-Identifier: MIT */
/*
 * builder_ready.c - the program has come to its readiness point: is it one that a clone can be,
 * what of its symbols do clones need, and the dump.
 */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "engine/base/fd.h"
#include "engine/elf.h"
#include "engine/proc.h"
#include "engine/trace.h"
#include "snapshot/dump/dump.h"
#include "snapshot/plan/plan.h"
#include "warmd/build/adaptor.h"
#include "warmd/build/builder_internal.h"
#include "warmd/build/observe.h"

/* whose exit status a clone could not ask for */
static int unwaited(struct builder *b, pid_t pid, unsigned int origin, struct error *err)
{
	char comm[PROC_COMM_SIZE], words[128];

	proc_comm(pid, comm);
	snprintf(words, sizeof(words), "starts a process (%s) that ends, and does not wait for it", comm);
	return builder_stop_before(b, origin, words, err);
}

/* children that ended and were not waited for: the tracer has seen their end, the program has not */
static int check_zombies(struct builder *b, struct error *err)
{
	unsigned int origin = 0;

	for (const struct tracee *t = trace_tracees(b->trace); t; t = t->next) {
		_cleanup_free_ char *children = NULL;
		char path[64];
		pid_t pid;

		snprintf(path, sizeof(path), "/proc/%d/task/%d/children", t->tgid, t->tid);
		if (read_file(path, &children, NULL) < 0 || !children[0])
			continue;
		pid = (pid_t)strtol(children, NULL, 10);
		for (size_t i = 0; i < b->nended; i++)
			if (b->ended[i].pid == pid)
				origin = b->ended[i].origin;
		return unwaited(b, pid, origin, err);
	}
	return 0;
}

static int check_children(struct builder *b, struct error *err)
{
	pid_t pid;
	char comm[PROC_COMM_SIZE], words[128];
	unsigned int origin = 0;

	if (!trace_others(b->trace, &pid))
		return check_zombies(b, err);
	proc_comm(pid, comm);
	for (const struct tracee *t = trace_tracees(b->trace); t; t = t->next)
		if (t->tgid == pid)
			origin = t->origin;
	snprintf(words, sizeof(words), "starts a process (%s) that does not end", comm);
	return builder_stop_before(b, origin, words, err);
}

/* functions that a clone has hooks in (find_hooked(), find_learning_exit()) */
static size_t look_up_hooked(struct builder *b, struct elf_query q[5])
{
	static const char *const names[] = { "madvise", "mremap", "readlink", "readlinkat", "exit" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		q[i] = (struct elf_query){ .name = names[i] };
	return elf_lookup(trace_root(b->trace), q, ARRAY_SIZE(names)) < 0 ? 0 : ARRAY_SIZE(names);
}

static bool is_hidden_by_hook(const struct elf_query *q, uint64_t pc)
{
	return q->addr && pc > q->addr && pc < q->addr + sizeof(((struct stub_hook *)0)->bytes);
}

/* no other thread may be behind their first byte; of the one at the readiness point: builder_find_wrapper() */
static int leave_hooked(struct builder *b, struct error *err)
{
	struct elf_query q[5];
	int r = 0;

	if (!trace_tracees(b->trace)->next && b->ready)
		return 0;
	for (size_t i = 0, n = look_up_hooked(b, q); i < n && r == 0; i++)
		if (q[i].addr)
			r = trace_step_out(b->trace, b->ready, q[i].addr,
					   q[i].addr + sizeof(((struct stub_hook *)0)->bytes), err);
	return r;
}

int builder_find_wrapper(struct builder *b, const arch_regs *regs, uint64_t *ret, struct error *err)
{
	uint8_t text[sizeof(((struct stub_hook *)0)->bytes) + 8];
	struct elf_query q[5];

	*ret = 0;
	for (size_t i = 0, n = look_up_hooked(b, q); i < n; i++) {
		size_t len = arch_pc(regs) - q[i].addr;

		if (!is_hidden_by_hook(&q[i], arch_pc(regs) - 1))
			continue;
		if (len > sizeof(text) || trace_read(trace_root(b->trace), q[i].addr, text, len) < 0 ||
		    !arch_is_wrapper(text, len))
			return error_set(err, EOPNOTSUPP,
					 "it stands inside %s() of its C library, where clones have a hook",
					 q[i].name);
		*ret = q[i].addr;
	}
	return 0;
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
			return error_set(
				err, EOPNOTSUPP,
				"it is not dumpable (PR_SET_DUMPABLE), so that only root could read its state");
		link[n > 0 ? n : 0] = '\0';
		if (strcmp(link, b->stdio_links[i]) != 0)
			return builder_stop_before_redirection(b, i, err);
	}
	for (int i = 3; i < 256; i++)
		if (request_inherits(b->req, i) &&
		    observe_fd_origin(b->observe, trace_root(b->trace), i) != i)
			return builder_stop_before_redirection(b, i, err);
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
	static const char *const links[] = { "root",	"ns/mnt", "ns/net", "ns/pid",
					     "ns/user", "ns/uts", "ns/ipc", "ns/cgroup" };

	if (read_file("/proc/self/status", &status, NULL) < 0)
		return error_set(err, EIO, "cannot read /proc/self/status");
	proc_status_hex(status, "CapEff:", &eff);
	proc_status_hex(status, "CapPrm:", &prm);
	proc_status_hex(status, "Seccomp:", &seccomp);
	for (int i = 0; i < 4; i++)
		if (p->uid[i] != (i == 0 ? getuid() : geteuid()) ||
		    p->gid[i] != (i == 0 ? getgid() : getegid()))
			return error_set(err, EOPNOTSUPP,
					 "it changed its user or group ids before its readiness point");
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
			return error_set(
				err, EOPNOTSUPP,
				"it changed its root directory or namespaces (%s) before its readiness point",
				links[i]);
	}
	return 0;
}

static void add_hook(struct builder *b, uint64_t addr, enum stub_hook_kind kind)
{
	b->hooks[b->nhooks++] = (struct stub_hook){ .addr = addr, .kind = kind };
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
	b->nhooks = 0; /* that of find_learning_exit() is among these */
	if (!q[0].addr || !q[1].addr || !q[2].addr || !q[3].addr)
		return 0; /* no fast exit: complete finalisation, as without the line */
	ret->call = q[0].addr;
	ret->value = q[1].addr;
	ret->arg = e.arg;
	ret->libc_exit = q[2].addr;
	ret->libc_fflush = q[3].addr;
	for (unsigned int i = 0; i < e.n; i++)
		if (q[4 + i].addr)
			add_hook(b, q[4 + i].addr, e.marked[i] ? STUB_HOOK_EXIT : STUB_HOOK_RETURN);
	add_hook(b, ret->libc_exit, STUB_HOOK_FINAL);
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
	add_hook(b, q.addr, STUB_HOOK_FINAL);
}

/* engine/stub/madvise.c, readlink.c */
static void find_hooked(struct builder *b)
{
	struct elf_query q[] = { { .name = "__errno_location" },
				 { .name = "madvise" },
				 { .name = "mremap" },
				 { .name = "readlink" },
				 { .name = "readlinkat" } };

	elf_lookup(trace_root(b->trace), q, ARRAY_SIZE(q));
	if (!q[0].addr)
		return;
	b->exit.errno_location = q[0].addr;
	if (q[1].addr)
		add_hook(b, q[1].addr, STUB_HOOK_MADVISE);
	if (q[1].addr && q[2].addr)
		add_hook(b, q[2].addr, STUB_HOOK_MREMAP);
	/* not what a preloaded library (fakeroot) has in their place */
	for (unsigned int i = 3; i < 5; i++)
		if (q[i].addr && q[i].bias == q[0].bias)
			add_hook(b, q[i].addr, i == 3 ? STUB_HOOK_READLINK : STUB_HOOK_READLINKAT);
}

static void find_main_symbols(struct builder *b, struct plan_options *o)
{
	struct elf_query q[] = { { .name = "__environ" },
				 { .name = "environ" },
				 { .name = "program_invocation_name" },
				 { .name = "program_invocation_short_name" },
				 { .name = "__libc_argv" } };
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
int builder_split_arguments(struct builder *b, struct plan_options *o, int *ret_count, struct error *err)
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
	o->argv_prefix = b->cmdline_argv;
	o->argv_prefix_n = (uint32_t)keep;
	o->argv_drop = keep == n ? b->req->run.argc : b->req->run.argc - (uint32_t)(n - keep);
	*ret_count = tracked ? (int)o->argv_drop : -1;
	return 0;
}

/*
 * Scrolling between the terminal's first and last line is set by their numbers (terminfo's csr; ECMA-48's form of it is
 * "CSI 1 ; rows r"). A terminal that is resized takes that back by itself; one that had its size before the
 * program came does not. Without numbers it means the terminal's own. Return: the new length
 */
static size_t unset_margins(char *data, size_t len, unsigned int rows)
{
	char set[2][24];

	snprintf(set[0], sizeof(set[0]), "\033[1;%ur", rows);
	snprintf(set[1], sizeof(set[1]), "\033[;%ur", rows);
	for (size_t i = 0; i < ARRAY_SIZE(set); i++) {
		size_t n = strlen(set[i]);
		char *p = data;

		while ((p = memmem(p, len - (size_t)(p - data), set[i], n))) {
			char *rest = p + n - 1;

			memmove(p + 2, rest, len - (size_t)(rest - data));
			len -= n - 3;
			p += 3;
		}
	}
	return len;
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
		outputs[i] = (struct stub_output){ .fd = o[i].fd,
						   .data = at,
						   .len = o[i].len,
						   .kind = o[i].termios ? STUB_OUTPUT_TERMIOS
									: STUB_OUTPUT_BYTES };
		memcpy(all + at, o[i].data, o[i].len);
		if (builder_is_live(b) && !o[i].termios)
			outputs[i].len = unset_margins(all + at, o[i].len, b->req->run.rows);
		at += outputs[i].len;
	}
	/* freed with the process */
	po->outputs = outputs;
	po->noutputs = n;
	po->output_bytes = all;
	po->output_size = bytes;
	return 0;
}

/* env(1) does it, and pyenv's shims: the environment that the process got with its last execve is not the request's */
static bool environment_changed(const struct builder *b)
{
	_cleanup_free_ char *env = NULL;
	char **had = b->req->envp, path[64];
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/environ", trace_root(b->trace));
	if (read_file(path, &env, &len) < 0)
		return true;
	for (const char *p = env; p < env + len; p += strlen(p) + 1) {
		if (b->child.announce && strncmp(p, "WARM_FD=", 8) == 0)
			continue;
		if (!*had || strcmp(*had++, p) != 0)
			return true;
	}
	return *had;
}

/* a clone opens them by their names: once one of them is gone or replaced there, the template is stale */
static int hold_files(struct builder *b, struct error *err)
{
	for (size_t i = 0; i < b->record->ndescriptions; i++) {
		const struct record_description *d = &b->record->descriptions[i];
		struct stat st = { .st_dev = d->dev, .st_ino = d->id };
		int r;

		if (d->kind != STUB_FD_PATH)
			continue;
		r = observe_held(b->observe, d->path, &st);
		if (r == 1)
			return error_set(err, EOPNOTSUPP, "%s, which it has open, was replaced meanwhile",
					 d->path);
		if (r < 0)
			return error_errno(err, r, "%s", d->path);
	}
	return 0;
}

static int find_wrapper_at_ready(struct builder *b, uint64_t *ret, struct error *err)
{
	arch_regs regs;
	int r = arch_get_regs(b->ready->tid, &regs);

	if (r < 0)
		return error_errno(err, r, "reading the program's registers");
	return builder_find_wrapper(b, &regs, ret, err);
}

static int dump(struct builder *b, struct frozen_process *frozen, const struct dump_options *d,
		struct error *err)
{
	struct frozen_tree tree = { 0 };
	int r;

	if (frozen_tree_add(&tree, frozen, -1) < 0) {
		frozen_tree_done(&tree);
		return error_set(err, ENOMEM, "no memory");
	}
	r = dump_tree(&tree, d, &b->record, err);
	frozen_tree_done(&tree);
	return r;
}

int builder_take(struct builder *b, struct plan_options *po, struct error *err)
{
	struct dump_options d = { .ready = b->ready ? b->ready->tid : 0,
				  .resume = STUB_RESUME_FRAME,
				  .skip_fd = b->child.warm_fd };
	struct frozen_process *frozen;
	bool outside[256];
	char proc[64], before[256];
	int r;

	for (int i = 0; i < 256; i++)
		outside[i] = i < 3 || request_inherits(b->req, i);
	d.outside = outside;
	d.noutside = ARRAY_SIZE(outside);
	if (b->child.stdio.terminal >= 0) {
		d.terminal = b->child.stdio.terminal_device;
		d.terminal_fd = b->child.stdio.terminal;
		d.resize = builder_is_live(b);
	}
	if (!b->ready) {
		d.resume = STUB_RESUME_FRAME;
	} else if (b->ready->stop == STOP_ENTRY) {
		r = trace_skip(b->trace, b->ready, err);
		if (r < 0)
			return r;
		d.resume = b->lines.raw && !b->early ? STUB_RESUME_CONTEXT : DUMP_RESUME_AGAIN;
	} else {
		d.resume = STUB_RESUME_MAIN;
	}
	r = trace_freeze(b->trace, &frozen, err);
	if (r == 0)
		r = leave_hooked(b, err);
	if (r == 0 && d.resume == DUMP_RESUME_AGAIN)
		r = find_wrapper_at_ready(b, &d.wrapper, err);
	if (r == 0)
		r = check_children(b, err);
	if (r == 0)
		r = check_stdio(b, err);
	b->env_changed = environment_changed(b);
	if (r == 0 && b->env_changed && d.resume == STUB_RESUME_MAIN)
		r = error_set(err, EOPNOTSUPP, "it was executed by a program that changed its environment");
	for (size_t i = 0; i < b->lines.nmodules && r == 0; i++)
		r = observe_modules_dir(b->observe, b->lines.modules[i]);
	for (size_t i = 0; i < b->lines.nlisted && r == 0; i++)
		r = observe_modules_listed(b->observe, b->lines.listed[i]);
	if (r == 0)
		r = observe_finish(b->observe, err);
	if (r == 0)
		r = builder_fresh(b, err);
	if (r == 0)
		r = dump(b, frozen, &d, err);
	if (r == -EOPNOTSUPP && observe_keys(b->observe)->bound && !b->stop_at_bind &&
	    b->attempts < BUILDER_ATTEMPTS) {
		b->stop_at_bind = true;
		return -ERESTART;
	}
	if (r == 0)
		r = check_identity(b, err);
	if (r == 0)
		r = builder_check_scheduling(b, err);
	if (r == 0)
		r = builder_check_environment(b, err);
	if (r == 0)
		r = hold_files(b, err);
	if (r < 0)
		return r;
	po->context_raw = d.resume == STUB_RESUME_CONTEXT;
	po->context_late = b->early && b->point.kind == READY_CALL;
	po->context_fd = po->context_late || (d.resume == DUMP_RESUME_AGAIN && !b->early) ? b->child.warm_fd
											  : -1;
	b->context_fd = po->context_raw ? -1 : po->context_fd;
	if (b->leave.frame)
		po->leave = (struct plan_leave){ .slot = b->leave.slot,
						 .restore = b->leave.restore,
						 .exception = b->leave.exception,
						 .release = b->leave.release,
						 .gil_state = b->leave.gil_state,
						 .frame = b->leave.frame };
	if (d.resume == STUB_RESUME_MAIN)
		find_main_symbols(b, po);
	find_learning_exit(b);
	if (b->lines.exit) {
		r = find_exit(b, &b->exit, err);
		if (r < 0)
			return r;
	}
	find_hooked(b);
	po->exit = &b->exit;
	po->hooks = b->hooks;
	po->nhooks = b->nhooks;
	po->start_cwd = b->req->cwd;
	po->build_env = b->req->envp;
	po->build_envc = b->req->run.envc;
	po->build_argv = b->cmdline_argv;
	po->build_argc = (uint32_t)b->cmdline_argc;
	/* same shape: an address and a length */
	_Static_assert(sizeof(*po->randoms) == sizeof(*b->lines.randoms),
		       "struct stub_random is struct adaptor_range");
	po->randoms = (const struct stub_random *)b->lines.randoms;
	po->nrandoms = b->lines.nrandoms;
	po->start_umask = b->req->run.umask;
	po->start_rlimits = (const uint64_t(*)[2])b->start_rlimits;
	po->start_nice = b->start_scheduling.nice;
	po->start_policy = b->start_scheduling.policy;
	po->start_affinity = b->start_affinity;
	snprintf(proc, sizeof(proc), "/proc/%d", trace_root(b->trace));
	if (oom_score_adj("/proc/self", before) == 0 && oom_score_adj(proc, b->oom_score_adj) == 0 &&
	    strcmp(before, b->oom_score_adj) != 0)
		po->oom_score_adj = b->oom_score_adj;
	po->start_personality = b->start_personality;
	po->start_timerslack_ns = (uint64_t)prctl(PR_GET_TIMERSLACK);
	po->ignored_signals = b->req->run.ignored_signals;
	po->blocked_signals = b->req->run.blocked_signals;
	po->own_signals = observe_keys(b->observe)->signals_default |
			  observe_keys(b->observe)->signals_ignored;
	po->tell_signals = b->lines.signals && po->context_raw;
	r = fill_outputs(b, po);
	return r < 0 ? error_set(err, ENOMEM, "no memory") : plan_build(b->record, po, &b->plan, err);
}
