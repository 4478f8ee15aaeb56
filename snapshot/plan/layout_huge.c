/* SPDX-License-Identifier: MIT */
/* layout_huge.c - which stored memory can lie in hugetlb pages: plan_layout_huge() */
#include "snapshot/plan/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define DENSE(n) ((n) / 4 * 3) /* less would be paid with too much memory */

struct carve {
	const struct model_space *p;
	const struct plan_layout *from;
	uint64_t huge, bytes; /* bytes: of the huge pages' file, so far */
	int file;
	struct stub_map *maps; /* NULL: they are only counted */
	size_t nmaps;
};

static uint64_t overlap(uint64_t a, uint64_t aend, uint64_t b, uint64_t bend)
{
	uint64_t start = a > b ? a : b, end = aend < bend ? aend : bend;

	return start < end ? end - start : 0;
}

/* bytes of [start, end) that differ from zero; a file's are all stored */
static uint64_t stored(const struct model_space *p, uint64_t start, uint64_t end)
{
	uint64_t n = 0;

	for (size_t i = 0; i < p->nvmas && p->vmas[i].start < end; i++) {
		const struct model_vma *v = &p->vmas[i];

		if (v->end <= start)
			continue;
		if (v->object >= 0)
			n += overlap(start, end, v->start, v->end);
		for (size_t j = 0; j < v->nruns && v->object < 0; j++)
			n += overlap(start, end, v->runs[j].start, v->runs[j].end);
	}
	return n;
}

/* advice that must succeed: hugetlb knows no guard pages */
static bool has_advice(const struct plan_layout *l, uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < l->nadvices; i++)
		if (!l->advices[i].ignore_errors &&
		    overlap(start, end, l->advices[i].addr, l->advices[i].addr + l->advices[i].len))
			return true;
	return false;
}

static bool fits(const struct carve *c, uint64_t start)
{
	return stored(c->p, start, start + c->huge) >= DENSE(c->huge) &&
	       !has_advice(c->from, start, start + c->huge);
}

/* the part of @m from @start on; @len 0: none */
static void emit(struct carve *c, const struct stub_map *m, uint64_t start, uint64_t len, bool huge)
{
	struct stub_map part = *m;

	if (!len)
		return;
	part.addr = start;
	part.len = len;
	part.off = m->off + (start - m->addr);
	if (huge) {
		part.off = c->bytes;
		part.file = c->file;
		part.mmap_flags = MAP_SHARED;
		c->bytes += len;
	}
	if (c->maps)
		c->maps[c->nmaps] = part;
	c->nmaps++;
}

static void carve_map(struct carve *c, const struct stub_map *m)
{
	uint64_t end = m->addr + m->len, at = m->addr, next = (m->addr + c->huge - 1) & ~(c->huge - 1);

	/* addresses end far below what could wrap around */
	while (m->file == STUB_FILE_PAGES && m->prot == PROT_READ && !m->flags && next + c->huge <= end) {
		uint64_t first = next;

		while (next + c->huge <= end && fits(c, next))
			next += c->huge;
		if (next > first) {
			emit(c, m, at, first - at, false);
			emit(c, m, first, next - first, true);
			at = next;
		} else {
			next += c->huge;
		}
	}
	emit(c, m, at, end - at, false);
}

int plan_layout_huge(const struct model_space *p, uint64_t huge, int file, struct plan_layout *l,
		     uint64_t *ret_bytes)
{
	struct carve c = { .p = p, .from = l, .huge = huge, .file = file };
	struct stub_map *maps;

	for (size_t i = 0; i < l->nmaps; i++)
		carve_map(&c, &l->maps[i]);
	*ret_bytes = c.bytes;
	if (!c.bytes)
		return 0;
	maps = calloc(c.nmaps, sizeof(*maps));
	if (!maps)
		return -ENOMEM;
	c.maps = maps;
	c.nmaps = c.bytes = 0;
	for (size_t i = 0; i < l->nmaps; i++)
		carve_map(&c, &l->maps[i]);
	free(l->maps);
	l->maps = maps;
	l->nmaps = c.nmaps;
	return 0;
}
