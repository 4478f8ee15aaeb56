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
	image_head(im)->nsigactions = n;
	image_head(im)->start_ignored = o->ignored_signals;
	image_head(im)->start_blocked = o->blocked_signals;
	image_head(im)->tell_signals = o->tell_signals;
	image_set(im, offsetof(struct stub_data, sigactions), image_put(im, list, n * sizeof(list[0]), 8));
	image_head(im)->npendings = (uint32_t)p->npendings;
	image_set(im, offsetof(struct stub_data, pendings),
		  image_put(im, p->pendings, p->npendings * sizeof(*p->pendings), 8));
	image_head(im)->nitimers = (uint32_t)p->nitimers;
	image_set(im, offsetof(struct stub_data, itimers),
		  image_put(im, p->itimers, p->nitimers * sizeof(p->itimers[0]), 8));
	image_head(im)->ntimers = (uint32_t)p->ntimers;
	image_set(im, offsetof(struct stub_data, timers),
		  image_put(im, p->timers, p->ntimers * sizeof(*p->timers), 8));
}

/*
 * A thread in a timed call goes on in the stub, which makes the call with the time
 * that is left and then restores the argument register. The registers that
 * it needs lie below the thread's red zone; those bytes are dead in the process too.
 */
static int retime(const struct record_process *p, const struct record_thread *t, arch_regs *regs,
		  uint64_t time_at, uint64_t resume_timed)
{
	uint64_t saved[4], slot = arch_retime_slot(regs);
	int r;

	if (t->timeout_arg < 0)
		return 0;
	r = arch_retime_call(regs, t->timeout_arg, t->timeout_ms ? t->timeout_ns / 1000000 : time_at,
			     resume_timed, saved);
	return r < 0 ? r : trace_write(p->pid, slot, saved, sizeof(saved));
}

static int put_thread(struct image *im, const struct record_process *p, size_t i, uint64_t table,
		      uint64_t data_base, uint64_t resume_timed, const struct plan_options *o)
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
	r = retime(p, t, &regs, data_base + table + i * sizeof(s) + offsetof(struct stub_thread, time_left),
		   resume_timed);
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

int put_threads(struct image *im, const struct record_process *p, uint64_t data_base, uint64_t resume_timed,
		const struct plan_options *o, struct error *err)
{
	uint64_t table = image_reserve(im, p->nthreads * sizeof(struct stub_thread), 64);

	if (im->failed)
		return error_set(err, ENOMEM, "no memory for the template's tables");
	image_head(im)->threads = table;
	image_head(im)->nthreads = (uint32_t)p->nthreads;
	for (size_t i = 0; i < p->nthreads; i++) {
		int r = put_thread(im, p, i, table, data_base, resume_timed, o);

		if (r < 0)
			return error_errno(err, r, "preparing thread %d", p->threads[i].tid);
		if (p->threads[i].resume != STUB_RESUME_FRAME)
			image_head(im)->ready_thread = (uint32_t)i;
	}
	return 0;
}

int put_leave(struct image *im, const struct record_process *p, const struct plan_leave *l,
	      uint64_t resume_leave, struct error *err)
{
	int r = trace_write(p->pid, l->slot, &resume_leave, sizeof(resume_leave));

	if (r < 0)
		return error_errno(err, r, "writing to the program's stack");
	if (!im->failed)
		image_head(im)->leave = (struct stub_leave){ .restore = l->restore,
							     .exception = l->exception,
							     .release = l->release,
							     .gil_state = l->gil_state,
							     .frame = l->frame };
	return 0;
}

void put_fds(struct image *im, const struct record *rec, const struct record_process *p)
{
	struct stub_fd *list = calloc(p->nfds + 1, sizeof(*list));
	struct stub_epoll *epolls = calloc(rec->nepolls + 1, sizeof(*epolls));
	uint32_t n = 0;

	if (!list || !epolls) {
		im->failed = true;
		goto out;
	}
	for (size_t i = 0; i < p->nfds; i++) {
		const struct record_fd *f = &p->fds[i];
		const struct record_description *d = &rec->descriptions[f->description], *peer;
		struct stub_fd s = { .fd = f->fd,
				     .peer = -1,
				     .kind = d->kind,
				     .flags = d->flags,
				     .cloexec = f->cloexec,
				     .a = d->a,
				     .b = d->b,
				     .c = d->c,
				     .owner_signo = d->owner_signo };
		bool done = false;

		for (size_t j = 0; j < i; j++) {
			if (p->fds[j].description == f->description) {
				s.kind = STUB_FD_DUP;
				s.a = (uint64_t)p->fds[j].fd;
				done = true;
				break;
			}
			/* made with its other end */
			if (d->peer >= 0 && p->fds[j].description == d->peer)
				done = true, s.kind = UINT32_MAX;
		}
		if (s.kind == UINT32_MAX)
			continue;
		if (!done && (d->kind == STUB_FD_PIPE || d->kind == STUB_FD_SOCKETPAIR)) {
			/* of a pipe the read end comes first; one whose other end is closed is made and closed again */
			bool writer = d->kind == STUB_FD_PIPE && (d->flags & 3) != 0;

			peer = d->peer >= 0 ? &rec->descriptions[d->peer] : NULL;
			for (size_t j = i + 1; j < p->nfds && peer; j++) {
				if (p->fds[j].description == d->peer) {
					s.peer = p->fds[j].fd;
					s.peer_flags = peer->flags;
					s.peer_owner_signo = peer->owner_signo;
					s.cloexec |= p->fds[j].cloexec ? 2 : 0;
					break;
				}
			}
			s.data_len = d->data_len;
			s.data = image_put(im, d->data, d->data_len, 8);
			if (peer) {
				s.data2_len = peer->data_len;
				s.data2 = image_put(im, peer->data, peer->data_len, 8);
			}
			if (writer) {
				int32_t fd = s.fd;
				uint32_t flags = s.flags;
				int32_t owner = s.owner_signo;

				s.fd = s.peer;
				s.flags = s.peer_flags;
				s.peer = fd;
				s.peer_flags = flags;
				s.owner_signo = s.peer_owner_signo;
				s.peer_owner_signo = owner;
				s.cloexec = (s.cloexec & 1) << 1 | s.cloexec >> 1;
				s.data = s.data2;
				s.data_len = s.data2_len;
				s.data2_len = 0;
			}
		} else if (!done && d->kind == STUB_FD_SOCKET) {
			s.data = image_put(im, d->data, d->data_len, 8);
			s.data_len = d->data_len;
		} else if (!done && d->kind == STUB_FD_PATH) {
			s.data = image_put(im, d->path, strlen(d->path) + 1, 1);
			s.b = d->offset;
		}
		list[n++] = s;
	}
	image_head(im)->nfds = n;
	image_set(im, offsetof(struct stub_data, fds), image_put(im, list, n * sizeof(*list), 8));
	if (n > STUB_FDS_IN_LAUNCH)
		image_set(im, offsetof(struct stub_data, fd_room),
			  image_reserve(im, (2u * n + 1) * sizeof(int32_t), 8));
	for (size_t i = 0; i < rec->nepolls; i++) {
		for (size_t j = 0; j < p->nfds; j++)
			if (p->fds[j].description == rec->epolls[i].description)
				epolls[i].epfd = p->fds[j].fd;
		epolls[i].fd = rec->epolls[i].fd;
		epolls[i].events = rec->epolls[i].events;
		epolls[i].data = rec->epolls[i].data;
	}
	image_head(im)->nepolls = (uint32_t)rec->nepolls;
	image_set(im, offsetof(struct stub_data, epolls),
		  image_put(im, epolls, rec->nepolls * sizeof(*epolls), 8));
out:
	free(list);
	free(epolls);
}

int put_exit(struct image *im, const struct record_process *p, const struct stub_exit *e, uint64_t stub_base,
	     struct error *err)
{
	const uint64_t *table = (const uint64_t *)(blob_stub + 64);
	const uint64_t hooks[] = {
		table[0], table[1], table[3], table[4], table[5], table[6], table[7]
	}; /* by enum stub_hook */
	struct stub_exit *out;

	if (!e || !e->npatches)
		return 0;
	out = &image_head(im)->exit;
	*out = *e;
	for (uint32_t i = 0; i < e->npatches; i++) {
		struct stub_patch *patch = &out->patches[i];
		int r;

		patch->len = (uint32_t)arch_jump_patch(
			patch->bytes,
			stub_base + hooks[patch->kind] + (patch->kind >= STUB_HOOK_MADVISE ? 0 : 16 * i));
		r = trace_read(p->pid, patch->addr, patch->original, patch->len);
		if (r < 0)
			return error_errno(err, r, "reading the program's exit function");
	}
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
	image_set(im, offsetof(struct stub_data, randoms), at);
	if (!im->failed)
		image_head(im)->nrandoms = (uint32_t)o->nrandoms;
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
	image_set(im, offsetof(struct stub_data, rlimits), image_put(im, list, n * sizeof(list[0]), 8));
	if (!im->failed)
		image_head(im)->nrlimits = n;
}

void put_process(struct image *im, const struct record_process *p, const struct plan_options *o)
{
	const char *start_cwd = o->start_cwd ? o->start_cwd : p->cwd;
	struct stub_data *d = image_head(im); /* valid until something is put */
	uint64_t auxv;

	memcpy(d->vdso, p->vdso, sizeof(d->vdso));
	d->vdso_addr = p->vdso_addr;
	d->mm = p->mm;
	memcpy(d->environ_addr, o->environ_addr, sizeof(d->environ_addr));
	d->libc_argv_addr = o->libc_argv_addr;
	d->progname_full_addr = o->progname_full_addr;
	d->progname_short_addr = o->progname_short_addr;
	d->context_fd = o->context_raw ? -1 : o->context_fd;
	d->context_late = o->context_late;
	d->argv_prefix_n = o->argv_prefix_n;
	d->argv_drop = o->argv_drop;
	d->umask = p->umask == o->start_umask ? -1 : (int32_t)p->umask;
	d->dumpable = p->dumpable;
	d->no_new_privs = p->no_new_privs;
	d->pdeathsig = p->pdeathsig;
	d->subreaper = p->subreaper;
	d->thp_disable = p->thp_disable;
	d->timerslack_ns = p->timerslack_ns;
	d->timerslack_set = o->start_timerslack_ns && p->timerslack_ns != o->start_timerslack_ns;
	d->personality = p->personality;
	d->personality_set = p->personality != o->start_personality;
	d->xcomp_perm = p->amx;
	d->old_pid = (uint32_t)p->pid;
	auxv = image_put(im, p->auxv, p->auxv_len, 8);
	if (!im->failed)
		image_head(im)->mm.auxv = auxv;
	put_rlimits(im, p, o);
	if (o->oom_score_adj) {
		uint64_t at = image_put(im, o->oom_score_adj, strlen(o->oom_score_adj) + 1, 1);

		image_set(im, offsetof(struct stub_data, oom_score_adj), at);
	}
	put_context(im, o);
	if (strcmp(start_cwd, p->cwd) != 0) {
		uint64_t at = image_put(im, p->cwd, strlen(p->cwd) + 1, 1);

		image_head(im)->cwd = at;
	}
}

void put_exe(struct image *im, const struct record *rec, const struct record_process *p)
{
	const char *path = rec->objects[p->exe_object].path;

	image_set(im, offsetof(struct stub_data, exe_path), image_put(im, path, strlen(path) + 1, 1));
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
