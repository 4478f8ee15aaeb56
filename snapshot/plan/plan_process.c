/* SPDX-License-Identifier: MIT */
/* plan_process.c - the tables of the control file, from the model: attributes, what the memory holds, how a clone comes in */
#include "snapshot/plan/plan_internal.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"

/* strings one behind the other. Return: offset of the first */
static uint64_t put_strings(struct image *im, char *const *v, uint32_t n, uint64_t *ret_len)
{
	uint64_t first = im->len;

	for (uint32_t i = 0; i < n; i++)
		image_put(im, v[i], strlen(v[i]) + 1, 1);
	*ret_len = im->len - first;
	return first;
}

static void put_context(struct image *im, const struct model_entry *e)
{
	uint64_t len, at = put_strings(im, e->argv_prefix, e->argv_prefix_n, &len);

	image_set(im, offsetof(struct stub_data, argv_prefix), at);
	at = put_strings(im, e->build_env, e->build_envc, &len);
	image_set(im, offsetof(struct stub_data, build_env), at);
	image_set(im, offsetof(struct stub_data, build_env_len), len);
	at = put_strings(im, e->build_argv, e->build_argc, &len);
	image_set(im, offsetof(struct stub_data, build_argv), at);
	image_set(im, offsetof(struct stub_data, build_argv_len), len);
	if (im->failed)
		return;
	image_head(im)->argv_prefix_n = e->argv_prefix_n;
	image_head(im)->argv_drop = e->argv_drop;
}

static void put_randoms(struct image *im, const struct model_entry *e)
{
	uint64_t table = image_reserve(im, e->nrandoms * sizeof(struct stub_random), 8);

	for (size_t i = 0; i < e->nrandoms && !im->failed; i++) {
		struct stub_random r = { .addr = e->randoms[i].addr, .len = e->randoms[i].len };

		memcpy(im->v + table + i * sizeof(r), &r, sizeof(r));
	}
	image_set_process(im, offsetof(struct stub_process, randoms), table);
	if (!im->failed)
		image_process(im)->nrandoms = (uint32_t)e->nrandoms;
}

static void put_rlimits(struct image *im, const struct model_process *p, const struct model_entry *e)
{
	struct stub_rlimit list[MODEL_RLIMITS];
	uint32_t n = 0;

	for (uint32_t i = 0; e->has_start_rlimits && i < MODEL_RLIMITS; i++)
		if (memcmp(p->rlimits[i], e->start_rlimits[i], sizeof(p->rlimits[i])) != 0)
			list[n++] = (struct stub_rlimit){ .resource = i,
							  .soft = p->rlimits[i][0],
							  .hard = p->rlimits[i][1] };
	image_set_process(im, offsetof(struct stub_process, rlimits),
			  image_put(im, list, n * sizeof(list[0]), 8));
	if (!im->failed)
		image_process(im)->nrlimits = n;
}

/* how the root of what is launched comes in */
static void put_entry(struct image *im, const struct model_entry *e)
{
	struct stub_process *q = image_process(im);

	memcpy(q->environ_addr, e->environ_addr, sizeof(q->environ_addr));
	q->libc_argv_addr = e->libc_argv_addr;
	q->progname_full_addr = e->progname_full_addr;
	q->progname_short_addr = e->progname_short_addr;
	q->context_fd = e->context_raw ? -1 : e->context_fd;
	q->context_late = e->context_late;
	if (e->context_raw) {
		q->context_buf = e->context_buf;
		q->context_max = e->context_max;
	}
	if (e->oom_score_adj)
		image_set_process(im, offsetof(struct stub_process, oom_score_adj),
				  image_put(im, e->oom_score_adj, strlen(e->oom_score_adj) + 1, 1));
	put_context(im, e);
	put_randoms(im, e);
}

static uint32_t stub_index(int index)
{
	return index < 0 ? STUB_NONE : (uint32_t)index;
}

static void put_attributes(struct image *im, const struct model *m, const struct model_process *p)
{
	const struct model_entry *e = &m->entry;
	const struct model_fs *fs = &m->filesystems[p->fs];
	struct stub_process *q = image_process(im); /* valid until something is put */

	q->parent = stub_index(p->parent);
	q->group = stub_index(p->group);
	q->session = stub_index(p->session);
	q->state = p->state == MODEL_ZOMBIE ? STUB_PROCESS_ZOMBIE : STUB_PROCESS_LIVE;
	q->exit_status = p->exit_status;
	q->shared_memory = q->shared_fds = q->shared_fs = q->shared_handlers = im->process;
	q->umask = fs->umask == e->start_umask ? -1 : (int32_t)fs->umask;
	q->dumpable = p->dumpable;
	q->no_new_privs = p->no_new_privs;
	q->pdeathsig = p->pdeathsig;
	q->subreaper = p->subreaper;
	q->thp_disable = p->thp_disable;
	q->timerslack_ns = p->timerslack_ns;
	q->timerslack_set = e->start_timerslack_ns && p->timerslack_ns != e->start_timerslack_ns;
	q->personality = p->personality;
	q->personality_set = p->personality != e->start_personality;
	q->xcomp_perm = p->amx;
	q->old_pid = (uint32_t)p->pid;
}

void put_process(struct image *im, const struct model *m, const struct model_process *p)
{
	const struct model_fs *fs = &m->filesystems[p->fs];
	const char *start_cwd = m->entry.start_cwd ? m->entry.start_cwd : fs->cwd;

	put_attributes(im, m, p);
	put_rlimits(im, p, &m->entry);
	if (im->process == 0 && !im->failed)
		put_entry(im, &m->entry);
	if (strcmp(start_cwd, fs->cwd) != 0)
		image_set_process(im, offsetof(struct stub_process, cwd),
				  image_put(im, fs->cwd, strlen(fs->cwd) + 1, 1));
}

static void put_owners(struct image *im, const struct model_space *s)
{
	uint64_t table = image_reserve(im, s->nowners * sizeof(struct stub_owner), 8);

	for (size_t i = 0; i < s->nowners && !im->failed; i++) {
		struct stub_owner o = { .addr = s->owners[i].addr, .thread = s->owners[i].thread };

		memcpy(im->v + table + i * sizeof(o), &o, sizeof(o));
	}
	image_set_process(im, offsetof(struct stub_process, owners), table);
	if (!im->failed)
		image_process(im)->nowners = (uint32_t)s->nowners;
}

void put_space(struct image *im, const struct model *m, const struct model_space *s)
{
	const char *exe = m->objects[s->exe_object].path;
	struct stub_process *q;
	uint64_t auxv = image_put(im, s->auxv, s->auxv_len, 8);
	uint64_t path = image_put(im, exe, strlen(exe) + 1, 1);
	uint64_t pids = image_put(im, s->pids, s->npids * sizeof(*s->pids), 8);
	uint64_t generations = image_put(im, s->generations, s->ngenerations * sizeof(*s->generations), 8);

	put_owners(im, s);
	if (im->failed)
		return;
	q = image_process(im);
	for (int i = 0; i < MODEL_VDSO_PARTS; i++)
		q->vdso[i] = (struct stub_vdso_part){ .addr = s->vdso[i].addr,
						      .len = s->vdso[i].len,
						      .from_vdso = s->vdso[i].from_vdso };
	q->vdso_addr = s->vdso_addr;
	q->mm = (struct stub_mm){ .start_code = s->mm.start_code,
				  .end_code = s->mm.end_code,
				  .start_data = s->mm.start_data,
				  .end_data = s->mm.end_data,
				  .start_brk = s->mm.start_brk,
				  .brk = s->mm.brk,
				  .start_stack = s->mm.start_stack,
				  .auxv = auxv,
				  .auxv_size = s->auxv_len };
	q->exe_file = s->exe_object;
	q->exe_path = path;
	q->pids = pids;
	q->npids = (uint32_t)s->npids;
	q->generations = generations;
	q->ngenerations = (uint32_t)s->ngenerations;
}

void put_outputs(struct image *im, const struct model_entry *e)
{
	uint64_t bytes = image_put(im, e->output_bytes, e->output_size, 1);
	uint64_t table = image_reserve(im, e->noutputs * sizeof(struct stub_output), 8);

	for (size_t i = 0; i < e->noutputs && !im->failed; i++) {
		const struct model_output *from = &e->outputs[i];
		struct stub_output out = { .data = bytes + from->at,
					   .len = from->len,
					   .fd = from->fd,
					   .kind = from->termios ? STUB_OUTPUT_TERMIOS : STUB_OUTPUT_BYTES };

		memcpy(im->v + table + i * sizeof(out), &out, sizeof(out));
	}
	if (im->failed)
		return;
	image_head(im)->outputs = table;
	image_head(im)->noutputs = (uint32_t)e->noutputs;
}
