/* SPDX-License-Identifier: MIT */
/* plan_tables.c - the tables of the control file, from the record */
#include "snapshot/plan/plan_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"
#include "engine/trace.h"

#define THREAD_STACK 1024 /* in front of each thread's frame */

static bool differs(const struct stub_sigaction *s, uint64_t ignored)
{
	uint64_t launcher = ignored >> (s->signo - 1) & 1 ? 1 /* SIG_IGN */ : 0;

	/* default and ignored signals have no flags that matter, but SA_NOCLDWAIT of SIGCHLD */
	return s->handler != launcher || s->flags & 2;
}

void put_signals(struct image *im, const struct record_process *p, const struct plan_options *o)
{
	struct stub_sigaction list[64];
	uint32_t n = 0;

	for (int i = 0; i < 64; i++)
		if (p->sigactions[i].signo &&
		    (differs(&p->sigactions[i], o->ignored_signals) || o->own_signals >> i & 1))
			list[n++] = p->sigactions[i];
	image_process(im)->nsigactions = n;
	image_head(im)->start_ignored = o->ignored_signals;
	image_head(im)->start_blocked = o->blocked_signals;
	image_head(im)->tell_signals = o->tell_signals;
	image_set_process(im, offsetof(struct stub_process, sigactions),
			  image_put(im, list, n * sizeof(list[0]), 8));
	image_process(im)->npendings = (uint32_t)p->npendings;
	image_set_process(im, offsetof(struct stub_process, pendings),
			  image_put(im, p->pendings, p->npendings * sizeof(*p->pendings), 8));
	image_process(im)->nitimers = (uint32_t)p->nitimers;
	image_set_process(im, offsetof(struct stub_process, itimers),
			  image_put(im, p->itimers, p->nitimers * sizeof(p->itimers[0]), 8));
	image_process(im)->ntimers = (uint32_t)p->ntimers;
	image_set_process(im, offsetof(struct stub_process, timers),
			  image_put(im, p->timers, p->ntimers * sizeof(*p->timers), 8));
}

/* bytes that clones have at @addr, and the template's memory has not. Return: 0 or -ENOMEM */
static int add_patch(struct patches *list, uint64_t addr, const void *bytes, size_t len)
{
	struct patch *more = realloc(list->v, (list->n + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	list->v = more;
	if (len > sizeof(more->bytes))
		return -E2BIG;
	more += list->n++;
	more->addr = addr;
	more->len = len;
	memcpy(more->bytes, bytes, len);
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
static int retime(struct patches *patches, const struct record_thread *t, arch_regs *regs, uint64_t time_at,
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

static int put_thread(struct image *im, struct patches *patches, const struct record_process *p, size_t i,
		      uint64_t table, uint64_t data_base, uint64_t resume_timed, const struct plan_options *o)
{
	const struct record_thread *t = &p->threads[i], *main_thread = &p->threads[0];
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
		.resume = t->resume,
	};
	arch_regs regs = t->regs;
	uint64_t room, times[2] = { t->timeout_ns / 1000000000, t->timeout_ns % 1000000000 };
	int r;

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
		  : o->start_affinity && memcmp(t->affinity, o->start_affinity, sizeof(t->affinity)) != 0) {
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

int put_threads(struct image *im, struct patches *patches, const struct record_process *p, uint64_t data_base,
		uint64_t resume_timed, const struct plan_options *o, struct error *err)
{
	uint64_t table = image_reserve(im, p->nthreads * sizeof(struct stub_thread), 64);

	if (im->failed)
		return error_set(err, ENOMEM, "no memory for the template's tables");
	image_process(im)->threads = table;
	image_process(im)->nthreads = (uint32_t)p->nthreads;
	for (size_t i = 0; i < p->nthreads; i++) {
		int r = put_thread(im, patches, p, i, table, data_base, resume_timed, o);

		if (r < 0)
			return error_errno(err, r, "preparing thread %d", p->threads[i].tid);
		if (p->threads[i].resume != STUB_RESUME_FRAME)
			image_process(im)->ready_thread = (uint32_t)i;
	}
	return 0;
}

/* its stack is in use there: the function that it returns from, and what it returns to, write to that page */
int put_leave(struct image *im, struct patches *patches, const struct plan_leave *l, uint64_t resume_leave,
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

int put_exit(struct image *im, const struct record_process *p, const struct plan_options *o,
	     uint64_t stub_base, struct error *err)
{
	const uint64_t *table = (const uint64_t *)(blob_stub + 64);
	const uint64_t entries[] = {
		table[0], table[1], table[3], table[4], table[5], table[6], table[7]
	}; /* by enum stub_hook_kind */
	uint64_t at = image_put(im, o->hooks, o->nhooks * sizeof(*o->hooks), 8);

	if (im->failed || !o->nhooks)
		return 0;
	for (size_t i = 0; i < o->nhooks; i++) {
		struct stub_hook *hook = (struct stub_hook *)(im->v + at) + i;
		/* each exit hook has an entry by which it knows its number; the others need none */
		size_t entry = hook->kind >= STUB_HOOK_MADVISE ? 0 : i;
		int r;

		if (entry >= STUB_HOOK_ENTRIES)
			return error_set(err, EOPNOTSUPP, "it has more than %d functions that end it",
					 STUB_HOOK_ENTRIES);
		hook->len = (uint32_t)arch_jump_patch(hook->bytes,
						      stub_base + entries[hook->kind] + 16 * entry);
		r = trace_read(p->pid, hook->addr, hook->original, hook->len);
		if (r < 0)
			return error_errno(err, r, "reading the program's exit function");
	}
	image_process(im)->exit = *o->exit;
	image_process(im)->nhooks = (uint32_t)o->nhooks;
	image_process(im)->hooks = at;
	return 0;
}

/* strings one behind the other. Return: offset of the first */
static uint64_t put_strings(struct image *im, char *const *v, uint32_t n, uint64_t *ret_len)
{
	uint64_t first = im->len;

	for (uint32_t i = 0; i < n; i++)
		image_put(im, v[i], strlen(v[i]) + 1, 1);
	*ret_len = im->len - first;
	return first;
}

static void put_context(struct image *im, const struct plan_options *o)
{
	uint64_t len, at = put_strings(im, o->argv_prefix, o->argv_prefix_n, &len);

	image_set(im, offsetof(struct stub_data, argv_prefix), at);
	at = put_strings(im, o->build_env, o->build_envc, &len);
	image_set(im, offsetof(struct stub_data, build_env), at);
	image_set(im, offsetof(struct stub_data, build_env_len), len);
	at = put_strings(im, o->build_argv, o->build_argc, &len);
	image_set(im, offsetof(struct stub_data, build_argv), at);
	image_set(im, offsetof(struct stub_data, build_argv_len), len);
	at = image_put(im, o->randoms, o->nrandoms * sizeof(*o->randoms), 8);
	image_set_process(im, offsetof(struct stub_process, randoms), at);
	if (!im->failed)
		image_process(im)->nrandoms = (uint32_t)o->nrandoms;
}

static void put_rlimits(struct image *im, const struct record_process *p, const struct plan_options *o)
{
	struct stub_rlimit list[ARRAY_SIZE(p->rlimits)];
	uint32_t n = 0;

	for (uint32_t i = 0; o->start_rlimits && i < ARRAY_SIZE(list); i++)
		if (memcmp(p->rlimits[i], o->start_rlimits[i], sizeof(p->rlimits[i])) != 0)
			list[n++] = (struct stub_rlimit){ .resource = i,
							  .soft = p->rlimits[i][0],
							  .hard = p->rlimits[i][1] };
	image_set_process(im, offsetof(struct stub_process, rlimits),
			  image_put(im, list, n * sizeof(list[0]), 8));
	if (!im->failed)
		image_process(im)->nrlimits = n;
}

void put_process(struct image *im, const struct record_process *p, const struct plan_options *o)
{
	const char *start_cwd = o->start_cwd ? o->start_cwd : p->cwd;
	/* valid until something is put */
	struct stub_data *d = image_head(im);
	struct stub_process *q = image_process(im);
	uint64_t auxv;

	/* the root of what is launched: its parent, group and session are the launch's */
	q->parent = q->group = q->session = STUB_NONE;
	q->state = STUB_PROCESS_LIVE;
	q->shared_memory = q->shared_fds = q->shared_fs = q->shared_handlers = im->process;
	memcpy(q->vdso, p->vdso, sizeof(q->vdso));
	q->vdso_addr = p->vdso_addr;
	q->mm = p->mm;
	memcpy(q->environ_addr, o->environ_addr, sizeof(q->environ_addr));
	q->libc_argv_addr = o->libc_argv_addr;
	q->progname_full_addr = o->progname_full_addr;
	q->progname_short_addr = o->progname_short_addr;
	q->context_fd = o->context_raw ? -1 : o->context_fd;
	q->context_late = o->context_late;
	d->argv_prefix_n = o->argv_prefix_n;
	d->argv_drop = o->argv_drop;
	q->umask = p->umask == o->start_umask ? -1 : (int32_t)p->umask;
	q->dumpable = p->dumpable;
	q->no_new_privs = p->no_new_privs;
	q->pdeathsig = p->pdeathsig;
	q->subreaper = p->subreaper;
	q->thp_disable = p->thp_disable;
	q->timerslack_ns = p->timerslack_ns;
	q->timerslack_set = o->start_timerslack_ns && p->timerslack_ns != o->start_timerslack_ns;
	q->personality = p->personality;
	q->personality_set = p->personality != o->start_personality;
	q->xcomp_perm = p->amx;
	q->old_pid = (uint32_t)p->pid;
	auxv = image_put(im, p->auxv, p->auxv_len, 8);
	if (!im->failed)
		image_process(im)->mm.auxv = auxv;
	put_rlimits(im, p, o);
	if (o->oom_score_adj) {
		uint64_t at = image_put(im, o->oom_score_adj, strlen(o->oom_score_adj) + 1, 1);

		image_set_process(im, offsetof(struct stub_process, oom_score_adj), at);
	}
	put_context(im, o);
	if (strcmp(start_cwd, p->cwd) != 0) {
		uint64_t at = image_put(im, p->cwd, strlen(p->cwd) + 1, 1);

		image_process(im)->cwd = at;
	}
}

void put_exe(struct image *im, const struct record *rec, const struct record_process *p)
{
	const char *path = rec->objects[p->exe_object].path;

	image_set_process(im, offsetof(struct stub_process, exe_path),
			  image_put(im, path, strlen(path) + 1, 1));
}

void put_outputs(struct image *im, const struct plan_options *o)
{
	uint64_t bytes = image_put(im, o->output_bytes, o->output_size, 1);
	uint64_t table = image_reserve(im, o->noutputs * sizeof(struct stub_output), 8);

	for (size_t i = 0; i < o->noutputs && !im->failed; i++) {
		struct stub_output out = o->outputs[i];

		out.data += bytes;
		memcpy(im->v + table + i * sizeof(out), &out, sizeof(out));
	}
	image_head(im)->outputs = table;
	image_head(im)->noutputs = (uint32_t)o->noutputs;
}
