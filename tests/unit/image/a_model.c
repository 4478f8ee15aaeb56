/* SPDX-License-Identifier: MIT */
#include "tests/unit/image/a_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "engine/base/fd.h"

static unsigned char next = 1;

/* bytes that are not zero, so that a field that does not come back is noticed; no number becomes negative by them */
static void fill(void *to, size_t size)
{
	memset(to, next, size);
	next = next == 0x7f ? 1 : next + 1;
}

static void *filled(size_t n, size_t size)
{
	char *list = calloc(n, size);

	assert_non_null(list);
	for (size_t i = 0; i < n; i++)
		fill(list + i * size, size);
	return list;
}

/* such a list with each field of its items filled by itself, so that padding is zero */
#define LIST(to, list, count) ((to)->n##list = (count), (to)->list = calloc(count, sizeof(*(to)->list)))
#define FILL(field)	      fill(&(field), sizeof(field))

static char *copy(const char *text)
{
	char *s = strdup(text);

	assert_non_null(s);
	return s;
}

static void make_objects(struct model *m)
{
	static const char *const paths[] = { "/usr/bin/python3.11", "/usr/lib/x86_64-linux-gnu/libc.so.6",
					     "/tmp/\xff\xfe not UTF-8" };

	LIST(m, objects, ARRAY_SIZE(paths));
	for (size_t i = 0; i < m->nobjects; i++) {
		struct model_object *o = &m->objects[i];

		o->path = copy(paths[i]);
		FILL(o->dev);
		FILL(o->ino);
		FILL(o->size);
		FILL(o->mtime_ns);
		o->build_id_len = (uint32_t)(i * 16);
		fill(o->build_id, o->build_id_len);
		o->writable = i == 1;
	}
}

#define WRITABLE                                                                                             \
	(0x7f0000000000 + 5 * 64 * 4096 + 512) /* in the sixth mapping of make_vmas(), with pages of 4 KiB */

/* private and shared, of a file and anonymous, with pages and guards and without */
static void make_vmas(struct model_space *s, uint64_t page)
{
	static const struct {
		int object;
		bool shared;
		size_t runs, guards;
		const char *name;
	} rows[] = {
		{ 0, false, 0, 0, "/usr/bin/python3.11" },
		{ 1, false, 2, 0, "/usr/lib/x86_64-linux-gnu/libc.so.6" },
		{ 2, true, 0, 0, "/tmp/\xff\xfe not UTF-8 (deleted)" },
		{ MODEL_NONE, false, 1, 2, "" },
		{ MODEL_NONE, true, 1, 0, "/dev/zero (deleted)" },
		{ MODEL_NONE, false, 0, 0, "[heap]" },
		{ MODEL_NONE, false, 1, 0, "[stack]" },
	};

	LIST(s, vmas, ARRAY_SIZE(rows));
	for (size_t i = 0; i < s->nvmas; i++) {
		struct model_vma *v = &s->vmas[i];

		v->start = 0x7f0000000000 + i * 64 * page;
		v->end = v->start + 16 * page;
		v->offset = rows[i].object == MODEL_NONE ? 0 : i * page;
		v->prot = i % 2 ? PROT_READ | PROT_WRITE : PROT_READ | PROT_EXEC;
		FILL(v->vmflags);
		v->shared = rows[i].shared;
		v->object = rows[i].object;
		v->name = copy(rows[i].name);
		if (rows[i].runs)
			LIST(v, runs, rows[i].runs);
		for (size_t j = 0; j < v->nruns; j++)
			v->runs[j] = (struct model_run){ v->start + 4 * j * page,
							 v->start + (4 * j + 2) * page,
							 i == 6 ? MODEL_NO_OFFSET : (2 * j + i) * page };
		if (rows[i].guards)
			LIST(v, guards, rows[i].guards);
		for (size_t j = 0; j < v->nguards; j++)
			v->guards[j] = (struct model_run){ v->start + 4 * j * page,
							   v->start + (4 * j + 1) * page, MODEL_NO_OFFSET };
	}
}

static void make_space(struct model_space *s, uint64_t page)
{
	make_vmas(s, page);
	FILL(s->mm);
	s->auxv_len = 20 * 16;
	s->auxv = filled(1, s->auxv_len);
	for (size_t i = 0; i < MODEL_VDSO_PARTS - 1; i++)
		s->vdso[i] = (struct model_vdso_part){ 0x7ffff0000000 + 4 * i * page, 2 * page,
						       -4 * (int64_t)page + (int64_t)i };
	FILL(s->vdso_addr);
	s->exe_object = 0;
	LIST(s, pids, 2);
	LIST(s, generations, 3);
	LIST(s, owners, 2);
	for (size_t i = 0; i < s->npids; i++)
		s->pids[i] = s->vmas[3].start + 4 * i;
	for (size_t i = 0; i < s->ngenerations; i++)
		s->generations[i] = s->vmas[5].start + 2048 + 8 * i;
	for (size_t i = 0; i < s->nowners; i++)
		s->owners[i] = (struct model_owner){ s->vmas[5].start + 4 * i, (uint32_t)i };
}

/* two of each kind, which are each other's peers where kinds have them */
static void make_descriptions(struct model *m)
{
	LIST(m, descriptions, 2 * MODEL_FD_KINDS);
	for (size_t i = 0; i < m->ndescriptions; i++) {
		struct model_description *d = &m->descriptions[i];

		d->kind = (enum model_fd_kind)(i / 2);
		FILL(d->flags);
		d->owner = (int)(i % 2);
		d->owner_signo = i % 2 ? -1 : 10;
		d->peer = MODEL_NONE;
		if (d->kind == MODEL_FD_PIPE || d->kind == MODEL_FD_SOCKETPAIR) {
			d->peer = (int)(i ^ 1);
			d->data_len = 1000;
			d->data = filled(1, d->data_len);
		}
		switch (d->kind) {
		case MODEL_FD_PIPE:
			FILL(d->pipe.room);
			FILL(d->pipe.inode);
			break;
		case MODEL_FD_SOCKETPAIR:
			FILL(d->pair.type);
			d->pair.shutdown = 2;
			FILL(d->pair.inode);
			FILL(d->pair.peer_inode);
			break;
		case MODEL_FD_SOCKET:
			FILL(d->socket.domain);
			FILL(d->socket.type);
			FILL(d->socket.protocol);
			LIST(&d->socket, options, 2);
			for (size_t j = 0; j < 2; j++) {
				struct model_option *o = &d->socket.options[j];

				FILL(o->level);
				FILL(o->name);
				o->len = j ? 20 : 4;
				fill(o->value, o->len);
			}
			break;
		case MODEL_FD_EVENTFD:
			FILL(d->eventfd.count);
			d->eventfd.semaphore = i % 2;
			break;
		case MODEL_FD_TIMERFD:
			FILL(d->timerfd.clock);
			FILL(d->timerfd.value_ns);
			FILL(d->timerfd.interval_ns);
			break;
		case MODEL_FD_SIGNALFD:
			FILL(d->signalfd.mask);
			break;
		case MODEL_FD_PATH:
			d->path.path = copy("/etc/passwd");
			FILL(d->path.offset);
			FILL(d->path.dev);
			FILL(d->path.ino);
			break;
		case MODEL_FD_TTY:
			d->outside.of = i % 2 ? MODEL_DEV_TTY : 2;
			d->outside.path = copy("/dev/pts/3");
			break;
		case MODEL_FD_CALLER:
			FILL(d->outside.of);
			break;
		case MODEL_FD_EPOLL:
		case MODEL_FD_KINDS:
			break;
		}
	}
}

static void make_descriptors(struct model *m)
{
	make_descriptions(m);
	for (size_t i = 0; i < m->nfd_tables; i++) {
		LIST(&m->fd_tables[i], fds, m->ndescriptions);
		for (size_t j = 0; j < m->ndescriptions; j++)
			m->fd_tables[i].fds[j] = (struct model_fd){ (int)(3 * j), (int)j, j % 3 == 0 };
	}
	LIST(m, epolls, 3);
	for (size_t i = 0; i < m->nepolls; i++)
		m->epolls[i] = (struct model_epoll){ 2 * MODEL_FD_EPOLL,      1,	 (int)i * 3,
						     i ? (int)i : MODEL_NONE, 0x7fffff1, ~0ull };
}

static void make_threads(struct model_process *p, size_t n)
{
	LIST(p, threads, n);
	for (size_t i = 0; i < n; i++) {
		struct model_thread *t = &p->threads[i];

		t->tid = 1000 + (pid_t)i;
		FILL(t->regs);
		t->xstate_len = 2696;
		t->xstate = filled(1, t->xstate_len);
		FILL(t->sigmask);
		FILL(t->altstack);
		FILL(t->clear_tid);
		t->tid_addr = WRITABLE + 4 * i;
		FILL(t->robust_list);
		FILL(t->robust_len);
		FILL(t->rseq_addr);
		FILL(t->rseq_size);
		FILL(t->rseq_sig);
		t->resume = (enum model_resume)(i % MODEL_RESUMES);
		t->restart = (uint32_t)(i % (ARCH_RETURNED + 1));
		FILL(t->timeout_ns);
		t->timeout_arg = (int)(i % 7) - 1;
		t->timeout_ms = i % 2;
		t->sched_policy = 1;
		t->sched_priority = 50;
		t->nice = -20;
		FILL(t->affinity);
		fill(t->comm, i % 2 ? 15 : 3);
	}
}

static void make_process(struct model_process *p)
{
	make_threads(p, 7);
	LIST(p, pendings, 2);
	for (size_t i = 0; i < p->npendings; i++) {
		p->pendings[i].thread = i ? 6 : MODEL_NONE;
		FILL(p->pendings[i].info);
	}
	p->nitimers = 3;
	for (size_t i = 0; i < p->nitimers; i++) {
		p->itimers[i].which = (int)i;
		FILL(p->itimers[i].interval_us);
		FILL(p->itimers[i].value_us);
	}
	LIST(p, timers, 2);
	for (size_t i = 0; i < p->ntimers; i++) {
		struct model_timer *t = &p->timers[i];

		FILL(t->id);
		FILL(t->clock);
		t->notify = i ? SIGEV_THREAD_ID : SIGEV_SIGNAL;
		FILL(t->signo);
		FILL(t->value);
		t->thread = i ? 3 : MODEL_NONE;
		FILL(t->overrun);
		FILL(t->interval_ns);
		FILL(t->value_ns);
	}
	FILL(p->dumpable);
	FILL(p->no_new_privs);
	FILL(p->pdeathsig);
	FILL(p->subreaper);
	FILL(p->thp_disable);
	FILL(p->personality);
	FILL(p->timerslack_ns);
	FILL(p->rlimits);
	FILL(p->uid);
	FILL(p->gid);
	FILL(p->cap_effective);
	FILL(p->cap_permitted);
	FILL(p->cap_inheritable);
	FILL(p->cap_ambient);
	FILL(p->seccomp);
	p->amx = p->resized = true;
}

static void make_entry(struct model_entry *e, const struct model_space *s)
{
	static char *env[] = { "A=1", "", "PATH=/bin", NULL };
	static char *argv[] = { "python3", "", "\xff", NULL };
	static char output[] = "printed before";
	static struct model_hook hooks[MODEL_HOOKS];
	static struct model_range randoms[2];
	static struct model_output outputs[2] = { { 0, 7, 1, false }, { 7, 8, 2, true } };

	FILL(e->leave);
	/* the last field of a struct may have padding behind it */
	memset(&e->leave, 0, sizeof(e->leave));
	e->leave.slot = s->vmas[5].start + 128;
	FILL(e->leave.restore);
	FILL(e->leave.exception);
	FILL(e->leave.release);
	FILL(e->leave.gil_state);
	FILL(e->leave.frame);
	for (size_t i = 0; i < 4; i++)
		e->environ_addr[i] = i == 3 ? 0 : s->vmas[5].start + 8 * i;
	e->libc_argv_addr = s->vmas[5].start + 136;
	e->progname_full_addr = s->vmas[5].start + 144;
	e->progname_short_addr = s->vmas[5].start + 152;
	e->has_exit = true;
	FILL(e->exit.call);
	FILL(e->exit.arg);
	FILL(e->exit.value);
	FILL(e->exit.libc_exit);
	FILL(e->exit.libc_fflush);
	FILL(e->exit.errno_location);
	e->exit.learn_only = true;
	e->hooks = hooks;
	e->nhooks = MODEL_HOOKS;
	for (size_t i = 0; i < e->nhooks; i++) {
		hooks[i].addr = s->vmas[0].start + 32 * i;
		hooks[i].kind = (enum model_hook_kind)i;
		hooks[i].len = 14;
		FILL(hooks[i].original);
	}
	e->build_env = env;
	e->build_envc = 3;
	e->build_argv = argv;
	e->build_argc = 3;
	e->randoms = randoms;
	e->nrandoms = 2;
	for (size_t i = 0; i < e->nrandoms; i++)
		randoms[i] = (struct model_range){ s->vmas[5].start + 64 * i, 16 };
	e->outputs = outputs;
	e->noutputs = 2;
	e->output_bytes = output;
	e->output_size = sizeof(output);
	e->context_raw = e->context_late = e->tell_signals = true;
	e->context_buf = s->vmas[5].start + 1024;
	FILL(e->context_max);
	e->context_fd = 5;
	e->argv_prefix = argv;
	e->argv_prefix_n = 2;
	FILL(e->argv_drop);
	e->start_cwd = "/start";
	FILL(e->start_umask);
	e->has_start_rlimits = e->has_start_affinity = true;
	FILL(e->start_rlimits);
	e->start_nice = -5;
	FILL(e->start_policy);
	FILL(e->start_affinity);
	e->oom_score_adj = (char *)"500";
	FILL(e->start_personality);
	FILL(e->start_timerslack_ns);
	FILL(e->ignored_signals);
	FILL(e->own_signals);
	FILL(e->blocked_signals);
}

struct model *a_model(void)
{
	struct model *m = model_new(3);
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct model_process *zombie;

	assert_non_null(m);
	next = 1;
	make_objects(m);
	for (size_t i = 0; i < m->nspaces; i++)
		make_space(&m->spaces[i], page);
	make_descriptors(m);
	for (size_t i = 0; i < m->nfilesystems; i++) {
		m->filesystems[i].cwd = copy("/home");
		m->filesystems[i].root = i ? copy("/srv/root") : NULL;
		FILL(m->filesystems[i].umask);
	}
	for (size_t i = 0; i < m->nhandlers; i++)
		FILL(m->handlers[i]);
	for (size_t i = 0; i < m->nprocesses; i++) {
		struct model_process *p = &m->processes[i];

		p->pid = 1000 + (pid_t)i;
		p->parent = i ? 0 : MODEL_NONE;
		p->group = i ? 1 : MODEL_NONE;
		p->session = i ? 0 : MODEL_NONE;
		p->state = (enum model_state)i;
		if (p->state != MODEL_ZOMBIE)
			make_process(p);
	}
	/* the second shares the first one's memory and handlers; the third has ended */
	m->processes[1].space = m->processes[1].handlers = 0;
	zombie = &m->processes[2];
	zombie->space = zombie->fd_table = zombie->fs = zombie->handlers = MODEL_NONE;
	zombie->exit_status = 3 << 8;
	make_entry(&m->entry, &m->spaces[0]);
	return m;
}

/* --- comparing ----------------------------------------------------------------------------------------------------- */

static void same_text(const char *a, const char *b)
{
	assert_int_equal(!a, !b);
	if (a)
		assert_string_equal(a, b);
}

static void same_texts(char *const *a, size_t na, char *const *b, size_t nb)
{
	assert_int_equal(na, nb);
	for (size_t i = 0; i < na; i++)
		same_text(a[i], b[i]);
	/* they go to execve(2) */
	assert_null(b[nb]);
}

static void same_bytes(const void *a, size_t na, const void *b, size_t nb)
{
	assert_int_equal(na, nb);
	if (na)
		assert_memory_equal(a, b, na);
}

/* lists of items without pointers in them */
#define SAME_LIST(a, b, list)                                                                                \
	same_bytes((a)->list, (a)->n##list * sizeof(*(a)->list), (b)->list, (b)->n##list * sizeof(*(b)->list))

/* all of two structs but the fields that are pointers: those were set to NULL in the copies */
#define SAME_REST(a, b) assert_memory_equal(&(a), &(b), sizeof(a))

static void same_vma(const struct model_vma *p, const struct model_vma *q)
{
	struct model_vma a = *p, b = *q;

	same_text(a.name, b.name);
	SAME_LIST(p, q, runs);
	SAME_LIST(p, q, guards);
	a.name = b.name = NULL;
	a.runs = b.runs = a.guards = b.guards = NULL;
	SAME_REST(a, b);
}

static void same_space(const struct model_space *p, const struct model_space *q)
{
	struct model_space a = *p, b = *q;

	assert_int_equal(a.nvmas, b.nvmas);
	for (size_t i = 0; i < a.nvmas; i++)
		same_vma(&a.vmas[i], &b.vmas[i]);
	same_bytes(a.auxv, a.auxv_len, b.auxv, b.auxv_len);
	SAME_LIST(p, q, pids);
	SAME_LIST(p, q, owners);
	SAME_LIST(p, q, generations);
	a.vmas = b.vmas = NULL;
	a.auxv = b.auxv = NULL;
	a.pids = b.pids = a.generations = b.generations = NULL;
	a.owners = b.owners = NULL;
	SAME_REST(a, b);
}

static void same_description(const struct model_description *p, const struct model_description *q)
{
	struct model_description a = *p, b = *q;

	assert_int_equal(a.kind, b.kind);
	same_bytes(a.data, a.data_len, b.data, b.data_len);
	a.data = b.data = NULL;
	if (a.kind == MODEL_FD_SOCKET) {
		SAME_LIST(&p->socket, &q->socket, options);
		a.socket.options = b.socket.options = NULL;
	} else if (a.kind == MODEL_FD_PATH) {
		same_text(a.path.path, b.path.path);
		a.path.path = b.path.path = NULL;
	} else if (a.kind == MODEL_FD_TTY) {
		same_text(a.outside.path, b.outside.path);
		a.outside.path = b.outside.path = NULL;
	}
	SAME_REST(a, b);
}

static void same_process(const struct model_process *p, const struct model_process *q)
{
	struct model_process a = *p, b = *q;

	assert_int_equal(a.nthreads, b.nthreads);
	for (size_t i = 0; i < a.nthreads; i++) {
		struct model_thread s = a.threads[i], t = b.threads[i];

		same_bytes(s.xstate, s.xstate_len, t.xstate, t.xstate_len);
		s.xstate = t.xstate = NULL;
		SAME_REST(s, t);
	}
	SAME_LIST(p, q, pendings);
	SAME_LIST(p, q, timers);
	a.threads = b.threads = NULL;
	a.pendings = b.pendings = NULL;
	a.timers = b.timers = NULL;
	SAME_REST(a, b);
}

static void same_entry(const struct model_entry *p, const struct model_entry *q)
{
	struct model_entry a = *p, b = *q;

	SAME_LIST(p, q, hooks);
	SAME_LIST(p, q, randoms);
	SAME_LIST(p, q, outputs);
	same_bytes(a.output_bytes, a.output_size, b.output_bytes, b.output_size);
	assert_int_equal(!a.build_env, !b.build_env);
	if (a.build_env)
		same_texts(a.build_env, a.build_envc, b.build_env, b.build_envc);
	same_texts(a.build_argv, a.build_argc, b.build_argv, b.build_argc);
	same_texts(a.argv_prefix, a.argv_prefix_n, b.argv_prefix, b.argv_prefix_n);
	same_text(a.start_cwd, b.start_cwd);
	same_text(a.oom_score_adj, b.oom_score_adj);
	a.hooks = b.hooks = NULL;
	a.randoms = b.randoms = NULL;
	a.outputs = b.outputs = NULL;
	a.build_env = b.build_env = a.build_argv = b.build_argv = a.argv_prefix = b.argv_prefix = NULL;
	a.output_bytes = b.output_bytes = a.oom_score_adj = b.oom_score_adj = NULL;
	a.start_cwd = b.start_cwd = NULL;
	SAME_REST(a, b);
}

void same_model(const struct model *a, const struct model *b)
{
	assert_int_equal(a->nobjects, b->nobjects);
	for (size_t i = 0; i < a->nobjects; i++) {
		struct model_object p = a->objects[i], q = b->objects[i];

		same_text(p.path, q.path);
		p.path = q.path = NULL;
		SAME_REST(p, q);
	}
	assert_int_equal(a->nspaces, b->nspaces);
	for (size_t i = 0; i < a->nspaces; i++)
		same_space(&a->spaces[i], &b->spaces[i]);
	assert_int_equal(a->ndescriptions, b->ndescriptions);
	for (size_t i = 0; i < a->ndescriptions; i++)
		same_description(&a->descriptions[i], &b->descriptions[i]);
	assert_int_equal(a->nfd_tables, b->nfd_tables);
	for (size_t i = 0; i < a->nfd_tables; i++)
		SAME_LIST(&a->fd_tables[i], &b->fd_tables[i], fds);
	SAME_LIST(a, b, epolls);
	assert_int_equal(a->nfilesystems, b->nfilesystems);
	for (size_t i = 0; i < a->nfilesystems; i++) {
		same_text(a->filesystems[i].cwd, b->filesystems[i].cwd);
		same_text(a->filesystems[i].root, b->filesystems[i].root);
		assert_int_equal(a->filesystems[i].umask, b->filesystems[i].umask);
	}
	SAME_LIST(a, b, handlers);
	assert_int_equal(a->nprocesses, b->nprocesses);
	for (size_t i = 0; i < a->nprocesses; i++)
		same_process(&a->processes[i], &b->processes[i]);
	same_entry(&a->entry, &b->entry);
}
