/* SPDX-License-Identifier: MIT */
/* plan.c - the memfds of a template: plan_build() */
#include "snapshot/plan/plan_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#include "engine/base/fd.h"
#include "engine/stub/launch.h"
#include "engine/trace.h"

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

static int find_base(const struct record_process *p, uint64_t *ret, struct error *err)
{
	for (uint64_t base = STUB_AREA_START; base < STUB_AREA_END; base += 1ull << 32) {
		bool free_here = true;

		for (size_t i = 0; i < p->nvmas && free_here; i++)
			free_here = p->vmas[i].end <= base || p->vmas[i].start >= base + STUB_AREA_SIZE;
		if (free_here) {
			*ret = base;
			return 0;
		}
	}
	return error_set(err, EOPNOTSUPP, "process %d leaves no room for the stub in its address space",
			 p->pid);
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

/* by which a clone tells the memfds' mappings from others */
static int put_identities(struct image *im, const struct plan *plan, struct error *err)
{
	struct stub_data *d = image_head(im);
	struct stat st;

	if (fstat(plan->pages, &st) < 0)
		return error_errno(err, errno, "looking at the pages memfd");
	d->pages_inode = st.st_ino;
	d->pages_major = major(st.st_dev);
	d->pages_minor = minor(st.st_dev);
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
static int put_head(struct image *im, const struct record *rec, const struct plan *plan, uint64_t page)
{
	struct stub_data *d;
	uint64_t processes;

	image_reserve(im, sizeof(*d), 64);
	processes = image_reserve(im, rec->nprocesses * sizeof(struct stub_process), 64);
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
	d->nprocesses = (uint32_t)rec->nprocesses;
	d->nfiles = (uint32_t)plan->nfiles;
	return 0;
}

/* the tables of im->process; @l: its memory */
static int put_own_tables(struct image *im, const struct record *rec, const struct plan_options *o,
			  const struct plan_layout *l, const struct plan *plan, struct error *err)
{
	const struct record_process *p = &rec->processes[im->process];
	const uint64_t *table = (const uint64_t *)(blob_stub + 64);
	struct patches patches = { 0 };
	int r;

	image_process(im)->exe_file = p->exe_object;
	image_process(im)->nmaps = (uint32_t)l->nmaps;
	image_process(im)->nadvices = (uint32_t)l->nadvices;
	put_process(im, p, o);
	put_exe(im, rec, p);
	image_set_process(im, offsetof(struct stub_process, maps),
			  image_put(im, l->maps, l->nmaps * sizeof(*l->maps), 64));
	image_set_process(im, offsetof(struct stub_process, advices),
			  image_put(im, l->advices, l->nadvices * sizeof(*l->advices), 8));
	put_signals(im, p, o);
	if (put_fds(im, rec, p) < 0)
		im->failed = true;
	if (im->failed)
		return -ENOMEM;
	r = o->leave.slot ? put_leave(im, &patches, &o->leave, plan->stub_base + table[8], err) : 0;
	if (r == 0)
		r = put_threads(im, &patches, p, plan->stub_base + plan->text_size,
				plan->stub_base + table[2], o, err);
	if (r == 0 && !im->failed)
		put_patches(im, &patches);
	free(patches.v);
	if (r == 0 && !im->failed)
		r = put_generations(im, p, err);
	if (r == 0 && !im->failed)
		r = put_pids(im, p);
	if (r == 0 && !im->failed)
		r = put_owners(im, p, err);
	if (r == 0 && !im->failed)
		r = put_exit(im, p, o, plan->stub_base, err);
	return r;
}

static int put_tables(struct image *im, const struct record *rec, const struct plan_options *o,
		      const struct plan_layout *l, const struct plan *plan, struct error *err)
{
	int r = 0;

	put_descriptions(im, rec);
	put_outputs(im, o);
	/* one by now: plan_build() */
	for (; im->process < rec->nprocesses && r == 0 && !im->failed; im->process++)
		r = put_own_tables(im, rec, o, l, plan, err);
	im->process = 0;
	return r;
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

static int put_context_buffer(struct image *im, const struct record_process *p, struct plan *plan,
			      struct error *err)
{
	struct stub_process *q = image_process(im);
	uint64_t args[6];
	long nr;
	int r;

	arch_syscall_args(&p->threads[q->ready_thread].regs, &nr, args);
	r = plan_context_buffer(p->pid, nr, args, &q->context_buf, &q->context_max);
	if (r < 0)
		return error_errno(err, r, "the read at the readiness point");
	plan->context_max = q->context_max;
	return 0;
}

static int build_control(const struct record *rec, const struct plan_options *o, const struct plan_layout *l,
			 struct plan *plan, struct error *err)
{
	const struct record_process *p = &rec->processes[0];
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct image im = { 0 };
	int r;

	plan->text_size = ((uint64_t)(blob_stub_end - blob_stub) + page - 1) & ~(page - 1);
	r = find_base(p, &plan->stub_base, err);
	if (r < 0)
		return r;
	r = put_head(&im, rec, plan, page);
	if (r == 0)
		r = put_identities(&im, plan, err);
	if (r == 0)
		r = put_tables(&im, rec, o, l, plan, err);
	if (r == 0 && !im.failed)
		r = put_areas(&im, plan, page, err);
	if (im.failed)
		r = error_set(err, ENOMEM, "no memory for the template's tables");
	if (r == 0 && o->context_raw)
		r = put_context_buffer(&im, p, plan, err);
	if (r == 0)
		r = write_control(&im, plan->text_size, &plan->control, err);
	free(im.v);
	return r;
}

int plan_context_buffer(pid_t pid, long nr, const uint64_t args[6], uint64_t *ret_addr, uint64_t *ret_size)
{
	struct iovec iov;
	struct msghdr msg;
	uint64_t at = args[1];
	int r = 0;

	switch (nr) {
	case SYS_read:
	case SYS_recvfrom:
		*ret_addr = args[1];
		*ret_size = args[2];
		return 0;
	case SYS_recvmsg:
		r = trace_read(pid, args[1], &msg, sizeof(msg));
		at = (uint64_t)msg.msg_iov;
		break;
	case SYS_readv:
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (r == 0)
		r = trace_read(pid, at, &iov, sizeof(iov));
	if (r == 0) {
		*ret_addr = (uint64_t)iov.iov_base;
		*ret_size = iov.iov_len;
	}
	return r;
}

int plan_build(const struct record *rec, const struct plan_options *o, struct plan *ret, struct error *err)
{
	const struct record_process *p = &rec->processes[0];
	struct plan plan = { .control = -EBADF, .pages = -EBADF, .huge = -EBADF };
	_cleanup_free_ int *index = calloc(rec->nobjects + 1, sizeof(*index));
	struct plan_layout layout = { 0 };
	int r;

	/* the tables are made for more, but what would make the others is not there: none may be left out in silence */
	if (rec->nprocesses != 1)
		return error_set(err, EOPNOTSUPP,
				 "it is a tree of %zu processes, and a template can have one process only",
				 rec->nprocesses);
	plan.files = calloc(rec->nobjects + 2, sizeof(*plan.files));
	if (!index || !plan.files) {
		free(plan.files);
		return error_set(err, ENOMEM, "no memory");
	}
	for (size_t i = 0; i < rec->nobjects; i++) {
		plan.files[plan.nfiles++] = rec->objects[i].fd;
		index[i] = (int)plan.nfiles;
	}
	r = plan_layout(rec, p, index, (uint64_t)sysconf(_SC_PAGESIZE), o->join_text, &layout);
	if (r < 0)
		error_errno(err, r, "planning the mappings");
	if (r == 0 && o->hugetlb)
		r = plan_huge(p, (int)plan.nfiles + 1, &layout, &plan, err);
	if (plan.huge >= 0)
		plan.files[plan.nfiles++] = plan.huge;
	if (r == 0) {
		plan.pages = plan_memfd("warm", err);
		r = plan.pages < 0 ? plan.pages : 0;
	}
	if (r == 0)
		r = build_control(rec, o, &layout, &plan, err);
	if (r == 0)
		r = plan_pages(p, &layout, plan.pages, &layout.stored, err);
	plan.nmaps = (uint32_t)layout.nmaps;
	plan.nthreads = (uint32_t)p->nthreads;
	plan.sealed_bytes = layout.stored + plan.huge_bytes + plan.text_size + plan.data_size;
	plan_layout_done(&layout);
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
	plan->files = NULL;
}
