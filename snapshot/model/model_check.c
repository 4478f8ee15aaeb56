/* SPDX-License-Identifier: MIT */
/* model_check.c - is it a model that a dump could have made, as far as plan and stub rely on it? */
#include "snapshot/model/model.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#define ADDRESS_MAX (1ull << 63) /* more than any processor has; below it no sum of two wraps */

struct check {
	const struct model *m;
	uint64_t page;
	struct error *err;
};

static int bad(const struct check *c, const char *what, size_t index)
{
	return error_set(c->err, EBADMSG, "its model is damaged: %s (number %zu)", what, index);
}

/* an index, or MODEL_NONE */
static bool refers(int index, size_t n)
{
	return index == MODEL_NONE || (index >= 0 && (size_t)index < n);
}

static bool refers_to_one(int index, size_t n)
{
	return index != MODEL_NONE && refers(index, n);
}

static bool is_absolute(const char *path)
{
	return path && path[0] == '/';
}

/* --- memory ------------------------------------------------------------------------------------------------------ */

static bool is_range(const struct check *c, uint64_t start, uint64_t end)
{
	return start < end && end < ADDRESS_MAX && start % c->page == 0 && end % c->page == 0;
}

static bool runs_fit(const struct check *c, const struct model_vma *v, const struct model_run *runs, size_t n)
{
	uint64_t from = v->start;

	for (size_t i = 0; i < n; i++) {
		const struct model_run *r = &runs[i];

		if (!is_range(c, r->start, r->end) || r->start < from || r->end > v->end)
			return false;
		if (r->offset != MODEL_NO_OFFSET && (r->offset % c->page || r->offset >= ADDRESS_MAX))
			return false;
		from = r->end;
	}
	return true;
}

static int check_vmas(const struct check *c, const struct model_space *s)
{
	uint64_t from = 0;

	for (size_t i = 0; i < s->nvmas; i++) {
		const struct model_vma *v = &s->vmas[i];

		if (!is_range(c, v->start, v->end) || v->start < from)
			return bad(c, "the addresses of a mapping", i);
		if (!refers(v->object, c->m->nobjects) || v->offset % c->page || v->offset >= ADDRESS_MAX)
			return bad(c, "the file of a mapping", i);
		if (v->prot & ~(uint32_t)(PROT_READ | PROT_WRITE | PROT_EXEC) || !v->name)
			return bad(c, "the protection of a mapping", i);
		if (!runs_fit(c, v, v->runs, v->nruns))
			return bad(c, "the pages of a mapping", i);
		if (!runs_fit(c, v, v->guards, v->nguards))
			return bad(c, "the guard pages of a mapping", i);
		from = v->end;
	}
	return 0;
}

/*
 * Does the program have @len bytes of memory there, with this protection? It may be several mappings that follow each
 * other
 */
static bool is_mapped(const struct model_space *s, uint64_t addr, uint64_t len, uint32_t prot)
{
	size_t low = 0, high = s->nvmas;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (addr >= s->vmas[middle].end)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < s->nvmas && addr >= s->vmas[low].start; low++) {
		uint64_t room = s->vmas[low].end - addr;

		if ((s->vmas[low].prot & prot) != prot)
			return false;
		if (len <= room)
			return true;
		addr += room;
		len -= room;
	}
	return false;
}

/* of what the dump finds in writable memory alone: the stub stores there, when a clone has no handler for a fault yet */
static bool is_writable(const struct model_space *s, uint64_t addr, uint64_t len)
{
	return is_mapped(s, addr, len, PROT_WRITE);
}

static int check_addresses(const struct check *c, const struct model_space *s)
{
	for (size_t i = 0; i < s->npids; i++)
		if (!is_mapped(s, s->pids[i], sizeof(uint32_t), PROT_NONE))
			return bad(c, "the address of a process id", i);
	for (size_t i = 0; i < s->ngenerations; i++)
		if (!is_writable(s, s->generations[i], sizeof(uint64_t)))
			return bad(c, "the address of a generation", i);
	for (size_t i = 0; i < s->nowners; i++)
		if (!is_writable(s, s->owners[i].addr, sizeof(uint32_t)))
			return bad(c, "the address of a lock", i);
	for (size_t i = 0; i < MODEL_VDSO_PARTS; i++) {
		const struct model_vdso_part *p = &s->vdso[i];

		if (p->len && (p->addr >= ADDRESS_MAX || p->len >= ADDRESS_MAX ||
			       !is_range(c, p->addr, p->addr + p->len)))
			return bad(c, "a part of the vDSO", i);
	}
	return 0;
}

static int check_memory(const struct check *c)
{
	const struct model *m = c->m;

	for (size_t i = 0; i < m->nobjects; i++)
		if (!is_absolute(m->objects[i].path) ||
		    m->objects[i].build_id_len > sizeof(m->objects[i].build_id))
			return bad(c, "a mapped file", i);
	for (size_t i = 0; i < m->nspaces; i++) {
		const struct model_space *s = &m->spaces[i];
		int r = check_vmas(c, s);

		if (r == 0)
			r = check_addresses(c, s);
		if (r < 0)
			return r;
		if (!refers_to_one(s->exe_object, m->nobjects))
			return bad(c, "the program's file of an address space", i);
		if (s->auxv_len % (2 * sizeof(uint64_t)))
			return bad(c, "the auxiliary vector of an address space", i);
	}
	return 0;
}

/* --- descriptors -------------------------------------------------------------------------------------------------- */

static bool has_peer(const struct model_description *d)
{
	return d->kind == MODEL_FD_PIPE || d->kind == MODEL_FD_SOCKETPAIR;
}

/* the other end, if there is one, has this one as its own other end */
static bool is_paired(const struct model *m, size_t i)
{
	const struct model_description *d = &m->descriptions[i];

	if (!has_peer(d))
		return d->peer == MODEL_NONE;
	if (d->peer == MODEL_NONE)
		return true;
	return refers(d->peer, m->ndescriptions) && (size_t)d->peer != i &&
	       m->descriptions[d->peer].kind == d->kind && m->descriptions[d->peer].peer == (int)i;
}

static bool kind_is_right(const struct model_description *d)
{
	switch (d->kind) {
	case MODEL_FD_PATH:
		return is_absolute(d->path.path);
	case MODEL_FD_SOCKET:
		for (size_t i = 0; i < d->socket.noptions; i++)
			if (d->socket.options[i].len > sizeof(d->socket.options[i].value))
				return false;
		return true;
	case MODEL_FD_TTY:
		return d->outside.of >= MODEL_DEV_TTY;
	case MODEL_FD_CALLER:
		return d->outside.of >= 0;
	default:
		return d->kind < MODEL_FD_KINDS;
	}
}

static int check_descriptions(const struct check *c)
{
	const struct model *m = c->m;

	for (size_t i = 0; i < m->ndescriptions; i++) {
		const struct model_description *d = &m->descriptions[i];

		if (!kind_is_right(d))
			return bad(c, "an open file", i);
		if (!is_paired(m, i))
			return bad(c, "the other end of a pipe or socket", i);
		if (d->data_len && !has_peer(d))
			return bad(c, "an open file with bytes queued that has no queue", i);
		if (d->owner_signo && !refers_to_one(d->owner, m->nprocesses))
			return bad(c, "the owner of an open file", i);
	}
	return 0;
}

static int check_descriptors(const struct check *c)
{
	const struct model *m = c->m;

	for (size_t i = 0; i < m->nfd_tables; i++) {
		int last = -1;

		for (size_t j = 0; j < m->fd_tables[i].nfds; j++) {
			const struct model_fd *f = &m->fd_tables[i].fds[j];

			if (f->fd <= last || !refers_to_one(f->description, m->ndescriptions))
				return bad(c, "a descriptor", j);
			last = f->fd;
		}
	}
	for (size_t i = 0; i < m->nepolls; i++) {
		const struct model_epoll *e = &m->epolls[i];

		if (!refers_to_one(e->description, m->ndescriptions) ||
		    m->descriptions[e->description].kind != MODEL_FD_EPOLL ||
		    !refers_to_one(e->fd_table, m->nfd_tables) || !refers(e->target, m->ndescriptions) ||
		    e->fd < 0)
			return bad(c, "what an epoll watches", i);
	}
	return 0;
}

/* --- processes ----------------------------------------------------------------------------------------------------- */

static bool thread_is_right(const struct model_thread *t)
{
	return t->resume < MODEL_RESUMES && t->timeout_arg >= -1 && t->timeout_arg < 6 && t->tid > 0 &&
	       memchr(t->comm, '\0', sizeof(t->comm)) && (!t->xstate_len || t->xstate);
}

/* a word of 32 bits that gets a clone's own thread id */
static bool id_is_right(const struct model_space *s, uint64_t addr)
{
	return !addr || is_writable(s, addr, sizeof(uint32_t));
}

static int check_threads(const struct check *c, const struct model_process *p)
{
	const struct model_space *s = p->space == MODEL_NONE ? NULL : &c->m->spaces[p->space];

	for (size_t i = 0; i < p->nthreads; i++)
		if (!thread_is_right(&p->threads[i]) || !id_is_right(s, p->threads[i].tid_addr))
			return bad(c, "a thread", i);
	for (size_t i = 0; i < p->npendings; i++)
		if (!refers(p->pendings[i].thread, p->nthreads))
			return bad(c, "the thread of a pending signal", i);
	for (size_t i = 0; i < p->ntimers; i++)
		if (!refers(p->timers[i].thread, p->nthreads) ||
		    (p->timers[i].notify & SIGEV_THREAD_ID && p->timers[i].thread == MODEL_NONE))
			return bad(c, "the thread of a timer", i);
	return p->nitimers > 3 ? bad(c, "interval timers", p->nitimers) : 0;
}

static bool tables_are_right(const struct model *m, const struct model_process *p)
{
	if (p->state == MODEL_ZOMBIE)
		return p->space == MODEL_NONE && p->fd_table == MODEL_NONE && p->fs == MODEL_NONE &&
		       p->handlers == MODEL_NONE && p->nthreads == 0;
	return refers_to_one(p->space, m->nspaces) && refers_to_one(p->fd_table, m->nfd_tables) &&
	       refers_to_one(p->fs, m->nfilesystems) && refers_to_one(p->handlers, m->nhandlers) &&
	       p->nthreads > 0;
}

/* locks are held by threads of each process that has the memory */
static bool owners_are_right(const struct model_space *s, const struct model_process *p)
{
	for (size_t i = 0; i < s->nowners; i++)
		if (s->owners[i].thread >= p->nthreads)
			return false;
	return true;
}

static int check_processes(const struct check *c)
{
	const struct model *m = c->m;

	if (m->nprocesses == 0)
		return bad(c, "processes", 0);
	for (size_t i = 0; i < m->nfilesystems; i++)
		if (!is_absolute(m->filesystems[i].cwd) ||
		    (m->filesystems[i].root && !is_absolute(m->filesystems[i].root)))
			return bad(c, "a directory", i);
	for (size_t i = 0; i < m->nprocesses; i++) {
		const struct model_process *p = &m->processes[i];
		int r;

		/* the first one is the root of the tree; a parent comes before its children */
		if (p->state >= MODEL_STATES || p->pid <= 0 || !refers(p->parent, i) ||
		    (i > 0 && p->parent == MODEL_NONE) || !refers(p->group, m->nprocesses) ||
		    !refers(p->session, m->nprocesses))
			return bad(c, "the place of a process in the tree", i);
		if (!tables_are_right(m, p))
			return bad(c, "the memory, descriptors or threads of a process", i);
		if (p->state != MODEL_ZOMBIE && !owners_are_right(&m->spaces[p->space], p))
			return bad(c, "the thread that holds a lock of a process", i);
		r = check_threads(c, p);
		if (r < 0)
			return r;
	}
	return m->processes[0].state == MODEL_ZOMBIE ? bad(c, "a tree whose root has ended", 0) : 0;
}

/* of a clone's arguments the first are the prefix, and as many of the caller's are left out: one is there in any case */
static bool arguments_are_right(const struct model_entry *e)
{
	return e->argv_prefix_n <= e->build_argc && (e->argv_prefix_n > 0 || e->argv_drop == 0);
}

static int check_entry(const struct check *c)
{
	const struct model_entry *e = &c->m->entry;
	const struct model_space *s = &c->m->spaces[c->m->processes[0].space];
	const uint64_t names[] = { e->libc_argv_addr, e->progname_full_addr, e->progname_short_addr };

	for (size_t i = 0; i < e->nhooks; i++)
		if (e->hooks[i].kind >= MODEL_HOOKS || e->hooks[i].len > sizeof(e->hooks[i].original) ||
		    !is_mapped(s, e->hooks[i].addr, e->hooks[i].len, PROT_NONE))
			return bad(c, "a hook", i);
	for (size_t i = 0; i < e->nrandoms; i++)
		if (!is_mapped(s, e->randoms[i].addr, e->randoms[i].len, PROT_NONE))
			return bad(c, "the address of random bytes", i);
	for (size_t i = 0; i < e->noutputs; i++)
		if (e->outputs[i].at > e->output_size ||
		    e->outputs[i].len > e->output_size - e->outputs[i].at)
			return bad(c, "what the program printed", i);
	for (size_t i = 0; i < 4; i++)
		if (e->environ_addr[i] && !is_mapped(s, e->environ_addr[i], sizeof(uint64_t), PROT_NONE))
			return bad(c, "the address of the environment", i);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i] && !is_mapped(s, names[i], sizeof(uint64_t), PROT_NONE))
			return bad(c, "the address of the program's name", i);
	if (e->leave.slot && !is_writable(s, e->leave.slot, sizeof(uint64_t)))
		return bad(c, "the main thread's way back", 0);
	if (e->context_raw && !is_mapped(s, e->context_buf, 1, PROT_NONE))
		return bad(c, "where the launch context goes", 0);
	if (!arguments_are_right(e))
		return bad(c, "the arguments of a clone", e->argv_drop);
	if (e->context_fd < -1 || (e->start_cwd && !is_absolute(e->start_cwd)))
		return bad(c, "how a clone comes in", 0);
	return 0;
}

int model_check(const struct model *m, uint64_t page, struct error *err)
{
	const struct check c = { m, page, err };
	int r = check_memory(&c);

	if (r == 0)
		r = check_descriptions(&c);
	if (r == 0)
		r = check_descriptors(&c);
	if (r == 0)
		r = check_processes(&c);
	if (r == 0)
		r = check_entry(&c);
	return r;
}
