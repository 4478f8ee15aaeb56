/* SPDX-License-Identifier: MIT */
/* keys.h - finding the detach keys in what is typed, whatever pieces it comes in */
#ifndef WARM_PTY_KEYS_H
#define WARM_PTY_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pty/relay.h"

struct keys {
	uint8_t bytes[RELAY_KEYS_MAX];
	uint8_t back
		[RELAY_KEYS_MAX]; /* back[i]: length of the longest beginning that ends bytes[0..i], other than itself */
	size_t n; /* 0: never found */
	size_t held; /* how many bytes at the end of what was typed may begin the keys */
};

/** keys_set() - look for @n bytes from now on. Return: 0 or -EINVAL: too many */
int keys_set(struct keys *k, const void *bytes, size_t n);

/**
 * keys_feed() - the next @n bytes that were typed
 * @ret_end: when found: how many of @buf's bytes belong to the keys or come before them
 * Return: found? If not, k->held bytes at the end (of this and earlier pieces) are to be held back.
 */
bool keys_feed(struct keys *k, const uint8_t *buf, size_t n, size_t *ret_end);

#endif
