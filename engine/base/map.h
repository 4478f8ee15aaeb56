/* SPDX-License-Identifier: MIT */
/*
 * map.h - a hash map from bytes to a pointer: open addressing, keys copied.
 *
 * Shared by the dependency set, the watches and the observer, each of which
 * looks up paths, names or small numbers some ten thousand times a build.
 */
#ifndef WARM_ENGINE_BASE_MAP_H
#define WARM_ENGINE_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_slot {
	void *key; /* NULL: free */
	uint32_t len, hash;
	void *value;
};

/* all zero is an empty map */
struct map {
	struct map_slot *slots;
	size_t count, size; /* size: 0 or a power of two, at most 3/4 full */
};

/** map_hash64() - FNV-1a over @len bytes, finished so that sums of hashes do not cancel */
uint64_t map_hash64(const void *data, size_t len);

/** map_get() - the value of a key. Return: NULL when it is not there (or its value is NULL) */
void *map_get(const struct map *m, const void *key, size_t len);
bool map_has(const struct map *m, const void *key, size_t len);

/** map_put() - set the value of a key, copying the key. Return: 0 or -ENOMEM */
int map_put(struct map *m, const void *key, size_t len, void *value);

/** map_remove() - forget a key. Return: the value it had, for the caller to free */
void *map_remove(struct map *m, const void *key, size_t len);

/** map_done() - free the map and its keys, and each value by @free_value unless it is NULL */
void map_done(struct map *m, void (*free_value)(void *));

/** map_next() - iterate: *@pos starts at 0. The map must not change meanwhile. Return: NULL at the end */
const struct map_slot *map_next(const struct map *m, size_t *pos);

#endif
