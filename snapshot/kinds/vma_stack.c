/* SPDX-License-Identifier: MIT */
/* vma_stack.c - a stack that grows: the kernel lets anonymous memory alone grow downwards, so it is filled by copy */
#include "engine/proc.h"
#include "snapshot/kinds/vma.h"

static bool is(const struct vma_facts *f)
{
	return f->vmflags & VMF_GROWSDOWN;
}

static int place(struct place *p, const struct model_vma *v, int file)
{
	(void)file;
	return place_copy(p, v);
}

const struct vma_kind vma_kind_stack = { is, NULL, VMA_SCAN_OWN, place };
