/* SPDX-License-Identifier: MIT */
/* image_codec.c - the whole model, page files, and what the codec_*.c share */
#include "snapshot/image/image_codec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/fd.h"

ProtobufCBinaryData codec_put_bytes(const void *bytes, size_t size)
{
	return (ProtobufCBinaryData){ size, (uint8_t *)bytes };
}

ProtobufCBinaryData codec_put_text(const char *text)
{
	return codec_put_bytes(text, text ? strlen(text) + 1 : 0);
}

void codec_put_texts(struct arena *arena, char *const *list, size_t n, ProtobufCBinaryData **ret,
		     size_t *ret_n)
{
	*ret = arena_get(arena, n, sizeof(**ret));
	*ret_n = *ret ? n : 0;
	for (size_t i = 0; i < *ret_n; i++)
		(*ret)[i] = codec_put_text(list[i]);
}

void *codec_put_one(struct arena *arena, const ProtobufCMessageDescriptor *type)
{
	void **list = arena_messages(arena, 1, type);

	return list ? list[0] : NULL;
}

void decoder_bad(struct decoder *d, const char *what)
{
	if (!d->why.code)
		error_set(&d->why, EBADMSG, "it is damaged: %s", what);
}

void *codec_take_list(struct decoder *d, size_t n, size_t size, size_t *ret_n)
{
	void *list = n ? arena_get(d->arena, n, size) : NULL;

	*ret_n = list ? n : 0;
	return list;
}

void *codec_take_bytes(struct decoder *d, ProtobufCBinaryData from, size_t *ret_size)
{
	void *bytes = codec_take_list(d, from.len, 1, ret_size);

	return bytes ? memcpy(bytes, from.data, from.len) : NULL;
}

char *codec_take_text(struct decoder *d, ProtobufCBinaryData from, const char *what)
{
	size_t size;

	if (from.len && memchr(from.data, '\0', from.len) != from.data + from.len - 1) {
		decoder_bad(d, what);
		return NULL;
	}
	return codec_take_bytes(d, from, &size);
}

char *codec_take_text_there(struct decoder *d, ProtobufCBinaryData from, const char *what)
{
	char *text = codec_take_text(d, from, what);

	if (!from.len)
		decoder_bad(d, what);
	return text ? text : arena_text(d->arena, "");
}

char **codec_take_texts(struct decoder *d, size_t n, const ProtobufCBinaryData *from, const char *what)
{
	char **list = arena_get(d->arena, n + 1, sizeof(*list));

	for (size_t i = 0; list && i < n; i++)
		list[i] = codec_take_text_there(d, from[i], what);
	return list;
}

void codec_take_struct(struct decoder *d, void *to, size_t size, ProtobufCBinaryData from, const char *what)
{
	if (from.len == size)
		memcpy(to, from.data, size);
	else
		decoder_bad(d, what);
}

void codec_take_words(struct decoder *d, uint64_t *to, size_t want, size_t n, const uint64_t *from,
		      const char *what)
{
	if (n == want)
		memcpy(to, from, n * sizeof(*to));
	else
		decoder_bad(d, what);
}

unsigned int codec_take_choice(struct decoder *d, uint32_t from, unsigned int n, const char *what)
{
	if (from < n)
		return from;
	decoder_bad(d, what);
	return 0;
}

int image_encode_file(struct arena *arena, const char *name, uint64_t size, const struct image_chunks *chunks,
		      Image__PageFile **ret, struct error *err)
{
	Image__PageFile *file = PUT_ONE(arena, file, page_file);
	size_t n = chunks->count;

	if (file) {
		file->name = arena_text(arena, name);
		file->size = size;
		file->stored = chunks->stored;
		file->offsets = arena_get(arena, n, sizeof(*file->offsets));
		file->lengths = arena_get(arena, n, sizeof(*file->lengths));
		file->checksums = arena_get(arena, n, sizeof(*file->checksums));
		file->n_offsets = file->n_lengths = file->n_checksums = n;
	}
	if (arena->failed)
		return error_set(err, ENOMEM, "no memory");
	for (size_t i = 0; i < n; i++) {
		file->offsets[i] = chunks->list[i].offset;
		file->lengths[i] = (uint32_t)chunks->list[i].length;
		file->checksums[i] = chunks->list[i].checksum;
	}
	*ret = file;
	return 0;
}

int image_decode_file(const Image__PageFile *file, uint64_t page, struct image_chunks *ret, struct error *err)
{
	struct image_chunks chunks = { .stored = file->stored };
	uint64_t free_from = 0; /* where the next chunk may begin: not in the MiB of the one before */
	bool bad = file->n_lengths != file->n_offsets || file->n_checksums != file->n_offsets ||
		   file->size % page || file->size > INT64_MAX;

	if (!bad && file->n_offsets) {
		chunks.list = calloc(file->n_offsets, sizeof(*chunks.list));
		if (!chunks.list)
			return error_set(err, ENOMEM, "no memory");
	}
	for (size_t i = 0; i < file->n_offsets && !bad; i++) {
		uint64_t at = file->offsets[i], length = file->lengths[i];
		uint64_t end = (at & ~(IMAGE_CHUNK - 1)) + IMAGE_CHUNK;

		bad = at < free_from || at % page || at > file->size || length == 0 || length % page ||
		      length > file->size - at || length > end - at;
		chunks.list[chunks.count++] = (struct image_chunk){ at, length, file->checksums[i] };
		free_from = end;
	}
	if (bad) {
		free(chunks.list);
		return error_set(err, EBADMSG, "it is damaged: the chunks of its page file make no sense");
	}
	*ret = chunks;
	return 0;
}

int image_encode_model(struct arena *arena, const struct model *model, Image__Model **ret, struct error *err)
{
	Image__Model *to = PUT_ONE(arena, to, model);

	if (to) {
		codec_put_memory(arena, model, to);
		codec_put_descriptors(arena, model, to);
		codec_put_processes(arena, model, to);
		PUT_ONE(arena, to->entry, entry);
		if (to->entry)
			codec_put_entry(arena, &model->entry, to->entry);
	}
	if (arena->failed)
		return error_set(err, ENOMEM, "no memory");
	*ret = to;
	return 0;
}

static void free_arena(void *arena)
{
	arena_done(arena);
	free(arena);
}

int image_decode_model(const Image__Model *from, size_t limit, uint64_t page, struct model **ret,
		       struct error *err)
{
	struct arena *arena = calloc(1, sizeof(*arena));
	struct decoder d = { .arena = arena };
	_cleanup_(model_freep) struct model *to = calloc(1, sizeof(*to));
	int r;

	if (!arena || !to) {
		free(arena);
		return error_set(err, ENOMEM, "no memory");
	}
	arena->left = limit;
	to->arena = arena;
	to->free_arena = free_arena;
	codec_take_memory(&d, from, to);
	codec_take_descriptors(&d, from, to);
	codec_take_processes(&d, from, to);
	if (from->entry)
		codec_take_entry(&d, from->entry, &to->entry);
	else
		decoder_bad(&d, "it does not say how a clone comes in");
	if (arena->full)
		decoder_bad(&d, "its model takes more memory than one of its size can");
	r = arena->failed && !arena->full ? error_set(&d.why, ENOMEM, "no memory for its model") : d.why.code;
	if (r == 0)
		r = model_check(to, page, &d.why);
	if (r < 0)
		return error_set(err, r, "%s", d.why.text);
	*ret = TAKE_PTR(to);
	return 0;
}
