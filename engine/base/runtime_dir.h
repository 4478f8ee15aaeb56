/* SPDX-License-Identifier: MIT */
/*
 * runtime_dir.h - the directory of this user where the daemon and its clients meet.
 *
 * In: the environment. Out: a path that a socket's address can hold, checked for its owner and
 * mode. On the latency path of `warm run`: no malloc, and no stdio but for the words of a failure.
 */
#ifndef WARM_ENGINE_BASE_RUNTIME_DIR_H
#define WARM_ENGINE_BASE_RUNTIME_DIR_H

#include <stddef.h>

#include "engine/base/error.h"

/* sun_path holds 108 bytes with its NUL (unix(7)); the rest is for "/" and the name of a socket */
#define RUNTIME_DIR_MAX	 96
#define RUNTIME_PATH_MAX 108

struct runtime_dir {
	char path[RUNTIME_DIR_MAX];
	int exists; /* 0: nothing is there yet (so no daemon either) */
};

/**
 * runtime_dir_find() - where the directory is or would be
 * @ret: set on success
 *
 * $WARM_RUNTIME_DIR, else $XDG_RUNTIME_DIR/warm, else /tmp/warm-$UID. An
 * XDG_RUNTIME_DIR that belongs to somebody else (sudo keeps it) or is relative is passed
 * over, as the XDG specification asks. This only looks: what is there can be another a moment later. A client looks at
 * the daemon that it reaches; who makes or writes files uses runtime_dir_open().
 *
 * Return: 0. -EINVAL: WARM_RUNTIME_DIR is relative or empty. -ENAMETOOLONG.
 * -ENOTDIR. -EACCES: it, or a link that stands there, belongs to somebody else, or others may use it.
 */
int runtime_dir_find(struct runtime_dir *ret, struct error *err);

/**
 * runtime_dir_open() - the directory itself, which was looked at once it was open
 * @make: make it if nothing is there
 *
 * What is made or opened in it is to be made or opened relative to the descriptor: its path may be another
 * directory's by now. A link is followed only if it belongs to this user or root.
 *
 * Return: a descriptor, or a negative errno with *err set: as runtime_dir_find(), -ENOENT.
 */
int runtime_dir_open(const struct runtime_dir *dir, int make, struct error *err);

/**
 * runtime_dir_file() - open or make a regular file that only this user may use
 * @dir: of runtime_dir_open()
 * @flags: O_RDWR, O_WRONLY, O_APPEND
 *
 * Return: a descriptor (O_CLOEXEC), or a negative errno with *err set. -EACCES: it has other names too, or is another
 * user's, or no regular file.
 */
int runtime_dir_file(int dir, const char *name, int flags, struct error *err);

/** runtime_dir_path() - of @name in @dir, with its NUL at most @size bytes. Return: 0 or -ENAMETOOLONG */
int runtime_dir_path(const struct runtime_dir *dir, const char *name, char *ret, size_t size);

#endif
