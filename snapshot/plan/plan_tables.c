/* SPDX-License-Identifier: MIT */
/* plan_tables.c - the tables of the control file, from the model: signals, threads, hooks, attributes */
#include "snapshot/plan/plan_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"

#define THREAD_STACK 1024 /* in front of each thread's frame */

static bool differs(const struct model_sigaction *s, int signo, uint64_t ignored)
{
	uint64_t launcher = ignored >> (signo - 1) & 1 ? 1 /* SIG_IGN */ : 0;

	/* default and ignored signals have no flags that matter, but SA_NOCLDWAIT of SIGCHLD */
	return s->handler != launcher || s->flags & SA_NOCLDWAIT;
}

static void put_dispositions(struct image *im, const struct model_handlers *h, const struct model_entry *e)
{
	struct stub_sigaction list[MODEL_SIGNALS];
	uint32_t n = 0;

	for (int signo = 1; signo <= MODEL_SIGNALS; signo++) {
		const struct model_sigaction *a = &h->actions[signo - 1];

		if (signo == SIGKILL || signo == SIGSTOP)
			continue;
		if (differs(a, signo, e->ignored_signals) || e->own_signals >> (signo - 1) & 1)
			list[n++] = (struct stub_sigaction){ .handler = a->handler,
							     .flags = a->flags,
							     .restorer = a->restorer,
							     .mask = a->mask,
							     .signo = (uint32_t)signo };
	}
	image_process(im)->nsigactions = n;
	image_set_process(im, offsetof(struct stub_process, sigactions),
			  image_put(im, list, n * sizeof(list[0]), 8));
}

static void put_pendings(struct image *im, const struct model_process *p)
{
	uint64_t table = image_reserve(im, p->npendings * sizeof(struct stub_pending), 8);

	for (size_t i = 0; i < p->npendings && !im->failed; i++) {
		const struct model_pending *from = &p->pendings[i];
		struct stub_pending to = { .tid_index = from->thread < 0 ? UINT32_MAX
									 : (uint32_t)from->thread };

		memcpy(to.info, from->info, sizeof(to.info));
		memcpy(im->v + table + i * sizeof(to), &to, sizeof(to));
	}
	image_set_process(im, offsetof(struct stub_process, pendings), table);
	if (!im->failed)
		image_process(im)->npendings = (uint32_t)p->npendings;
}

static void put_timers(struct image *im, const struct model_process *p)
{
	uint64_t itimers = image_reserve(im, p->nitimers * sizeof(struct stub_itimer), 8);
	uint64_t timers = image_reserve(im, p->ntimers * sizeof(struct stub_timer), 8);

	if (im->failed)
		return;
	for (size_t i = 0; i < p->nitimers; i++) {
		const struct model_itimer *from = &p->itimers[i];
		struct stub_itimer to = { .which = from->which,
					  .interval_us = from->interval_us,
					  .value_us = from->value_us };

		memcpy(im->v + itimers + i * sizeof(to), &to, sizeof(to));
	}
	for (size_t i = 0; i < p->ntimers; i++) {
		const struct model_timer *from = &p->timers[i];
		struct stub_timer to = { .id = from->id,
					 .clock = from->clock,
					 .notify = from->notify,
					 .signo = from->signo,
					 .value = from->value,
					 .thread_index = from->thread,
					 .overrun = from->overrun,
					 .interval_ns = from->interval_ns,
					 .value_ns = from->value_ns };

		memcpy(im->v + timers + i * sizeof(to), &to, sizeof(to));
	}
	image_process(im)->itimers = itimers;
	image_process(im)->nitimers = (uint32_t)p->nitimers;
	image_process(im)->timers = timers;
	image_process(im)->ntimers = (uint32_t)p->ntimers;
}

void put_signals(struct image *im, const struct model *m, const struct model_process *p)
{
	image_head(im)->start_ignored = m->entry.ignored_signals;
	image_head(im)->start_blocked = m->entry.blocked_signals;
	image_head(im)->tell_signals = m->entry.tell_signals;
	put_dispositions(im, &m->handlers[p->handlers], &m->entry);
	put_pendings(im, p);
	put_timers(im, p);
}

/* bytes that clones have at @addr, and the template's memory has not. Return: 0 or -ENOMEM */
static int add_patch(struct patches *list, uint64_t addr, const void *bytes, size_t len)
{
	struct patch *patch;

	if (len > sizeof(patch->bytes))
		return -E2BIG;
	patch = array_append(&list->v, &list->n, sizeof(*patch));
	if (!patch)
		return -ENOMEM;
	patch->addr = addr;
	patch->len = len;
	memcpy(patch->bytes, bytes, len);
	return 0;
}

void put_patches(struct image *im, const struct patches *list)
{
	uint64_t table = image_reserve(im, list->n * sizeof(struct stub_patch), 8);

	for (size_t i = 0; i < list->n && !im->failed; i++) {
		const struct patch *from = &list->v[i];
		struct stub_patch patch = { .addr = from->addr, .len = from->len };

		patch.data = image_put(im, from->bytes, from->len, 8);
		if (!im->failed)
			memcpy(im->v + table + i * sizeof(patch), &patch, sizeof(patch));
	}
	image_set_process(im, offsetof(struct stub_process, patches), table);
	if (!im->failed)
		image_process(im)->npatches = (uint32_t)list->n;
}

/*
 * A thread in a timed call goes on in the stub, which makes the call with the time
 * that is left and then restores the argument register. The registers that
 * it needs lie below the thread's red zone, on a stack that the thread writes to as it goes on.
 */
static int retime(struct patches *patches, const struct model_thread *t, arch_regs *regs, uint64_t time_at,
		  uint64_t resume_timed)
{
	uint64_t saved[4], slot = arch_retime_slot(regs);
	int r;

	if (t->timeout_arg < 0)
		return 0;
	r = arch_retime_call(regs, t->timeout_arg, t->timeout_ms ? t->timeout_ns / 1000000 : time_at,
			     resume_timed, saved);
	return r < 0 ? r : add_patch(patches, slot, saved, sizeof(saved));
}

static uint32_t stub_resume_of(enum model_resume resume)
{
	return resume == MODEL_RESUME_CONTEXT ? STUB_RESUME_CONTEXT
	       : resume == MODEL_RESUME_MAIN  ? STUB_RESUME_MAIN
					      : STUB_RESUME_FRAME;
}

static int put_thread(struct image *im, struct patches *patches, const struct model_process *p, size_t i,
		      uint64_t table, uint64_t data_base, uint64_t resume_timed, const struct model_entry *o)
{
	const struct model_thread *t = &p->threads[i], *main_thread = &p->threads[0];
	struct stub_thread s = {
		.fs_base = t->regs.fs_base,
		.gs_base = t->regs.gs_base,
		.clear_tid = t->clear_tid,
		.tid_addr = t->tid_addr,
		.robust_list = t->robust_list,
		.robust_len = t->robust_len,
		.rseq_addr = t->rseq_addr,
		.rseq_size = t->rseq_size,
		.rseq_sig = t->rseq_sig,
		.old_tid = (uint32_t)t->tid,
		.resume = stub_resume_of(t->resume),
	};
	arch_regs regs = t->regs;
	uint64_t room, times[2] = { t->timeout_ns / 1000000000, t->timeout_ns % 1000000000 };
	int r;

	if (!t->xstate || t->xstate_len < ARCH_XSTATE_MIN || t->xstate_len > ARCH_XSTATE_MAX)
		return -EBADMSG;
	memcpy(s.comm, t->comm, sizeof(s.comm));
	/* what a new thread has from the one that makes it needs no setting */
	if (i > 0 ? t->sched_policy != main_thread->sched_policy ||
			    t->sched_priority != main_thread->sched_priority
		  : t->sched_policy != o->start_policy) {
		s.sched_policy = t->sched_policy;
		s.sched_priority = t->sched_priority;
		s.sched_flags |= 1;
	}
	if (t->nice != (i > 0 ? main_thread->nice : o->start_nice)) {
		s.nice = t->nice;
		s.sched_flags |= 2;
	}
	if (i > 0 ? memcmp(t->affinity, main_thread->affinity, sizeof(t->affinity)) != 0
		  : o->has_start_affinity &&
			    memcmp(t->affinity, o->start_affinity, sizeof(t->affinity)) != 0) {
		memcpy(s.affinity, t->affinity, sizeof(s.affinity));
		s.sched_flags |= 4;
	}
	memcpy(s.time_left, times, sizeof(times));
	r = retime(patches, t, &regs,
		   data_base + table + i * sizeof(s) + offsetof(struct stub_thread, time_left), resume_timed);
	if (r < 0)
		return r;
	room = image_reserve(im, THREAD_STACK + arch_frame_size(t->xstate_len), 64);
	s.frame = room + THREAD_STACK;
	if (im->failed)
		return -ENOMEM;
	arch_write_frame(im->v + s.frame, data_base + s.frame, &regs, t->xstate, t->xstate_len, t->sigmask,
			 t->altstack);
	memcpy(im->v + table + i * sizeof(s), &s, sizeof(s));
	return 0;
}

int put_threads(struct image *im, struct patches *patches, const struct model *m,
		const struct model_process *p, uint64_t data_base, uint64_t resume_timed, struct error *err)
{
	uint64_t table = image_reserve(im, p->nthreads * sizeof(struct stub_thread), 64);

	if (im->failed)
		return error_set(err, ENOMEM, "no memory for the template's tables");
	image_process(im)->threads = table;
	image_process(im)->nthreads = (uint32_t)p->nthreads;
	for (size_t i = 0; i < p->nthreads; i++) {
		int r = put_thread(im, patches, p, i, table, data_base, resume_timed, &m->entry);

		if (r < 0)
			return error_errno(err, r, "preparing thread %d", p->threads[i].tid);
		if (p->threads[i].resume != MODEL_RESUME_FRAME)
			image_process(im)->ready_thread = (uint32_t)i;
	}
	return 0;
}

/* its stack is in use there: the function that it returns from, and what it returns to, write to that page */
int put_leave(struct image *im, struct patches *patches, const struct model_leave *l, uint64_t resume_leave,
	      struct error *err)
{
	int r = add_patch(patches, l->slot, &resume_leave, sizeof(resume_leave));

	if (r < 0)
		return error_errno(err, r, "preparing the main thread's way back");
	image_process(im)->leave = (struct stub_leave){ .restore = l->restore,
							.exception = l->exception,
							.release = l->release,
							.gil_state = l->gil_state,
							.frame = l->frame };
	return 0;
}

/* by enum model_hook_kind: what the stub calls it, and where it jumps to */
static const struct {
	enum stub_hook_kind kind;
	enum stub_entry entry;
} hooks[] = {
	[MODEL_HOOK_RETURN] = { STUB_HOOK_RETURN, STUB_ENTRY_HOOK_RETURN },
	[MODEL_HOOK_EXIT] = { STUB_HOOK_EXIT, STUB_ENTRY_HOOK_EXIT },
	[MODEL_HOOK_FINAL] = { STUB_HOOK_FINAL, STUB_ENTRY_HOOK_FINAL },
	[MODEL_HOOK_MADVISE] = { STUB_HOOK_MADVISE, STUB_ENTRY_HOOK_MADVISE },
	[MODEL_HOOK_MREMAP] = { STUB_HOOK_MREMAP, STUB_ENTRY_HOOK_MREMAP },
	[MODEL_HOOK_READLINK] = { STUB_HOOK_READLINK, STUB_ENTRY_HOOK_READLINK },
	[MODEL_HOOK_READLINKAT] = { STUB_HOOK_READLINKAT, STUB_ENTRY_HOOK_READLINKAT },
};
_Static_assert(ARRAY_SIZE(hooks) == MODEL_HOOKS, "one for each kind");

int put_exit(struct image *im, const struct model_entry *e, uint64_t stub_base, struct error *err)
{
	uint64_t at = image_reserve(im, e->nhooks * sizeof(struct stub_hook), 8);

	if (im->failed || !e->nhooks)
		return 0;
	for (size_t i = 0; i < e->nhooks; i++) {
		const struct model_hook *from = &e->hooks[i];
		struct stub_hook *hook = (struct stub_hook *)(im->v + at) + i;
		/* each exit hook has an entry by which it knows its number; the others need none */
		size_t entry = from->kind >= MODEL_HOOK_MADVISE ? 0 : i;

		if (entry >= STUB_HOOK_ENTRIES)
			return error_set(err, EOPNOTSUPP, "it has more than %d functions that end it",
					 STUB_HOOK_ENTRIES);
		hook->addr = from->addr;
		hook->kind = hooks[from->kind].kind;
		hook->len = (uint32_t)arch_jump_patch(
			hook->bytes, stub_base + stub_entry(hooks[from->kind].entry) + 16 * entry);
		if (hook->len > from->len)
			return error_set(err, EBADMSG, "the bytes of a hooked function are not known");
		memcpy(hook->original, from->original, hook->len);
	}
	image_process(im)->exit = (struct stub_exit){ .call = e->exit.call,
						      .arg = e->exit.arg,
						      .value = e->exit.value,
						      .libc_exit = e->exit.libc_exit,
						      .libc_fflush = e->exit.libc_fflush,
						      .errno_location = e->exit.errno_location,
						      .learn_only = e->exit.learn_only };
	image_process(im)->nhooks = (uint32_t)e->nhooks;
	image_process(im)->hooks = at;
	return 0;
}
