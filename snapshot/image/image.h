/* SPDX-License-Identifier: MIT */
/*
 * image.h - a template or a checkpoint on disk: a folder that only its owner may use, with
 *
 *	manifest.pb	the model, what the image is of, who made it, and the size and the checksums of each page file
 *	pages-1.img	the pages, laid out as in the template's memory: a restore maps it privately and reads nothing ahead
 *
 * In: a model and a pages memfd. Out: the same again, in another process, perhaps after a reboot. A reader takes every byte
 * for hostile. docs/image-format.md has the format field by field.
 *
 *	image_folder.c, image_stage.c	the folder: owner and mode, written aside, put in its place by a rename
 *	image_pages.c			page files
 *	image_write.c, image_open.c	whole images
 *	image_machine.c			the machine that it was written on
 *	image_files.c			files of that machine
 *	codec_*.c, image_codec.c	the model in protobuf (model.proto)
 */
#ifndef WARM_SNAPSHOT_IMAGE_IMAGE_H
#define WARM_SNAPSHOT_IMAGE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct image;
struct model;
struct model_files;
struct model_piece;

#define IMAGE_FORMAT 1 /* of the manifest; a reader knows no other */

/* what an image is made of; all of it stays the caller's */
struct image_content {
	const struct model *model;
	int pages; /* memfd, as it was laid out for the template */
	int huge; /* memfd of huge pages; -EBADF: none */
	const struct model_piece *huge_pieces;
	size_t nhuge_pieces;
	const void *
		facts; /* what its maker wants to know again: bytes that mean nothing here; NULL: none (a checkpoint) */
	size_t facts_size; /* bytes */
};

/**
 * image_write() - write an image, in place of an older one if there is one
 * @dirfd, @path: where, as for openat(2); a relative @path counts from @dirfd. The folder that holds it has to be there
 *
 * Takes as long as it takes to write the pages and have them on the disk. Whenever it ends, also by SIGKILL or when the
 * machine loses power, @path has the older image or the new one. On failure nothing is left behind; what a writer left
 * that was killed is removed by the next one in the same folder.
 *
 * Return: 0, or a negative errno with *err set. -EEXIST: something is at @path that is no image. -EACCES: the image there is
 * another user's. -ENOSPC, -EDQUOT, -EFBIG: no room (the last: RLIMIT_FSIZE; no SIGXFSZ is sent).
 */
int image_write(int dirfd, const char *path, const struct image_content *content, struct error *err);

enum image_flags {
	IMAGE_VERIFY = 1 << 0, /* read all pages, and compare them with their checksums */
};

/**
 * image_open() - read an image
 * @dirfd, @path: as for openat(2)
 * @flags: enum image_flags
 * @ret: set on success; the caller frees it with image_free()
 *
 * The manifest is read and checked in any case. Of the pages, without IMAGE_VERIFY, only the size of their file is
 * looked at: they are read when what maps them touches them.
 *
 * Return: 0, or a negative errno with *err set, which names what is wrong. -EACCES: the folder or a file is another user's,
 * or others may write to it. -ELOOP: a symbolic link stands for a file. -EBADMSG: it is damaged. -EOPNOTSUPP: it is
 * of another format, architecture or page size. -ENOMEM.
 */
int image_open(int dirfd, const char *path, unsigned int flags, struct image **ret, struct error *err);
void image_free(struct image *image);
static inline void image_freep(struct image **image)
{
	image_free(*image);
}

/** image_model() - what the image is of; model_check() has taken it. It is the image's */
const struct model *image_model(const struct image *image);

/**
 * image_take_model() - the same, for one that outlives the image
 * Return: to be freed with model_free(); image_model() is NULL afterwards
 */
struct model *image_take_model(struct image *image);

/**
 * image_pages() - its page file, to be mapped privately where a template maps its pages memfd
 *
 * Where it lies on a file system that is mounted noexec: a memfd with all of it, as what is mapped from there could not be
 * executed. Return: a descriptor that is the image's; nobody writes to it
 */
int image_pages(const struct image *image);

/** image_facts() - as they were in struct image_content. Return: NULL: none. They are the image's */
const void *image_facts(const struct image *image, size_t *ret_size);

/* what is not the model's; strings are the image's */
struct image_info {
	const char *version; /* of the warm that wrote it */
	const char *architecture;
	const char *kernel; /* its release */
	const char *processor; /* features, as /proc/cpuinfo has them */
	uint32_t format, page_size; /* bytes */
	uint64_t created_ns; /* CLOCK_REALTIME */
	uint64_t pages_size; /* of the page file, holes included */
	uint64_t pages_stored; /* bytes in it that are no holes */
	uint64_t manifest_size; /* bytes */
};

struct image_info image_info(const struct image *image);

/**
 * image_check_machine() - can its processes go on here? They know addresses in the vDSO, and what the processor can do
 * Return: 0; -EOPNOTSUPP with *err set: why not; another negative errno
 */
int image_check_machine(const struct image *image, struct error *err);

/**
 * image_open_files() - the files that a model maps, each of which has to be what it was: size, time of change, build-id
 * @ret: by index of its objects; the caller frees it with model_files_done()
 *
 * Files that it has open are looked at too: they have to be there, and the same (inode).
 * Return: 0; -ESTALE with *err set: which one is another; another negative errno
 */
int image_open_files(const struct model *m, struct model_files *ret, struct error *err);

/** image_size() - what an image takes of its disk, in bytes, damaged or not. Return: 0 or a negative errno with *err set */
int image_size(int dirfd, const char *path, uint64_t *ret_bytes, struct error *err);

/**
 * image_remove() - remove an image, damaged or not
 *
 * Whoever has it open or mapped keeps what he has.
 * Return: 0, or a negative errno with *err set. -EEXIST: it is no image, or has other files in it; then it is left as it is
 */
int image_remove(int dirfd, const char *path, struct error *err);

#endif
