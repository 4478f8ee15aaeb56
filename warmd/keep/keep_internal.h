/* SPDX-License-Identifier: MIT */
/* keep_internal.h - names within the folder of kept templates, and images as they are used here, between the files of warmd/keep/ */
#ifndef WARM_WARMD_KEEP_KEEP_INTERNAL_H
#define WARM_WARMD_KEEP_KEEP_INTERNAL_H

#include "snapshot/image/image.h"
#include "snapshot/plan/plan.h"
#include "warmd/build/builder.h"
#include "warmd/keep/keep.h"

#define KEEP_ENTRY_SUFFIX    ".kept"
#define KEEP_ENTRY_NAME_SIZE (KEEP_ID_SIZE + sizeof(KEEP_ENTRY_SUFFIX))
#define KEEP_ENTRY_TEMPORARY ".kept-"

/** keep_entry_name() - "ID.kept". Return: @ret */
const char *keep_entry_name(const char *id, char ret[KEEP_ENTRY_NAME_SIZE]);
/** keep_entry_put_request() - a copy of @req, in place of nothing. Return: 0 or -ENOMEM */
int keep_entry_put_request(Warm__Kept *kept, const struct request *req);

/* --- keep_image.c ------------------------------------------------------------- */

/** keep_image_remove() - a folder with an image, or with what there is of one; a failure leaves it to the next sweep */
void keep_image_remove(int folder, const char *id);

/**
 * keep_image_write() - what a build made, with @kept as the image's facts
 * @dirfd, @path: as for openat(2)
 * @ret_bytes: on disk
 */
int keep_image_write(int dirfd, const char *path, const struct builder_made *made, Warm__Kept *kept,
		     uint64_t *ret_bytes, struct error *err);

/** keep_image_has_time() - does the template hold a time of this boot, outside of its threads' stacks? keep_clock.h. Return: 0, 1, or a negative errno */
int keep_image_has_time(const struct builder_made *made);

/* a template on its way from an image */
struct keep_loaded {
	struct image *image; /* whose pages clones map */
	struct model *model;
	struct model_files files; /* of the model */
	Warm__Kept *kept;
	struct plan plan;
};

/** keep_image_open() - @verify: all pages are read and compared with their checksums */
int keep_image_open(int dirfd, const char *path, bool verify, struct keep_loaded *ret, struct error *err);
/** keep_image_plan() - open the files that clones map, and make the plan */
int keep_image_plan(struct keep_loaded *l, const struct config *config, struct error *err);

#endif
