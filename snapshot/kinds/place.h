/* SPDX-License-Identifier: MIT */
/* place.h - mappings that clones make of one that the program had: the pieces that kinds of memory (vma.h) are laid out with */
#ifndef WARM_SNAPSHOT_KINDS_PLACE_H
#define WARM_SNAPSHOT_KINDS_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/stub/image.h"
#include "snapshot/model/model.h"

/* an address space while it is laid out, in ascending order */
struct place {
	struct stub_map *maps; /* the caller frees it */
	size_t nmaps;
	uint64_t pages_size; /* bytes of the page file so far, holes included */
	uint64_t page; /* bytes of a page */
	bool join_text; /* plan_layout() */
	bool last_grows; /* what was stored last was anonymous: a gap behind it is left for mremap(2), place_end() */
};

/* Each adds [@start, @end) of @v, to the piece before if the two can be one mapping. Return: 0 or -ENOMEM */

/** place_file() - from the file of its object; @file: its index in a launch */
int place_file(struct place *p, const struct model_vma *v, uint64_t start, uint64_t end, int file);
/** place_anonymous() - zeros */
int place_anonymous(struct place *p, const struct model_vma *v, uint64_t start, uint64_t end);
/** place_stored() - from the page file, privately; @at: where it lies there, MODEL_NO_OFFSET: nowhere yet */
int place_stored(struct place *p, const struct model_vma *v, uint64_t start, uint64_t end, uint64_t at);

/** place_copy() - all of @v, anonymous, and what its runs span is copied there. For what cannot be a private mapping of a file */
int place_copy(struct place *p, const struct model_vma *v);

/** place_end() - nothing comes behind: the gap that may be needed */
void place_end(struct place *p);

#endif
