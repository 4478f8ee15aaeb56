/* SPDX-License-Identifier: MIT */
/*
 * keep_image.c - images: what a build made, as files, and back.
 *
 *	manifest.pb	struct Kept, whole, behind its checksum (keep_entry.c)
 *	control.img	the control file: the stub, the plan and the threads' frames (docs/image.md)
 *	pages-1.img	the pages memfd, holes as holes: mapped by clones as that is
 *
 * All of it is written to a folder with a temporary name, fsynced, and put in its place by one rename(2).
 */
#include "warmd/keep/keep_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/facts.h"
#include "engine/base/fd.h"
#include "engine/stub/image.h"
#include "snapshot/model/record.h"
#include "warmd/keep/keep_clock.h"

#define MANIFEST "manifest.pb"
#define CONTROL	 "control.img"
#define PAGES	 "pages-1.img"
#define PIECE	 (1u << 20)

void keep_image_remove(int folder, const char *id)
{
	static const char *const names[] = { MANIFEST, CONTROL, PAGES };
	_cleanup_close_ int fd = openat(folder, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	/* what is not an image's stays, and the folder with it */
	for (size_t i = 0; fd >= 0 && i < ARRAY_SIZE(names); i++)
		unlinkat(fd, names[i], 0);
	unlinkat(folder, id, AT_REMOVEDIR);
}

/* --- pages ------------------------------------------------------------------------ */

/* what lies between the holes of a file, piece by piece. Return: 0, or what @each returned, or a negative errno */
static int for_data(int fd, int (*each)(void *data, uint64_t offset, const void *bytes, size_t len),
		    void *data)
{
	_cleanup_free_ char *buf = malloc(PIECE);
	off_t at = 0, end;
	int r = buf ? 0 : -ENOMEM;

	while (r == 0 && (at = lseek(fd, at, SEEK_DATA)) >= 0) {
		end = lseek(fd, at, SEEK_HOLE);
		if (end < 0)
			return -errno;
		for (; r == 0 && at < end;) {
			size_t len = end - at < PIECE ? (size_t)(end - at) : PIECE;

			r = pread_full(fd, buf, len, at);
			if (r == 0)
				r = each(data, (uint64_t)at, buf, len);
			at += (off_t)len;
		}
	}
	/* behind the last of it */
	return r == 0 && at < 0 && errno != ENXIO ? -errno : r;
}

struct copy {
	int to; /* -EBADF: for the checksum alone */
	uint64_t checksum, bytes;
};

/* pages of zeros are holes again: which of them a file has differs from one file system to the next */
static int copy_piece(void *data, uint64_t offset, const void *bytes, size_t len)
{
	static const char zeros[4096];
	struct copy *c = data;

	for (size_t at = 0; at < len; at += sizeof(zeros)) {
		size_t n = len - at < sizeof(zeros) ? len - at : sizeof(zeros);
		uint64_t place = offset + at;
		int r;

		if (memcmp((const char *)bytes + at, zeros, n) == 0)
			continue;
		c->checksum = hash_bytes(c->checksum, &place, sizeof(place));
		c->checksum = hash_bytes(c->checksum, (const char *)bytes + at, n);
		c->bytes += n;
		r = c->to < 0 ? 0 : pwrite_full(c->to, (const char *)bytes + at, n, (off_t)place);
		if (r < 0)
			return r;
	}
	return 0;
}

static int write_file(int folder, const char *name, int from, uint64_t *ret_size, uint64_t *ret_checksum,
		      uint64_t *bytes)
{
	_cleanup_close_ int to = openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
					0600);
	struct copy copy = { .to = to, .checksum = HASH_SEED };
	struct stat st;
	int r;

	if (to < 0 || fstat(from, &st) < 0 || ftruncate(to, st.st_size) < 0)
		return -errno;
	r = for_data(from, copy_piece, &copy);
	if (r == 0 && fsync(to) < 0)
		r = -errno;
	*ret_size = (uint64_t)st.st_size;
	*ret_checksum = copy.checksum;
	*bytes += copy.bytes;
	return r;
}

static int check_file(int fd, const char *name, uint64_t checksum, struct error *err)
{
	struct copy copy = { .to = -EBADF, .checksum = HASH_SEED };
	int r = for_data(fd, copy_piece, &copy);

	if (r < 0)
		return error_errno(err, r, "reading %s", name);
	return copy.checksum == checksum ? 0 : error_set(err, EBADMSG, "%s is damaged", name);
}

/* --- times ------------------------------------------------------------------------ */

struct search {
	const struct keep_clock *clock;
	bool found;
};

static int search_piece(void *data, uint64_t offset, const void *bytes, size_t len)
{
	struct search *s = data;

	(void)offset;
	s->found |= keep_clock_found(s->clock, bytes, len / sizeof(uint64_t));
	return s->found;
}

/* where a thread's stack is, old times lie about: of the interpreter's locks, for one */
static bool is_stack(const struct record_process *p, const struct stub_map *m)
{
	for (size_t i = 0; i < p->nthreads; i++)
		if (arch_sp(&p->threads[i].regs) - m->addr < m->len)
			return true;
	return m->mmap_flags & MAP_GROWSDOWN;
}

static bool map_has_time(int pages, const struct stub_map *m, const struct keep_clock *clock)
{
	uint64_t from = m->off, end = m->off + (m->flags & STUB_MAP_COPY ? m->copy_len : m->len);
	_cleanup_free_ char *buf = malloc(PIECE);
	struct search s = { .clock = clock, .found = !buf };
	off_t at;

	while (!s.found && from < end && (at = lseek(pages, (off_t)from, SEEK_DATA)) >= 0 &&
	       (uint64_t)at < end) {
		uint64_t hole = (uint64_t)lseek(pages, at, SEEK_HOLE), stop = hole < end ? hole : end;
		size_t len = stop - (uint64_t)at < PIECE ? (size_t)(stop - (uint64_t)at) : PIECE;

		if (pread_full(pages, buf, len, at) < 0)
			return true;
		search_piece(&s, (uint64_t)at, buf, len);
		from = (uint64_t)at + len;
	}
	return s.found;
}

int keep_image_has_time(const struct builder_made *made)
{
	const struct plan *plan = made->plan;
	const struct stub_data *d = mmap(NULL, plan->data_size, PROT_READ, MAP_SHARED, plan->control,
					 (off_t)plan->text_size);
	const struct stub_process *p;
	struct keep_clock clock;
	int found = 0;

	if (d == MAP_FAILED)
		return -errno;
	keep_clock_window(made->result->clock_start_ns, clock_ns(CLOCK_MONOTONIC), &clock);
	p = (const struct stub_process *)((const char *)d + d->processes);
	for (uint32_t i = 0; i < p->nmaps && !found; i++) {
		const struct stub_map *m = (const struct stub_map *)((const char *)d + p->maps) + i;

		if (m->file == STUB_FILE_PAGES && !is_stack(&made->record->processes[0], m))
			found = map_has_time(plan->pages, m, &clock);
		if ((m->flags & STUB_MAP_COPY) && !found && !is_stack(&made->record->processes[0], m))
			found = map_has_time(plan->pages, m, &clock);
	}
	munmap((void *)d, plan->data_size);
	return found;
}

/* --- writing ---------------------------------------------------------------------- */

/* files that clones map: by their paths, when they are loaded */
static int put_files(const struct record *rec, Warm__Kept *kept, struct error *err)
{
	kept->files = calloc(rec->nobjects + 1, sizeof(Warm__KeptFile *));
	for (size_t i = 0; kept->files && i < rec->nobjects; i++) {
		const struct record_object *o = &rec->objects[i];
		Warm__KeptFile *f = calloc(1, sizeof(*f));
		struct stat st;

		if (stat(o->path, &st) < 0 || st.st_dev != o->dev || st.st_ino != o->ino) {
			free(f);
			return error_set(err, EOPNOTSUPP, "it maps %s, which has no name any more", o->path);
		}
		if (!f)
			return error_set(err, ENOMEM, "no memory");
		warm__kept_file__init(f);
		f->path = strdup(o->path);
		f->dev = o->dev;
		f->ino = o->ino;
		f->writable = o->writable;
		kept->files[kept->n_files++] = f;
		if (!f->path)
			return error_set(err, ENOMEM, "no memory");
	}
	return kept->files ? 0 : error_set(err, ENOMEM, "no memory");
}

static int write_manifest(int folder, const Warm__Kept *kept, uint64_t *bytes)
{
	_cleanup_close_ int fd = openat(folder, MANIFEST,
					O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	_cleanup_free_ uint8_t *packed = NULL;
	size_t size;
	int r = fd < 0 ? -errno : keep_entry_pack(kept, &packed, &size);

	if (r == 0)
		r = write_full(fd, packed, size);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r == 0)
		*bytes += size;
	return r;
}

static int fill(int folder, const struct builder_made *made, Warm__Kept *kept, uint64_t *bytes)
{
	uint64_t control_size;
	int r = write_file(folder, PAGES, made->plan->pages, &kept->pages_size, &kept->pages_checksum, bytes);

	if (r == 0)
		r = write_file(folder, CONTROL, made->plan->control, &control_size, &kept->control_checksum,
			       bytes);
	if (r == 0)
		r = write_manifest(folder, kept, bytes);
	return r == 0 && fsync(folder) < 0 ? -errno : r;
}

/* Return: 0: nothing is there; 1: an image of this user's; -EEXIST: something else */
static int is_replaceable(int parent, const char *name)
{
	_cleanup_close_ int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return errno == ENOENT ? 0 : -EEXIST;
	return fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
			       fstatat(fd, MANIFEST, &st, AT_SYMLINK_NOFOLLOW) == 0
		       ? 1
		       : -EEXIST;
}

static int put_in_place(int parent, const char *temporary, const char *name)
{
	int r = is_replaceable(parent, name);

	if (r < 0)
		return r;
	if (renameat2(parent, temporary, parent, name, r ? RENAME_EXCHANGE : RENAME_NOREPLACE) < 0)
		return -errno;
	/* the older one, which has the temporary name now */
	if (r)
		keep_image_remove(parent, temporary);
	return fsync(parent) < 0 ? -errno : 0;
}

/* the folder that holds @path, and the name in it. Return: a descriptor or a negative errno */
static int open_parent(int dirfd, const char *path, char name[NAME_MAX + 1])
{
	const char *slash = strrchr(path, '/');
	char parent[PATH_MAX];
	int fd;

	if (strlen(slash ? slash + 1 : path) > NAME_MAX || !*(slash ? slash + 1 : path))
		return -EINVAL;
	snprintf(name, NAME_MAX + 1, "%s", slash ? slash + 1 : path);
	snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
	fd = openat(dirfd, parent[0] ? parent : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int keep_image_write(int dirfd, const char *path, const struct builder_made *made, Warm__Kept *kept,
		     uint64_t *ret_bytes, struct error *err)
{
	char name[NAME_MAX + 1], id[KEEP_ID_SIZE], temporary[sizeof(KEEP_IMAGE_TEMPORARY) + KEEP_ID_SIZE];
	_cleanup_close_ int parent = open_parent(dirfd, path, name), folder = -EBADF;
	int r;

	if (made->plan->huge >= 0)
		return error_set(err, EOPNOTSUPP, "it has memory in hugetlb pages");
	r = parent < 0 ? parent : is_replaceable(parent, name);
	if (r < 0)
		return error_errno(err, r, "%s", path);
	r = put_files(made->record, kept, err);
	if (r < 0)
		return r;
	r = keep_folder_new_id(id);
	snprintf(temporary, sizeof(temporary), "%s%s", KEEP_IMAGE_TEMPORARY, id);
	if (r == 0 && mkdirat(parent, temporary, 0700) < 0)
		r = -errno;
	folder = r < 0 ? -EBADF : openat(parent, temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (r == 0)
		r = folder < 0 ? -errno : 0;
	*ret_bytes = 0;
	if (r == 0)
		r = fill(folder, made, kept, ret_bytes);
	if (r == 0)
		r = put_in_place(parent, temporary, name);
	if (r < 0) {
		keep_image_remove(parent, temporary);
		return error_errno(err, r, "writing an image to %s", path);
	}
	return 0;
}

/* --- reading ---------------------------------------------------------------------- */

static int check_owner(int fd, bool folder, const char *what, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "%s", what);
	if (!folder && !S_ISREG(st.st_mode))
		return error_set(err, EBADMSG, "%s is no file", what);
	if (st.st_uid != geteuid())
		return error_set(err, EACCES, "%s belongs to uid %u", what, st.st_uid);
	if (st.st_mode & 022)
		return error_set(err, EACCES, "others may write to %s (mode %04o)", what, st.st_mode & 07777);
	return 0;
}

static int open_file(int folder, const char *name, struct error *err)
{
	_cleanup_close_ int fd = openat(folder, name,
					O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int r = fd < 0 ? error_errno(err, errno, "%s", name) : check_owner(fd, false, name, err);

	return r < 0 ? r : TAKE_FD(fd);
}

static int read_manifest(int folder, Warm__Kept **ret, struct error *err)
{
	_cleanup_close_ int fd = open_file(folder, MANIFEST, err);
	_cleanup_free_ char *bytes = NULL;
	size_t size;
	int r = fd < 0 ? fd : read_fd(fd, &bytes, &size);

	if (fd < 0)
		return fd;
	if (r == 0)
		r = keep_entry_unpack(bytes, size, ret);
	return r < 0 ? error_errno(err, r, "%s is damaged, or of another version", MANIFEST) : 0;
}

int keep_image_open(int dirfd, const char *path, bool verify, struct keep_loaded *ret, struct error *err)
{
	_cleanup_close_ int folder = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int r = folder < 0 ? error_errno(err, errno, "%s", path) : check_owner(folder, true, path, err);

	if (r == 0)
		r = read_manifest(folder, &ret->kept, err);
	if (r == 0)
		r = ret->pages = open_file(folder, PAGES, err);
	if (r >= 0)
		r = ret->control = open_file(folder, CONTROL, err);
	if (r < 0)
		return r;
	if (fstat(ret->pages, &st) < 0 || (uint64_t)st.st_size != ret->kept->pages_size)
		return error_set(err, EBADMSG, "%s has another size than it had", PAGES);
	r = check_file(ret->control, CONTROL, ret->kept->control_checksum, err);
	return r == 0 && verify ? check_file(ret->pages, PAGES, ret->kept->pages_checksum, err) : r;
}

/* the very files that were mapped; what is in them is checked with the other dependencies */
static int open_files(struct keep_loaded *l, struct error *err)
{
	struct plan *p = &l->plan;
	struct stat st;

	p->files = calloc(l->kept->n_files + 1, sizeof(*p->files));
	if (!p->files)
		return error_set(err, ENOMEM, "no memory");
	for (size_t i = 0; i < l->kept->n_files; i++) {
		const Warm__KeptFile *f = l->kept->files[i];
		int fd = open(f->path, (f->writable ? O_RDWR : O_RDONLY) | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE))
			return error_errno(err, errno, "%s", f->path);
		if (fd < 0 || fstat(fd, &st) < 0 || st.st_dev != f->dev || st.st_ino != f->ino) {
			fd_close(fd);
			return error_set(err, ESTALE, "%s is another file now, or gone", f->path);
		}
		p->files[p->nfiles++] = fd;
	}
	return 0;
}

/* the madvise() of clones knows the pages file by its inode */
static int set_identity(struct plan *p)
{
	struct stat st;
	struct stub_data *d;

	if (fstat(p->pages, &st) < 0)
		return -errno;
	d = mmap(NULL, p->data_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->control, (off_t)p->text_size);
	if (d == MAP_FAILED)
		return -errno;
	d->pages_inode = st.st_ino;
	d->pages_major = major(st.st_dev);
	d->pages_minor = minor(st.st_dev);
	munmap(d, p->data_size);
	return 0;
}

int keep_image_plan(struct keep_loaded *l, struct error *err)
{
	const Warm__BuildResult *m = l->kept->result;
	struct plan *p = &l->plan;
	struct copy copy = { .checksum = HASH_SEED };
	struct stat st;
	int r = open_files(l, err);

	if (r < 0)
		return r;
	p->pages = l->pages;
	p->stub_base = m->stub_base;
	p->text_size = m->text_size;
	p->data_size = m->data_size;
	p->args_base = m->args_base;
	p->context_max = m->context_max;
	p->sealed_bytes = m->sealed_bytes;
	p->nmaps = m->mappings;
	p->nthreads = m->threads;
	p->control = copy.to = plan_memfd("warm-control", err);
	if (p->control < 0)
		return p->control;
	if (fstat(l->control, &st) < 0 || (uint64_t)st.st_size < p->text_size + p->data_size ||
	    p->data_size < sizeof(struct stub_data) || ftruncate(p->control, st.st_size) < 0)
		return error_set(err, EBADMSG, "%s has another size than it had", CONTROL);
	r = for_data(l->control, copy_piece, &copy);
	if (r == 0)
		r = set_identity(p);
	return r < 0 ? error_errno(err, r, "making the control file") : plan_seal(p->control, err);
}
