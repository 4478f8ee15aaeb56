/* SPDX-License-Identifier: MIT */
/* builder_report.c - a build's result, from the builder to the daemon */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "engine/base/array.h"
#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "warmd/build/builder.h"
#include "warmd/build/builder_internal.h"
#include "launcher/wire/control.pb-c.h"
#include "warmd/build/observe.h"
#include "warmd/build/report.h"
#include "warmd/stale/keys.h"

static Warm__Mapping *mapping(const struct model *rec, const struct model_vma *v)
{
	Warm__Mapping *m = calloc(1, sizeof(*m));
	char prot[5] = { v->prot & 1 ? 'r' : '-', v->prot & 2 ? 'w' : '-', v->prot & 4 ? 'x' : '-',
			 v->shared ? 's' : 'p', 0 };

	if (!m)
		return NULL;
	warm__mapping__init(m);
	m->start = v->start;
	m->end = v->end;
	m->prot = strdup(prot);
	m->source = strdup(v->object >= 0 ? rec->objects[v->object].path : v->name);
	for (size_t i = 0; i < v->nruns; i++)
		m->stored_bytes += v->runs[i].end - v->runs[i].start;
	return m;
}

static Warm__Descriptor *descriptor(const struct model *rec, const struct model_fd *f)
{
	const struct model_description *d = &rec->descriptions[f->description];
	const char *path = d->kind == MODEL_FD_PATH  ? d->path.path
			   : d->kind == MODEL_FD_TTY ? d->outside.path
						     : NULL;
	Warm__Descriptor *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	warm__descriptor__init(m);
	m->fd = f->fd;
	m->kind = strdup(model_fd_word(d->kind));
	m->target = strdup(path ? path : "");
	m->flags = d->flags;
	m->offset = d->kind == MODEL_FD_PATH ? d->path.offset : 0;
	return m;
}

static int fill_model(const struct builder *b, Warm__BuildResult *m)
{
	const struct model_process *p = &b->model->processes[0];
	const struct model_space *space = &b->model->spaces[p->space];
	const struct model_fd_table *t = &b->model->fd_tables[p->fd_table];

	m->memory = calloc(space->nvmas + 1, sizeof(*m->memory));
	m->descriptors = calloc(t->nfds + 1, sizeof(*m->descriptors));
	if (!m->memory || !m->descriptors)
		return -ENOMEM;
	for (size_t i = 0; i < space->nvmas; i++) {
		m->memory[i] = mapping(b->model, &space->vmas[i]);
		if (!m->memory[i])
			return -ENOMEM;
		m->n_memory++;
	}
	for (size_t i = 0; i < t->nfds; i++) {
		if ((uint32_t)t->fds[i].fd >= m->descriptors_needed)
			m->descriptors_needed = (uint32_t)t->fds[i].fd + 1;
		m->descriptors[i] = descriptor(b->model, &t->fds[i]);
		if (!m->descriptors[i])
			return -ENOMEM;
		m->n_descriptors++;
	}
	if (memcmp(p->rlimits[RLIMIT_NOFILE], b->start_rlimits[RLIMIT_NOFILE], sizeof(p->rlimits[0])) != 0)
		m->descriptors_needed = 0;
	return 0;
}

/* what the program itself sets for its children is no reason of the launch's, where theirs are all that is not known */
static int fill_own_environment(const struct builder *b, Warm__BuildResult *m)
{
	const char *name;
	size_t pos = 0, n = 0;

	while (observe_set_variable(b->observe, &pos, &name))
		n++;
	m->environment_own = calloc(n + 1, sizeof(char *));
	if (!m->environment_own)
		return -ENOMEM;
	for (pos = 0; observe_set_variable(b->observe, &pos, &name);)
		m->environment_own[m->n_environment_own++] = strdup(name);
	return 0;
}

/* names: what C asked for, what the adaptor lists, what children were given; ld.so reads LD_* before anything could be watched */
static void fill_environment(const struct builder *b, Warm__BuildResult *m)
{
	size_t n = 0, pos = 0, children = 0;
	const char *name;

	m->environment_all = !b->env_visible || !b->adaptor_used || !b->lines.track_env || b->lines.env_all ||
			     observe_keys(b->observe)->environment;
	m->environment_exact = b->env_changed || (b->early && !builder_is_live(b));
	if (!m->environment_all && observe_keys(b->observe)->children_environment) {
		m->environment_all = true;
		fill_own_environment(b, m); /* without memory all of them count */
	}
	while (observe_child_variable(b->observe, &pos, &name))
		children++;
	m->environment = calloc(b->nenv + b->lines.nenv + children + 1, sizeof(char *));
	if (!m->environment) {
		m->environment_all = true;
		return;
	}
	for (size_t i = 0; i < b->nenv; i++)
		m->environment[n++] = strdup(b->env[i]);
	for (size_t i = 0; i < b->lines.nenv; i++)
		m->environment[n++] = strdup(b->lines.env[i]);
	for (pos = 0; observe_child_variable(b->observe, &pos, &name);)
		m->environment[n++] = strdup(name);
	m->n_environment = n;
}

static int add_fact(Warm__BuildResult *m, uint32_t kind, const char *path, uint64_t value)
{
	Warm__Fact *f = calloc(1, sizeof(*f));

	if (!f || array_reserve(&m->facts, m->n_facts, 1, sizeof(f)) < 0) {
		free(f);
		return -ENOMEM;
	}
	warm__fact__init(f);
	f->kind = kind;
	f->path = strdup(path);
	f->value = value;
	m->facts[m->n_facts++] = f;
	return f->path ? 0 : -ENOMEM;
}

static int fill_facts(const struct builder *b, Warm__BuildResult *m)
{
	const struct observe_keys *k = observe_keys(b->observe);
	const char *path;
	uint64_t value;
	size_t pos = 0;
	int r = 0;

	for (uint32_t i = 0; i < FACTS && r == 0; i++)
		if (k->facts[i])
			r = add_fact(m, i, "", k->facts[i]);
	while (r == 0 && observe_fact_file(b->observe, &pos, &path, &value))
		r = add_fact(m, FACTS, path, value);
	return r;
}

/* an adaptor that waits for its context puts right what the interpreter made of the signals at its start */
static bool takes_signals(const struct builder *b)
{
	return b->lines.signals && b->lines.raw && b->lines.ready && !builder_is_live(b);
}

void builder_fill_facts(const struct builder *b, bool argv_read, Warm__BuildResult *m)
{
	const struct ready_point *p = ready_in_use(b);
	/* an adaptor says how many arguments were looked at; when it cannot tell, all were */
	bool all_read = argv_read || (b->adaptor_used && b->argv_count < 0);

	m->takes_arguments = !b->early && !p->live && (p->asks || !all_read);
	m->asks_for_context = !b->early && p->asks;
	m->for_any_caller = p->asks;
	m->before_main = p->before_main;
	m->streams_count = b->adaptor_used && b->language->streams_at_start;
}

static void fill_success(const struct builder *b, Warm__BuildResult *m)
{
	const struct observe_keys *k = observe_keys(b->observe);

	m->keys = (k->cwd ? TEMPLATE_KEY_CWD : 0) | (k->umask ? TEMPLATE_KEY_UMASK : 0) |
		  (k->affinity ? TEMPLATE_KEY_AFFINITY : 0) |
		  (k->window_size && !b->model->processes[0].resized ? TEMPLATE_KEY_WINSIZE : 0) |
		  (k->termios ? TEMPLATE_KEY_TERMIOS : 0) | (k->sigmask ? TEMPLATE_KEY_SIGMASK : 0) |
		  (k->argv ? TEMPLATE_KEY_ARGV : 0);
	/* an adaptor that makes the streams anew takes back what the interpreter asked at its start */
	m->stdio_keys = k->stdio | (b->lines.stdio ? 0 : k->stdio_start) |
			(k->terminal || builder_is_live(b) ? 7 : 0);
	m->keys |= (k->nice ? TEMPLATE_KEY_NICE : 0) | (k->sched ? TEMPLATE_KEY_SCHED : 0) |
		   (k->ioprio ? TEMPLATE_KEY_IOPRIO : 0);
	m->signal_keys = k->signals | (takes_signals(b) ? b->lines.signals_looked_at : k->signals_start);
	m->rlimit_keys = k->rlimits;
	m->argv_count = b->argv_count;
	report_put_plan(m, &b->plan);
	/* a program that has run for a while has timers and deadlines, which nobody can tell from other numbers */
	m->boot = k->uptime || builder_is_live(b) || ready_in_use(b)->asks;
	m->clock_start_ns = b->clock_start_ns;
	m->stdio_redone = b->lines.stdio;
	m->boundary = (char *)b->boundary;
	m->context_number = b->context_fd > 0 ? (uint32_t)b->context_fd : 0;
	fill_environment(b, m);
	builder_fill_facts(b, k->argv, m);
}

static int fill_dependencies(struct builder *b, Warm__BuildResult *m)
{
	void *bytes;
	size_t len;
	int r;

	r = dep_set_pack(observe_deps(b->observe), &bytes, &len);
	if (r < 0)
		return r;
	m->dependencies.data = bytes;
	m->dependencies.len = len;
	return 0;
}

/* of this process, its children that have ended, and the program */
static uint64_t processor_time(const struct builder *b)
{
	struct timespec t = { 0 };
	struct rusage ended = { 0 };
	uint64_t ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	clockid_t clock;

	if (b->trace && trace_root(b->trace) > 0 && clock_getcpuclockid(trace_root(b->trace), &clock) == 0 &&
	    clock_gettime(clock, &t) == 0)
		ns += timespec_ns(&t);
	getrusage(RUSAGE_CHILDREN, &ended);
	return ns + rusage_ns(&ended);
}

/* control, pages and files: what a template is launched from. Return: how many, or -ENOMEM; the caller frees *ret */
static int descriptors_of(const struct plan *plan, int **ret)
{
	int *fds = calloc(plan->nfiles + 2, sizeof(*fds));

	if (!fds)
		return -ENOMEM;
	fds[0] = plan->control;
	fds[1] = plan->pages;
	memcpy(fds + 2, plan->files, plan->nfiles * sizeof(*fds));
	*ret = fds;
	return (int)plan->nfiles + 2;
}

int builder_report_send(struct builder *b, int r, const struct error *err,
			void (*reported)(const struct builder_made *made, int sock), int sock)
{
	Warm__BuildResult m = WARM__BUILD_RESULT__INIT;
	const struct builder_made made = { b->req, b->cfg, &m, b->model, &b->plan };
	_cleanup_free_ int *fds = NULL;
	const struct observe_refusal *refusal;
	int code = 0, nfds = 0;

	m.error = r < 0 ? r : 0;
	m.message = (char *)(r < 0 ? err->text : "");
	refusal = b->observe ? observe_refusal(b->observe) : NULL;
	m.retry = r < 0 && refusal && refusal->retryable;
	m.ready = (char *)ready_word(b);
	m.argv_count = b->argv_count;
	m.failed = r < 0 && b->failed;
	m.cpu_ns = processor_time(b);
	if (b->observe)
		code = fill_dependencies(b, &m);
	if (code == 0 && r == 0) {
		fill_success(b, &m);
		code = fill_model(b, &m);
		if (code == 0)
			code = fill_facts(b, &m);
		if (code == 0)
			code = nfds = descriptors_of(&b->plan, &fds);
	}
	/* the program ends before the daemon watches: its close of a file that it has open for writing is no writer's */
	trace_free(TAKE_PTR(b->trace));
	if (code >= 0)
		code = report_send(sock, &m, fds, (size_t)nfds);
	if (code == 0 && r == 0 && reported)
		reported(&made, sock);
	/* the rest is freed by this process's end */
	return code < 0 ? 1 : 0;
}
