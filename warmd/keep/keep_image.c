/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/mman.h>
#include <unistd.h>
#include "engine/base/fd.h"
#include "warmd/keep/keep_internal.h"

void keep_image_remove(int folder, const char *id)
{
	int fd = openat(folder, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	while (dir && (e = readdir(dir)))
		unlinkat(fd, e->d_name, 0);
	if (dir)
		closedir(dir);
	unlinkat(folder, id, AT_REMOVEDIR);
}

static int copy(int from, int to)
{
	struct stat st;
	off_t at = 0;
	char *buf = malloc(1 << 20);

	fstat(from, &st);
	if (ftruncate(to, st.st_size) < 0)
		return -errno;
	while (at < st.st_size) {
		off_t data = lseek(from, at, SEEK_DATA), end;

		if (data < 0)
			break;
		end = lseek(from, data, SEEK_HOLE);
		while (data < end) {
			ssize_t n = pread(from, buf, end - data > 1 << 20 ? 1 << 20 : (size_t)(end - data),
					  data);

			if (n <= 0 || pwrite(to, buf, (size_t)n, data) != n)
				return n <= 0 ? -EIO : errno ? -errno : -EIO;
			data += n;
		}
		at = end;
	}
	free(buf);
	return fsync(to) < 0 ? -errno : 0;
}

int keep_image_write(int dirfd, const char *path, const struct builder_made *made, Warm__Kept *kept,
		     uint64_t *ret_bytes, struct error *err)
{
	char temporary[PATH_MAX];
	const struct record *rec = made->record;
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t size;
	int dir, fd, r;

	kept->files = calloc(rec->nobjects + 1, sizeof(*kept->files));
	for (size_t i = 0; i < rec->nobjects; i++) {
		Warm__KeptFile *f = calloc(1, sizeof(*f));

		warm__kept_file__init(f);
		f->path = strdup(rec->objects[i].path);
		f->dev = rec->objects[i].dev;
		f->ino = rec->objects[i].ino;
		f->writable = rec->objects[i].writable;
		kept->files[kept->n_files++] = f;
	}
	r = keep_entry_pack(kept, &bytes, &size);
	if (r < 0)
		return r;
	snprintf(temporary, sizeof(temporary), "%.4000s.tmp", path);
	if (mkdirat(dirfd, temporary, 0700) < 0)
		return error_errno(err, errno, "%s", temporary);
	dir = openat(dirfd, temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = openat(dir, "manifest.pb", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	r = write_full(fd, bytes, size);
	close(fd);
	fd = openat(dir, "control.img", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	r = r ? r : copy(made->plan->control, fd);
	close(fd);
	fd = openat(dir, "pages-1.img", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	r = r ? r : copy(made->plan->pages, fd);
	close(fd);
	close(dir);
	if (r == 0 && renameat(dirfd, temporary, dirfd, path) < 0)
		r = -errno;
	if (r < 0) {
		keep_image_remove(dirfd, temporary);
		return error_errno(err, r, "writing the image");
	}
	*ret_bytes = made->result->sealed_bytes;
	return 0;
}

int keep_image_open(int dirfd, const char *path, bool verify, struct keep_loaded *ret, struct error *err)
{
	int dir = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd, r;
	_cleanup_free_ char *bytes = NULL;
	size_t size;

	(void)verify;
	if (dir < 0)
		return error_errno(err, errno, "%s", path);
	fd = openat(dir, "manifest.pb", O_RDONLY | O_CLOEXEC);
	r = fd < 0 ? -errno : read_fd(fd, &bytes, &size);
	if (r == 0)
		r = keep_entry_unpack(bytes, size, &ret->kept);
	if (r < 0)
		return error_errno(err, r, "%s/manifest.pb", path);
	ret->pages = openat(dir, "pages-1.img", O_RDONLY | O_CLOEXEC);
	ret->control = openat(dir, "control.img", O_RDONLY | O_CLOEXEC);
	return ret->pages < 0 || ret->control < 0 ? error_errno(err, errno, "%s", path) : 0;
}

int keep_image_plan(struct keep_loaded *l, const struct config *config, struct error *err)
{
	const Warm__BuildResult *m = l->kept->result;
	struct plan *p = &l->plan;
	struct stub_data *d;
	struct stat st;

	(void)config;
	p->files = calloc(l->kept->n_files + 1, sizeof(int));
	for (size_t i = 0; i < l->kept->n_files; i++) {
		const Warm__KeptFile *f = l->kept->files[i];
		int fd = open(f->path, (f->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);

		if (fd < 0 || fstat(fd, &st) < 0)
			return error_set(err, ESTALE, "%s: %s", f->path, strerror(errno));
		if (st.st_dev != f->dev || st.st_ino != f->ino)
			return error_set(err, ESTALE, "%s is another file", f->path);
		p->files[p->nfiles++] = fd;
	}
	p->pages = l->pages;
	p->control = plan_memfd("warm-control", err);
	copy(l->control, p->control);
	p->stub_base = m->stub_base;
	p->text_size = m->text_size;
	p->data_size = m->data_size;
	p->args_base = m->args_base;
	p->context_max = m->context_max;
	p->sealed_bytes = m->sealed_bytes;
	p->nmaps = m->mappings;
	p->nthreads = m->threads;
	d = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, p->control, (off_t)p->text_size);
	fstat(l->pages, &st);
	d->pages_inode = st.st_ino;
	d->pages_major = major(st.st_dev);
	d->pages_minor = minor(st.st_dev);
	munmap(d, 65536);
	return plan_seal(p->control, err);
}
