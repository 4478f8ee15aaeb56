/* SPDX-License-Identifier: MIT */
/* vma_shared_file.c - a file that is mapped shared: what is written to it is in the file */
#include "snapshot/kinds/vma.h"

static bool is(const struct vma_facts *f)
{
	return f->shared && f->file;
}

static int place(struct place *p, const struct model_vma *v, int file)
{
	return place_file(p, v, v->start, v->end, file);
}

const struct vma_kind vma_kind_shared_file = { is, NULL, VMA_SCAN_NONE, place };
