/* SPDX-License-Identifier: MIT */
/* vma.c - the table of kinds of memory */
#include "snapshot/kinds/vma.h"

#include "engine/base/fd.h"

static const struct vma_kind *const kinds[] = {
#define VMA_KIND(name) &vma_kind_##name,
#include "snapshot/kinds/vma_kinds.def"
#undef VMA_KIND
};

const struct vma_kind *vma_kind(const struct vma_facts *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i]->is(f))
			return kinds[i];
	return &vma_kind_private;
}

const struct vma_kind *vma_kind_of(const struct model_vma *v)
{
	const struct vma_facts f = {
		.name = v->name ? v->name : "",
		.vmflags = v->vmflags,
		.shared = v->shared,
		.file = v->object >= 0,
	};

	return vma_kind(&f);
}
