/* SPDX-License-Identifier: MIT */
/*
 * vma_shared_anonymous.c - memory to be shared with children by fork(2): each clone has some of its own, filled by copy. All
 * pages that are there are its contents, as none of them is any one process's own.
 */
#include "snapshot/kinds/vma.h"

static bool is(const struct vma_facts *f)
{
	return f->shared && !f->file;
}

static int place(struct place *p, const struct model_vma *v, int file)
{
	(void)file;
	return place_copy(p, v);
}

const struct vma_kind vma_kind_shared_anonymous = { is, NULL, VMA_SCAN_ALL, place };
