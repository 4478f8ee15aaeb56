/* SPDX-License-Identifier: MIT */
/*
 * builder_ready.c - the program has come to its readiness point: what a clone needs of its symbols, how it goes on,
 * and the dump. Whether it is one that a clone can be: builder_check.c.
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

static int look_at_listings(struct builder *b)
{
	int r = 0;

	for (size_t i = 0; i < b->lines.nmodules && r == 0; i++)
		r = observe_modules_dir(b->observe, b->lines.modules[i]);
	for (size_t i = 0; i < b->lines.nlisted && r == 0; i++)
		r = observe_modules_listed(b->observe, b->lines.listed[i]);
	return r;
}

/* how a clone's thread goes on from where this one stands; from here on the thread is outside of its call */
static int choose_resume(struct builder *b, struct dump_options *d, struct error *err)
{
	int r;

	if (!b->ready) {
		d->resume = STUB_RESUME_FRAME;
		return 0;
	}
	if (b->ready->stop != STOP_ENTRY) {
		d->resume = STUB_RESUME_MAIN;
		return 0;
	}
	r = trace_skip(b->trace, b->ready, err);
	if (r < 0)
		return r;
	d->resume = b->lines.raw && !b->early ? STUB_RESUME_CONTEXT : DUMP_RESUME_AGAIN;
	return 0;
}

/* all threads are frozen: is it one that a clone can be? */
static int check_frozen(struct builder *b, struct dump_options *d, struct error *err)
{
	int r = leave_hooked(b, err);

	if (r == 0 && d->resume == DUMP_RESUME_AGAIN)
		r = find_wrapper_at_ready(b, &d->wrapper, err);
	if (r == 0)
		r = builder_check_children(b, err);
	if (r == 0)
		r = builder_check_stdio(b, err);
	b->env_changed = builder_environment_changed(b);
	if (r == 0 && b->env_changed && d->resume == STUB_RESUME_MAIN)
		r = error_set(err, EOPNOTSUPP, "it was executed by a program that changed its environment");
	if (r == 0)
		r = look_at_listings(b);
	if (r == 0)
		r = observe_finish(b->observe, err);
	return r < 0 ? r : builder_fresh(b, err);
}

static int check_record(struct builder *b, struct error *err)
{
	int r = builder_check_identity(b, err);

	if (r == 0)
		r = builder_check_scheduling(b, err);
	if (r == 0)
		r = builder_check_environment(b, err);
	return r < 0 ? r : builder_hold_files(b, err);
}

/* freeze, check, dump. @ret_resume: how a clone goes on, enum stub_resume or DUMP_RESUME_AGAIN */
static int take_record(struct builder *b, uint32_t *ret_resume, struct error *err)
{
	struct dump_options d = { .ready = b->ready ? b->ready->tid : 0,
				  .resume = STUB_RESUME_FRAME,
				  .skip_fd = b->child.warm_fd };
	struct frozen_process *frozen;
	bool outside[256];
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
	r = choose_resume(b, &d, err);
	if (r < 0)
		return r;
	*ret_resume = d.resume;
	r = trace_freeze(b->trace, &frozen, err);
	if (r == 0)
		r = check_frozen(b, &d, err);
	if (r == 0)
		r = dump(b, frozen, &d, err);
	if (r == -EOPNOTSUPP && observe_keys(b->observe)->bound && !b->stop_at_bind &&
	    b->attempts < BUILDER_ATTEMPTS) {
		b->stop_at_bind = true;
		return -ERESTART;
	}
	return r < 0 ? r : check_record(b, err);
}

/* where a clone's context comes to it */
static void fill_context(struct builder *b, uint32_t resume, struct plan_options *po)
{
	po->context_raw = resume == STUB_RESUME_CONTEXT;
	po->context_late = b->early && b->point.kind->asks;
	po->context_fd = po->context_late || (resume == DUMP_RESUME_AGAIN && !b->early) ? b->child.warm_fd
											: -1;
	b->context_fd = po->context_raw ? -1 : po->context_fd;
	if (b->leave.frame)
		po->leave = (struct plan_leave){ .slot = b->leave.slot,
						 .restore = b->leave.restore,
						 .exception = b->leave.exception,
						 .release = b->leave.release,
						 .gil_state = b->leave.release_argument,
						 .frame = b->leave.frame };
}

static int fill_hooks(struct builder *b, uint32_t resume, struct plan_options *po, struct error *err)
{
	int r;

	if (resume == STUB_RESUME_MAIN)
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
	return 0;
}

/* what the program found at its start: a clone is given what it changed of that */
static void fill_start(struct builder *b, struct plan_options *po)
{
	char proc[64], before[256];

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
}

int builder_take(struct builder *b, struct plan_options *po, struct error *err)
{
	uint32_t resume;
	int r = take_record(b, &resume, err);

	if (r < 0)
		return r;
	fill_context(b, resume, po);
	r = fill_hooks(b, resume, po, err);
	if (r < 0)
		return r;
	fill_start(b, po);
	r = builder_fill_outputs(b, po);
	return r < 0 ? error_set(err, ENOMEM, "no memory") : plan_build(b->record, po, &b->plan, err);
}
