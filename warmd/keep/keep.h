/* SPDX-License-Identifier: MIT */
/*
 * warmd/keep/ - templates on disk, so that they serve again after the daemon has ended or the machine was restarted.
 *
 * A template that is worth it is written as an image (snapshot/image/) by the process that built it, once it has reported:
 * nobody waits for the disk. Beside the image lies an *entry*, a small file with what a launch is compared with, so that
 * warmd knows at its start what there is without reading images. A kept template is loaded by a process of its own,
 * which reports as one that builds does: from there on warmd does not know the difference.
 *
 *	$XDG_CACHE_HOME/warm/			0700
 *		0123456789abcdef/		an image: docs/image-format.md
 *		0123456789abcdef.kept		its entry, written last and removed first; its time of change: last used
 *
 * An image holds what its program held, secrets too: docs/security.md.
 *
 *	keep_folder.c	the folder: whose it is, which entries there are, which have to go to make room
 *	keep_entry.c	an entry, to bytes and back
 *	keep_facts.c	what has to be as it was when the template was built, beside files and keys
 *	keep_write.c	in the process that built the template: images
 *	keep_load.c	in a process that loads one: from an image to a builder's report
 *
 * In: what a build has made. Out: the same, later. The daemon's half is warmd/kept*.c.
 */
#ifndef WARM_WARMD_KEEP_KEEP_H
#define WARM_WARMD_KEEP_KEEP_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "launcher/wire/control.pb-c.h"
#include "launcher/wire/request.h"
#include "warmd/config/config.h"

/* --- keep_folder.c ------------------------------------------------------------ */

#define KEEP_ID_SIZE 17 /* 16 hexadecimal digits and a NUL */

/**
 * keep_folder_path() - where kept templates are: $WARM_CACHE_DIR, else $XDG_CACHE_HOME/warm, else ~/.cache/warm
 * Return: 0; -ENOENT with words: there is no such place, as HOME is not set
 */
int keep_folder_path(char ret[PATH_MAX], struct error *err);

/**
 * keep_folder_open() - the folder, if it is this user's alone
 * @make: make it, and the folders above it, if it is not there
 *
 * Return: a descriptor; a negative errno with *err set. -ENOENT: there is none. -EACCES: it is another user's, or others
 * may write to it. -ELOOP: it is a symbolic link
 */
int keep_folder_open(const char *path, bool make, struct error *err);

/** keep_folder_lock() - wait until nobody else writes to the folder or makes room in it. Return: a descriptor whose closing ends that, or a negative errno */
int keep_folder_lock(int folder);

/* an entry as the folder shows it */
struct keep_listed {
	char id[KEEP_ID_SIZE];
	uint64_t used_ns; /* CLOCK_REALTIME of the last launch */
	uint64_t bytes; /* of image and entry, on disk */
};

/** keep_folder_list() - @ret: the caller frees it. Return: how many, or a negative errno */
int keep_folder_list(int folder, struct keep_listed **ret);

/**
 * keep_folder_make_room() - remove the least recently used until @bytes more fit into @budget
 * @keep: an id that stays; NULL: none
 * Return: how many went; -ENOSPC: @bytes are more than the budget, and none went
 */
int keep_folder_make_room(int folder, uint64_t bytes, uint64_t budget, const char *keep);

/** keep_folder_sweep() - remove what writers that were killed left behind. The folder is locked */
void keep_folder_sweep(int folder);

/** keep_folder_remove() - an entry and its image. Who has mapped the image keeps what he has */
void keep_folder_remove(int folder, const char *id);

/** keep_folder_used() - note when it was last used; CLOCK_REALTIME */
void keep_folder_used(int folder, const char *id, uint64_t ns);

/** keep_folder_new_id() - a random one */
int keep_folder_new_id(char ret[KEEP_ID_SIZE]);

/* --- keep_facts.c ------------------------------------------------------------- */

/* what a template depends on beside files and keys, as it can change between two runs of warmd */
enum keep_fact {
	KEEP_FACT_WARM, /* warmd itself: the stub, the adaptors, what the bytes of dependencies mean */
	KEEP_FACT_KERNEL, /* its release and version: which calls there are was tried */
	KEEP_FACT_PROCESSOR, /* features, caches, register state; AT_HWCAP and its like */
	KEEP_FACT_VDSO, /* the kernel's code in each process: addresses within it are remembered */
	KEEP_FACT_RIGHTS, /* ids, groups, capabilities: what could be read */
	KEEP_FACT_SETTINGS, /* ignore_paths: which files count */
	KEEP_FACT_BOOT, /* clocks that begin with the machine, boot_id: only if the program took in one of them */
	KEEP_FACTS,
};

/** keep_fact_value() - a hash of it as it is now; never 0 */
uint64_t keep_fact_value(enum keep_fact fact, const struct config *config);
/** keep_fact_name() - in words: "the processor" */
const char *keep_fact_name(enum keep_fact fact);

/* --- keep_entry.c ------------------------------------------------------------- */

/**
 * keep_entry_make() - what is kept beside the model
 * @created_ns: CLOCK_REALTIME of the build; @build_ns: how long it took
 * @ret: the caller frees it by keep_entry_free(); it has copies of all
 */
int keep_entry_make(const struct request *req, const Warm__BuildResult *result, uint64_t created_ns,
		    uint64_t build_ns, const struct config *config, Warm__Kept **ret);
void keep_entry_free(Warm__Kept *kept);

/** keep_entry_slim() - take out what no launch is compared with: the entry beside the image */
void keep_entry_slim(Warm__Kept *kept);

/**
 * keep_entry_pack(), keep_entry_unpack() - to bytes and back
 * Return: 0; -EBADMSG: the bytes are damaged, or of another version of warm
 */
int keep_entry_pack(const Warm__Kept *kept, uint8_t **ret, size_t *ret_size);
int keep_entry_unpack(const void *bytes, size_t size, Warm__Kept **ret);

/** keep_entry_request() - the request that it was built for, checked as one from a client. Return: 0, -EBADMSG, -ENOMEM */
int keep_entry_request(const Warm__Kept *kept, struct request **ret);

/** keep_entry_write(), keep_entry_read() - the file beside an image. Return: 0 or a negative errno */
int keep_entry_write(int folder, const char *id, const Warm__Kept *kept);
int keep_entry_read(int folder, const char *id, Warm__Kept **ret);

/** keep_entry_differs() - which fact is another now? Return: words, or NULL: none */
const char *keep_entry_differs(const Warm__Kept *kept, const struct config *config);

/* --- keep_write.c ------------------------------------------------------------- */

enum keep_order_kind {
	KEEP_ORDER_CACHE, /* into the folder at path, as id */
	KEEP_ORDER_OUT, /* to the folder path, in place of an image that is there */
};

/* to a process that has reported a build: write an image. One packet; the answer is a struct keep_written */
struct keep_order {
	uint32_t size; /* of this */
	uint32_t kind; /* enum keep_order_kind */
	uint64_t created_ns, build_ns; /* CLOCK_REALTIME; a duration */
	char id[KEEP_ID_SIZE];
	char path[PATH_MAX];
};

struct keep_written {
	uint32_t size; /* of this */
	int32_t error; /* 0, or a negative errno with words */
	uint64_t bytes; /* on disk */
	char words[512];
};

struct builder_made;

/**
 * keep_write_serve() - take orders until the socket is closed
 * @made: what the build made
 *
 * Once it has an order the process does not end with warmd any more: `warm stop` leaves it what it has begun.
 */
void keep_write_serve(const struct builder_made *made, int sock);

/* --- keep_load.c -------------------------------------------------------------- */

struct keep_source {
	const char *path; /* the cache's folder, or that of an image */
	const char *id; /* in the cache; "": @path is an image of whomever, and all of it is verified */
	const char *name; /* that its template is to have; "": its own */
};

/**
 * keep_load_run() - in a process of its own: load and report as builder_run() does
 * Return: exit status
 */
int keep_load_run(const struct keep_source *source, const struct config *config, int sock);

#endif
