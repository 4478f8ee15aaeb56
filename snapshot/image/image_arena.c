/* SPDX-License-Identifier: MIT */
/* image_arena.c - memory for the messages of one manifest */
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/image/image_codec.h"

#define BLOCK_SIZE 65536

struct arena_block {
	struct arena_block *next;
	size_t used, size; /* bytes of data */
	alignas(max_align_t) char data[];
};

static struct arena_block *new_block(struct arena *arena, size_t size)
{
	struct arena_block *b = calloc(1, sizeof(*b) + size);

	if (!b)
		return NULL;
	b->size = size;
	b->next = arena->blocks;
	arena->blocks = b;
	return b;
}

void *arena_get(struct arena *arena, size_t count, size_t size)
{
	const size_t align = alignof(max_align_t);
	struct arena_block *b = arena->blocks;
	size_t bytes;
	void *p;

	if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2) {
		arena->failed = true;
		return NULL;
	}
	bytes = (bytes + align - 1) & ~(align - 1);
	if (bytes > arena->left) {
		arena->failed = arena->full = true;
		return NULL;
	}
	arena->left -= bytes;
	if (!b || b->size - b->used < bytes)
		b = new_block(arena, bytes > BLOCK_SIZE ? bytes : BLOCK_SIZE);
	if (!b) {
		arena->failed = true;
		return NULL;
	}
	p = b->data + b->used;
	b->used += bytes;
	return p;
}

char *arena_text(struct arena *arena, const char *text)
{
	char *p = arena_get(arena, strlen(text) + 1, 1);

	return p ? strcpy(p, text) : NULL;
}

void *arena_messages(struct arena *arena, size_t n, const ProtobufCMessageDescriptor *type)
{
	void **list = arena_get(arena, n, sizeof(*list));
	char *messages = arena_get(arena, n, type->sizeof_message);

	if (!list || !messages)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		list[i] = messages + i * type->sizeof_message;
		protobuf_c_message_init(type, list[i]);
	}
	return list;
}

void arena_done(struct arena *arena)
{
	while (arena->blocks) {
		struct arena_block *next = arena->blocks->next;

		free(arena->blocks);
		arena->blocks = next;
	}
}
