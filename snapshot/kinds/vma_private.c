/* SPDX-License-Identifier: MIT */
/*
 * vma_private.c - anonymous memory, and a file's that is mapped privately: what the process has written is its own and comes
 * from the page file; the rest is the file's again, or zeros. Both take turns, with as few mappings as it takes.
 */
#include "snapshot/kinds/vma.h"

static bool is(const struct vma_facts *f)
{
	return !f->shared;
}

static int place_untouched(struct place *p, const struct model_vma *v, uint64_t start, uint64_t end, int file)
{
	if (start >= end)
		return 0;
	return v->object >= 0 ? place_file(p, v, start, end, file) : place_anonymous(p, v, start, end);
}

/* the piece from run @i on: what it begins and ends with. @at: where the one before ended. Return: the run that comes behind it */
static size_t next_piece(const struct place *p, const struct model_vma *v, size_t i, uint64_t at,
			 uint64_t *ret_start, uint64_t *ret_end)
{
	uint64_t gap = (v->object >= 0 ? VMA_CLEAN_GAP : VMA_HOLE_GAP) * p->page;
	size_t j = i;

	/* what was laid out before is taken as it is: only what a run says is in the page file */
	if (v->runs[i].offset != MODEL_NO_OFFSET)
		gap = 0;
	while (j + 1 < v->nruns && v->runs[j + 1].start - v->runs[j].end < gap)
		j++;
	*ret_start = v->runs[i].start - at < gap ? at : v->runs[i].start;
	*ret_end = v->end - v->runs[j].end < gap ? v->end : v->runs[j].end;
	return j + 1;
}

static int place(struct place *p, const struct model_vma *v, int file)
{
	uint64_t at = v->start, start, end;
	size_t next;

	for (size_t i = 0; i < v->nruns; i = next) {
		int r;

		next = next_piece(p, v, i, at, &start, &end);
		r = place_untouched(p, v, at, start, file);
		if (r == 0)
			r = place_stored(p, v, start, end, v->runs[i].offset);
		if (r < 0)
			return r;
		at = end;
	}
	return place_untouched(p, v, at, v->end, file);
}

const struct vma_kind vma_kind_private = { is, NULL, VMA_SCAN_OWN, place };
