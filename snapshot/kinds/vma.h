/* SPDX-License-Identifier: MIT */
/*
 * vma.h - kinds of memory: what the dump and the plan know of each, in vma_NAME.c; vma_kinds.def lists them.
 *
 *	mapping of a stopped process ── vma_kind() ──► is it refused? which of its pages are to be looked at?
 *	struct model_vma ── vma_kind_of(), place() ──► struct stub_map[]
 *
 * Everything here is pure: facts in, decisions out. A new kind is a file here and a line of vma_kinds.def.
 */
#ifndef WARM_SNAPSHOT_KINDS_VMA_H
#define WARM_SNAPSHOT_KINDS_VMA_H

#include <stdbool.h>
#include <stdint.h>

#include "snapshot/kinds/place.h"
#include "snapshot/model/model.h"

/* what tells kinds of mappings apart */
struct vma_facts {
	const char *name; /* as /proc/PID/maps has it, without " (deleted)" */
	uint32_t vmflags; /* enum proc_vmflag */
	bool shared; /* MAP_SHARED */
	bool deleted; /* its file has no name any more. False for all that is in a model */
	bool file; /* of a file that has a name */
};

/* which of its pages hold something that would be missing in a clone */
enum vma_scan {
	VMA_SCAN_NONE, /* none: they are the file's, or they start empty */
	VMA_SCAN_OWN, /* those that the process has written, and that are its own since */
	VMA_SCAN_ALL, /* all that are there */
};

struct vma_kind {
	/* Is it of this kind? They are asked in the order of vma_kinds.def; the first that says yes has it */
	bool (*is)(const struct vma_facts *f);
	const char *
		refused; /* what it is, as behind "process 7 maps": no clone can have it; NULL: it is carried */
	enum vma_scan scan;
	/*
	 * Lay it out; @file: index of its object's file in a launch, STUB_FILE_NONE: it has none. NULL where refused
	 * Return: 0 or -ENOMEM
	 */
	int (*place)(struct place *p, const struct model_vma *v, int file);
};

/*
 * Fewer untouched pages between two written ones of private memory are stored too, because two more mappings cost more: of a file's,
 * and of anonymous memory, where they are holes of the page file
 */
#define VMA_CLEAN_GAP 16
#define VMA_HOLE_GAP  64

#define VMA_KIND(name) extern const struct vma_kind vma_kind_##name;
#include "snapshot/kinds/vma_kinds.def"
#undef VMA_KIND

/** vma_kind() - the kind of a mapping; there is always one */
const struct vma_kind *vma_kind(const struct vma_facts *f);

/** vma_kind_of() - the kind of a mapping that is in a model */
const struct vma_kind *vma_kind_of(const struct model_vma *v);

#endif
