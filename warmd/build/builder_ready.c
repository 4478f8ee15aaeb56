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
#include "snapshot/dump/live_pages.h"
#include "snapshot/plan/plan.h"
#include "warmd/build/adaptor.h"
#include "warmd/build/builder_internal.h"
#include "warmd/build/observe.h"

#define HOOK_MAX sizeof(((struct model_hook *)0)->original) /* bytes that a hook takes, at most */

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
	return q->addr && pc > q->addr && pc < q->addr + HOOK_MAX;
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
			r = trace_step_out(b->trace, b->ready, q[i].addr, q[i].addr + HOOK_MAX, err);
	return r;
}

int builder_find_wrapper(struct builder *b, const arch_regs *regs, uint64_t *ret, struct error *err)
{
	uint8_t text[HOOK_MAX + 8];
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

static int find_wrapper_at_ready(struct builder *b, uint64_t *ret, struct error *err)
{
	arch_regs regs;
	int r = arch_get_regs(b->ready->tid, &regs);

	if (r < 0)
		return error_errno(err, r, "reading the program's registers");
	return builder_find_wrapper(b, &regs, ret, err);
}

static int dump(struct builder *b, struct frozen_process *frozen, const struct dump_options *d,
		struct frozen_tree *tree, struct error *err)
{
	if (frozen_tree_add(tree, frozen, -1) < 0)
		return error_set(err, ENOMEM, "no memory");
	return dump_tree(tree, d, &b->model, &b->files, err);
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
		d->resume = MODEL_RESUME_FRAME;
		return 0;
	}
	if (b->ready->stop != STOP_ENTRY) {
		d->resume = MODEL_RESUME_MAIN;
		return 0;
	}
	r = trace_skip(b->trace, b->ready, err);
	if (r < 0)
		return r;
	d->resume = b->lines.raw && !b->early ? MODEL_RESUME_CONTEXT : DUMP_RESUME_AGAIN;
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
	if (r == 0 && b->env_changed && d->resume == MODEL_RESUME_MAIN)
		r = error_set(err, EOPNOTSUPP, "it was executed by a program that changed its environment");
	if (r == 0)
		r = look_at_listings(b);
	if (r == 0)
		r = observe_finish(b->observe, err);
	return r < 0 ? r : builder_fresh(b, err);
}

static int check_model(struct builder *b, struct error *err)
{
	int r = builder_check_identity(b, err);

	if (r == 0)
		r = builder_check_scheduling(b, err);
	if (r == 0)
		r = builder_check_environment(b, err);
	return r < 0 ? r : builder_hold_files(b, err);
}

/* freeze, check, dump. @tree: gets the frozen process; @ret_resume: how a clone goes on, enum model_resume or DUMP_RESUME_AGAIN */
static int take_model(struct builder *b, struct frozen_tree *tree, uint32_t *ret_resume, struct error *err)
{
	struct dump_options d = { .ready = b->ready ? b->ready->tid : 0,
				  .resume = MODEL_RESUME_FRAME,
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
		r = dump(b, frozen, &d, tree, err);
	if (r == -EOPNOTSUPP && observe_keys(b->observe)->bound && !b->stop_at_bind &&
	    b->attempts < BUILDER_ATTEMPTS) {
		b->stop_at_bind = true;
		return -ERESTART;
	}
	return r < 0 ? r : check_model(b, err);
}

int builder_take(struct builder *b, struct error *err)
{
	const struct plan_options options = { .join_text = b->cfg->join_text, .hugetlb = b->cfg->hugetlb };
	struct frozen_tree tree = { 0 };
	struct live_pages pages;
	uint32_t resume;
	int r = take_model(b, &tree, &resume, err);

	if (r == 0)
		r = builder_fill_entry(b, tree.processes[0], resume, err);
	if (r == 0)
		r = live_pages_open(&pages, &tree, err);
	if (r == 0) {
		r = plan_build(b->model, &b->files, &pages.source, &options, &b->plan, err);
		live_pages_close(&pages);
	}
	frozen_tree_done(&tree);
	return r;
}
