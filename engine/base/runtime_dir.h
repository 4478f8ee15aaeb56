/* SPDX-License-Identifier: MIT */
/*
 * runtime_dir.h - the directory of this user where the daemon and its clients meet.
 *
 * In: the environment. Out: a path that a socket's address can hold, checked for its owner and
 * mode. On the latency path of `warm run`: no malloc, and no stdio but for the words of a failure.
 */
#ifndef WARM_BASE_RUNTIME_DIR_H
#define WARM_BASE_RUNTIME_DIR_H

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
 * over, as the XDG specification asks.
 *
 * Return: 0. -EINVAL: WARM_RUNTIME_DIR is relative or empty. -ENAMETOOLONG.
 * -ENOTDIR. -EACCES: it belongs to somebody else, or others may use it.
 */
int runtime_dir_find(struct runtime_dir *ret, struct error *err);

/** runtime_dir_path() - of @name in @dir, with its NUL at most @size bytes. Return: 0 or -ENAMETOOLONG */
int runtime_dir_path(const struct runtime_dir *dir, const char *name, char *ret, size_t size);

#endif
