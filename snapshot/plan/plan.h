/* SPDX-License-Identifier: MIT */
/*
 * plan.h - from a model to what a launcher needs: the pages memfd, the
 * control memfd (engine/stub/image.h) and the list of files to be mapped.
 *
 * A plan is a function of a model, of pages and of options: it reads no process and writes into none, so that memory
 * and disk have the same plan. plan_layout() decides which mapping comes from where, with as few mappings as faithfulness
 * allows; plan_build() brings the pages to their places, writes the tables and seals both memfds. Pages come through a
 * page_source: of live processes (snapshot/dump/live_pages.h) they are copied, of an image's page file they are mapped as they lie.
 */
#ifndef WARM_SNAPSHOT_PLAN_PLAN_H
#define WARM_SNAPSHOT_PLAN_PLAN_H

#include "engine/base/error.h"
#include "engine/stub/image.h"
#include "snapshot/model/model.h"

/* one mapping to be made: struct stub_map, and what it was */
struct plan_layout {
	struct stub_map *maps;
	size_t nmaps;
	struct stub_advice *advices;
	size_t nadvices;
	uint64_t pages_size; /* bytes of the pages memfd, holes included */
	uint64_t stored; /* bytes of it that are written */
};

/**
 * plan_layout() - decide the mappings of an address space
 * @file_index: for each memory object of the model the 1-based index that maps will carry
 * @page: page size in bytes
 * @join_text: read-only data joins the text beside it, and is executable then
 *
 * Rules:
 *  - a run that has an offset was laid out before: it stays where it is, and nothing is added to it;
 *  - a written page of a private mapping comes from the pages memfd, an untouched one of a
 *    file from that file; fewer than VMA_CLEAN_GAP untouched pages between two written ones are
 *    stored too, because two more mappings cost more than their copies;
 *  - with @join_text neighbours of one file, private and untouched, that are r-- and r-x, are one r-x mapping when
 *    their offsets continue: a library's R, RX, R. It is never done to what can be written;
 *  - anonymous memory that was never written is anonymous again where it is VMA_HOLE_GAP pages or more
 *    long; shorter pieces are holes of the memfd;
 *  - neighbours of equal protection that are stored lie one behind the other in the memfd and are one mapping;
 *  - anonymous memory is followed by a hole in the memfd, because mremap(2) may grow it and must find zeros;
 *  - a stack that grows down, MADV_WIPEONFORK and MAP_DROPPABLE memory and shared anonymous memory
 *    cannot be private file mappings: the first and last are filled by copy, the others start empty.
 */
int plan_layout(const struct model_space *space, const int *file_index, uint64_t page, bool join_text,
		struct plan_layout *ret);
void plan_layout_done(struct plan_layout *l);

/**
 * plan_note_runs() - write into a model where its pages lie
 *
 * The runs of each mapping become the pieces that are stored, with their offsets in the page file: all that is
 * needed to plan the same model again with that file as its page_source. Without those of huge pages: before plan_layout_huge().
 * Return: 0 or -ENOMEM
 */
int plan_note_runs(struct model_space *space, const struct plan_layout *l);

/**
 * plan_layout_huge() - take out of a layout what can lie in hugetlb pages
 * @p: that @l was made of
 * @huge: bytes of such a page
 * @file: index that their maps get; offsets count in that file
 * @ret_bytes: its size; 0: @l is as it was
 *
 * Of stored memory that can be read alone, not executed: each whole, aligned page of @huge bytes of which three quarters or more
 * are stored. Locked and sealed memory stays, and what has guard pages or is not inherited. The maps are
 * MAP_SHARED, of a file that nobody can write: a private mapping would copy @huge bytes at the first write after an
 * mprotect(2), and kill the program when no such page is free.
 *
 * Return: 0 or -ENOMEM
 */
int plan_layout_huge(const struct model_space *p, uint64_t huge, int file, struct plan_layout *l,
		     uint64_t *ret_bytes);

/* where the bytes of a model's pages come from */
struct page_source {
	/*
	 * Bytes of address space @space. NULL: they lie in @file at their runs' offsets
	 * Return: 0 or a negative errno
	 */
	int (*read)(const struct page_source *s, size_t space, uint64_t addr, void *buf, size_t len);
	int file; /* a page file, open for reading, not owned; -EBADF: none */
};

/** page_source_file() - of an image: nothing is read, the file itself is mapped by clones */
static inline struct page_source page_source_file(int fd)
{
	return (struct page_source){ .file = fd };
}

struct plan_options {
	bool join_text; /* for plan_layout() */
	bool hugetlb; /* read-only memory into hugetlb pages, as far as there are free ones; not with a page file */
};

struct plan {
	int control; /* sealed memfd, owned */
	int pages; /* sealed memfd, or another descriptor of the page file; owned */
	int *files; /* descriptors to be mapped, owned by the model's files; but for huge, which is the last one if it is there */
	size_t nfiles;
	int huge; /* sealed memfd of hugetlb pages, open for reading alone, owned; -EBADF: none */
	uint64_t huge_bytes; /* of it; among sealed_bytes */
	struct model_piece *huge_pieces; /* what lies in huge; owned */
	size_t nhuge_pieces;
	char huge_note[160]; /* why there is none, where memory would be for it; "" */
	uint64_t stub_base, text_size, data_size, args_base, context_max;
	uint64_t sealed_bytes;
	uint32_t nmaps, nthreads;
};

/**
 * plan_build() - the memfds of a template
 * @m: the tree; its first process is the root. When pages were copied, its runs have offsets afterwards (plan_note_runs())
 * @files: descriptors of its objects, which stay the caller's
 * @ret: the caller frees it with plan_done()
 *
 * Return: 0, or a negative errno with *err set; -EOPNOTSUPP: what no clone could be made of
 */
int plan_build(struct model *m, const struct model_files *files, const struct page_source *source,
	       const struct plan_options *o, struct plan *ret, struct error *err);
void plan_done(struct plan *plan);

/** plan_memfd() - an executable memfd that can be sealed, close-on-exec. Return: a descriptor, or a negative errno */
int plan_memfd(const char *name, struct error *err);
/** plan_seal() - no writing, growing, shrinking, or other seals from here on. Return: 0 or a negative errno */
int plan_seal(int fd, struct error *err);

#endif
