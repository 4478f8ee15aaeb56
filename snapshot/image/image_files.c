/* SPDX-License-Identifier: MIT */
/* image_files.c - image_open_files(): the files that a model refers to, as they were */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

#include "engine/base/fd.h"
#include "engine/elf.h"
#include "snapshot/image/image.h"
#include "snapshot/model/model.h"

static int changed(const char *path, const char *what, struct error *err)
{
	return error_set(err, ESTALE, "%s has changed since: %s", path, what);
}

/*
 * The device is not compared: its number may be another after a reboot. A file that was replaced by one of the same bytes, as a
 * package is that was installed again, has the same size, time of change and build-id.
 */
static int compare(const struct model_object *o, int fd, struct error *err)
{
	uint8_t id[sizeof(o->build_id)];
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "looking at %s", o->path);
	if (!S_ISREG(st.st_mode))
		return changed(o->path, "it is no regular file", err);
	if ((uint64_t)st.st_size != o->size)
		return changed(o->path, "it has another size", err);
	if ((uint64_t)st.st_mtim.tv_sec * 1000000000ull + (uint64_t)st.st_mtim.tv_nsec != o->mtime_ns)
		return changed(o->path, "it was written at another time", err);
	if (o->build_id_len && (elf_build_id(fd, id, sizeof(id)) != o->build_id_len ||
				memcmp(id, o->build_id, o->build_id_len) != 0))
		return changed(o->path, "it has another build-id", err);
	return 0;
}

static int open_object(const struct model_object *o, struct error *err)
{
	/* O_NONBLOCK: nobody may ever open the other end of a FIFO */
	_cleanup_close_ int fd = open(o->path,
				      (o->writable ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return error_errno(err, errno, "%s, which the program has mapped, cannot be opened", o->path);
	r = compare(o, fd, err);
	return r < 0 ? r : TAKE_FD(fd);
}

/* what the clone opens again by its name: opening it here could have an effect */
static int check_open_file(const struct model_description *d, struct error *err)
{
	struct stat st;

	if (stat(d->path.path, &st) < 0)
		return error_errno(err, errno, "%s, which the program has open, is not there", d->path.path);
	return st.st_ino == d->path.ino ? 0 : changed(d->path.path, "it is another file", err);
}

int image_open_files(const struct model *m, struct model_files *ret, struct error *err)
{
	struct model_files files = { .fds = calloc(m->nobjects + 1, sizeof(*files.fds)) };
	int r = 0;

	if (!files.fds)
		return error_set(err, ENOMEM, "no memory");
	for (size_t i = 0; i < m->nobjects && r == 0; i++) {
		int fd = open_object(&m->objects[i], err);

		if (fd < 0)
			r = fd;
		else
			files.fds[files.n++] = fd;
	}
	for (size_t i = 0; i < m->ndescriptions && r == 0; i++)
		if (m->descriptions[i].kind == MODEL_FD_PATH)
			r = check_open_file(&m->descriptions[i], err);
	if (r < 0)
		model_files_done(&files);
	else
		*ret = files;
	return r;
}
