/* SPDX-License-Identifier: MIT */
/* layout.c - which mapping comes from where: plan_layout() */
#include "snapshot/plan/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"
#include "engine/proc.h"
#include "snapshot/kinds/vma.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static int advise(struct plan_layout *l, uint64_t start, uint64_t end, int advice, bool ignore_errors)
{
	struct stub_advice *a = array_append(&l->advices, &l->nadvices, sizeof(*a));

	if (!a)
		return -ENOMEM;
	*a = (struct stub_advice){
		.addr = start,
		.len = end - start,
		.advice = advice,
		.ignore_errors = ignore_errors,
	};
	return 0;
}

static int add_advice(struct plan_layout *l, const struct model_vma *v)
{
	static const struct {
		uint32_t flag;
		int advice;
		bool ignore;
	} table[] = {
		{ VMF_DONTFORK, MADV_DONTFORK, false },	   { VMF_WIPEONFORK, MADV_WIPEONFORK, false },
		{ VMF_DONTDUMP, MADV_DONTDUMP, true },	   { VMF_HUGEPAGE, MADV_HUGEPAGE, true },
		{ VMF_NOHUGEPAGE, MADV_NOHUGEPAGE, true }, { VMF_MERGEABLE, MADV_MERGEABLE, true },
		{ VMF_SEQUENTIAL, MADV_SEQUENTIAL, true }, { VMF_RANDOM, MADV_RANDOM, true },
	};

	if (v->vmflags & VMF_DROPPABLE)
		return 0; /* MAP_DROPPABLE brings its own WIPEONFORK and DONTDUMP: mmap(2) */
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (v->vmflags & table[i].flag &&
		    advise(l, v->start, v->end, table[i].advice, table[i].ignore) < 0)
			return -ENOMEM;
	for (size_t i = 0; i < v->nguards; i++)
		if (advise(l, v->guards[i].start, v->guards[i].end, MADV_GUARD_INSTALL, false) < 0)
			return -ENOMEM;
	return 0;
}

static int lay_out(const struct model_vma *v, const int *file_index, struct place *place,
		   struct plan_layout *l)
{
	const struct vma_kind *kind = vma_kind_of(v);
	int r;

	for (size_t i = 0; i < v->nruns; i++)
		l->stored += v->runs[i].end - v->runs[i].start;
	if (kind->refused)
		return -EOPNOTSUPP;
	r = kind->place(place, v, v->object >= 0 ? file_index[v->object] : STUB_FILE_NONE);
	return r < 0 ? r : add_advice(l, v);
}

int plan_layout(const struct model_space *space, const int *file_index, uint64_t page, bool join_text,
		struct plan_layout *ret)
{
	struct place place = { .page = page, .join_text = join_text };
	struct plan_layout out = { 0 };
	int r = 0;

	for (size_t i = 0; i < space->nvmas && r == 0; i++)
		r = lay_out(&space->vmas[i], file_index, &place, &out);
	place_end(&place);
	out.maps = place.maps;
	out.nmaps = place.nmaps;
	out.pages_size = place.pages_size;
	if (r < 0)
		plan_layout_done(&out);
	else
		*ret = out;
	return r;
}

void plan_layout_done(struct plan_layout *l)
{
	free(l->maps);
	free(l->advices);
	memset(l, 0, sizeof(*l));
}

/* the pieces of a mapping that lie in the page file, with their places, become its runs */
static int note_runs(struct model_vma *v, const struct plan_layout *l)
{
	struct model_run *runs = NULL, *run;
	size_t n = 0;

	for (size_t i = 0; i < l->nmaps; i++) {
		const struct stub_map *map = &l->maps[i];
		bool copy = map->flags & STUB_MAP_COPY;
		uint64_t start = copy ? map->copy_addr : map->addr, len = copy ? map->copy_len : map->len;
		uint64_t from = start > v->start ? start : v->start;
		uint64_t to = start + len < v->end ? start + len : v->end;

		if ((map->file != STUB_FILE_PAGES && !copy) || from >= to)
			continue;
		run = array_append(&runs, &n, sizeof(*run));
		if (!run) {
			free(runs);
			return -ENOMEM;
		}
		*run = (struct model_run){ from, to, map->off + (from - start) };
	}
	free(v->runs);
	v->runs = runs;
	v->nruns = n;
	return 0;
}

int plan_note_runs(struct model_space *space, const struct plan_layout *l)
{
	int r = 0;

	for (size_t i = 0; i < space->nvmas && r == 0; i++)
		if (space->vmas[i].nruns)
			r = note_runs(&space->vmas[i], l);
	return r;
}
