/* SPDX-License-Identifier: MIT */
/*
 * image_folder.h - the folder that an image is: made beside its place, put there whole, and removed.
 *
 * A new image is written into a folder with a temporary name, in the folder that will hold the image. Every file and both
 * folders are fsynced, and one rename(2) puts the image in its place; an older image there is exchanged and then
 * removed. Whenever a writer ends, in whatever way, the place has the old image or the new one. What may stay behind
 * is a folder with a temporary name. Its writer holds a lock on it (flock(2)) as long as it lives, so the next writer
 * removes those that nobody has locked.
 */
#ifndef WARM_SNAPSHOT_IMAGE_FOLDER_H
#define WARM_SNAPSHOT_IMAGE_FOLDER_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/error.h"

#define IMAGE_MANIFEST	     "manifest.pb"
#define IMAGE_TEMPORARY	     ".warm-image-"
#define IMAGE_TEMPORARY_SIZE (sizeof(IMAGE_TEMPORARY) + 16) /* with 16 hexadecimal digits and a NUL */

/* how every manifest begins: field 1, four bytes, "WIMG" (struct Image__Manifest) */
#define IMAGE_MAGIC	  0x474d4957u
#define IMAGE_FIRST_BYTES "\x0dWIMG"

/* an image while it is written */
struct image_stage {
	int parent; /* the folder that holds the image's place; owned */
	char name[NAME_MAX + 1]; /* the image's place in it */
	int folder; /* what is being written, locked; owned */
	char temporary[IMAGE_TEMPORARY_SIZE]; /* its name in @parent; "": there is none */
};

#define IMAGE_STAGE_NONE                                                                                     \
	{                                                                                                    \
		.parent = -EBADF, .folder = -EBADF                                                           \
	}

/**
 * image_stage_begin() - make the temporary folder, and remove what ended writers left behind
 * @dirfd, @path: the image's place, as for openat(2)
 * @stage: IMAGE_STAGE_NONE before
 *
 * Return: 0 or a negative errno with *err set. -EEXIST: something is at @path that is no image. -EACCES: the image there is another user's.
 */
int image_stage_begin(int dirfd, const char *path, struct image_stage *stage, struct error *err);

/** image_stage_file() - a new file of the image, mode 0600. Return: a descriptor (O_RDWR, close-on-exec) or a negative errno with *err set */
int image_stage_file(const struct image_stage *stage, const char *name, struct error *err);

/**
 * image_stage_commit() - put the image in its place; its files have been fsynced
 * Return: 0: it is there, and will be after a crash; else a negative errno with *err set, and the place is as it was (but
 * when the last fsync(2) fails: then the new image is there, and a crash may bring the older state back)
 */
int image_stage_commit(struct image_stage *stage, struct error *err);

/** image_stage_done() - remove what is temporary, release the lock, close. For _cleanup_ */
void image_stage_done(struct image_stage *stage);

/** image_folder_remove() - image_remove() in image.h */
int image_folder_remove(int dirfd, const char *path, struct error *err);

/**
 * image_folder_open() - the folder of an image that is to be read
 * Return: a descriptor; a negative errno with *err set: -EACCES: it is another user's, or others may write to it
 */
int image_folder_open(int dirfd, const char *path, struct error *err);

/**
 * image_folder_file() - a file of it, for reading
 * @ret_size: bytes
 * Return: a descriptor; a negative errno with *err set: -EACCES as above; -ELOOP: it is a symbolic link
 */
int image_folder_file(int folder, const char *name, uint64_t *ret_size, struct error *err);

#endif
