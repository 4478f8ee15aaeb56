/* SPDX-License-Identifier: MIT */
/*
 * plan_pages.c - the pages memfd: from their source to where the layout wants them.
 *
 * Where most of 2 MiB is stored, that piece of the memfd is one huge page, if the host lets
 * shmem have some (shmem_enabled: always, within_size, advise): a large heap is then read with few faults. The huge
 * page is made by a fault on a mapping with MADV_HUGEPAGE, because write(2) to a memfd
 * asks for none; what is written then finds it there.
 */
#include "snapshot/plan/plan_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/base/fd.h"

#define COPY_SIZE (1u << 20)
#define DENSE(n)  ((n) / 4 * 3) /* of a huge page: less would be paid with too much memory */

struct copy {
	const struct page_source *source;
	size_t space;
	int memfd;
	void *buf;
	uint64_t huge_size;
	uint64_t *stored; /* bytes in each huge page of the memfd */
};

typedef int visit_fn(struct copy *c, uint64_t from, uint64_t len, uint64_t off);

/* each piece of memory that is stored: address, bytes, place in the memfd; holes stay holes */
static int each_stored(const struct model_vma *v, const struct plan_layout *l, visit_fn *visit,
		       struct copy *c)
{
	for (size_t m = 0; m < l->nmaps; m++) {
		const struct stub_map *map = &l->maps[m];
		uint64_t start = map->flags & STUB_MAP_COPY ? map->copy_addr : map->addr;
		uint64_t len = map->flags & STUB_MAP_COPY ? map->copy_len : map->len;
		uint64_t from, to;
		int r = 0;

		if (map->file != STUB_FILE_PAGES && !(map->flags & STUB_MAP_COPY))
			continue;
		from = start > v->start ? start : v->start;
		to = start + len < v->end ? start + len : v->end;
		if (from >= to)
			continue;
		/* a file's pages between written ones are stored whole */
		if (v->object >= 0 && !v->shared)
			r = visit(c, from, to - from, map->off + (from - start));
		for (size_t i = 0; i < v->nruns && (v->object < 0 || v->shared) && r == 0; i++) {
			/* what lies in huge pages is not in this memfd: a run may go on there */
			uint64_t at = v->runs[i].start > from ? v->runs[i].start : from;
			uint64_t end = v->runs[i].end < to ? v->runs[i].end : to;

			if (at < end)
				r = visit(c, at, end - at, map->off + (at - start));
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int count_piece(struct copy *c, uint64_t from, uint64_t len, uint64_t off)
{
	(void)from;
	while (len) {
		uint64_t room = c->huge_size - off % c->huge_size, n = len < room ? len : room;

		c->stored[off / c->huge_size] += n;
		off += n;
		len -= n;
	}
	return 0;
}

static int copy_piece(struct copy *c, uint64_t from, uint64_t len, uint64_t off)
{
	while (len) {
		size_t n = len < COPY_SIZE ? len : COPY_SIZE;
		int r = c->source->read(c->source, c->space, from, c->buf, n);

		if (r == 0)
			r = pwrite_full(c->memfd, c->buf, n, (off_t)off);
		if (r < 0)
			return r;
		from += n;
		off += n;
		len -= n;
	}
	return 0;
}

static int each_vma(const struct model_space *space, const struct plan_layout *l, visit_fn *visit,
		    struct copy *c)
{
	int r = 0;

	for (size_t i = 0; i < space->nvmas && r == 0; i++)
		if (space->vmas[i].nruns)
			r = each_stored(&space->vmas[i], l, visit, c);
	return r;
}

/* bytes of a huge page of shmem; 0: there are none */
static uint64_t huge_page_size(void)
{
	_cleanup_free_ char *text = NULL;

	if (read_file("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", &text, NULL) < 0)
		return 0;
	return strtoull(text, NULL, 10);
}

/* one that the host does not give is made of small pages: nothing is lost */
static void make_huge(const struct copy *c, uint64_t off)
{
	char *at = mmap(NULL, 2 * c->huge_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			0);
	char *aligned;

	if (at == MAP_FAILED)
		return;
	aligned = (char *)(((uintptr_t)at + c->huge_size - 1) & ~(uintptr_t)(c->huge_size - 1));
	if (mmap(aligned, c->huge_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, c->memfd,
		 (off_t)off) == aligned &&
	    madvise(aligned, c->huge_size, MADV_HUGEPAGE) == 0)
		*(volatile char *)aligned = 0;
	munmap(at, 2 * c->huge_size);
}

static int make_dense_huge(const struct model_space *space, const struct plan_layout *l, struct copy *c)
{
	uint64_t n;
	int r;

	c->huge_size = huge_page_size();
	if (!c->huge_size)
		return 0;
	/* only whole ones: a page beyond the end could never be sealed away */
	n = l->pages_size / c->huge_size;
	c->stored = calloc(n + 1, sizeof(*c->stored));
	if (!c->stored)
		return -ENOMEM;
	r = each_vma(space, l, count_piece, c);
	for (uint64_t i = 0; i < n && r == 0; i++)
		if (c->stored[i] >= DENSE(c->huge_size))
			make_huge(c, i * c->huge_size);
	free(c->stored);
	return r;
}

int plan_pages(const struct model *m, size_t space, const struct page_source *source,
	       const struct plan_layout *l, int memfd, uint64_t *ret_bytes, struct error *err)
{
	_cleanup_free_ char *buf = malloc(COPY_SIZE);
	struct copy c = { .source = source, .space = space, .memfd = memfd, .buf = buf };
	struct stat st;
	int r;

	if (!buf || ftruncate(memfd, (off_t)(l->pages_size ? l->pages_size : 4096)) < 0)
		return error_errno(err, errno ? errno : ENOMEM, "making the template's memory");
	r = make_dense_huge(&m->spaces[space], l, &c);
	if (r == 0)
		r = each_vma(&m->spaces[space], l, copy_piece, &c);
	if (r < 0)
		return error_errno(err, r, "copying the program's memory");
	if (fstat(memfd, &st) == 0)
		*ret_bytes = (uint64_t)st.st_blocks * 512;
	return plan_seal(memfd, err);
}
