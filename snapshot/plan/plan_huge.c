/* SPDX-License-Identifier: MIT */
/*
 * plan_huge.c - memory that a program only reads, in hugetlb pages (configuration: hugetlb).
 *
 * Huge pages of shmem (plan_pages.c) are there when the host allows it and finds some; those of hugetlb were set aside by
 * its administrator (vm.nr_hugepages), and are never split or swapped. Anybody may take them by memfd_create(2). They are
 * all taken here, or none: a clone maps them and can fail at nothing. Clones get a descriptor for reading alone,
 * because before Linux 6.7 a sealed memfd cannot be mapped shared through another.
 */
#include "snapshot/plan/plan_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"

#define COPY_SIZE (1u << 20)

__attribute__((format(printf, 2, 3))) static void note(struct plan *plan, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(plan->huge_note, sizeof(plan->huge_note), fmt, ap);
	va_end(ap);
}

static int copy(const struct page_source *source, size_t space, const struct stub_map *m, char *to)
{
	for (uint64_t done = 0; done < m->len;) {
		size_t n = m->len - done < COPY_SIZE ? m->len - done : COPY_SIZE;
		int r = source->read(source, space, m->addr + done, to + done, n);

		if (r < 0)
			return r;
		done += n;
	}
	return 0;
}

static int fill(const struct page_source *source, size_t space, const struct plan_layout *l, int file,
		char *at)
{
	int r = 0;

	for (size_t i = 0; i < l->nmaps && r == 0; i++)
		if (l->maps[i].file == file)
			r = copy(source, space, &l->maps[i], at + l->maps[i].off);
	return r;
}

static int reopen(int memfd)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Return: a descriptor of the sealed memfd; a negative errno and a note */
static int make(const struct page_source *source, size_t space, const struct plan_layout *l, int file,
		int memfd, uint64_t bytes, struct plan *plan)
{
	struct error err;
	char *at = MAP_FAILED;
	int fd, r;

	/* write(2) to hugetlbfs does not exist. A mapping reserves all of them or none, and takes none from others by trying */
	if (ftruncate(memfd, (off_t)bytes) == 0)
		at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	/* what is reserved may still not be had, for a control group or another node's memory: said here, where a fault would be SIGBUS */
	if (at == MAP_FAILED || fallocate(memfd, 0, 0, (off_t)bytes) < 0) {
		r = -errno;
		if (at != MAP_FAILED)
			munmap(at, bytes);
		note(plan,
		     "none: %llu MiB could be in hugetlb pages, but so many are not free (vm.nr_hugepages)",
		     (unsigned long long)(bytes >> 20));
		return r;
	}
	r = fill(source, space, l, file, at);
	/* no seal against writing while it is mapped */
	munmap(at, bytes);
	if (r == 0)
		r = plan_seal(memfd, &err);
	fd = r < 0 ? r : reopen(memfd);
	if (fd < 0)
		note(plan, "none: filling hugetlb pages failed (errno %d)", -fd);
	return fd;
}

static int layout_copy(const struct plan_layout *l, struct plan_layout *ret)
{
	*ret = *l;
	ret->maps = calloc(l->nmaps + 1, sizeof(*ret->maps));
	if (!ret->maps)
		return -ENOMEM;
	for (size_t i = 0; i < l->nmaps; i++)
		ret->maps[i] = l->maps[i];
	return 0;
}

/* where what lies in huge pages would lie in the page file: an image has it there */
static int note_pieces(const struct plan_layout *pages, const struct plan_layout *huge, int file,
		       struct plan *plan)
{
	for (size_t i = 0; i < huge->nmaps; i++) {
		const struct stub_map *h = &huge->maps[i];

		for (size_t j = 0; j < pages->nmaps && h->file == file; j++) {
			const struct stub_map *m = &pages->maps[j];
			struct model_piece *piece;
			uint64_t from = m->addr > h->addr ? m->addr : h->addr;
			uint64_t to = m->addr + m->len < h->addr + h->len ? m->addr + m->len
									  : h->addr + h->len;

			if (m->file != STUB_FILE_PAGES || from >= to)
				continue;
			piece = array_append(&plan->huge_pieces, &plan->nhuge_pieces, sizeof(*piece));
			if (!piece)
				return -ENOMEM;
			*piece = (struct model_piece){ m->off + (from - m->addr), h->off + (from - h->addr),
						       to - from };
		}
	}
	return 0;
}

int plan_huge(const struct model *m, size_t space, const struct page_source *source, int file,
	      const struct plan_layout *l, struct plan_layout *ret, struct plan *plan, struct error *err)
{
	_cleanup_close_ int memfd = memfd_create("warm-huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
	struct plan_layout huge;
	struct stat st;
	uint64_t bytes = 0;
	int r;

	if (memfd < 0 || fstat(memfd, &st) < 0) {
		note(plan, "none: this kernel has no hugetlb pages");
		return 0;
	}
	r = layout_copy(l, &huge);
	if (r == 0)
		r = plan_layout_huge(&m->spaces[space], (uint64_t)st.st_blksize, file, &huge, &bytes);
	if (r < 0)
		error_errno(err, r, "planning huge pages");
	if (bytes)
		plan->huge = make(source, space, &huge, file, memfd, bytes, plan);
	if (plan->huge >= 0 && note_pieces(l, &huge, file, plan) < 0) {
		plan->huge = fd_close(plan->huge);
		r = -ENOMEM;
	}
	if (plan->huge >= 0) {
		*ret = huge;
		plan->huge_bytes = bytes;
	} else {
		plan->huge = -EBADF;
		free(huge.maps);
	}
	return r;
}
