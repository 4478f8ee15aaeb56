/* SPDX-License-Identifier: MIT */
/* plan.c - the memfds of a template: plan_build() */
#include "snapshot/plan/plan_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "engine/base/fd.h"
#include "engine/stub/launch.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010u
#endif
#define SEALS (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)

#define STUB_AREA_START	  0x200000000000ull /* no kernel places anything here by itself */
#define STUB_AREA_END	  0x300000000000ull
#define STUB_AREA_SIZE	  (1ull << 30) /* text, data, context area, staging */
#define CONTEXT_AREA_SIZE (16ull << 20)
#define STAGING_OFFSET	  (STUB_AREA_SIZE - (16ull << 20))
#define TASK_SIZE	  0x7ffffffff000ull

uint64_t image_reserve(struct image *im, size_t len, size_t align)
{
	size_t at = (im->len + align - 1) & ~(align - 1);

	if (at + len > im->cap) {
		size_t cap = im->cap ? im->cap : 65536;
		char *more;

		while (cap < at + len)
			cap *= 2;
		more = realloc(im->v, cap);
		if (!more) {
			im->failed = true;
			return 0;
		}
		memset(more + im->cap, 0, cap - im->cap);
		im->v = more;
		im->cap = cap;
	}
	im->len = at + len;
	return at;
}

uint64_t image_put(struct image *im, const void *data, size_t len, size_t align)
{
	uint64_t at = image_reserve(im, len, align);

	if (!im->failed && len)
		memcpy(im->v + at, data, len);
	return at;
}

struct stub_data *image_head(struct image *im)
{
	return (struct stub_data *)im->v;
}

struct stub_process *image_process(struct image *im)
{
	return (struct stub_process *)(im->v + image_head(im)->processes) + im->process;
}

/* image_put() may move the image: the table's offset is stored afterwards */
void image_set(struct image *im, size_t field, uint64_t at)
{
	if (!im->failed)
		memcpy(im->v + field, &at, sizeof(at));
}

void image_set_process(struct image *im, size_t field, uint64_t at)
{
	if (!im->failed)
		memcpy((char *)image_process(im) + field, &at, sizeof(at));
}

int plan_memfd(const char *name, struct error *err)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);

	/* before 6.3 MFD_EXEC is unknown, and the default */
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? error_errno(err, errno, "memfd_create") : fd;
}

int plan_seal(int fd, struct error *err)
{
	return fcntl(fd, F_ADD_SEALS, SEALS) < 0 ? error_errno(err, errno, "sealing a memfd") : 0;
}

static bool leaves_free(const struct model_space *s, uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < s->nvmas; i++)
		if (s->vmas[i].end > start && s->vmas[i].start < end)
			return false;
	return true;
}

static int find_base(const struct model *m, uint64_t *ret, struct error *err)
{
	for (uint64_t base = STUB_AREA_START; base < STUB_AREA_END; base += 1ull << 32) {
		bool free_here = true;

		for (size_t i = 0; i < m->nspaces && free_here; i++)
			free_here = leaves_free(&m->spaces[i], base, base + STUB_AREA_SIZE);
		if (free_here) {
			*ret = base;
			return 0;
		}
	}
	return error_set(err, EOPNOTSUPP, "process %d leaves no room for the stub in its address space",
			 m->processes[0].pid);
}

static int write_control(struct image *im, uint64_t text_size, int *ret, struct error *err)
{
	_cleanup_close_ int memfd = plan_memfd("warm-control", err);
	int r;

	if (memfd < 0)
		return memfd;
	if (ftruncate(memfd, (off_t)(text_size + im->len)) < 0)
		return error_errno(err, errno, "making the control file");
	r = pwrite_full(memfd, blob_stub, (size_t)(blob_stub_end - blob_stub), 0);
	if (r == 0)
		r = pwrite_full(memfd, im->v, im->len, (off_t)text_size);
	if (r < 0)
		return error_errno(err, r, "writing the control file");
	r = plan_seal(memfd, err);
	if (r == 0)
		*ret = TAKE_FD(memfd);
	return r;
}

/*
 * The device as /proc/PID/maps has it, by which clones know mappings of the page file. stat(2) tells another one on file
 * systems with a device number for each subvolume: btrfs.
 */
static int mapped_device(int fd, unsigned int *ret_major, unsigned int *ret_minor)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), size = 0;
	char *at = mmap(NULL, page, PROT_READ, MAP_PRIVATE, fd, 0), *line = NULL;
	FILE *maps = at == MAP_FAILED ? NULL : fopen("/proc/self/maps", "re");
	int r = maps ? -ENOENT : -errno;
	uint64_t start, end;

	/* a neighbour with the same file may have joined it */
	while (r == -ENOENT && getline(&line, &size, maps) > 0)
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*s %x:%x", &start, &end, ret_major,
			   ret_minor) == 4 &&
		    start <= (uint64_t)at && end > (uint64_t)at)
			r = 0;
	free(line);
	if (maps)
		fclose(maps);
	if (at != MAP_FAILED)
		munmap(at, page);
	return r;
}

/* by which a clone tells mappings of the page files from others */
static int put_identities(struct image *im, const struct plan *plan, struct error *err)
{
	struct stub_data *d = image_head(im);
	struct stat st;
	int r = mapped_device(plan->pages, &d->pages_major, &d->pages_minor);

	if (r < 0 || fstat(plan->pages, &st) < 0)
		return error_errno(err, r < 0 ? r : errno, "looking at the page file");
	d->pages_inode = st.st_ino;
	if (plan->huge < 0)
		return 0;
	if (fstat(plan->huge, &st) < 0)
		return error_errno(err, errno, "looking at the memfd of huge pages");
	d->huge_inode = st.st_ino;
	d->huge_major = major(st.st_dev);
	d->huge_minor = minor(st.st_dev);
	return 0;
}

/* head and processes lie side by side: a clone writes to its own entry, so to one page */
static int put_head(struct image *im, const struct model *m, const struct plan *plan, uint64_t page)
{
	struct stub_data *d;
	uint64_t processes;

	image_reserve(im, sizeof(*d), 64);
	processes = image_reserve(im, m->nprocesses * sizeof(struct stub_process), 64);
	if (im->failed)
		return -ENOMEM;
	d = image_head(im);
	d->magic = STUB_MAGIC;
	d->version = STUB_ABI_VERSION;
	d->head_size = sizeof(*d);
	d->process_size = sizeof(struct stub_process);
	d->stub_base = plan->stub_base;
	d->text_size = plan->text_size;
	d->page_size = page;
	d->task_size = TASK_SIZE;
	d->staging = plan->stub_base + STAGING_OFFSET + (1 << 20);
	d->processes = processes;
	d->nprocesses = (uint32_t)m->nprocesses;
	d->nfiles = (uint32_t)plan->nfiles;
	return 0;
}

/* what is to be written into the process's memory, and its threads */
static int put_own_threads(struct image *im, const struct model *m, const struct model_process *p,
			   const struct plan *plan, struct error *err)
{
	const struct model_leave *leave = im->process == 0 && m->entry.leave.slot ? &m->entry.leave : NULL;
	struct patches patches = { 0 };
	int r = 0;

	if (leave)
		r = put_leave(im, &patches, leave, plan->stub_base + stub_entry(STUB_ENTRY_RESUME_LEAVE),
			      err);
	if (r == 0)
		r = put_threads(im, &patches, m, p, plan->stub_base + plan->text_size,
				plan->stub_base + stub_entry(STUB_ENTRY_RESUME_TIMED), err);
	if (r == 0 && !im->failed)
		put_patches(im, &patches);
	free(patches.v);
	return r;
}

/* the tables of im->process; @l: its memory */
static int put_own_tables(struct image *im, const struct model *m, const struct plan_layout *l,
			  const struct plan *plan, struct error *err)
{
	const struct model_process *p = &m->processes[im->process];
	int r;

	image_process(im)->nmaps = (uint32_t)l->nmaps;
	image_process(im)->nadvices = (uint32_t)l->nadvices;
	put_process(im, m, p);
	put_space(im, m, &m->spaces[p->space]);
	image_set_process(im, offsetof(struct stub_process, maps),
			  image_put(im, l->maps, l->nmaps * sizeof(*l->maps), 64));
	image_set_process(im, offsetof(struct stub_process, advices),
			  image_put(im, l->advices, l->nadvices * sizeof(*l->advices), 8));
	if (im->failed)
		return -ENOMEM;
	put_signals(im, m, p);
	if (im->failed || put_fds(im, m, p) < 0)
		return -ENOMEM;
	r = put_own_threads(im, m, p, plan, err);
	if (r == 0 && !im->failed && im->process == 0)
		r = put_exit(im, &m->entry, plan->stub_base, err);
	return r;
}

static int put_tables(struct image *im, const struct model *m, const struct plan_layout *l,
		      const struct plan *plan, struct error *err)
{
	int r = 0;

	put_descriptions(im, m);
	put_outputs(im, &m->entry);
	/* one by now: plan_build() */
	for (; im->process < m->nprocesses && r == 0 && !im->failed; im->process++)
		r = put_own_tables(im, m, l, plan, err);
	im->process = 0;
	return im->failed || r == -ENOMEM ? error_set(err, ENOMEM, "no memory for the template's tables") : r;
}

/* what lies at the end: a hole for the list of hot pages until it is needed, and the launch area */
static int put_areas(struct image *im, struct plan *plan, uint64_t page, struct error *err)
{
	uint64_t hot = image_reserve(im, STUB_HOT_RANGES * sizeof(struct stub_range), page);
	uint64_t launch = image_reserve(im, STUB_LAUNCH_SIZE, page);

	if (im->failed)
		return 0;
	image_process(im)->hot = hot;
	image_process(im)->hot_room = STUB_HOT_RANGES;
	image_head(im)->launch = launch;
	plan->data_size = im->len;
	plan->args_base = plan->stub_base + plan->text_size + im->len + page;
	image_head(im)->data_size = im->len;
	image_head(im)->keep_start = plan->stub_base;
	image_head(im)->keep_end = plan->args_base + CONTEXT_AREA_SIZE;
	if (image_head(im)->keep_end > plan->stub_base + STAGING_OFFSET)
		return error_set(
			err, EOPNOTSUPP,
			"what is needed to make its threads and mappings again is more than %llu MiB",
			(STAGING_OFFSET - CONTEXT_AREA_SIZE) >> 20);
	return 0;
}

static int build_control(const struct model *m, const struct plan_layout *l, struct plan *plan,
			 struct error *err)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct image im = { 0 };
	int r;

	plan->text_size = ((uint64_t)(blob_stub_end - blob_stub) + page - 1) & ~(page - 1);
	plan->context_max = m->entry.context_raw ? m->entry.context_max : 0;
	r = find_base(m, &plan->stub_base, err);
	if (r < 0)
		return r;
	r = put_head(&im, m, plan, page);
	if (r == 0)
		r = put_identities(&im, plan, err);
	if (r == 0)
		r = put_tables(&im, m, l, plan, err);
	if (r == 0 && !im.failed)
		r = put_areas(&im, plan, page, err);
	if (im.failed)
		r = error_set(err, ENOMEM, "no memory for the template's tables");
	if (r == 0)
		r = write_control(&im, plan->text_size, &plan->control, err);
	free(im.v);
	return r;
}

/* @ret_index: for each object the index that its maps get: 1 is the first file */
static int list_files(const struct model *m, const struct model_files *files, struct plan *plan,
		      int **ret_index, struct error *err)
{
	int *index = calloc(m->nobjects + 1, sizeof(*index));

	plan->files = calloc(m->nobjects + 2, sizeof(*plan->files));
	if (!index || !plan->files) {
		free(index);
		return error_set(err, ENOMEM, "no memory for the template's files");
	}
	for (size_t i = 0; i < m->nobjects; i++) {
		plan->files[plan->nfiles++] = files->fds[i];
		index[i] = (int)plan->nfiles;
	}
	*ret_index = index;
	return 0;
}

/* the page file: a new memfd to copy to, or the one that has the pages */
static int take_pages(const struct page_source *source, struct plan *plan, struct error *err)
{
	if (source->read)
		plan->pages = plan_memfd("warm", err);
	else
		plan->pages = fcntl(source->file, F_DUPFD_CLOEXEC, 3);
	if (plan->pages < 0 && !source->read)
		return error_errno(err, errno, "another descriptor of the page file");
	return plan->pages < 0 ? plan->pages : 0;
}

/* the one address space that is laid out: plan_build() refuses trees */
static size_t root_space(const struct model *m)
{
	return (size_t)m->processes[0].space;
}

/* of a page file: each run tells where in it its bytes lie */
static bool is_placed(const struct model_space *s)
{
	for (size_t i = 0; i < s->nvmas; i++)
		for (size_t j = 0; j < s->vmas[i].nruns; j++)
			if (s->vmas[i].runs[j].offset == MODEL_NO_OFFSET)
				return false;
	return true;
}

/* @plain: without huge pages. @huge: with them, if plan->huge is there */
static int lay_out(struct model *m, const struct page_source *source, const int *index,
		   const struct plan_options *o, struct plan *plan, struct plan_layout *plain,
		   struct plan_layout *huge, struct error *err)
{
	int r = plan_layout(&m->spaces[root_space(m)], index, (uint64_t)sysconf(_SC_PAGESIZE), o->join_text,
			    plain);

	if (r < 0)
		return error_errno(err, r, "planning the mappings");
	if (o->hugetlb && source->read)
		r = plan_huge(m, root_space(m), source, (int)plan->nfiles + 1, plain, huge, plan, err);
	if (plan->huge >= 0)
		plan->files[plan->nfiles++] = plan->huge;
	return r;
}

/* @plain: without huge pages, as an image has them in its page file */
static int copy_pages(struct model *m, const struct page_source *source, const struct plan_layout *layout,
		      const struct plan_layout *plain, const struct plan *plan, uint64_t *ret_bytes,
		      struct error *err)
{
	int r;

	if (!source->read)
		return 0;
	r = plan_pages(m, root_space(m), source, layout, plan->pages, ret_bytes, err);
	if (r == 0 && plan_note_runs(&m->spaces[root_space(m)], plain) < 0)
		r = error_set(err, ENOMEM, "no memory for the places of pages");
	return r;
}

int plan_build(struct model *m, const struct model_files *files, const struct page_source *source,
	       const struct plan_options *o, struct plan *ret, struct error *err)
{
	struct plan plan = { .control = -EBADF, .pages = -EBADF, .huge = -EBADF };
	struct plan_layout plain = { 0 }, huge = { 0 };
	const struct plan_layout *layout;
	_cleanup_free_ int *index = NULL;
	uint64_t stored;
	int r;

	/* the tables are made for more, but what would make the others is not there: none may be left out in silence */
	if (m->nprocesses != 1)
		return error_set(err, EOPNOTSUPP,
				 "it is a tree of %zu processes, and a template can have one process only",
				 m->nprocesses);
	if (!source->read && !is_placed(&m->spaces[root_space(m)]))
		return error_set(err, EBADMSG, "its page file does not tell where all of its memory lies");
	r = list_files(m, files, &plan, &index, err);
	if (r == 0)
		r = lay_out(m, source, index, o, &plan, &plain, &huge, err);
	layout = plan.huge >= 0 ? &huge : &plain;
	stored = layout->stored;
	if (r == 0)
		r = take_pages(source, &plan, err);
	if (r == 0)
		r = build_control(m, layout, &plan, err);
	if (r == 0)
		r = copy_pages(m, source, layout, &plain, &plan, &stored, err);
	plan.nmaps = (uint32_t)layout->nmaps;
	plan.nthreads = (uint32_t)m->processes[0].nthreads;
	plan.sealed_bytes = stored + plan.huge_bytes + plan.text_size + plan.data_size;
	plan_layout_done(&plain);
	free(huge.maps);
	if (r < 0) {
		plan_done(&plan);
		return r;
	}
	*ret = plan;
	return 0;
}

void plan_done(struct plan *plan)
{
	plan->control = fd_close(plan->control);
	plan->pages = fd_close(plan->pages);
	plan->huge = fd_close(plan->huge);
	free(plan->files);
	free(plan->huge_pieces);
	plan->files = NULL;
	plan->huge_pieces = NULL;
}
