/* SPDX-License-Identifier: MIT */
/* keep_internal.h - names within the folder of kept templates, between the files of warmd/keep/ */
#ifndef WARM_WARMD_KEEP_KEEP_INTERNAL_H
#define WARM_WARMD_KEEP_KEEP_INTERNAL_H

#include "warmd/keep/keep.h"

#define KEEP_ENTRY_SUFFIX    ".kept"
#define KEEP_ENTRY_NAME_SIZE (KEEP_ID_SIZE + sizeof(KEEP_ENTRY_SUFFIX))
#define KEEP_ENTRY_TEMPORARY ".kept-"

/** keep_entry_name() - "ID.kept". Return: @ret */
const char *keep_entry_name(const char *id, char ret[KEEP_ENTRY_NAME_SIZE]);

/** keep_image_remove() - a folder with an image, or with what there is of one; a failure leaves it to the next sweep */
void keep_image_remove(int folder, const char *id);

#endif
