/* SPDX-License-Identifier: MIT */
/* plan_internal.h - the control file's data while it is made: plan.c puts it together, plan_tables.c fills the tables */
#ifndef WARM_SNAPSHOT_PLAN_PLAN_INTERNAL_H
#define WARM_SNAPSHOT_PLAN_PLAN_INTERNAL_H

#include "engine/stub/image.h"
#include "snapshot/plan/plan.h"

/* a growing image of struct stub_data and its tables */
struct image {
	char *v;
	size_t len, cap;
	bool failed;
	uint32_t process; /* index of the one whose tables are put */
};

/** image_reserve() - @len zero bytes at a multiple of @align. Return: their offset; 0 and failed set when there is no memory */
uint64_t image_reserve(struct image *im, size_t len, size_t align);
/** image_put() - the same with contents. The image may move: pointers into it are void afterwards */
uint64_t image_put(struct image *im, const void *data, size_t len, size_t align);
struct stub_data *image_head(struct image *im);
/** image_process() - the entry of the process whose tables are put. Void, as image_head(), once something is put */
struct stub_process *image_process(struct image *im);
/** image_set() - store an offset into a field of struct stub_data, given by offsetof() */
void image_set(struct image *im, size_t field, uint64_t at);
/** image_set_process() - the same for a field of struct stub_process */
void image_set_process(struct image *im, size_t field, uint64_t at);

/* struct stub_patch to be */
struct patches {
	struct patch {
		uint64_t addr;
		size_t len;
		uint8_t bytes[32];
	} * v; /* owned */
	size_t n;
};
/** put_patches() - the table of what was collected by put_threads() and put_leave() */
void put_patches(struct image *im, const struct patches *list);

void put_signals(struct image *im, const struct model *m, const struct model_process *p);
int put_threads(struct image *im, struct patches *patches, const struct model *m,
		const struct model_process *p, uint64_t data_base, uint64_t resume_timed, struct error *err);
/** put_leave() - the main thread's way back; @resume_leave: address of stub_resume_leave, for its stack */
int put_leave(struct image *im, struct patches *patches, const struct model_leave *l, uint64_t resume_leave,
	      struct error *err);
/** put_descriptions() - the table of open file descriptions, which all processes share */
void put_descriptions(struct image *im, const struct model *m);
/** put_fds() - the process's table of descriptors, and what its epolls watch. Return: 0 or -ENOMEM */
int put_fds(struct image *im, const struct model *m, const struct model_process *p);
/** put_exit() - hooks, and what those of exit functions need */
int put_exit(struct image *im, const struct model_entry *e, uint64_t stub_base, struct error *err);
void put_process(struct image *im, const struct model *m, const struct model_process *p);
/** put_space() - what the memory of a process is beside its mappings, and what is to be written there */
void put_space(struct image *im, const struct model *m, const struct model_space *s);
void put_outputs(struct image *im, const struct model_entry *e);

/**
 * plan_pages() - copy what is stored into the pages memfd, and seal it
 * @space: index
 * @ret_bytes: memory that it takes
 */
int plan_pages(const struct model *m, size_t space, const struct page_source *source,
	       const struct plan_layout *l, int memfd, uint64_t *ret_bytes, struct error *err);

/**
 * plan_huge() - a sealed memfd of hugetlb pages, and the layout that uses it
 * @file: index for plan_layout_huge()
 * @l: without huge pages
 * @ret: set when there is a memfd: @l with it. The caller frees its maps; its advice is @l's
 * @plan: huge, huge_bytes, huge_pieces and huge_note are set. Without free huge pages huge stays -EBADF, and that is no error
 * Return: 0 or -ENOMEM
 */
int plan_huge(const struct model *m, size_t space, const struct page_source *source, int file,
	      const struct plan_layout *l, struct plan_layout *ret, struct plan *plan, struct error *err);

/* the stub's text: warmd carries it */
extern const char blob_stub[], blob_stub_end[];

/* addresses that the stub tells of itself, at STUB_ENTRIES_AT of its text: engine/stub/x86_64/entry.S */
enum stub_entry {
	STUB_ENTRY_HOOK_RETURN,
	STUB_ENTRY_HOOK_EXIT,
	STUB_ENTRY_RESUME_TIMED,
	STUB_ENTRY_HOOK_FINAL,
	STUB_ENTRY_HOOK_MADVISE,
	STUB_ENTRY_HOOK_MREMAP,
	STUB_ENTRY_HOOK_READLINK,
	STUB_ENTRY_HOOK_READLINKAT,
	STUB_ENTRY_RESUME_LEAVE,
};
#define STUB_ENTRIES_AT 64

/** stub_entry() - offset of an entry in the stub's text */
static inline uint64_t stub_entry(enum stub_entry entry)
{
	return ((const uint64_t *)(blob_stub + STUB_ENTRIES_AT))[entry];
}

#endif
