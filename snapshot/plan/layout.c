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

#define GROWTH_GAP (1ull << 30) /* of file offsets behind anonymous memory, for mremap(2) */
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

struct layout {
	struct plan_layout *out;
	uint64_t page;
	bool join_text;
	bool last_grows; /* the last stored piece was anonymous: leave a gap behind it */
};

static void *grow(void *array, size_t n, size_t size)
{
	if (n & (n - 1))
		return array;
	return realloc(array, (n ? n * 2 : 16) * size);
}

static struct stub_map *new_map(struct layout *l)
{
	struct stub_map *more = l->out->nmaps < 16 && l->out->nmaps > 0
					? l->out->maps
					: grow(l->out->maps, l->out->nmaps, sizeof(*more));

	if (!more)
		return NULL;
	l->out->maps = more;
	more += l->out->nmaps++;
	memset(more, 0, sizeof(*more));
	return more;
}

static int advise(struct layout *l, uint64_t start, uint64_t end, int advice, bool ignore_errors)
{
	struct stub_advice *more = l->out->nadvices < 16 && l->out->nadvices > 0
					   ? l->out->advices
					   : grow(l->out->advices, l->out->nadvices, sizeof(*more));

	if (!more)
		return -ENOMEM;
	l->out->advices = more;
	more[l->out->nadvices++] = (struct stub_advice){
		.addr = start,
		.len = end - start,
		.advice = advice,
		.ignore_errors = ignore_errors,
	};
	return 0;
}

static uint32_t lock_flags(const struct model_vma *v)
{
	return (v->vmflags & VMF_LOCKED ? STUB_MAP_MLOCK : 0) |
	       (v->vmflags & VMF_SEALED ? STUB_MAP_MSEAL : 0);
}

/*
 * A library is R, RX, R of one file since linkers separate code (-z separate-code, binutils 2.31), and was
 * one RX before: a segment that only reads becomes executable beside one that is already
 */
static bool joins(const struct layout *l, uint32_t a, uint32_t b)
{
	return a == b || (l->join_text && (a & b) == PROT_READ && (a | b) == (PROT_READ | PROT_EXEC));
}

static int add_file(struct layout *l, const struct model_vma *v, uint64_t start, uint64_t end, int file)
{
	struct stub_map *last = l->out->nmaps ? &l->out->maps[l->out->nmaps - 1] : NULL, *m;
	uint64_t off = v->offset + (start - v->start);
	uint32_t flags = v->shared ? MAP_SHARED : MAP_PRIVATE;

	if (v->vmflags & VMF_NORESERVE)
		flags |= MAP_NORESERVE;
	if (last && last->file == file && last->addr + last->len == start && last->off + last->len == off &&
	    (v->shared ? last->prot == v->prot : joins(l, last->prot, v->prot)) &&
	    last->mmap_flags == flags && last->flags == lock_flags(v)) {
		last->prot |= v->prot;
		last->len += end - start;
		return 0;
	}
	m = new_map(l);
	if (!m)
		return -ENOMEM;
	m->addr = start;
	m->len = end - start;
	m->off = off;
	m->prot = v->prot;
	m->mmap_flags = flags;
	m->file = file;
	m->flags = lock_flags(v);
	return 0;
}

/* where the next stored bytes go: behind what is there; what was laid out before has its place. Return: offset */
static uint64_t place(struct layout *l, uint64_t placed, bool adjacent)
{
	if (placed != MODEL_NO_OFFSET)
		return placed;
	if (l->last_grows && !adjacent)
		l->out->pages_size += GROWTH_GAP;
	return l->out->pages_size;
}

static void note_placed(struct layout *l, const struct model_vma *v, uint64_t end)
{
	if (l->out->pages_size < end)
		l->out->pages_size = end;
	l->last_grows = v->object < 0;
}

/* @at: where its bytes lie, MODEL_NO_OFFSET: nowhere yet */
static int add_stored(struct layout *l, const struct model_vma *v, uint64_t start, uint64_t end, uint64_t at)
{
	struct stub_map *last = l->out->nmaps ? &l->out->maps[l->out->nmaps - 1] : NULL, *m;
	uint32_t flags = MAP_PRIVATE | (v->vmflags & VMF_NORESERVE ? MAP_NORESERVE : 0);
	bool adjacent = last && last->file == STUB_FILE_PAGES && !(last->flags & STUB_MAP_COPY) &&
			last->addr + last->len == start && last->prot == v->prot &&
			last->mmap_flags == flags && last->flags == lock_flags(v);
	uint64_t off = place(l, at, adjacent);

	if (adjacent && last->off + last->len == off) {
		last->len += end - start;
		note_placed(l, v, off + (end - start));
		return 0;
	}
	m = new_map(l);
	if (!m)
		return -ENOMEM;
	m->addr = start;
	m->len = end - start;
	m->off = off;
	m->prot = v->prot;
	m->mmap_flags = flags;
	m->file = STUB_FILE_PAGES;
	m->flags = lock_flags(v);
	note_placed(l, v, off + m->len);
	return 0;
}

static int add_anonymous(struct layout *l, const struct model_vma *v, uint64_t start, uint64_t end)
{
	struct stub_map *last = l->out->nmaps ? &l->out->maps[l->out->nmaps - 1] : NULL, *m;
	uint32_t flags = MAP_PRIVATE | MAP_ANONYMOUS | (v->vmflags & VMF_NORESERVE ? MAP_NORESERVE : 0);

	if (v->vmflags & VMF_DROPPABLE)
		flags = MAP_DROPPABLE | MAP_ANONYMOUS;
	if (last && last->file == STUB_FILE_NONE && last->addr + last->len == start &&
	    last->prot == v->prot && last->mmap_flags == flags && last->flags == lock_flags(v) &&
	    !(v->vmflags & VMF_DROPPABLE)) {
		last->len += end - start;
		return 0;
	}
	m = new_map(l);
	if (!m)
		return -ENOMEM;
	m->addr = start;
	m->len = end - start;
	m->prot = v->prot;
	m->mmap_flags = flags;
	m->file = STUB_FILE_NONE;
	m->flags = lock_flags(v);
	return 0;
}

/* memory that cannot be a private mapping of the memfd: made fresh, then filled */
static int add_copy(struct layout *l, const struct model_vma *v)
{
	struct stub_map *m = new_map(l);

	if (!m)
		return -ENOMEM;
	m->addr = v->start;
	m->len = v->end - v->start;
	m->prot = v->prot;
	m->mmap_flags = (v->shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS |
			(v->vmflags & VMF_NORESERVE ? MAP_NORESERVE : 0);
	if (v->vmflags & VMF_GROWSDOWN)
		m->mmap_flags |= MAP_GROWSDOWN | MAP_STACK;
	m->file = STUB_FILE_NONE;
	m->flags = lock_flags(v);
	if (!v->nruns)
		return 0;
	m->flags |= STUB_MAP_COPY;
	if ((v->prot & (PROT_READ | PROT_WRITE)) != (PROT_READ | PROT_WRITE))
		m->flags |= STUB_MAP_PROTECT;
	m->copy_addr = v->runs[0].start;
	m->copy_len = v->runs[v->nruns - 1].end - v->runs[0].start;
	m->off = place(l, v->runs[0].offset, false);
	note_placed(l, v, m->off + m->copy_len);
	l->last_grows = false;
	return 0;
}

static int add_untouched(struct layout *l, const struct model_vma *v, uint64_t start, uint64_t end, int file)
{
	if (start >= end)
		return 0;
	return v->object >= 0 ? add_file(l, v, start, end, file) : add_anonymous(l, v, start, end);
}

/* a private mapping: stored pieces and untouched ones take turns */
static int add_private(struct layout *l, const struct model_vma *v, int file)
{
	uint64_t gap = (v->object >= 0 ? PLAN_CLEAN_GAP : PLAN_HOLE_GAP) * l->page, at = v->start;
	size_t i = 0;

	while (i < v->nruns) {
		uint64_t start = v->runs[i].start, end;
		uint64_t offset = v->runs[i].offset;
		size_t j = i;
		int r;

		/* what was laid out before is taken as it is: only what a run says is in the page file */
		if (offset != MODEL_NO_OFFSET)
			gap = 0;
		while (j + 1 < v->nruns && v->runs[j + 1].start - v->runs[j].end < gap)
			j++;
		end = v->runs[j].end;
		if (start - at < gap)
			start = at;
		if (v->end - end < gap)
			end = v->end;
		r = add_untouched(l, v, at, start, file);
		if (r == 0)
			r = add_stored(l, v, start, end, offset);
		if (r < 0)
			return r;
		at = end;
		i = j + 1;
	}
	return add_untouched(l, v, at, v->end, file);
}

static int add_advice(struct layout *l, const struct model_vma *v)
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

int plan_layout(const struct model_space *space, const int *file_index, uint64_t page, bool join_text,
		struct plan_layout *ret)
{
	struct plan_layout out = { 0 };
	struct layout l = { .out = &out, .page = page, .join_text = join_text };

	for (size_t i = 0; i < space->nvmas; i++) {
		const struct model_vma *v = &space->vmas[i];
		int file = v->object >= 0 ? file_index[v->object] : STUB_FILE_NONE, r;

		for (size_t j = 0; j < v->nruns; j++)
			out.stored += v->runs[j].end - v->runs[j].start;
		if (v->vmflags & (VMF_WIPEONFORK | VMF_DROPPABLE))
			r = add_anonymous(&l, v, v->start, v->end);
		else if (v->vmflags & VMF_GROWSDOWN || (v->shared && v->object < 0))
			r = add_copy(&l, v);
		else if (v->shared)
			r = add_file(&l, v, v->start, v->end, file);
		else
			r = add_private(&l, v, file);
		if (r == 0)
			r = add_advice(&l, v);
		if (r < 0) {
			plan_layout_done(&out);
			return r;
		}
	}
	if (l.last_grows)
		out.pages_size += GROWTH_GAP;
	*ret = out;
	return 0;
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
