/* SPDX-License-Identifier: MIT */
/* vma_fresh.c - memory whose contents no other process shall have: random state, mostly. It starts empty in each clone */
#include "engine/proc.h"
#include "snapshot/kinds/vma.h"

static bool is(const struct vma_facts *f)
{
	return f->vmflags & (VMF_WIPEONFORK | VMF_DROPPABLE);
}

static int place(struct place *p, const struct model_vma *v, int file)
{
	(void)file;
	return place_anonymous(p, v, v->start, v->end);
}

const struct vma_kind vma_kind_fresh = { is, NULL, VMA_SCAN_NONE, place };
