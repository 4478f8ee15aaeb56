/* SPDX-License-Identifier: MIT */
/* image_internal.h - what the files of snapshot/image/ share */
#ifndef WARM_SNAPSHOT_IMAGE_IMAGE_INTERNAL_H
#define WARM_SNAPSHOT_IMAGE_IMAGE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "snapshot/image/image.h"

struct image_stage;

/* --- image_folder.c, image_stage.c -------------------------------------------- */

/** image_stage_place() - open the folder that holds @path, and set name and parent of @stage */
int image_stage_place(int dirfd, const char *path, struct image_stage *stage, struct error *err);
/** image_stage_name() - a temporary name that nothing has */
int image_stage_name(struct image_stage *stage, struct error *err);
/** image_folder_replaceable() - Return: 0: nothing is at @name; 1: an image of this user's; -EEXIST, -EACCES or another negative errno with *err set */
int image_folder_replaceable(int parent, const char *name, struct error *err);
/** image_folder_empty() - remove the folder of an image with its files. Return: 0 or a negative errno; files that no image has are left, and the folder then too */
int image_folder_empty(int parent, const char *name, struct error *err);

/* --- image_open.c ---------------------------------------------------------------- */

/** image_parse() - an image of a manifest alone: image_pages() is -EBADF. Return: as image_open() */
int image_parse(const void *bytes, size_t size, struct image **ret, struct error *err);

/* --- image_pages.c: page files ------------------------------------------------- */

#define IMAGE_CHUNK (1ull << 20) /* bytes that one checksum is for, at most */

/* a part of a page file that is not zero throughout; what lies in no chunk is a hole */
struct image_chunk {
	uint64_t offset; /* multiple of the page size */
	uint64_t
		length; /* bytes, likewise; within IMAGE_CHUNK bytes that begin at a multiple of IMAGE_CHUNK */
	uint64_t checksum; /* XXH3, 64 bits, without a seed */
};

struct image_chunks {
	struct image_chunk *list; /* ascending; owned */
	size_t count;
	uint64_t stored; /* bytes of pages that were written: those of zeros are holes */
};

/**
 * image_pages_write() - copy the pages of a template into an empty file, holes as holes
 * @to: for reading and writing
 * @ret_chunks: the caller frees its list
 * @ret_size: bytes of the file, holes included
 */
int image_pages_write(int to, const struct image_content *content, struct image_chunks *ret_chunks,
		      uint64_t *ret_size, struct error *err);

/** image_pages_verify() - read the whole file. Return: 0; -EBADMSG with *err set, which names the offset of the damage */
int image_pages_verify(int fd, const char *name, uint64_t size, const struct image_chunks *chunks,
		       struct error *err);

/** image_checksum() - XXH3, 64 bits, without a seed */
uint64_t image_checksum(const void *bytes, size_t size);

#endif
