/* SPDX-License-Identifier: MIT */
#include "engine/base/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint64_t map_hash64(const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t h = 0xcbf29ce484222325u;

	while (len--)
		h = (h ^ *p++) * 0x100000001b3u;
	h ^= h >> 33; /* the finisher of MurmurHash3: FNV alone mixes high bits poorly */
	h *= 0xff51afd7ed558ccdu;
	h ^= h >> 33;
	return h;
}

/* the slot of the key, or the free one where it would go; the map is never full */
static struct map_slot *slot_find(const struct map *m, const void *key, size_t len, uint32_t hash)
{
	size_t mask = m->size - 1;

	for (size_t i = hash & mask;; i = (i + 1) & mask) {
		struct map_slot *s = &m->slots[i];

		if (!s->key || (s->hash == hash && s->len == len && memcmp(s->key, key, len) == 0))
			return s;
	}
}

static struct map_slot *slot_get(const struct map *m, const void *key, size_t len)
{
	struct map_slot *s;

	if (m->count == 0)
		return NULL;
	s = slot_find(m, key, len, (uint32_t)map_hash64(key, len));
	return s->key ? s : NULL;
}

void *map_get(const struct map *m, const void *key, size_t len)
{
	struct map_slot *s = slot_get(m, key, len);

	return s ? s->value : NULL;
}

bool map_has(const struct map *m, const void *key, size_t len)
{
	return slot_get(m, key, len) != NULL;
}

static int grow(struct map *m)
{
	struct map bigger = { .count = m->count, .size = m->size ? m->size * 2 : 16 };

	bigger.slots = calloc(bigger.size, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < m->size; i++) {
		struct map_slot *s = &m->slots[i];

		if (s->key)
			*slot_find(&bigger, s->key, s->len, s->hash) = *s;
	}
	free(m->slots);
	*m = bigger;
	return 0;
}

int map_put(struct map *m, const void *key, size_t len, void *value)
{
	struct map_slot *s;
	uint32_t hash = (uint32_t)map_hash64(key, len);
	int r;

	if ((m->count + 1) * 4 > m->size * 3) {
		r = grow(m);
		if (r < 0)
			return r;
	}
	s = slot_find(m, key, len, hash);
	if (!s->key) {
		s->key = malloc(len + 1);
		if (!s->key)
			return -ENOMEM;
		memcpy(s->key, key, len);
		((char *)s->key)[len] = '\0'; /* keys that are strings can be used as such */
		s->len = (uint32_t)len;
		s->hash = hash;
		m->count++;
	}
	s->value = value;
	return 0;
}

void *map_remove(struct map *m, const void *key, size_t len)
{
	struct map_slot *s = slot_get(m, key, len);
	size_t mask = m->size - 1, hole, i;
	void *value;

	if (!s)
		return NULL;
	value = s->value;
	free(s->key);
	s->key = NULL;
	m->count--;
	/* close the gap, so that no search ends early: no tombstones needed */
	hole = (size_t)(s - m->slots);
	for (i = (hole + 1) & mask; m->slots[i].key; i = (i + 1) & mask) {
		size_t home = m->slots[i].hash & mask;

		if (((i - home) & mask) >= ((i - hole) & mask)) {
			m->slots[hole] = m->slots[i];
			m->slots[i].key = NULL;
			hole = i;
		}
	}
	return value;
}

void map_done(struct map *m, void (*free_value)(void *))
{
	for (size_t i = 0; i < m->size; i++) {
		if (!m->slots[i].key)
			continue;
		free(m->slots[i].key);
		if (free_value)
			free_value(m->slots[i].value);
	}
	free(m->slots);
	*m = (struct map){ 0 };
}

const struct map_slot *map_next(const struct map *m, size_t *pos)
{
	while (*pos < m->size) {
		const struct map_slot *s = &m->slots[(*pos)++];

		if (s->key)
			return s;
	}
	return NULL;
}
