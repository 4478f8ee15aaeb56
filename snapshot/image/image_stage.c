/* SPDX-License-Identifier: MIT */
/* image_stage.c - a new image, from its temporary name to its place */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "engine/base/fd.h"
#include "snapshot/image/image_folder.h"
#include "snapshot/image/image_internal.h"

int image_stage_place(int dirfd, const char *path, struct image_stage *stage, struct error *err)
{
	size_t end = strlen(path), start;
	char *folder;
	int r = 0;

	while (end > 1 && path[end - 1] == '/')
		end--;
	start = end;
	while (start > 0 && path[start - 1] != '/')
		start--;
	if (end - start > NAME_MAX)
		return error_set(err, ENAMETOOLONG, "the name of the image is too long");
	memcpy(stage->name, path + start, end - start);
	stage->name[end - start] = '\0';
	if (!stage->name[0] || strcmp(stage->name, "/") == 0 || strcmp(stage->name, ".") == 0 ||
	    strcmp(stage->name, "..") == 0)
		return error_set(err, EINVAL, "an image needs a name of its own, which '%s' is not", path);
	folder = start ? strndup(path, start) : strdup(".");
	if (!folder)
		return error_set(err, ENOMEM, "no memory");
	stage->parent = openat(dirfd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (stage->parent < 0)
		r = error_errno(err, errno, "'%s' cannot be opened", folder);
	free(folder);
	return r;
}

int image_stage_name(struct image_stage *stage, struct error *err)
{
	uint64_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return error_errno(err, errno, "getrandom");
	snprintf(stage->temporary, sizeof(stage->temporary), IMAGE_TEMPORARY "%016" PRIx64, random);
	return 0;
}

static bool is_temporary(const char *name)
{
	size_t prefix = sizeof(IMAGE_TEMPORARY) - 1;

	return strlen(name) == IMAGE_TEMPORARY_SIZE - 1 && strncmp(name, IMAGE_TEMPORARY, prefix) == 0 &&
	       strspn(name + prefix, "0123456789abcdef") == 16;
}

/* what writers that were killed have left; the words of a failure are of no use to this one */
static void remove_left(int parent)
{
	int again = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = again < 0 ? NULL : fdopendir(again);
	const struct dirent *e;

	if (!dir) {
		fd_close(again);
		return;
	}
	while ((e = readdir(dir))) {
		_cleanup_close_ int fd = -EBADF;
		struct stat st;

		if (!is_temporary(e->d_name))
			continue;
		fd = openat(parent, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
		    flock(fd, LOCK_EX | LOCK_NB) == 0)
			(void)image_folder_empty(parent, e->d_name, NULL);
	}
	closedir(dir);
}

/* Return: 1: there and locked; 0: another writer took it for one that was left behind; a negative errno */
static int make_folder(struct image_stage *stage, struct error *err)
{
	struct stat st;
	int r = image_stage_name(stage, err);

	if (r < 0)
		return r;
	if (mkdirat(stage->parent, stage->temporary, 0700) < 0) {
		stage->temporary[0] = '\0';
		return error_errno(err, errno, "making a folder beside it");
	}
	/* the umask may have taken bits away that opening it needs */
	if (fchmodat(stage->parent, stage->temporary, 0700, 0) < 0 && errno != ENOENT)
		return error_errno(err, errno, "setting its mode");
	stage->folder = openat(stage->parent, stage->temporary,
			       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (stage->folder < 0 && errno == ENOENT)
		return 0;
	/* file systems without locks have no writers that remove what is locked by nobody, either: they cannot lock it */
	if (stage->folder < 0 || fstat(stage->folder, &st) < 0 ||
	    (flock(stage->folder, LOCK_EX) < 0 && errno != EOPNOTSUPP && errno != ENOLCK) ||
	    fstat(stage->folder, &st) < 0)
		return error_errno(err, errno, "opening the folder that was made");
	if (st.st_nlink == 0) {
		stage->folder = fd_close(stage->folder);
		return 0;
	}
	return 1;
}

int image_stage_begin(int dirfd, const char *path, struct image_stage *stage, struct error *err)
{
	int r = image_stage_place(dirfd, path, stage, err);

	if (r == 0)
		r = image_folder_replaceable(stage->parent, stage->name, err);
	if (r < 0)
		return r;
	remove_left(stage->parent);
	do
		r = make_folder(stage, err);
	while (r == 0);
	return r < 0 ? r : 0;
}

int image_stage_file(const struct image_stage *stage, const char *name, struct error *err)
{
	_cleanup_close_ int fd = openat(stage->folder, name,
					O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 || fchmod(fd, 0600) < 0)
		return error_errno(err, errno, "making %s", name);
	return TAKE_FD(fd);
}

/* Return: 1: it is in its place, and the older image has the temporary name; 0: in its place; a negative errno */
static int put_in_place(const struct image_stage *stage, struct error *err)
{
	for (;;) {
		int r;

		if (renameat2(stage->parent, stage->temporary, stage->parent, stage->name,
			      RENAME_NOREPLACE) == 0)
			return 0;
		if (errno == EINVAL) {
			/* a file system without that flag; rename(2) itself replaces nothing but an empty folder */
			if (renameat(stage->parent, stage->temporary, stage->parent, stage->name) == 0)
				return 0;
			errno = errno == ENOTEMPTY ? EEXIST : errno;
		}
		if (errno != EEXIST)
			return error_errno(err, errno, "putting the image in its place");
		r = image_folder_replaceable(stage->parent, stage->name, err);
		if (r < 0)
			return r;
		if (renameat2(stage->parent, stage->temporary, stage->parent, stage->name, RENAME_EXCHANGE) ==
		    0)
			return 1;
		if (errno == EINVAL)
			return error_set(err, EOPNOTSUPP,
					 "this file system cannot exchange two folders: remove '%s' first",
					 stage->name);
		if (errno != ENOENT) /* removed by somebody meanwhile: once more */
			return error_errno(err, errno, "putting the image in place of the older one");
	}
}

int image_stage_commit(struct image_stage *stage, struct error *err)
{
	int r;

	if (fsync(stage->folder) < 0)
		return error_errno(err, errno, "writing the image's folder to disk");
	r = put_in_place(stage, err);
	if (r < 0)
		return r;
	if (r == 0)
		stage->temporary[0] = '\0';
	/* the older image is removed (image_stage_done()) after it is certain that the new one will be there */
	if (fsync(stage->parent) < 0)
		return error_errno(err, errno, "writing the folder of the image to disk");
	return 0;
}

void image_stage_done(struct image_stage *stage)
{
	if (stage->temporary[0])
		(void)image_folder_empty(stage->parent, stage->temporary, NULL);
	stage->temporary[0] = '\0';
	stage->folder = fd_close(stage->folder);
	stage->parent = fd_close(stage->parent);
}
