/* SPDX-License-Identifier: MIT */
#include "snapshot/model/record.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/base/fd.h"

struct record *record_new(size_t nprocesses)
{
	struct record *rec = calloc(1, sizeof(*rec));

	if (!rec)
		return NULL;
	rec->processes = calloc(nprocesses, sizeof(*rec->processes));
	if (!rec->processes) {
		free(rec);
		return NULL;
	}
	rec->nprocesses = nprocesses;
	return rec;
}

static void process_done(struct record_process *p)
{
	for (size_t i = 0; i < p->nvmas; i++) {
		free(p->vmas[i].name);
		free(p->vmas[i].runs);
		free(p->vmas[i].guards);
	}
	for (size_t i = 0; i < p->nthreads; i++)
		free(p->threads[i].xstate);
	free(p->vmas);
	free(p->threads);
	free(p->fds);
	free(p->pendings);
	free(p->timers);
	free(p->auxv);
	free(p->cwd);
}

void record_free(struct record *rec)
{
	if (!rec)
		return;
	for (size_t i = 0; i < rec->nprocesses; i++)
		process_done(&rec->processes[i]);
	for (size_t i = 0; i < rec->nobjects; i++) {
		fd_close(rec->objects[i].fd);
		free(rec->objects[i].path);
	}
	for (size_t i = 0; i < rec->ndescriptions; i++) {
		free(rec->descriptions[i].path);
		free(rec->descriptions[i].data);
	}
	free(rec->objects);
	free(rec->descriptions);
	free(rec->epolls);
	free(rec->processes);
	free(rec);
}

int record_add_object(struct record *rec, const struct record_object *o)
{
	struct record_object *more;

	for (size_t i = 0; i < rec->nobjects; i++) {
		const struct record_object *have = &rec->objects[i];

		if (have->dev == o->dev && have->ino == o->ino && have->writable == o->writable)
			return (int)i;
	}
	more = realloc(rec->objects, (rec->nobjects + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	rec->objects = more;
	more[rec->nobjects] = *o;
	return (int)rec->nobjects++;
}
