/* SPDX-License-Identifier: MIT */
/* image_folder.c - looking at, opening and removing the folder of an image */
#include "snapshot/image/image_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

#include "engine/base/fd.h"
#include "snapshot/image/image_internal.h"

/* is it the name of a file that images have? */
static bool is_own_name(const char *name)
{
	const char *digits = name + 6;

	if (strcmp(name, IMAGE_MANIFEST) == 0)
		return true;
	return strncmp(name, "pages-", 6) == 0 && strspn(digits, "0123456789") > 0 &&
	       strcmp(digits + strspn(digits, "0123456789"), ".img") == 0;
}

static void closedirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* a stream of the folder's names. @fd stays the caller's. Return: NULL with errno */
static DIR *names_of(int fd)
{
	int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = again < 0 ? NULL : fdopendir(again);

	if (!dir)
		fd_close(again);
	return dir;
}

/* Return: 0: all its files are an image's; -EEXIST: others are there too; a negative errno */
static int only_own_names(int fd, struct error *err)
{
	_cleanup_(closedirp) DIR *dir = names_of(fd);

	if (!dir)
		return error_errno(err, errno, "reading it");
	for (;;) {
		const struct dirent *e;

		errno = 0;
		e = readdir(dir);
		if (!e)
			return errno ? error_errno(err, errno, "reading it") : 0;
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && !is_own_name(e->d_name))
			return error_set(err, EEXIST, "'%s' in it is no file of an image", e->d_name);
	}
}

static bool begins_as_manifest(int folder)
{
	_cleanup_close_ int fd = openat(folder, IMAGE_MANIFEST,
					O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char first[sizeof(IMAGE_FIRST_BYTES) - 1];

	return fd >= 0 && pread_full(fd, first, sizeof(first), 0) == 0 &&
	       memcmp(first, IMAGE_FIRST_BYTES, sizeof(first)) == 0;
}

static int check_owner(const struct stat *st, struct error *err)
{
	if (st->st_uid != geteuid())
		return error_set(err, EACCES, "it belongs to uid %u", st->st_uid);
	return 0;
}

/* what is never another's: an image can have code run, and hold whatever a program knew */
static int check_rights(const struct stat *st, struct error *err)
{
	int r = check_owner(st, err);

	if (r == 0 && st->st_mode & (S_IWGRP | S_IWOTH))
		r = error_set(err, EACCES, "others may write to it (mode %04o)", st->st_mode & 07777);
	return r;
}

/* Return: a descriptor, or a negative errno with *err set: -ENOENT: nothing is there */
static int open_place(int parent, const char *name, struct error *err)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
		return error_set(err, EEXIST, "it is no folder");
	return fd < 0 ? error_errno(err, errno, "opening it") : fd;
}

int image_folder_replaceable(int parent, const char *name, struct error *err)
{
	struct error why = { 0 };
	_cleanup_close_ int fd = open_place(parent, name, &why);
	struct stat st;
	int r = fd < 0 ? fd : 0;

	if (r == -ENOENT)
		return 0;
	if (r == 0 && fstat(fd, &st) < 0)
		r = error_errno(&why, errno, "looking at it");
	if (r == 0)
		r = check_owner(&st, &why);
	if (r == 0)
		r = only_own_names(fd, &why);
	if (r == 0 && !begins_as_manifest(fd))
		r = error_set(&why, EEXIST, "it has no manifest of an image");
	if (r == 0)
		return 1;
	return error_set(err, r, "'%s' exists and cannot be replaced by an image: %s", name, why.text);
}

int image_folder_empty(int parent, const char *name, struct error *err)
{
	_cleanup_close_ int fd = open_place(parent, name, err);
	_cleanup_(closedirp) DIR *dir = fd < 0 ? NULL : names_of(fd);
	const struct dirent *e;

	if (!dir)
		return fd < 0 ? fd : error_errno(err, errno, "reading '%s'", name);
	while ((e = readdir(dir))) {
		if (is_own_name(e->d_name) && unlinkat(fd, e->d_name, 0) < 0 && errno != ENOENT)
			return error_errno(err, errno, "removing '%s'", e->d_name);
	}
	if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return error_errno(err, errno, "removing '%s'", name);
	return 0;
}

int image_folder_remove(int dirfd, const char *path, struct error *err)
{
	_cleanup_(image_stage_done) struct image_stage stage = IMAGE_STAGE_NONE;
	_cleanup_close_ int fd = -EBADF;
	int r = image_stage_place(dirfd, path, &stage, err);

	if (r == 0) {
		fd = open_place(stage.parent, stage.name, err);
		r = fd < 0 ? fd : only_own_names(fd, err);
	}
	if (r == 0)
		r = image_stage_name(&stage, err);
	/* in one step: a half of an image is never at its place */
	if (r == 0 && renameat(stage.parent, stage.name, stage.parent, stage.temporary) < 0)
		r = error_errno(err, errno, "moving it away");
	if (r == 0)
		r = image_folder_empty(stage.parent, stage.temporary, err);
	stage.temporary[0] = '\0';
	return r < 0 && err ? error_prefix(err, "removing the image '%s'", path) : r;
}

int image_folder_open(int dirfd, const char *path, struct error *err)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct error why = { 0 };
	struct stat st;
	int r;

	if (fd < 0)
		return error_errno(err, errno, "the image '%s' cannot be opened", path);
	r = fstat(fd, &st) < 0 ? error_errno(&why, errno, "looking at it") : check_rights(&st, &why);
	if (r < 0)
		return error_set(err, r, "the image '%s' is not used: %s", path, why.text);
	return TAKE_FD(fd);
}

int image_folder_file(int folder, const char *name, uint64_t *ret_size, struct error *err)
{
	/* O_NONBLOCK: nobody may ever open the other end of a FIFO */
	_cleanup_close_ int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct error why = { 0 };
	struct stat st;
	int r;

	if (fd < 0 && errno == ELOOP)
		return error_set(err, ELOOP, "%s is a symbolic link, which an image does not have", name);
	if (fd < 0)
		return error_errno(err, errno, "%s cannot be opened", name);
	if (fstat(fd, &st) < 0)
		r = error_errno(&why, errno, "looking at it");
	else if (!S_ISREG(st.st_mode))
		r = error_set(&why, EINVAL, "it is no regular file");
	else
		r = check_rights(&st, &why);
	if (r < 0)
		return error_set(err, r, "%s is not used: %s", name, why.text);
	*ret_size = (uint64_t)st.st_size;
	return TAKE_FD(fd);
}
