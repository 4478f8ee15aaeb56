/* SPDX-License-Identifier: MIT */
/* model.c - making and freeing models */
#include "snapshot/model/model.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"

const char *model_fd_word(unsigned int kind)
{
	static const char *const words[] = {
#define STUB_FD_KIND(name, word, maker) [MODEL_FD_##name] = word,
#include "engine/stub/fd_kinds.def"
#undef STUB_FD_KIND
	};

	return kind < MODEL_FD_KINDS ? words[kind] : "?";
}

struct model *model_new(size_t nprocesses)
{
	struct model *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->spaces = calloc(nprocesses, sizeof(*m->spaces));
	m->fd_tables = calloc(nprocesses, sizeof(*m->fd_tables));
	m->filesystems = calloc(nprocesses, sizeof(*m->filesystems));
	m->handlers = calloc(nprocesses, sizeof(*m->handlers));
	m->processes = calloc(nprocesses, sizeof(*m->processes));
	if (!m->spaces || !m->fd_tables || !m->filesystems || !m->handlers || !m->processes) {
		model_free(m);
		return NULL;
	}
	m->nspaces = m->nfd_tables = m->nfilesystems = m->nhandlers = m->nprocesses = nprocesses;
	for (size_t i = 0; i < nprocesses; i++) {
		struct model_process *p = &m->processes[i];

		p->space = p->fd_table = p->fs = p->handlers = (int)i;
		p->parent = p->group = p->session = MODEL_NONE;
	}
	m->entry.context_fd = -1;
	return m;
}

static void space_done(struct model_space *s)
{
	for (size_t i = 0; i < s->nvmas; i++) {
		free(s->vmas[i].name);
		free(s->vmas[i].runs);
		free(s->vmas[i].guards);
	}
	free(s->vmas);
	free(s->auxv);
	free(s->pids);
	free(s->owners);
	free(s->generations);
}

static void description_done(struct model_description *d)
{
	free(d->data);
	if (d->kind == MODEL_FD_SOCKET)
		free(d->socket.options);
	else if (d->kind == MODEL_FD_PATH)
		free(d->path.path);
	else if (d->kind == MODEL_FD_TTY)
		free(d->outside.path);
}

static void process_done(struct model_process *p)
{
	for (size_t i = 0; i < p->nthreads; i++)
		free(p->threads[i].xstate);
	free(p->threads);
	free(p->pendings);
	free(p->timers);
}

static void tables_done(struct model *m)
{
	for (size_t i = 0; i < m->nspaces; i++)
		space_done(&m->spaces[i]);
	for (size_t i = 0; i < m->nfd_tables; i++)
		free(m->fd_tables[i].fds);
	for (size_t i = 0; i < m->nfilesystems; i++) {
		free(m->filesystems[i].cwd);
		free(m->filesystems[i].root);
	}
	for (size_t i = 0; i < m->nprocesses; i++)
		process_done(&m->processes[i]);
	for (size_t i = 0; i < m->nobjects; i++)
		free(m->objects[i].path);
	for (size_t i = 0; i < m->ndescriptions; i++)
		description_done(&m->descriptions[i]);
	free(m->spaces);
	free(m->fd_tables);
	free(m->filesystems);
	free(m->handlers);
	free(m->processes);
	free(m->objects);
	free(m->descriptions);
	free(m->epolls);
}

void model_free(struct model *m)
{
	if (!m)
		return;
	if (m->arena)
		m->free_arena(m->arena);
	else
		tables_done(m);
	free(m);
}

int model_add_object(struct model *m, const struct model_object *o)
{
	struct model_object *added;

	for (size_t i = 0; i < m->nobjects; i++) {
		const struct model_object *have = &m->objects[i];

		if (have->dev == o->dev && have->ino == o->ino && have->writable == o->writable)
			return (int)i;
	}
	added = array_append(&m->objects, &m->nobjects, sizeof(*added));
	if (!added)
		return -ENOMEM;
	*added = *o;
	return (int)m->nobjects - 1;
}

void model_files_done(struct model_files *files)
{
	for (size_t i = 0; i < files->n; i++)
		fd_close(files->fds[i]);
	free(files->fds);
	*files = (struct model_files){ 0 };
}
